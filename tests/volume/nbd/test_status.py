from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupcore.extents import Extents, as_extents, intersect_extents, total_length
from backupcore.volume.nbd import status
from backupcore.volume.nbd.status import Gathering, close_gaps, select_extents

ROWS = st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 50)), max_size=30)


@given(ROWS, st.integers(1, 200))
def test_closing_gaps_leaves_the_wide_ones_and_loses_nothing(
    rows: list[tuple[int, int]], gap_length: int
) -> None:
    extents = as_extents(rows)
    closed = close_gaps(extents, gap_length)
    assert total_length(intersect_extents(closed, extents)) == total_length(extents)
    gaps = closed[1:, 0] - closed[:-1].sum(axis=1)
    assert (gaps >= gap_length).all()
    before = extents[1:, 0] - extents[:-1].sum(axis=1)
    assert sorted(gaps.tolist()) == sorted(before[before >= gap_length].tolist())


def single(offset: int, length: int) -> Extents:
    return np.array([(offset, length)], np.int64)


def test_extents_of_neighbouring_replies_become_one() -> None:
    gathering = Gathering(1)
    for offset in range(0, 100, 10):
        gathering.add(single(offset, 10))
    assert gathering.extents().tolist() == [[0, 100]]


def test_nothing_gathered_is_no_extent() -> None:
    assert Gathering(1).extents().shape == (0, 2)


@pytest.mark.parametrize("rows_a_reply", [1, 7, 64])
def test_many_extents_take_bounded_memory_and_all_are_covered(
    rows_a_reply: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(status, "ROWS_MAX", 64)
    monkeypatch.setattr(status, "PARTS_MAX", 16)
    starts = np.cumsum(np.arange(1, 2000) % 37 + 3)
    wanted = np.stack((starts, np.full(len(starts), 2)), axis=1)
    gathering = Gathering(1)
    for start in range(0, len(wanted), rows_a_reply):
        gathering.add(wanted[start : start + rows_a_reply])
    found = gathering.extents()
    assert len(found) <= 64
    assert total_length(intersect_extents(found, wanted)) == total_length(wanted)


def test_selected_descriptors_become_extents_from_the_offset_on() -> None:
    table = np.array([(10, 0), (20, 1), (5, 1), (7, 0), (1, 1)], np.int64)
    assert select_extents(1000, table, table[:, 1] == 1).tolist() == [[1010, 25], [1042, 1]]
