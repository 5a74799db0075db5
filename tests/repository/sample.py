"""What the tests of this folder have in common: ids, a decision, a manifest, changed headers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from hypothesis import strategies as st

from backupcore.model import Backup, BackupId, Buffer, Grid, Sums
from backupcore.repository.control import seal_control
from backupcore.repository.envelope import open_envelope
from backupcore.repository.key import RegisterName, volume_tag
from backupcore.repository.manifest import Decision, Manifest, State, seal_register
from backupcore.repository.map import Root, null_row
from backupcore.runtime import Process

ID = "00112233445566778899aabbccddeeff"
OTHER_ID = "ff" * 16
ID_KEY = bytes(range(32))
NOW = datetime(2026, 11, 23, 13, 5, 8, 123456, UTC)
BACKUP_ID = BackupId("01234567-89ab-4cde-8f01-23456789abcd")
PROCESS = Process("host", "boot", 77, "123", "scope")
TAG = volume_tag("volume", ID_KEY)
NAME = RegisterName(TAG, BACKUP_ID, 0)
DECISION = Decision(NAME, ID, OTHER_ID, NOW)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 70), 1 << 70)
    | st.sampled_from(["", ID, BACKUP_ID, "none", "2026-11-23T13:05:08.123456Z", "manifest"])
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text("ab"), inner, max_size=2),
    max_leaves=4,
)


def sample_backup() -> Backup:
    """Return the facts of a volume of 3 MiB in chunks of 4 KiB."""
    return Backup(
        id=BACKUP_ID,
        volume_id="volume",
        size_bytes=3 << 20,
        sector_size_bytes=512,
        name="nightly",
        description="",
        labels={"pool": "gold"},
        started_at=NOW,
        committed_at=NOW,
        base_id=None,
        generation=None,
        domain_id=ID,
        grid=Grid(4096, 65536),
        sums=Sums(1, 2, 3, 4, 5, 6, 7),
        data_bytes=8192,
        live_bytes=500,
    )


def sample_manifest() -> Manifest:
    """Return a manifest whose map is one leaf."""
    row = null_row()
    row["pack"] = np.void(bytes.fromhex(ID + OTHER_ID) + bytes(4))
    row["offset"], row["stored_length"], row["plain_length"] = 200, 300, 400
    row["digest"] = np.void(bytes(range(32)))
    row["cells"], row["logical_bytes"], row["stored_bytes"] = 2, 8192, 500
    return Manifest(OTHER_ID, sample_backup(), Root(0, row))


def with_facts(**facts: Any) -> Manifest:
    """Return the sample manifest with other facts of its backup."""
    manifest = sample_manifest()
    return replace(manifest, backup=replace(manifest.backup, **facts))


def sealed_register(manifest: Manifest, decision: Decision = DECISION) -> bytes:
    """Return the bytes of a register that holds a manifest."""
    return b"".join(seal_register(decision, State.MANIFEST, manifest.header(ID_KEY)))


def rewritten(parts: list[Buffer], kind: str, change: Callable[[dict[str, Any]], object]) -> bytes:
    """Return an object with another header, sealed as it should be."""
    envelope = open_envelope(b"".join(parts), kind)
    change(envelope.header)
    return b"".join(seal_control(kind, envelope.header, *envelope.sections))


def paths(header: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the way to every field, those of nested objects too."""
    found: list[tuple[str, ...]] = []
    for name, value in header.items():
        found.append((name,))
        if isinstance(value, dict):
            found += [(name, *rest) for rest in paths(value)]
    return found


def put_field(header: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    """Give a field another value."""
    for name in path[:-1]:
        header = header[name]
    header[path[-1]] = value
