"""Over TLS the SDK sends its checksum behind the body, which not every store takes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backupcore.driver.registry import open_driver
from backupcore.errors import StoreError
from tests.drivers.s3.stage.place import Place
from tests.drivers.s3.stage.tls_relay import tls_relay, write_certificate

CONTENT = [bytes(range(256)) * 4_000, b"", b"the end"]


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = write_certificate(tmp_path / "certificate.pem")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(path))
    return path


@pytest.fixture
def safe_swift(swift: Place, certificate: Path) -> Iterator[Place]:
    with tls_relay(swift.endpoint_url, certificate) as url:
        yield replace(swift, endpoint_url=url)


@pytest.fixture
def safe_gateway(gateway: Place, certificate: Path) -> Iterator[Place]:
    with tls_relay(gateway.endpoint_url, certificate) as url:
        yield replace(gateway, endpoint_url=url)


@pytest.mark.xdist_group("swift")
@pytest.mark.parametrize("checksums", ["when_supported", "when_required"])
def test_what_is_sent_over_tls_arrives_as_it_was(safe_swift: Place, checksums: str) -> None:
    with open_driver(safe_swift.url(prefix="tls", checksums=checksums)) as driver:
        driver.put("key", CONTENT)
        driver.put("empty", [])
        assert driver.get("key") == b"".join(CONTENT)
        assert driver.get("empty") == b""
        driver.delete(["key", "empty"])
        assert list(driver.list()) == []


@pytest.mark.xdist_group("radosgw")
def test_a_store_that_takes_no_checksum_behind_the_body_says_what_to_write(
    safe_gateway: Place,
) -> None:
    said = ""
    with open_driver(safe_gateway.url(prefix="tls")) as driver:
        try:
            driver.put("key", CONTENT)
        except StoreError as error:
            said = str(error)
        is_stored = [info.key for info in driver.list()] == ["key"]
    assert ("checksums=when_required" in said) != is_stored


@pytest.mark.xdist_group("radosgw")
def test_content_md5_goes_where_the_checksum_does_not(safe_gateway: Place) -> None:
    with open_driver(safe_gateway.url(prefix="tls", checksums="when_required")) as driver:
        driver.put("key", CONTENT)
        assert driver.get("key") == b"".join(CONTENT)
        driver.delete(["key"])
        assert list(driver.list()) == []


@pytest.mark.xdist_group("swift")
def test_a_certificate_that_nobody_vouches_for_is_told(
    safe_swift: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_CA_BUNDLE")
    with (
        open_driver(safe_swift.url()) as driver,
        pytest.raises(StoreError, match="AWS_CA_BUNDLE") as caught,
    ):
        driver.get("key")
    assert type(caught.value) is StoreError


@pytest.mark.xdist_group("swift")
def test_tls_where_none_is_spoken_is_told(swift: Place) -> None:
    plain = replace(swift, endpoint_url=swift.endpoint_url.replace("http:", "https:"))
    with open_driver(plain.url()) as driver, pytest.raises(StoreError, match="endpoint_url"):
        driver.get("key")
