from __future__ import annotations

import io
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupcore.driver import Buffer
from backupcore.driver.transfer import Body, Watchdog, content_md5
from backupcore.errors import Unavailable
from tests.driver.fake_clock import FakeClock

PARTS = st.lists(st.binary(max_size=50), max_size=8)


@given(PARTS, st.integers(1, 70))
def test_body_gives_the_joined_parts_in_pieces_of_any_size(parts: list[bytes], size: int) -> None:
    body = Body(parts)
    pieces = list(iter(lambda: body.read(size), b""))
    assert b"".join(pieces) == b"".join(parts)
    assert all(len(piece) == size for piece in pieces[:-1])


@given(PARTS, st.integers(0, 500))
def test_body_goes_on_from_where_it_was_wound_to(parts: list[bytes], offset: int) -> None:
    body = Body(parts)
    body.read()
    assert body.seek(offset) == offset
    assert body.read() == b"".join(parts)[offset:]


def test_body_tells_its_size_as_files_and_as_containers_do() -> None:
    body = Body([b"abc", b"", b"de"])
    assert (len(body), body.seek(0, io.SEEK_END), body.tell()) == (5, 5, 5)
    assert body.seek(-2, io.SEEK_CUR) == 3


def test_body_refuses_a_place_before_its_start() -> None:
    with pytest.raises(ValueError, match="before the start"):
        Body([b"abc"]).seek(-1)


def test_body_tells_how_many_bytes_each_read_gave() -> None:
    seen: list[int] = []
    body = Body([b"abc", b"de"], moved=seen.append)
    body.read(4)
    body.read(4)
    assert seen == [4, 1]


def test_a_closed_body_lets_go_of_its_parts() -> None:
    content = np.zeros(8, np.uint8)
    seen = weakref.ref(content)
    body = Body([content.data])
    del content
    body.close()
    assert seen() is None


def test_watchdog_ends_a_transfer_that_trickles() -> None:
    clock = FakeClock()
    watchdog = Watchdog("pack", clock=clock, rate_bytes_s_min=10, window_s=60)
    clock.sleep(59)
    watchdog.moved(1)
    clock.sleep(1)
    with pytest.raises(Unavailable, match="pack: only 2 bytes went over in 60 s"):
        watchdog.moved(1)


def test_watchdog_lets_a_transfer_pass_that_is_slow_enough_to_end() -> None:
    clock = FakeClock()
    watchdog = Watchdog("pack", clock=clock, rate_bytes_s_min=10, window_s=60)
    for _ in range(10):
        clock.sleep(60)
        watchdog.moved(600)


def test_the_md5_of_an_object_is_that_of_its_joined_parts() -> None:
    parts: list[Buffer] = [b"one", bytearray(b"two"), memoryview(b"three")]
    joined = content_md5([Body(parts).read()])
    assert content_md5(parts).hex() == joined.hex() == "7b0391feb2e0cd271f1cf39aafb4376f"
