from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupcore.extents import (
    Extents,
    as_extents,
    cells_of,
    clip_extents,
    empty_extents,
    extents_of_cells,
    intersect_extents,
    melt_extents,
    pack_extents,
    single_extent,
    subtract_extents,
    total_length,
)

ROWS = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=12)


def bytes_of(extents: Extents) -> set[int]:
    return {byte for offset, length in extents.tolist() for byte in range(offset, offset + length)}


def assert_clean(extents: Extents) -> None:
    assert extents.dtype == np.int64
    assert extents.shape == (len(extents), 2)
    assert (extents[:, 1] > 0).all()
    assert (extents[1:, 0] > extents[:-1, 0] + extents[:-1, 1]).all()


@given(ROWS)
def test_any_rows_become_clean_extents_of_the_same_bytes(rows: list[tuple[int, int]]) -> None:
    extents = as_extents(rows)
    assert_clean(extents)
    assert bytes_of(extents) == bytes_of(np.array(rows, np.int64).reshape(-1, 2))


@given(ROWS)
def test_an_array_of_rows_is_taken_as_a_list_is(rows: list[tuple[int, int]]) -> None:
    assert np.array_equal(as_extents(np.array(rows, np.int64).reshape(-1, 2)), as_extents(rows))


@given(ROWS)
def test_melting_does_not_change_clean_extents(rows: list[tuple[int, int]]) -> None:
    assert np.array_equal(melt_extents(as_extents(rows)), as_extents(rows))


@given(ROWS)
def test_total_length_counts_each_byte_once(rows: list[tuple[int, int]]) -> None:
    assert total_length(as_extents(rows)) == len(bytes_of(as_extents(rows)))


@given(ROWS, st.integers(0, 90), st.integers(0, 90))
def test_clipping_keeps_the_bytes_inside_the_window(
    rows: list[tuple[int, int]], offset: int, length: int
) -> None:
    clipped = clip_extents(as_extents(rows), offset, length)
    assert_clean(clipped)
    assert bytes_of(clipped) == bytes_of(as_extents(rows)) & set(range(offset, offset + length))


@given(ROWS, ROWS)
def test_intersection_is_that_of_the_bytes(
    first: list[tuple[int, int]], second: list[tuple[int, int]]
) -> None:
    common = intersect_extents(as_extents(first), as_extents(second))
    assert_clean(common)
    assert bytes_of(common) == bytes_of(as_extents(first)) & bytes_of(as_extents(second))


@given(ROWS, ROWS)
def test_difference_is_that_of_the_bytes(
    first: list[tuple[int, int]], second: list[tuple[int, int]]
) -> None:
    rest = subtract_extents(as_extents(first), as_extents(second))
    assert_clean(rest)
    assert bytes_of(rest) == bytes_of(as_extents(first)) - bytes_of(as_extents(second))


@given(ROWS, st.integers(1, 17))
def test_packing_covers_whole_cells_that_are_touched(
    rows: list[tuple[int, int]], chunk_size_bytes: int
) -> None:
    packed = pack_extents(as_extents(rows), chunk_size_bytes)
    assert_clean(packed)
    cells = {byte // chunk_size_bytes for byte in bytes_of(as_extents(rows))}
    assert bytes_of(packed) == {
        cell * chunk_size_bytes + byte for cell in cells for byte in range(chunk_size_bytes)
    }


@given(ROWS, st.integers(1, 9), st.integers(0, 12), st.integers(1, 12))
def test_cells_are_those_an_extent_touches(
    rows: list[tuple[int, int]], chunk_size_bytes: int, first_cell: int, count: int
) -> None:
    cells = cells_of(as_extents(rows), chunk_size_bytes, first_cell, count)
    touched = {byte // chunk_size_bytes for byte in bytes_of(as_extents(rows))}
    assert cells.tolist() == [first_cell + index in touched for index in range(count)]


@given(st.lists(st.booleans(), max_size=30), st.integers(1, 9), st.integers(0, 12))
def test_extents_of_cells_are_the_cells_again(
    cells: list[bool], chunk_size_bytes: int, first_cell: int
) -> None:
    extents = extents_of_cells(np.array(cells, np.bool_), chunk_size_bytes, first_cell)
    assert_clean(extents)
    assert cells_of(extents, chunk_size_bytes, first_cell, len(cells)).tolist() == cells


def test_no_rows_are_no_extents() -> None:
    assert as_extents([]).shape == empty_extents().shape == (0, 2)


def test_an_extent_of_no_bytes_is_none() -> None:
    assert len(single_extent(5, 0)) == 0


def test_extents_up_to_two_to_the_62_stay_exact() -> None:
    end = 1 << 62
    whole = single_extent(0, end)
    rest = subtract_extents(whole, single_extent(1, end - 2))
    assert rest.tolist() == [[0, 1], [end - 1, 1]]
    assert total_length(pack_extents(rest, 1 << 16)) == 1 << 17


@pytest.mark.parametrize(
    "row", [(-1, 5), (5, -1), ((1 << 63) - 1, 1), (1 << 62, 1 << 62), (1 << 64, 1)]
)
def test_rows_that_are_no_extents_are_refused(row: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="extent"):
        as_extents([(0, 1), row])


def test_results_never_share_memory_with_what_was_given() -> None:
    given_rows = single_extent(0, 4)
    subtract_extents(given_rows, empty_extents())[0, 1] = 9
    melt_extents(given_rows)[0, 1] = 9
    assert given_rows.tolist() == [[0, 4]]
