"""What the tests of records share: a fixed key and record, forgery, and a store that bites."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backupcore.driver import Buffer, Driver, ObjectInfo, Role
from backupcore.driver.layer import Layer
from backupcore.model import BackupId
from backupcore.record import Claim, Cover, Record, SigningKey, TrustedKeys, decode, encode, verify
from backupcore.record.claim import signed_bytes
from backupcore.repository.key import RegisterName

NOW = datetime(2026, 11, 23, 13, 5, 8, tzinfo=UTC)
BACKUP_ID = BackupId("7a6a7cb4-3a32-4918-bded-2f4bcb8e005f")
OTHER_ID = "00000000-0000-4000-8000-00000000dead"
KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))
OTHER_KEY = SigningKey(Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))))
TRUSTED = TrustedKeys().including(KEY)
CLAIM = Claim(
    repository_id="0123456789abcdef0123456789abcdef",
    register=RegisterName("59a36efa7595a3c5c83ff6b75bc74450", BACKUP_ID, 0),
    manifest_digest=bytes(range(100, 132)),
    manifest_length=1124,
    tenant_tag="fedcba9876543210fedcba9876543210",
    issued_at=NOW,
    expires_at=NOW + timedelta(days=90),
)
COVER = Cover(
    id=BACKUP_ID,
    size=10,
    name="monday",
    description="before the “upgrade”",
    metadata={"tier": "gold"},
    container="backups",
    service="cinder.backup.drivers.backupcore.s3",
    volume_id="40a1f0fc-6258-4b8d-b84f-6a1b7d9e05ec",
    object_count=17,
    data_timestamp=NOW - timedelta(minutes=9),
    created_at=NOW - timedelta(minutes=9),
    updated_at=NOW - timedelta(minutes=1),
)
RECORD = Record(CLAIM, COVER)


def read(text: str, *, trusted: TrustedKeys = TRUSTED, now: datetime = NOW) -> Record:
    """Return a record as an importer reads it."""
    return verify(decode(text), trusted, now=now)


def opened(text: str) -> dict[str, Any]:
    """Return what a `backup_url` holds, as anybody can see it."""
    found: dict[str, Any] = json.loads(base64.b64decode(text))
    return found


def closed(fields: object) -> str:
    """Return the `backup_url` of a document, as anybody can write it."""
    return base64.b64encode(json.dumps(fields).encode()).decode()


def signed(info: Mapping[str, object], outer: Mapping[str, object], key: SigningKey = KEY) -> str:
    """Return a `backup_url` whose `driver_info` is signed, whatever it is."""
    unsigned = {name: value for name, value in info.items() if name != "signature"}
    signature = key.sign(signed_bytes(unsigned)).hex()
    return closed({"driver_info": {**unsigned, "signature": signature}, **outer})


def parts(record: Record = RECORD) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a record's `driver_info` and the fields around it."""
    outer = opened(encode(record, KEY))
    return outer.pop("driver_info"), outer


class Tripwire(Layer):
    """Fails a test on any change, any listing, and any key that it was not told of.

    prefixes: beginnings of the keys that may be read; the calls made are kept.
    """

    def __init__(self, below: Driver, prefixes: Iterable[str]) -> None:
        super().__init__(below)
        self.prefixes = tuple(prefixes)
        self.calls: list[tuple[str, str]] = []

    def put(
        self,
        key: str,
        parts: Sequence[Buffer],
        *,
        if_absent: bool = False,
        role: Role = Role.DATA,
    ) -> NoReturn:
        raise AssertionError(f"put of {key}")

    def delete(self, keys: Iterable[str]) -> NoReturn:
        raise AssertionError(f"delete of {list(keys)}")

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        raise AssertionError(f"list of {prefix}")

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        self._touch("get", key)
        return self.below.get(key, offset, length)

    def get_into(self, key: str, offset: int, buffer: Buffer) -> int:
        self._touch("get", key)
        return self.below.get_into(key, offset, buffer)

    def stat(self, key: str) -> ObjectInfo:
        self._touch("stat", key)
        return self.below.stat(key)

    def _touch(self, operation: str, key: str) -> None:
        assert key.startswith(self.prefixes), f"{operation} of {key}"
        self.calls.append((operation, key))
