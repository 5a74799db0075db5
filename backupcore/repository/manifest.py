"""The documents that registers hold: MANIFEST, ABORTED or DELETED (docs/design/format.md §7)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import numpy as np

from backupcore.errors import Damaged, ManifestDamaged, Refused
from backupcore.model import SIZE_BYTES_MAX, Backup, BackupId, Buffer, Grid, Hint, Sums
from backupcore.repository.control import open_control, seal_control
from backupcore.repository.envelope import Fields, format_time
from backupcore.repository.key import MAP, RegisterName, pack_id, pack_reference, volume_tag
from backupcore.repository.map import Root, null_row, tree_level

__all__ = ["ROOT_COUNTS", "Decision", "Manifest", "Register", "State", "seal_register"]

REGISTER_SIZE_BYTES_MAX = 4096
ROOT_COUNTS = (
    "offset", "stored_length", "plain_length", "cells", "logical_bytes", "stored_bytes",
)  # fmt: skip
_COUNTED = tuple(Sums.__dataclass_fields__)


class State(StrEnum):
    """What a register says."""

    MANIFEST = "manifest"
    ABORTED = "aborted"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Decision:
    """Who wrote a register and when; `nonce` tells one attempt from another."""

    name: RegisterName
    session_id: str
    nonce: str
    at: datetime

    def header(self, state: State) -> dict[str, Any]:
        """Return the fields that every register has."""
        return {
            "state": state.value,
            "backup_id": self.name.backup_id,
            "register": self.name.number,
            "session_id": self.session_id,
            "nonce": self.nonce,
            "at": format_time(self.at),
        }


@dataclass(frozen=True, slots=True)
class Manifest:
    """What makes a backup real: the facts people see, and the root of its map."""

    repository_id: str
    backup: Backup
    root: Root | None

    def header(self, id_key: bytes) -> dict[str, Any]:
        """Return the fields a manifest adds to a register."""
        backup = self.backup
        return {
            "repository_id": self.repository_id,
            "domain_id": backup.domain_id,
            "volume": {
                "id": backup.volume_id,
                "tag": volume_tag(backup.volume_id, id_key),
                "size_bytes": backup.size_bytes,
                "sector_size_bytes": backup.sector_size_bytes,
            },
            "name": backup.name,
            "description": backup.description,
            "labels": dict(backup.labels),
            "chunk_size_bytes": backup.grid.chunk_size_bytes,
            "frame_size_bytes": backup.grid.frame_size_bytes,
            "started_at": format_time(backup.started_at),
            "base_id": backup.base_id,
            "generation": backup.generation,
            "hint": backup.hint,
            "sums": {name: getattr(backup.sums, name) for name in _COUNTED},
            "root": _root_header(self.root),
        }

    @classmethod
    def parse(cls, fields: Fields, committed_at: datetime) -> Manifest:
        """Read the fields of a manifest. Raises: Damaged."""
        volume, sums = fields.fields("volume"), fields.fields("sums")
        root = _parse_root(fields.optional_fields("root"))
        base_id = fields.optional_text("base_id")
        try:
            grid = Grid(fields.count("chunk_size_bytes"), fields.count("frame_size_bytes"))
        except Refused as error:
            raise Damaged(str(error)) from error
        size_bytes = volume.count("size_bytes")
        if size_bytes > SIZE_BYTES_MAX:
            raise Damaged(f"volume of more than {SIZE_BYTES_MAX} bytes")
        if root is not None and root.level != tree_level(grid.cell_count(size_bytes)):
            raise Damaged(f"root of level {root.level} is not that of {size_bytes} bytes")
        backup = Backup(
            id=BackupId(fields.text("backup_id")),
            volume_id=volume.text("id"),
            size_bytes=size_bytes,
            sector_size_bytes=volume.count("sector_size_bytes"),
            name=fields.text("name"),
            description=fields.text("description"),
            labels=fields.labels("labels"),
            started_at=fields.time("started_at"),
            committed_at=committed_at,
            base_id=BackupId(base_id) if base_id else None,
            generation=fields.optional_text("generation"),
            domain_id=fields.identity("domain_id"),
            grid=grid,
            sums=Sums(**{name: sums.count(name) for name in _COUNTED}),
            data_bytes=int(root.row["logical_bytes"]) if root else 0,
            live_bytes=int(root.row["stored_bytes"]) if root else 0,
            hint=fields.optional_choice("hint", Hint),
        )
        return cls(fields.identity("repository_id"), backup, root)


@dataclass(frozen=True, slots=True)
class Register:
    """One write-once register as it was read; manifest is None unless the state says so."""

    decision: Decision
    state: State
    manifest: Manifest | None

    @classmethod
    def open(cls, data: Buffer, name: RegisterName) -> Register:
        """Read a register. Raises: ManifestDamaged, Unsupported."""
        fields = Fields(open_control(data, "regi", name.key).header)
        try:
            decision = Decision(
                name, fields.identity("session_id"), fields.identity("nonce"), fields.time("at")
            )
            if (fields.text("backup_id"), fields.count("register")) != (
                name.backup_id,
                name.number,
            ):
                raise Damaged("it belongs under another name")
            state = fields.choice("state", State)
            is_manifest = state is State.MANIFEST
            if is_manifest and fields.fields("volume").text("tag") != name.volume_tag:
                raise Damaged("it belongs under another name")
            manifest = Manifest.parse(fields, decision.at) if is_manifest else None
        except Damaged as error:
            raise ManifestDamaged(f"{name.key} is damaged: {error}") from error
        return cls(decision, state, manifest)


def seal_register(decision: Decision, state: State, facts: Mapping[str, Any]) -> list[Buffer]:
    """Return the parts of a register. Raises: Refused when it would be 4 KiB or more."""
    parts = seal_control("regi", {**decision.header(state), **facts})
    size = sum(len(part) for part in parts)
    if size >= REGISTER_SIZE_BYTES_MAX:
        raise Refused(
            f"backup {decision.name.backup_id}: its manifest would have {size} bytes, the limit is "
            f"{REGISTER_SIZE_BYTES_MAX}: shorten name, description or labels"
        )
    return parts


def _root_header(root: Root | None) -> dict[str, Any] | None:
    if root is None:
        return None
    row = root.row
    return {
        "level": root.level,
        "pack": pack_id(MAP, bytes(row["pack"])),
        "digest": bytes(row["digest"]).hex(),
        **{name: int(row[name]) for name in ROOT_COUNTS},
    }


def _parse_root(fields: Fields | None) -> Root | None:
    if fields is None:
        return None
    row = null_row()
    reference = pack_reference(fields.text("pack"))
    if reference is None or fields.text("pack") != pack_id(MAP, reference):
        raise Damaged("root is in something that is no map pack")
    row["pack"], row["digest"] = np.void(reference), np.void(fields.octets("digest", 32))
    for name in ROOT_COUNTS:
        limit = np.iinfo(row.dtype[name]).max
        if fields.count(name) > limit:
            raise Damaged(f"root's {name} is out of range")
        row[name] = fields.count(name)
    if not row["stored_length"]:
        raise Damaged("root is empty")
    return Root(fields.count("level"), row)
