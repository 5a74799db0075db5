"""No secret gets into messages, logs or what a debugger shows."""

from __future__ import annotations

import base64
import logging
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from backupcore.driver.registry import open_driver
from backupcore.errors import BackupError
from backupcore.url import Url
from backupcore_s3.option import read_settings
from tests.drivers.s3.stage.scripted import Reply, Script, error_reply, scripted_server

SECRET, TOKEN, CUSTOMER_KEY = "canary-secret", "canary-token", b"canary-customer-key-of-32-bytes!"
CANARIES = (
    SECRET,
    TOKEN,
    CUSTOMER_KEY.decode(),
    base64.b64encode(CUSTOMER_KEY).decode(),
    "canary",
)
REPLIES = (
    Reply(0),
    Reply(400),
    Reply(404),
    error_reply(403, "SignatureDoesNotMatch"),
    error_reply(400, "ExpiredToken"),
    error_reply(503, "SlowDown"),
    Reply(body=b"x", length=9),
)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Script]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
    with scripted_server() as script:
        yield script


def test_no_secret_is_told(
    script: Script, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "key").write_bytes(CUSTOMER_KEY)
    caplog.set_level(logging.INFO)
    for name in ("backupcore", "backupcore_s3"):
        caplog.set_level(logging.DEBUG, logger=name)
    url = f"s3://bucket?endpoint_url={script.url}&sse_customer_key_file={tmp_path}/key"
    said = [repr(read_settings(Url.parse(url, default_scheme="s3")))]
    with open_driver(url) as driver:
        said += [repr(driver), repr(driver.below)]  # type: ignore[attr-defined]
        for reply in REPLIES:
            script.answer(reply)
            for call in (
                lambda: driver.put("key", [b"x"]),
                lambda: driver.get("key"),
                lambda: driver.stat("key"),
                lambda: list(driver.list()),
                lambda: driver.delete(["key"]),
            ):
                said += _failing(call)
    assert len(said) > 25
    text = "\n".join([*said, caplog.text])
    assert [canary for canary in CANARIES if canary in text] == []


def _failing(call: object) -> list[str]:
    try:
        call()  # type: ignore[operator]
    except BackupError as error:
        return [str(error), repr(error), *traceback.format_exception(error)]
    return []


def test_secrets_were_used(script: Script, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(CUSTOMER_KEY)
    url = f"s3://bucket?endpoint_url={script.url}&sse_customer_key_file={tmp_path}/key"
    with open_driver(url) as driver:
        driver.put("key", [b"x"])
    headers = script.asked[0].headers
    assert headers["x-amz-security-token"] == TOKEN
    given = headers["x-amz-server-side-encryption-customer-key"]
    assert base64.b64decode(given) == CUSTOMER_KEY
