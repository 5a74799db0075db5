from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupcore.chunk.digest import checksum, chunk_ids, digest, ids_equal, nonzero_chunks

# Source: test_vectors.json of the BLAKE3 team; the input of length n is 0, 1, … 250, 0, 1, …
BLAKE3_KEY = b"whats the Elvish word for friend"
KEYED_BLAKE3 = {
    0: "92b2b75604ed3c761f9d6f62392c8a9227ad0ea3f09573e783f1498a4ed60d26",
    1: "6d7878dfff2f485635d39013278ae14f1454b8c0a3a2d34bc1ab38228a80c95b",
    1024: "75c46f6f3d9eb4f55ecaaee480db732e6c2105546f1e675003687c31719c7ba4",
}
PLAIN_BLAKE3 = {
    0: "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
    1: "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
    1024: "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
}
# Source: XSUM_XXH3_testdata of xxHash's own sanity check: empty input, seed 0
XXH3_EMPTY = 0x2D06800538D394C2


def vector(length: int) -> bytes:
    return bytes(index % 251 for index in range(length))


@pytest.mark.parametrize("length", [1, 1024])
def test_chunk_ids_are_keyed_blake3(length: int) -> None:
    ids = chunk_ids(memoryview(vector(length)), 4096, BLAKE3_KEY)
    assert ids.tobytes().hex() == KEYED_BLAKE3[length]


@pytest.mark.parametrize("length", PLAIN_BLAKE3)
def test_the_digest_of_stored_bytes_is_plain_blake3(length: int) -> None:
    assert digest(vector(length)).hex() == PLAIN_BLAKE3[length]


def test_the_checksum_is_xxh3_with_seed_zero() -> None:
    assert checksum([]) == XXH3_EMPTY


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_the_checksum_does_not_depend_on_how_the_bytes_are_cut(parts: list[bytes]) -> None:
    assert checksum(parts) == checksum([b"".join(parts)])


@pytest.mark.parametrize("length", [0, 1, 4095, 4096, 4097, 8192, 10000])
def test_every_chunk_has_an_id_of_its_own_bytes(length: int) -> None:
    run = vector(length)
    ids = chunk_ids(memoryview(run), 4096, BLAKE3_KEY)
    cut = [run[start : start + 4096] for start in range(0, length, 4096)]
    alone = [chunk_ids(memoryview(part), 4096, BLAKE3_KEY)[0].tobytes() for part in cut]
    assert [row.tobytes() for row in ids] == alone


def test_a_chunk_has_another_id_under_another_key() -> None:
    run = memoryview(vector(4096))
    assert not ids_equal(chunk_ids(run, 4096, BLAKE3_KEY), chunk_ids(run, 4096, bytes(32))).any()


@given(st.lists(st.tuples(st.integers(0, 31), st.integers(0, 255)), min_size=1, max_size=8))
def test_ids_are_equal_only_when_every_byte_is(changes: list[tuple[int, int]]) -> None:
    first = np.full((len(changes), 32), 7, np.uint8)
    second = first.copy()
    for row, (column, value) in enumerate(changes):
        second[row, column] = value
    assert ids_equal(first, second).tolist() == [value == 7 for _, value in changes]


def test_no_ids_are_equal_to_none() -> None:
    none = np.zeros((0, 32), np.uint8)
    assert ids_equal(none, none).tolist() == []


@given(
    st.integers(0, 5 * 4096),
    st.lists(st.tuples(st.integers(0, 5 * 4096 - 1), st.integers(1, 255)), max_size=4),
)
def test_a_chunk_is_nonzero_when_any_byte_is(length: int, filled: list[tuple[int, int]]) -> None:
    run = np.zeros(length, np.uint8)
    for offset, value in filled:
        run[offset : offset + 1] = value
    naive = [any(run[start : start + 4096].tolist()) for start in range(0, length, 4096)]
    assert nonzero_chunks(run, 4096).tolist() == naive
