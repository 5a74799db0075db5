from __future__ import annotations

import tracemalloc
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupcore.chunk.digest import checksum, chunk_ids, digest
from backupcore.chunk.frame import FrameDecoder, FrameEncoder, FrameLabel
from backupcore.driver.memory import MemoryDriver
from backupcore.errors import Damaged, PackDamaged
from backupcore.model import PackId
from backupcore.repository.envelope import open_envelope, read_layout
from backupcore.repository.key import DATA, pack_id
from backupcore.repository.pack import MAP_ITEM, DataFooter, StoredFrame, read_footer
from backupcore.repository.writer import FullPack, PackWriter
from backupcore.units import KIB, MIB
from tests.repository.sample import ID, ID_KEY, OTHER_ID

CHUNK = 4096
HEADER = {"session_id": ID, "writer_id": OTHER_ID, "repository_id": ID}


@dataclass(frozen=True, slots=True)
class Written:
    """What one writer has put: its packs, and where it said the frames and leaves lie."""

    driver: MemoryDriver
    packs: list[FullPack]
    places: npt.NDArray[np.void]
    rows: list[np.void]

    def footer(self, key: PackId) -> bytes:
        return bytes(read_footer(self.driver, key, self.driver.stat(key).size_bytes))


def write_packs(contents: list[bytes], pack_size_bytes: int = MIB, leaf_count: int = 0) -> Written:
    """Store frames, the first cell of each 100 after that of the one before, and leaves."""
    driver, packs = MemoryDriver(), list[FullPack]()

    def upload(full: FullPack) -> None:
        packs.append(full)
        full.put(driver)

    writer = PackWriter(
        HEADER, {"chunk_size_bytes": CHUNK}, level=1, upload=upload, pack_size_bytes=pack_size_bytes
    )
    labels = writer.take_labels(len(contents))
    frames = [
        seal_frame(label, 100 * index, plain)
        for index, (label, plain) in enumerate(zip(labels, contents, strict=True))
    ]
    places = writer.add_frames(frames)
    rows = [
        writer.add_map_item(bytes([index]) * 500, 0, 1024 * index) for index in range(leaf_count)
    ]
    writer.finish()
    return Written(driver, packs, places, rows)


def seal_frame(label: FrameLabel, first_cell: int, plain: bytes) -> StoredFrame:
    frame = FrameEncoder(1).encode(plain, label)
    ids = chunk_ids(memoryview(plain), CHUNK, ID_KEY)
    cells = np.arange(first_cell, first_cell + len(ids), dtype=np.int64)
    return StoredFrame(frame, label.number, checksum(frame.parts), cells, ids)


def noise(seed: int, length: int) -> bytes:
    return np.random.default_rng(seed).bytes(length)


CONTENTS = st.lists(
    st.builds(noise, st.integers(0, 99), st.integers(1, 3 * CHUNK))
    | st.builds(lambda byte, length: bytes([byte]) * length, st.integers(1, 255),
                st.integers(1, 3 * CHUNK)),
    min_size=1,
    max_size=6,
)  # fmt: skip


@given(CONTENTS, st.integers(10 * KIB, 60 * KIB))
def test_frames_are_where_the_writer_says(contents: list[bytes], pack_size_bytes: int) -> None:
    written = write_packs(contents, pack_size_bytes)
    for plain, place in zip(contents, written.places, strict=True):
        key = pack_id(DATA, bytes(place["pack"]))
        stored = written.driver.get(key, int(place["offset"]), int(place["stored_length"]))
        assert checksum([stored]) == place["checksum"]
        assert FrameDecoder().decode(stored, int(place["plain_length"])) == plain


@given(CONTENTS, st.integers(10 * KIB, 60 * KIB))
def test_footers_tell_what_packs_hold(contents: list[bytes], pack_size_bytes: int) -> None:
    written = write_packs(contents, pack_size_bytes)
    footers = [DataFooter.parse(written.footer(full.pack.key)) for full in written.packs]
    references = [bytes.fromhex(ID + OTHER_ID) + bytes([index, 0, 0, 0]) for index in range(9)]
    places = [part.places(name) for part, name in zip(footers, references, strict=False)]
    ids = [chunk_ids(memoryview(plain), CHUNK, ID_KEY) for plain in contents]
    cells = [100 * index + cell for index, rows in enumerate(ids) for cell in range(len(rows))]
    assert np.array_equal(np.concatenate(places), written.places)
    assert np.array_equal(np.concatenate([part.ids for part in footers]), np.concatenate(ids))
    assert np.concatenate([part.cells for part in footers]).tolist() == cells


@given(CONTENTS, st.integers(30 * KIB, 60 * KIB))
def test_packs_stay_within_their_size_and_open_whole(
    contents: list[bytes], pack_size_bytes: int
) -> None:
    written = write_packs(contents, pack_size_bytes, leaf_count=3)
    for full in written.packs:
        data = written.driver.get(full.pack.key)
        assert len(data) <= pack_size_bytes
        assert len(open_envelope(data, full.pack.kind.envelope).sections) == 2


def test_a_frame_larger_than_a_pack_has_one_of_its_own() -> None:
    written = write_packs([noise(1, 9000), noise(2, 9000)], pack_size_bytes=4 * KIB)
    assert [full.pack.key[-10:] for full in written.packs] == ["0000000000", "0000000001"]


def test_leaves_and_nodes_are_where_their_rows_say() -> None:
    written = write_packs([], leaf_count=5)
    key = written.packs[0].pack.key
    for index, row in enumerate(written.rows):
        stored = written.driver.get(key, int(row["offset"]), int(row["stored_length"]))
        assert digest(stored) == bytes(row["digest"])
        assert FrameDecoder().decode(stored, int(row["plain_length"])) == bytes([index]) * 500


def test_the_footer_of_a_map_pack_names_each_item() -> None:
    written = write_packs([], leaf_count=5)
    footer = written.footer(written.packs[0].pack.key)
    items = np.frombuffer(footer[8:], MAP_ITEM)
    assert (int.from_bytes(footer[:8], "little"), len(items)) == (5, 5)
    assert items["first_cell"].tolist() == [0, 1024, 2048, 3072, 4096]
    assert items["digest"].tolist() == [bytes(row["digest"]) for row in written.rows]


def test_no_frame_number_is_used_twice_by_a_writer() -> None:
    written = write_packs([noise(seed, 5000) for seed in range(4)], 12 * KIB, leaf_count=3)
    numbers = []
    for full in written.packs:
        data = written.driver.get(full.pack.key)
        start, length = read_layout(data, len(data)).sections[0]
        end = start + length
        while start < end:
            numbers.append(int.from_bytes(data[start + 16 : start + 24], "little"))
            start += 40 + int.from_bytes(data[start + 12 : start + 16], "little")
        numbers.append(int.from_bytes(data[start + 16 : start + 24], "little"))
    assert len(numbers) == len(set(numbers)) == 4 + 3 + len(written.packs)


@pytest.mark.parametrize("leaf_count", [0, 20], ids=["data", "map"])
def test_a_footer_is_what_was_written_or_damaged(leaf_count: int) -> None:
    written = write_packs([b"ab" * 3000] * (3 - leaf_count // 10 if not leaf_count else 0),
                          leaf_count=leaf_count)  # fmt: skip
    key = written.packs[0].pack.key
    data, footer = written.driver.get(key), written.footer(key)
    offset = read_layout(data, len(data)).sections[1][0]
    for position in range(offset, len(data)):
        changed = bytearray(data)
        changed[position] ^= 1 << position % 8
        driver = MemoryDriver()
        driver.put(key, [changed])
        with suppress(PackDamaged):
            assert read_footer(driver, key, len(data)) == footer


def test_a_footer_longer_than_one_read_is_read_whole() -> None:
    written = write_packs([noise(1, 256 * CHUNK)] * 8, pack_size_bytes=32 * MIB)
    assert len(DataFooter.parse(written.footer(written.packs[0].pack.key)).cells) == 8 * 256


@pytest.mark.parametrize("size_bytes", [0, 1, 47, 100])
def test_what_is_too_short_for_a_pack_is_damaged(size_bytes: int) -> None:
    driver, key = MemoryDriver(), PackId(f"data/{ID}/{ID}-0000000000")
    driver.put(key, [bytes(size_bytes)])
    with pytest.raises(PackDamaged, match=key):
        read_footer(driver, key, size_bytes)


def test_a_pack_that_is_shorter_than_listed_is_damaged() -> None:
    written = write_packs([b"x" * 5000])
    key = written.packs[0].pack.key
    with pytest.raises(PackDamaged):
        read_footer(written.driver, key, written.driver.stat(key).size_bytes + 5)


def test_a_footer_that_lies_about_its_length_takes_no_memory() -> None:
    written = write_packs([noise(1, 200 * CHUNK)])
    key = written.packs[0].pack.key
    data = bytearray(written.driver.get(key))
    offset = read_layout(data, len(data)).sections[1][0]
    data[offset + 8 : offset + 12] = (50 * MIB).to_bytes(4, "little")
    written.driver.put(key, [data])
    tracemalloc.start()
    with pytest.raises(PackDamaged):
        read_footer(written.driver, key, len(data))
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < 2 * MIB


@given(st.binary(max_size=300))
def test_an_arbitrary_footer_is_parsed_or_damaged(plain: bytes) -> None:
    with suppress(Damaged):
        DataFooter.parse(plain)


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=3))
def test_a_changed_footer_is_parsed_or_damaged(changes: list[tuple[int, int]]) -> None:
    plain = bytearray(PLAIN_FOOTER)
    for position, value in changes:
        plain[position % len(plain)] = value
    with suppress(Damaged):
        footer: Any = DataFooter.parse(plain)
        assert len(footer.cells) == len(footer.ids) == int(footer.frames["slot_count"].sum())


_SAMPLE = write_packs([b"x" * 5000, noise(1, 9000)])
PLAIN_FOOTER = _SAMPLE.footer(_SAMPLE.packs[0].pack.key)
