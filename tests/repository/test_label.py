"""What a service keeps in labels: it comes back, it fits, and nobody passes for it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupcore.model import SIZE_BYTES_MAX, Backup, BackupId, Grid, Hint, Sums
from backupcore.repository.key import RegisterName
from backupcore.repository.label import ROOM_BYTES, ServiceLabels, is_of_service
from backupcore.repository.manifest import (
    REGISTER_SIZE_BYTES_MAX,
    ROOT_COUNTS,
    Decision,
    Manifest,
    State,
    seal_register,
)
from backupcore.repository.map import Root, null_row

METADATA = st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=3)


def labels_of(*texts: str, **facts: Any) -> tuple[dict[str, str], list[str]]:
    return ServiceLabels(**{"project": "p", **facts}).fit(*texts)


@given(metadata=METADATA, volume_metadata=METADATA, name=st.text(min_size=1, max_size=20))
def test_what_fits_comes_back(
    metadata: dict[str, str], volume_metadata: dict[str, str], name: str
) -> None:
    wanted = ServiceLabels(
        project="p",
        metadata=metadata,
        volume_name=name,
        volume_description="d",
        volume_metadata=volume_metadata,
    )
    labels, left_out = wanted.fit("name", "description")
    assert (ServiceLabels.read(labels), left_out) == (wanted, [])


def test_labels_of_an_older_release_tell_the_project_alone() -> None:
    assert ServiceLabels.read({"project": "p"}) == ServiceLabels(project="p")


def test_labels_that_people_gave_are_metadata() -> None:
    found = ServiceLabels.read({"tier": "gold"})
    assert (found.project, found.metadata) == (None, {"tier": "gold"})


def test_metadata_never_passes_for_a_label_of_the_service() -> None:
    hostile = {
        "project": "victim",
        "service:volume:name": "x",
        'a","service:volume:name":"y': "z",
    }
    labels, _ = labels_of(metadata=hostile, volume_metadata=hostile)
    found = ServiceLabels.read(labels)
    assert (found.project, found.volume_name, found.metadata) == ("p", None, hostile)
    assert all(is_of_service(key) for key in labels)


def test_what_has_no_room_is_named_and_the_rest_is_kept() -> None:
    many = {f"key-{number}": "v" * 200 for number in range(20)}
    labels, left_out = labels_of(volume_name="data", volume_metadata=many, metadata={"k": "v"})
    assert left_out == ["service:volume:metadata"]
    found = ServiceLabels.read(labels)
    assert (found.volume_name, found.metadata, found.volume_metadata) == ("data", {"k": "v"}, None)


def test_room_is_counted_in_bytes_with_what_else_is_written() -> None:
    smile = "\U0001f600"
    assert labels_of(smile * 255, smile * 255, volume_name=smile * 50)[1] == []
    assert labels_of(smile * 255, smile * 255, volume_name=smile * 255)[1] != []
    assert ROOM_BYTES < REGISTER_SIZE_BYTES_MAX


def test_the_longest_manifest_has_room_for_full_labels() -> None:
    length = next(n for n in range(ROOM_BYTES, 0, -1) if not labels_of(metadata={"k": "x" * n})[1])
    labels, left_out = labels_of(metadata={"k": "x" * length})
    assert left_out == []
    most, backup_id = SIZE_BYTES_MAX, BackupId("7a6a7cb4-3a32-4918-bded-2f4bcb8e005f")
    row = null_row()
    for name in ROOT_COUNTS:
        row[name] = np.iinfo(row.dtype[name]).max
    moment = datetime(2026, 11, 23, 1, 2, 3, 456789, tzinfo=UTC)
    longest = Backup(
        id=backup_id,
        volume_id=backup_id,
        size_bytes=most,
        sector_size_bytes=1 << 20,
        name="",
        description="",
        labels=labels,
        started_at=moment,
        committed_at=moment,
        base_id=backup_id,
        generation=None,
        domain_id="f" * 32,
        grid=Grid(1 << 20, 1 << 22),
        sums=Sums(most, most, most, most, most, most, most),
        data_bytes=0,
        live_bytes=0,
        hint=Hint.REFUTED,
    )
    facts = Manifest("f" * 32, longest, Root(9, row)).header(bytes(32))
    register = RegisterName("f" * 32, backup_id, 10**9 - 1)
    parts = seal_register(Decision(register, "f" * 32, "f" * 32, moment), State.MANIFEST, facts)
    assert sum(len(part) for part in parts) < REGISTER_SIZE_BYTES_MAX


def test_half_a_surrogate_pair_is_kept() -> None:
    labels, _ = labels_of(metadata={"k": "\ud800"})
    assert all(text.isascii() for text in labels.values())
    assert ServiceLabels.read(labels).metadata == {"k": "\ud800"}


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a":1}', "1", "null", "[" * 4000])
def test_a_label_that_is_no_metadata_tells_nothing(text: str) -> None:
    found = ServiceLabels.read({"service:metadata": text, "service:volume:metadata": text})
    assert (found.metadata, found.volume_metadata) == ({}, None)
