"""The claim of a record: its `driver_info`, which alone is signed.

    kind "backupcore record" · format 1 · repository_id · volume_tag · backup_id · register ·
    manifest_digest · manifest_length · tenant_tag · issued_at_s · expires_at_s · kid · signature

It says what, never where: the key of the manifest follows from tag, id and number, each of a fixed
form, and the store is the importer's own. The signature is over `backupcore record 1`, a zero byte
and the canonical JSON (RFC 8785) of everything else in it. No field names an algorithm: the key has
one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import cast

from backupcore.model import BackupId
from backupcore.record.error import Reason, RecordRefused
from backupcore.record.parser import refuse
from backupcore.repository.envelope import canonical_json
from backupcore.repository.key import RegisterName
from backupcore.repository.manifest import REGISTER_SIZE_BYTES_MAX

__all__ = ["SIGNATURE", "UUID", "Claim", "check_shape", "signed_bytes"]

KIND = "backupcore record"
FORMAT = 1
SIGNATURE = "signature"
UUID = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_CONTEXT = b"backupcore record 1\0"
_TIMES_S = range(253_402_300_800)  # up to the end of the year 9999


def _hex(digit_count: int) -> re.Pattern[str]:
    return re.compile(f"[0-9a-f]{{{digit_count}}}")


_TEXTS = {
    "repository_id": _hex(32),
    "volume_tag": _hex(32),
    "backup_id": UUID,
    "manifest_digest": _hex(64),
    "tenant_tag": _hex(32),
    "kid": _hex(16),
    SIGNATURE: _hex(128),
}
_NUMBERS = {
    "register": range(10**9),
    "manifest_length": range(1, REGISTER_SIZE_BYTES_MAX),
    "issued_at_s": _TIMES_S,
    "expires_at_s": _TIMES_S,
}
_OPTIONAL = {"tenant_tag", "expires_at_s"}
_NAMES = {"kind", "format", *_TEXTS, *_NUMBERS}


@dataclass(frozen=True, slots=True)
class Claim:
    """Which bytes of which repository are a backup, whose it is and how long this may be said.

    manifest_digest: BLAKE3 of the manifest as it is stored, manifest_length bytes.
    tenant_tag: stands for the project, None when the backup is of none. Times are whole seconds
    in UTC; expires_at is None when it never does.
    """

    repository_id: str
    register: RegisterName
    manifest_digest: bytes
    manifest_length: int
    tenant_tag: str | None
    issued_at: datetime
    expires_at: datetime | None

    @property
    def backup_id(self) -> BackupId:
        """The id of the stored backup."""
        return self.register.backup_id

    def fields(self, kid: str) -> dict[str, object]:
        """Return `driver_info` without its signature."""
        return {
            "kind": KIND,
            "format": FORMAT,
            "repository_id": self.repository_id,
            "volume_tag": self.register.volume_tag,
            "backup_id": self.register.backup_id,
            "register": self.register.number,
            "manifest_digest": self.manifest_digest.hex(),
            "manifest_length": self.manifest_length,
            "tenant_tag": self.tenant_tag,
            "issued_at_s": int(self.issued_at.timestamp()),
            "expires_at_s": int(self.expires_at.timestamp()) if self.expires_at else None,
            "kid": kid,
        }

    @classmethod
    def parse(cls, fields: Mapping[str, object]) -> Claim:
        """Read a `driver_info` whose shape and signature were checked. Raises: RecordRefused."""
        text = cast(Mapping[str, str], fields)
        number = cast(Mapping[str, int], fields)
        issued_at_s = number["issued_at_s"]
        expires_at_s = cast(int | None, fields["expires_at_s"])
        if expires_at_s is not None and expires_at_s <= issued_at_s:
            refuse("it expires before it is made")
        return cls(
            repository_id=text["repository_id"],
            register=RegisterName(
                text["volume_tag"], BackupId(text["backup_id"]), number["register"]
            ),
            manifest_digest=bytes.fromhex(text["manifest_digest"]),
            manifest_length=number["manifest_length"],
            tenant_tag=cast(str | None, fields["tenant_tag"]),
            issued_at=datetime.fromtimestamp(issued_at_s, UTC),
            expires_at=None if expires_at_s is None else datetime.fromtimestamp(expires_at_s, UTC),
        )


def check_shape(found: object) -> dict[str, object]:
    """Return a `driver_info` that has exactly the fields it must have, each of its form.

    Raises: RecordRefused; of reason FOREIGN when it is nothing of ours.
    """
    fields: dict[str, object] = found if isinstance(found, dict) else {}
    if fields.get("kind") != KIND:
        raise RecordRefused(
            "record: it is of another service: records of another service are not read here",
            reason=Reason.FOREIGN,
        )
    if type(fields.get("format")) is int and fields["format"] != FORMAT:
        raise RecordRefused(
            f"record: it has format {fields['format']}, this release reads {FORMAT}: "
            "use a newer release",
            reason=Reason.FOREIGN,
        )
    if set(fields) != _NAMES:
        odd = sorted(set(fields) ^ _NAMES)[0]
        refuse(f"driver_info has a field too many or too few: {odd[:40]!r}")
    for name, value in fields.items():
        if not _has_shape(name, value):
            refuse(f"driver_info has a {name} of another form")
    return fields


def signed_bytes(fields: Mapping[str, object]) -> bytes:
    """Return what the signature of a `driver_info` is over."""
    signed = {name: value for name, value in fields.items() if name != SIGNATURE}
    return _CONTEXT + canonical_json(signed)


def _has_shape(name: str, value: object) -> bool:
    if value is None:
        return name in _OPTIONAL
    if name in _TEXTS:
        return isinstance(value, str) and _TEXTS[name].fullmatch(value) is not None
    if name in _NUMBERS:
        return type(value) is int and value in _NUMBERS[name]  # True is an int too
    return name == "kind" or type(value) is int
