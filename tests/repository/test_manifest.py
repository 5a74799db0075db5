from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupcore.errors import ManifestDamaged, Refused, Unsupported
from backupcore.model import BackupId, Buffer
from backupcore.repository.envelope import open_envelope
from backupcore.repository.key import RegisterName
from backupcore.repository.manifest import Register, State, seal_register
from backupcore.repository.map import Root
from tests.repository.sample import (
    DECISION,
    ID_KEY,
    JSON,
    NAME,
    OTHER_ID,
    paths,
    put_field,
    rewritten,
    sample_manifest,
    sealed_register,
    with_facts,
)

PARTS: list[Buffer] = [sealed_register(sample_manifest())]
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


def changed(path: tuple[str, ...], value: object) -> bytes:
    """Return the sample's register with another value in one field."""
    return rewritten(PARTS, "regi", lambda header: put_field(header, path, value))


def test_a_manifest_comes_back() -> None:
    found = Register.open(sealed_register(sample_manifest()), NAME)
    assert (found.decision, found.state, found.manifest) == (
        DECISION,
        State.MANIFEST,
        sample_manifest(),
    )


def test_a_manifest_of_a_volume_of_zeros_comes_back() -> None:
    manifest = replace(with_facts(data_bytes=0, live_bytes=0), root=None)
    assert Register.open(sealed_register(manifest), NAME).manifest == manifest


@pytest.mark.parametrize("state", [State.ABORTED, State.DELETED])
def test_a_register_that_is_no_manifest_comes_back(state: State) -> None:
    found = Register.open(b"".join(seal_register(DECISION, state, {})), NAME)
    assert (found.decision, found.state, found.manifest) == (DECISION, state, None)


@given(
    name=TEXTS,
    description=TEXTS,
    labels=st.dictionaries(TEXTS, TEXTS, max_size=4),
    generation=st.none() | TEXTS,
)
def test_texts_come_back_whatever_they_are(**facts: Any) -> None:
    found = Register.open(sealed_register(with_facts(**facts)), NAME).manifest
    assert found == with_facts(**facts)


def test_any_flipped_bit_is_found() -> None:
    data = sealed_register(sample_manifest())
    for position in range(len(data)):
        flipped = bytearray(data)
        flipped[position] ^= 1 << position % 8
        with pytest.raises(ManifestDamaged):
            Register.open(bytes(flipped), NAME)


def test_a_register_cut_anywhere_is_refused() -> None:
    data = sealed_register(sample_manifest())
    for length in range(len(data)):
        with pytest.raises(ManifestDamaged):
            Register.open(data[:length], NAME)


@given(st.data())
def test_any_value_in_any_field_is_opened_or_refused(data: st.DataObject) -> None:
    fields = paths(open_envelope(PARTS[0], "regi").header)
    path, value = data.draw(st.sampled_from(fields)), data.draw(JSON)
    with suppress(ManifestDamaged, Unsupported):
        Register.open(changed(path, value), NAME)


@pytest.mark.parametrize(
    "path",
    [
        path
        for path in paths(open_envelope(PARTS[0], "regi").header)
        if path[0] != "labels" or len(path) == 1
    ],
    ids=".".join,
)
def test_a_missing_field_is_damage(path: tuple[str, ...]) -> None:
    def drop(header: dict[str, Any]) -> None:
        for name in path[:-1]:
            header = header[name]
        del header[path[-1]]

    with pytest.raises(ManifestDamaged):
        Register.open(rewritten(PARTS, "regi", drop), NAME)


@pytest.mark.parametrize(
    "name",
    [
        replace(NAME, number=1),
        replace(NAME, backup_id=BackupId("f" * 8 + NAME.backup_id[8:])),
        replace(NAME, volume_tag=OTHER_ID),
    ],
    ids=["number", "backup", "volume"],
)
def test_a_register_under_the_name_of_another_is_refused(name: RegisterName) -> None:
    with pytest.raises(ManifestDamaged, match="another name"):
        Register.open(sealed_register(sample_manifest()), name)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("state",), "pending"),
        (("volume", "size_bytes"), 1 << 63),
        (("volume", "size_bytes"), 10**4000),
        (("chunk_size_bytes",), 4097),
        (("frame_size_bytes",), 4096 * 257),
        (("root", "level"), 1),
        (("root", "level"), 10**9),
        (("root", "pack"), "config"),
        (("root", "stored_length"), 0),
        (("root", "plain_length"), 1 << 32),
        (("root", "cells"), 1 << 64),
        (("root", "digest"), "00"),
    ],
    ids=lambda value: ".".join(value) if isinstance(value, tuple) else str(value)[:20],
)
def test_a_manifest_that_cannot_be_is_damaged(path: tuple[str, ...], value: object) -> None:
    with pytest.raises(ManifestDamaged):
        Register.open(changed(path, value), NAME)


def test_a_root_of_data_packs_is_damage() -> None:
    pack = f"data/{OTHER_ID}/{OTHER_ID}-0000000000"
    with pytest.raises(ManifestDamaged):
        Register.open(changed(("root", "pack"), pack), NAME)


def test_a_register_stays_below_4_kib() -> None:
    empty = len(sealed_register(with_facts(description="")))
    assert len(sealed_register(with_facts(description="x" * (4095 - empty)))) == 4095
    with pytest.raises(Refused, match="4096"):
        sealed_register(with_facts(description="x" * (4096 - empty)))


def test_long_labels_are_refused_in_bytes_not_in_characters() -> None:
    sealed_register(with_facts(labels={"a": "x" * 1200}))
    with pytest.raises(Refused, match="shorten"):
        sealed_register(with_facts(labels={"a": "\U0001f600" * 1200}))


def test_the_largest_volume_fits_a_register() -> None:
    manifest = with_facts(size_bytes=1 << 62)
    assert manifest.root is not None
    root = Root(4, manifest.root.row)
    data = sealed_register(replace(manifest, root=root))
    found = Register.open(data, NAME).manifest
    assert found is not None
    assert (len(data) < 4096, found.backup.size_bytes) == (True, 1 << 62)


def test_the_tag_of_a_volume_does_not_show_its_name_in_the_key() -> None:
    header = sample_manifest().header(ID_KEY)
    assert header["volume"]["tag"] == NAME.volume_tag
    assert "volume" not in NAME.key.split("/")[1]
