from __future__ import annotations

import mmap

import pytest

from backupcore.chunk.buffers import Budget, BufferPool


def test_the_budget_promises_up_to_its_limit_and_no_more() -> None:
    budget = Budget(100)
    assert [budget.reserve(60), budget.reserve(41), budget.reserve(40)] == [True, False, True]


def test_what_is_released_can_be_promised_again() -> None:
    budget = Budget(100)
    budget.reserve(100)
    budget.release(30)
    assert [budget.reserve(31), budget.reserve(30)] == [False, True]


def test_the_last_one_left_gets_memory_whatever_the_limit() -> None:
    budget = Budget(100)
    assert (budget.reserve(500, force=True), budget.used_bytes) == (True, 500)


def test_more_cannot_be_released_than_was_promised() -> None:
    budget = Budget(100)
    budget.reserve(10)
    with pytest.raises(AssertionError, match="released"):
        budget.release(11)


def test_a_buffer_that_was_given_back_is_used_again() -> None:
    pool = BufferPool(8192, 2)
    first = pool.take()
    pool.give_back(first)
    assert pool.take() is first


def test_two_users_have_two_buffers() -> None:
    pool = BufferPool(8192, 2)
    first, second = pool.take(), pool.take()
    first[:] = 1
    second[:] = 2
    assert (set(first.tolist()), set(second.tolist())) == ({1}, {2})


def test_buffers_begin_at_a_page_and_can_be_written() -> None:
    buffer = BufferPool(4096, 1).take()
    assert buffer.ctypes.data % mmap.PAGESIZE == 0
    assert (buffer.flags.writeable, len(buffer)) == (True, 4096)


def test_no_more_buffers_are_made_than_were_agreed() -> None:
    pool = BufferPool(4096, 1)
    buffer = pool.take()
    assert not pool.has_free
    with pytest.raises(AssertionError, match="none is free"):
        pool.take()
    pool.give_back(buffer)
    assert pool.has_free
