from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from backupcore.errors import SourceError, VolumeMissing
from backupcore.testing.volume import read_volume
from backupcore.volume import Volume
from tests.servers.nbd_fake import SIZE_BYTES, Peer, QuickClock, Request
from tests.volume.nbd.conftest import Opening

MULTI_CONN = 1 | 1 << 8


def serve(peer: Peer, *, count: int = 1 << 30) -> None:
    """Answer a number of reads with the number of the client."""
    for _ in range(count):
        request = peer.request()
        peer.data(request, bytes([peer.number]) * request.length)


def read_at_once(volume: Volume, count: int) -> set[bytes]:
    """Return the bytes that many threads read from the same place."""
    with ThreadPoolExecutor(count) as threads:
        return set(threads.map(lambda _: read_volume(volume, 0, 1), range(count)))


class Together:
    """Answers reads only once a number of clients has asked."""

    def __init__(self, count: int) -> None:
        self.barrier = threading.Barrier(count, timeout=5)

    def __call__(self, peer: Peer) -> None:
        peer.negotiate(flags=MULTI_CONN)
        while True:
            request = peer.request()
            self.barrier.wait()
            peer.data(request, bytes([peer.number]) * request.length)


def test_threads_read_over_connections_of_their_own_where_the_server_allows(
    told: Opening,
) -> None:
    volume = told(Together(3), connection_count_max=3)
    assert read_at_once(volume, 3) == {b"\1", b"\2", b"\3"}


def test_there_are_no_more_connections_than_were_asked_for(told: Opening) -> None:
    def script(peer: Peer) -> None:
        peer.negotiate(flags=MULTI_CONN)
        serve(peer)

    volume = told(script, connection_count_max=2)
    assert read_at_once(volume, 8) <= {b"\1", b"\2"}


def test_a_server_without_shared_state_gets_one_connection(told: Opening) -> None:
    def script(peer: Peer) -> None:
        peer.negotiate()
        serve(peer)

    volume = told(script, connection_count_max=8)
    assert read_at_once(volume, 8) == {b"\1"}


def test_a_server_that_leaves_further_clients_waiting_is_read_over_one(
    told: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backupcore.volume.nbd.pool.FURTHER_OPENING_S", 0.1)

    def script(peer: Peer) -> None:
        if peer.number > 1:
            peer.receive(1)
        peer.negotiate(flags=MULTI_CONN)
        serve(peer)

    volume = told(script, connection_count_max=8)
    assert read_at_once(volume, 8) == {b"\1"}
    assert volume.current_size_bytes() == SIZE_BYTES


def test_a_lost_connection_is_replaced_and_the_read_repeated(
    told: Opening, clock: QuickClock, caplog: pytest.LogCaptureFixture
) -> None:
    def script(peer: Peer) -> None:
        peer.negotiate()
        serve(peer, count=1)

    volume = told(script)
    assert [read_volume(volume, 0, 1) for _ in range(3)] == [b"\1", b"\2", b"\3"]
    assert clock.waits_s == [0.5, 0.5]
    assert "connection lost, trying again" in caplog.text


def test_a_connection_lost_in_the_middle_of_data_is_replaced(told: Opening) -> None:
    def script(peer: Peer) -> None:
        peer.negotiate(is_structured=False)
        request = peer.request()
        data = bytes([peer.number]) * request.length
        peer.simple(request.cookie, 0, data if peer.number == 3 else data[:100])

    assert read_volume(told(script), 0, 4096) == b"\3" * 4096


def test_a_server_that_shuts_down_is_waited_for(told: Opening) -> None:
    def script(peer: Peer) -> None:
        peer.negotiate(is_structured=False)
        request = peer.request()
        if peer.number == 1:
            peer.simple(request.cookie, 108)
        else:
            peer.simple(request.cookie, 0, b"x" * request.length)

    assert read_volume(told(script), 0, 3) == b"xxx"


def test_a_server_that_hangs_up_for_ever_is_given_up(told: Opening, clock: QuickClock) -> None:
    def script(peer: Peer) -> None:
        peer.negotiate()
        peer.request()

    volume = told(script)
    with pytest.raises(SourceError, match=r"fake\.sock: the server hung up: see its log"):
        read_volume(volume, 0, 1)
    assert clock.waits_s == [0.5, 1, 2, 4]


def test_a_server_that_falls_silent_is_given_up_after_the_time_out(told: Opening) -> None:
    def script(peer: Peer) -> None:
        peer.negotiate()
        peer.request()
        peer.receive(1)

    volume = told(script, timeout_s=0.1)
    with pytest.raises(SourceError, match=r"silent for 0\.1 s: check it, or give timeout_s"):
        read_volume(volume, 0, 1)


def test_a_slow_server_that_keeps_sending_is_waited_for(told: Opening) -> None:
    def script(peer: Peer) -> None:
        peer.negotiate(is_structured=False)
        request = peer.request()
        peer.simple(request.cookie)
        pause = threading.Event()
        for _ in range(request.length):
            pause.wait(0.1)
            peer.send(b"s")

    assert read_volume(told(script, timeout_s=0.5), 0, 10) == b"s" * 10


def test_another_size_after_a_lost_connection_is_an_error(told: Opening) -> None:
    def script(peer: Peer) -> None:
        peer.negotiate(SIZE_BYTES * peer.number)
        serve(peer, count=1)

    volume = told(script)
    read_volume(volume, 0, 1)
    with pytest.raises(SourceError, match=f"has {2 * SIZE_BYTES} bytes now, had {SIZE_BYTES}"):
        read_volume(volume, 0, 1)


def test_an_export_that_is_gone_after_a_lost_connection_is_a_missing_volume(
    told: Opening,
) -> None:
    def script(peer: Peer) -> None:
        if peer.number == 1:
            peer.negotiate()
            return
        peer.greet()
        for kind in (1, 1, (1 << 31) + 6):
            option, _ = peer.option()
            peer.reply(option, kind)

    volume = told(script)
    with pytest.raises(VolumeMissing, match="no export of this name"):
        read_volume(volume, 0, 1)


def test_the_current_size_is_what_a_new_connection_is_told(told: Opening) -> None:
    def script(peer: Peer) -> None:
        peer.negotiate(SIZE_BYTES * peer.number, flags=MULTI_CONN)
        peer.request()

    assert told(script).current_size_bytes() == 2 * SIZE_BYTES


def test_the_current_size_is_the_known_one_where_no_further_client_is_let_in(
    told: Opening,
) -> None:
    def script(peer: Peer) -> None:
        if peer.number == 1:
            peer.negotiate(flags=MULTI_CONN)
            peer.request()

    assert told(script).current_size_bytes() == SIZE_BYTES


def test_the_current_size_of_an_export_that_is_gone_is_an_error(told: Opening) -> None:
    def script(peer: Peer) -> None:
        peer.negotiate(SIZE_BYTES if peer.number == 1 else 0, flags=MULTI_CONN)
        peer.request()

    volume = told(script)
    for _ in range(2):
        with pytest.raises(VolumeMissing):
            volume.current_size_bytes()


def test_a_closed_volume_is_read_no_more(told: Opening) -> None:
    def script(peer: Peer) -> None:
        peer.negotiate()
        serve(peer)

    volume = told(script)
    volume.close()
    with pytest.raises(SourceError, match="is closed"):
        read_volume(volume, 0, 1)
    assert volume.current_size_bytes() == SIZE_BYTES


def test_a_read_under_way_is_finished_when_the_volume_is_closed(told: Opening) -> None:
    asked, closed = threading.Event(), threading.Event()

    def script(peer: Peer) -> None:
        peer.negotiate()
        request: Request = peer.request()
        asked.set()
        closed.wait(5)
        peer.data(request, b"x" * request.length)

    volume = told(script)
    with ThreadPoolExecutor(1) as thread:
        reading = thread.submit(read_volume, volume, 0, 5)
        asked.wait(5)
        volume.close()
        closed.set()
        assert reading.result(5) == b"xxxxx"


def test_a_further_connection_that_is_told_another_size_is_an_error(told: Opening) -> None:
    def script(peer: Peer) -> None:
        peer.negotiate(SIZE_BYTES * min(peer.number, 2), flags=MULTI_CONN)
        while True:
            request = peer.request()
            threading.Event().wait(0.2)
            peer.data(request, bytes(request.length))

    volume = told(script, connection_count_max=3)
    with pytest.raises(SourceError, match="no point in time"):
        read_at_once(volume, 3)
