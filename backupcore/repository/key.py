"""Names of objects, and what a name says (docs/design/format.md §1)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple, Self
from uuid import UUID

from blake3 import blake3

from backupcore.errors import Refused
from backupcore.model import BackupId, PackId

__all__ = [
    "CONFIG",
    "DATA",
    "MAP",
    "PACK_REFERENCE_LENGTH",
    "LeaseName",
    "PackKind",
    "RegisterName",
    "TombName",
    "domain_key",
    "pack_id",
    "pack_prefix",
    "pack_reference",
    "parse_backup_id",
    "volume_tag",
]

CONFIG = "config"
PACK_REFERENCE_LENGTH = 36
_ID = "[0-9a-f]{32}"
_NUMBER = "[0-9]{10}"
_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_REGISTER = re.compile(rf"backups/({_ID})/({_UUID})/({_NUMBER})")
_LEASE = re.compile(rf"sessions/({_ID})/({_NUMBER})")
_TOMB = re.compile(rf"tombs/({_ID})\.({_NUMBER})")
_PACK = re.compile(rf"(data|map)/({_ID})/({_ID})-({_NUMBER})")


class PackKind(NamedTuple):
    """A kind of pack: its folder and the kind of its envelope."""

    folder: str
    envelope: str


DATA = PackKind("data", "data")
MAP = PackKind("map", "maps")


@dataclass(frozen=True, slots=True)
class RegisterName:
    """The name of one register of a backup."""

    volume_tag: str
    backup_id: BackupId
    number: int

    @property
    def key(self) -> str:
        """`backups/<volume tag>/<backup id>/<number>`."""
        return f"backups/{self.volume_tag}/{self.backup_id}/{self.number:010d}"

    @classmethod
    def parse(cls, key: str) -> Self | None:
        """Return what a key says, None when it is no register's."""
        match = _REGISTER.fullmatch(key)
        return cls(match[1], BackupId(match[2]), int(match[3])) if match else None


@dataclass(frozen=True, slots=True)
class LeaseName:
    """The name of one renewal of a session's lease."""

    session_id: str
    counter: int

    @property
    def key(self) -> str:
        """`sessions/<session id>/<counter>`."""
        return f"sessions/{self.session_id}/{self.counter:010d}"

    @classmethod
    def parse(cls, key: str) -> Self | None:
        """Return what a key says, None when it is no lease's."""
        match = _LEASE.fullmatch(key)
        return cls(match[1], int(match[2])) if match else None


@dataclass(frozen=True, slots=True)
class TombName:
    """The name of one generation of a tomb."""

    tomb_id: str
    generation: int

    @property
    def key(self) -> str:
        """`tombs/<tomb id>.<generation>`."""
        return f"tombs/{self.tomb_id}.{self.generation:010d}"

    @classmethod
    def parse(cls, key: str) -> Self | None:
        """Return what a key says, None when it is no tomb's."""
        match = _TOMB.fullmatch(key)
        return cls(match[1], int(match[2])) if match else None


def domain_key(domain_id: str) -> str:
    """Return `domains/<domain id>`."""
    return f"domains/{domain_id}"


def pack_prefix(kind: PackKind, session_id: str) -> str:
    """Return the prefix of all packs of a session."""
    return f"{kind.folder}/{session_id}/"


def pack_id(kind: PackKind, reference: bytes) -> PackId:
    """Return the key of the pack that 36 bytes of a map refer to."""
    session, writer = reference[:16].hex(), reference[16:32].hex()
    number = int.from_bytes(reference[32:], "little")
    return PackId(f"{kind.folder}/{session}/{writer}-{number:010d}")


def pack_reference(key: str) -> bytes | None:
    """Return the 36 bytes that refer to a pack, or None when the key is no pack's."""
    match = _PACK.fullmatch(key)
    if not match or int(match[4]) >= 1 << 32:
        return None
    return bytes.fromhex(match[2]) + bytes.fromhex(match[3]) + int(match[4]).to_bytes(4, "little")


def parse_backup_id(text: str) -> BackupId:
    """Return a backup id in its canonical form. Raises: Refused when the text is no UUID."""
    try:
        return BackupId(str(UUID(text)))
    except ValueError as error:
        raise Refused(f"backup id {text!r} is not a UUID") from error


def volume_tag(volume_id: str, id_key: bytes) -> str:
    """Return the 32 hex digits that stand for a volume in the names of its registers."""
    try:
        name = volume_id.encode()
    except UnicodeEncodeError as error:
        raise Refused(f"volume id {volume_id!r} is not UTF-8: give another: {error}") from error
    return blake3(b"backupcore volume tag 1\0" + name, key=id_key).hexdigest(16)
