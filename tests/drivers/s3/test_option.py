from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

import pytest

from backupcore.driver.registry import driver_schemes, open_driver, scheme_capabilities
from backupcore.errors import AccessDenied, Refused
from backupcore.url import Url
from backupcore_s3.option import Settings, read_settings

REFUSED = {
    "s3:": "names no bucket",
    "s3:bucket/prefix": "names no bucket",
    "s3:///prefix": "names no bucket",
    "s3://user@bucket": "no bucket has such a name",
    "s3://bucket:80": "no bucket has such a name",
    "s3://b": "no bucket has such a name",
    "s3://user:word@bucket": "password",
    "s3://bucket/a//b": "prefix",
    "s3://bucket/a/../b": "prefix",
    "s3://bucket/a%01b": "prefix",
    "s3://bucket/" + "a" * 512: "prefix",
    "s3://bucket?regoin=eu": "unknown option 'regoin'",
    "s3://bucket?endpoint_url=host:9000": "endpoint_url",
    "s3://bucket?endpoint_url=ftp://host": "endpoint_url",
    "s3://bucket?endpoint_url=http://host:a": "endpoint_url",
    "s3://bucket?endpoint_url=http://me:canary@host": "credentials",
    "s3://bucket?addressing_style=dns": "auto or path or virtual",
    "s3://bucket?checksums=never": "when_supported or when_required",
    "s3://bucket?conditional_put=maybe": "yes or no",
    "s3://bucket?create_container=1": "yes or no",
    "s3://bucket?connections=0": "connections",
    "s3://bucket?connections=many": "connections",
    "s3://bucket?list_lag_s=-1": "list_lag_s",
    "s3://bucket?storage_class=cold%20ish": "storage_class",
    "s3://bucket?sse=rot13": "AES256 or aws:kms",
    "s3://bucket?sse_kms_key_id=a": "sse=aws:kms",
    "s3://bucket?sse=AES256&sse_customer_key_file=a": "choose one",
    "s3://bucket?sse_customer_key_file=gone": "No such file",
    "s3://bucket?object_lock=governance": "together",
    "s3://bucket?object_lock_days=3": "together",
    "s3://bucket?object_lock=governance&object_lock_days=0": "object_lock_days",
    "s3://bucket?object_lock=legal&object_lock_days=3": "governance or compliance",
}


def settings_of(text: str) -> Settings:
    return read_settings(Url.parse(text, default_scheme="posix"))


@pytest.mark.parametrize(("url", "text"), REFUSED.items())
def test_a_url_that_is_not_clear_is_refused(url: str, text: str) -> None:
    with pytest.raises(Refused, match=text) as caught:
        open_driver(url)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("s3://bucket", "s3://bucket/"),
        ("s3://bucket/", "s3://bucket/"),
        ("s3://bucket/a/b", "s3://bucket/a/b/"),
        ("s3://bucket//a/", "s3://bucket/a/"),
        ("s3://bucket/%C3%A4%20b", "s3://bucket/ä b/"),
    ],
)
def test_the_prefix_ends_at_a_slash(url: str, place: str) -> None:
    assert settings_of(url).place == place


@pytest.mark.parametrize("write", [bytes, base64.b64encode, base64.encodebytes])
def test_a_customer_key_is_read_as_it_is_or_in_base64(tmp_path: Path, write: object) -> None:
    key = bytes(range(32))
    (tmp_path / "key").write_bytes(write(key))  # type: ignore[operator]
    settings = settings_of(f"s3://bucket?sse_customer_key_file={tmp_path}/key")
    assert settings.customer_key == key


@pytest.mark.parametrize("content", [b"", b"short", bytes(33), base64.b64encode(bytes(31))])
def test_a_customer_key_of_another_length_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(Refused, match="holds no key"):
        settings_of(f"s3://bucket?sse_customer_key_file={tmp_path}/key")


def test_opening_asks_nothing_of_the_store() -> None:
    with open_driver("s3://bucket?endpoint_url=http://127.0.0.1:9") as driver:
        assert driver.capabilities.conditional_put


def test_a_store_that_promises_less_is_not_said_to_promise_more() -> None:
    with open_driver("s3://bucket?conditional_put=no&list_lag_s=86400") as driver:
        seen = driver.capabilities
    assert (seen.conditional_put, seen.list_lag_s_max) == (False, 86_400.0)


def test_a_profile_that_is_not_there_is_told() -> None:
    with pytest.raises(AccessDenied, match="nightly"):
        open_driver("s3://bucket?profile=nightly")


def test_a_region_that_cannot_be_is_refused() -> None:
    with pytest.raises(Refused, match="region"):
        open_driver("s3://bucket?region=no_such/region")


def test_what_every_such_store_promises_is_known_before_one_is_opened() -> None:
    capabilities = scheme_capabilities("s3")
    assert capabilities
    assert (capabilities.object_size_bytes_max, capabilities.object_lock) == (5 << 30, False)
    assert "s3" in driver_schemes()


def test_without_the_sdk_it_is_said_how_to_get_it() -> None:
    script = (
        "import sys; sys.modules['boto3'] = None\n"
        "from backupcore.driver.registry import open_driver\n"
        "from backupcore.errors import Refused\n"
        "try: open_driver('s3://bucket')\n"
        "except Refused as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert "pip install 'backupcore[s3]'" in done.stdout
