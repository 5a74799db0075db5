from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backupcore.units import KIB, MIB
from benchmarks.churn import changed_chunks, compress_chunks

CHUNK = 16 * KIB


@pytest.fixture
def before() -> bytearray:
    return bytearray(np.random.Generator(np.random.PCG64(1)).bytes(10 * MIB + 100))


def changed(folder: Path, before: bytearray, after: bytearray) -> list[bytes]:
    (folder / "before").write_bytes(before)
    (folder / "after").write_bytes(after)
    return list(changed_chunks(folder / "before", folder / "after", CHUNK))


def test_nothing_changed_yields_no_chunk(tmp_path: Path, before: bytearray) -> None:
    assert not changed(tmp_path, before, before)


def test_chunks_that_differ_are_yielded_in_order(tmp_path: Path, before: bytearray) -> None:
    after = bytearray(before)
    for position in (5, 9 * MIB):
        after[position] ^= 1
    expected = [bytes(after[:CHUNK]), bytes(after[9 * MIB : 9 * MIB + CHUNK])]
    assert changed(tmp_path, before, after) == expected


def test_short_tail_that_differs_is_yielded(tmp_path: Path, before: bytearray) -> None:
    after = bytearray(before)
    after[-1] ^= 1
    assert changed(tmp_path, before, after) == [bytes(after[10 * MIB :])]


def test_chunk_that_became_zeros_is_not_yielded(tmp_path: Path, before: bytearray) -> None:
    after = bytearray(before)
    after[:CHUNK] = bytes(CHUNK)
    assert not changed(tmp_path, before, after)


def test_bare_loop_counts_plain_and_compressed_bytes() -> None:
    bare = compress_chunks(iter([b"a" * CHUNK] * 100), 1)
    assert bare.changed_bytes == 100 * CHUNK
    assert 0 < bare.stored_bytes < CHUNK


def test_bare_loop_stores_nothing_of_nothing() -> None:
    assert compress_chunks(iter([]), 1).stored_bytes == 0
