from __future__ import annotations

import struct
from collections.abc import Callable

import pytest

from backupcore.errors import SourceError, UnreadableSector
from backupcore.extents import total_length
from backupcore.testing.volume import read_volume
from tests.servers import nbd_fake as fake
from tests.servers.nbd_fake import SIZE_BYTES, Peer, Request
from tests.volume.nbd.conftest import Opening

Answer = Callable[[Peer, Request], None]
EIO, EINVAL, ESHUTDOWN = 5, 22, 108


def answering(answer: Answer, **facts: object) -> Callable[[Peer], None]:
    """Return a script that shakes hands soundly and answers every request so."""

    def script(peer: Peer) -> None:
        peer.negotiate(**facts)  # type: ignore[arg-type]
        while True:
            answer(peer, peer.request())

    return script


def header(request: Request, kind: int, length: int, cookie: int | None = None) -> bytes:
    cookie = request.cookie if cookie is None else cookie
    return struct.pack(">IHHQI", 0x668E33EF, fake.DONE, kind, cookie, length)


def data_chunk(peer: Peer, request: Request, offset: int, data: bytes, *, flags: int = 0) -> None:
    peer.chunk(request.cookie, fake.DATA, struct.pack(">Q", offset) + data, flags=flags)


def hole_chunk(peer: Peer, request: Request, offset: int, length: int) -> None:
    peer.chunk(request.cookie, fake.HOLE, struct.pack(">QI", offset, length), flags=0)


def error_chunk(
    peer: Peer, request: Request, code: int, text: bytes = b"", rest: bytes = b""
) -> None:
    kind = fake.ERROR_OFFSET if rest else fake.ERROR_CHUNK
    peer.chunk(request.cookie, kind, struct.pack(">IH", code, len(text)) + text + rest)


def overlapping(*places: tuple[int, int]) -> Answer:
    def answer(peer: Peer, request: Request) -> None:
        for start, end in places:
            data_chunk(peer, request, request.offset + start, bytes(end - start))
        peer.chunk(request.cookie, fake.NONE)

    return answer


def in_single_bytes(peer: Peer, request: Request) -> None:
    for index in range(request.length):
        data_chunk(peer, request, request.offset + index, b"x")
    peer.chunk(request.cookie, fake.NONE)


BROKEN_READS: dict[str, Answer] = {
    "rubbish": lambda peer, _: peer.send(bytes(64)),
    "another cookie": lambda peer, request: peer.send(header(request, fake.DATA, 4104, cookie=9)),
    "a chunk of an unknown type": lambda peer, request: peer.chunk(request.cookie, 3, b"x"),
    "block status": lambda peer, request: peer.status(request, (4096, 0)),
    "a longer chunk than asked for": lambda peer, request: peer.send(
        header(request, fake.DATA, 0xFFFFFFFF)
    ),
    "a chunk of no data": lambda peer, request: peer.send(header(request, fake.DATA, 8)),
    "a chunk too short for its offset": lambda peer, request: peer.send(
        header(request, fake.DATA, 3)
    ),
    "data from before": overlapping((-1, 4095)),
    "data from behind": overlapping((1, 4097)),
    "data far away": lambda peer, request: data_chunk(peer, request, (1 << 64) - 1, b"x"),
    "the same data twice": overlapping((0, 4096), (0, 4096)),
    "data that begins inside other data": overlapping((0, 2048), (2047, 4096)),
    "data that ends inside other data": overlapping((2048, 4096), (0, 2049)),
    "data around other data": overlapping((100, 200), (0, 4096)),
    "data inside other data": overlapping((0, 1000), (2000, 4096), (2500, 2600)),
    "less data than asked for": overlapping((0, 4095)),
    "a missing middle": overlapping((0, 1000), (1001, 4096)),
    "no data at all": lambda peer, request: peer.chunk(request.cookie, fake.NONE),
    "an end with a payload": lambda peer, request: peer.chunk(request.cookie, fake.NONE, b"x"),
    "a hole of no length": lambda peer, request: hole_chunk(peer, request, request.offset, 0),
    "a hole beyond what was asked for": lambda peer, request: hole_chunk(
        peer, request, request.offset, 4097
    ),
    "a hole of four gigabytes": lambda peer, request: peer.send(
        header(request, fake.HOLE, 0xFFFFFFFF)
    ),
    "thousands of chunks": in_single_bytes,
    "an error of four gigabytes": lambda peer, request: peer.send(
        header(request, fake.ERROR_CHUNK, 0xFFFFFFFF)
    ),
    "an error too short for its code": lambda peer, request: peer.chunk(
        request.cookie, fake.ERROR_CHUNK, bytes(3)
    ),
    "an error of code 0": lambda peer, request: error_chunk(peer, request, 0),
    "an error with a cut text": lambda peer, request: peer.chunk(
        request.cookie, fake.ERROR_CHUNK, struct.pack(">IH", EIO, 9) + b"short"
    ),
    "an error with half an offset": lambda peer, request: error_chunk(
        peer, request, EIO, rest=b"1234"
    ),
    "an error somewhere else": lambda peer, request: error_chunk(
        peer, request, EIO, rest=struct.pack(">Q", request.offset + request.length)
    ),
    "a simple reply where chunks were agreed on": lambda peer, request: peer.simple(
        request.cookie, data=bytes(request.length)
    ),
}


@pytest.mark.parametrize("answer", BROKEN_READS.values(), ids=BROKEN_READS)
def test_a_broken_answer_to_a_read_is_refused(answer: Answer, told: Opening) -> None:
    volume = told(answering(answer))
    with pytest.raises(SourceError, match="not a sound NBD server") as caught:
        read_volume(volume, 8192, 4096)
    assert not isinstance(caught.value, UnreadableSector)


BROKEN_SIMPLE_READS: dict[str, Answer] = {
    "another cookie": lambda peer, request: peer.simple(request.cookie + 1, data=bytes(4096)),
    "a structured reply": lambda peer, request: peer.data(request, bytes(4096)),
}


@pytest.mark.parametrize("answer", BROKEN_SIMPLE_READS.values(), ids=BROKEN_SIMPLE_READS)
def test_a_broken_simple_answer_is_refused(answer: Answer, told: Opening) -> None:
    volume = told(answering(answer, is_structured=False))
    with pytest.raises(SourceError, match="not a sound NBD server"):
        read_volume(volume, 8192, 4096)


BROKEN_STATUS: dict[str, Answer] = {
    "of another context": lambda peer, request: peer.status(request, (4096, 0), context=7),
    "of no extent": lambda peer, request: peer.chunk(request.cookie, fake.STATUS, bytes(4)),
    "cut in the middle": lambda peer, request: peer.chunk(request.cookie, fake.STATUS, bytes(14)),
    "of four gigabytes": lambda peer, request: peer.send(header(request, fake.STATUS, 0xFFFFFFFC)),
    "of an extent of no length": lambda peer, request: peer.status(request, (0, 0), (4096, 0)),
    "of extents beyond the question": lambda peer, request: peer.status(
        request, (request.length, 0), (1, 0)
    ),
    "left out": lambda peer, request: peer.chunk(request.cookie, fake.NONE),
    "as data": lambda peer, request: peer.data(request, bytes(16)),
    "as a simple reply": lambda peer, request: peer.simple(request.cookie),
}


@pytest.mark.parametrize("answer", BROKEN_STATUS.values(), ids=BROKEN_STATUS)
def test_broken_block_status_is_refused(answer: Answer, told: Opening) -> None:
    volume = told(answering(answer))
    with pytest.raises(SourceError, match="not a sound NBD server"):
        volume.extents(0, SIZE_BYTES)


def test_block_status_twice_is_refused(told: Opening) -> None:
    def twice(peer: Peer, request: Request) -> None:
        payload = struct.pack(">III", 101, SIZE_BYTES, 3)
        peer.chunk(request.cookie, fake.STATUS, payload, flags=0)
        peer.chunk(request.cookie, fake.STATUS, payload)

    with pytest.raises(SourceError, match="not asked for"):
        told(answering(twice)).extents(0, SIZE_BYTES)


def test_chunks_in_any_order_make_the_read(told: Opening) -> None:
    def shuffled(peer: Peer, request: Request) -> None:
        data_chunk(peer, request, request.offset + 3000, b"d" * 1096)
        data_chunk(peer, request, request.offset, b"a" * 1000)
        hole_chunk(peer, request, request.offset + 2000, 1000)
        data_chunk(peer, request, request.offset + 1000, b"b" * 1000, flags=fake.DONE)

    data = read_volume(told(answering(shuffled)), 512, 4096)
    assert data == b"a" * 1000 + b"b" * 1000 + bytes(1000) + b"d" * 1096


def test_a_hole_behind_data_reads_as_zeros(told: Opening) -> None:
    def sparse(peer: Peer, request: Request) -> None:
        data_chunk(peer, request, request.offset, b"a")
        hole_chunk(peer, request, request.offset + 1, request.length - 1)
        peer.chunk(request.cookie, fake.NONE)

    assert read_volume(told(answering(sparse)), 0, 4096) == b"a" + bytes(4095)


def test_requests_keep_to_the_blocks_of_the_server(told: Opening) -> None:
    asked: list[tuple[int, int]] = []

    def noted(peer: Peer, request: Request) -> None:
        asked.append((request.offset, request.length))
        peer.data(request, bytes(range(256)) * (request.length // 256))

    volume = told(answering(noted, blocks=(4096, 4096, 10_000)))
    assert read_volume(volume, 4097, 20_000) == (bytes(range(256)) * 100)[1:20_001]
    assert asked == [(4096, 8192), (12288, 8192), (20480, 4096)]


def test_no_request_is_longer_than_32_mebibytes(told: Opening) -> None:
    asked: list[int] = []

    def noted(peer: Peer, request: Request) -> None:
        asked.append(request.length)
        hole_chunk(peer, request, request.offset, request.length)
        peer.chunk(request.cookie, fake.NONE)

    blocks = (1, 4096, 0xFFFFFFFF)
    told(answering(noted, size_bytes=1 << 30, blocks=blocks)).read_into(0, bytearray(40 << 20))
    assert asked == [32 << 20, 8 << 20]


def bad_from(first: int, last: int, code: int = EIO, *, tells: bool = False) -> Answer:
    """Return an answer that fails for reads that touch a range of bytes."""

    def answer(peer: Peer, request: Request) -> None:
        if request.offset <= last and request.offset + request.length > first:
            place = struct.pack(">Q", max(first, request.offset)) if tells else b""
            error_chunk(peer, request, code, b"bad \x1bdisk", place)
        else:
            peer.data(request, b"x" * request.length)

    return answer


@pytest.mark.parametrize("tells", [False, True])
@pytest.mark.parametrize("place", [0, 511, 512, 70_000, 131_071])
def test_an_unreadable_sector_is_named_by_its_offset(
    place: int, tells: bool, told: Opening
) -> None:
    volume = told(answering(bad_from(place, place, tells=tells)))
    sector = place - place % 512
    with pytest.raises(UnreadableSector, match=rf"sector at offset {sector} .* bad \?disk: copy"):
        read_volume(volume, 0, 131_072)


def test_the_first_of_many_unreadable_sectors_is_named(told: Opening) -> None:
    volume = told(answering(bad_from(40_000, 100_000)))
    with pytest.raises(UnreadableSector, match=r"offset 39936 "):
        read_volume(volume, 777, 131_072)


def test_what_lies_around_an_unreadable_sector_can_be_read(told: Opening) -> None:
    volume = told(answering(bad_from(1024, 1535)))
    assert read_volume(volume, 0, 1024) + read_volume(volume, 1536, 10) == b"x" * 1034


def test_a_read_error_that_goes_away_does_no_harm(told: Opening) -> None:
    asked: list[int] = []

    def once(peer: Peer, request: Request) -> None:
        asked.append(request.length)
        if len(asked) == 1:
            error_chunk(peer, request, EIO)
        else:
            peer.data(request, b"x" * request.length)

    assert read_volume(told(answering(once)), 0, 4096) == b"x" * 4096
    assert asked == [4096, 2048, 2048]


@pytest.mark.parametrize("code", [1, 12, EINVAL, 0xFFFFFFFF])
def test_an_error_that_is_none_of_the_medium_names_the_offset(code: int, told: Opening) -> None:
    volume = told(answering(bad_from(0, SIZE_BYTES, code)))
    with pytest.raises(SourceError, match=r"fails at offset 8192: bad \?disk: see") as caught:
        read_volume(volume, 8192, 4096)
    assert not isinstance(caught.value, UnreadableSector)


def test_a_simple_error_is_an_unreadable_sector(told: Opening) -> None:
    def failing(peer: Peer, request: Request) -> None:
        peer.simple(request.cookie, EIO)

    for is_structured in (False, True):
        volume = told(answering(failing, is_structured=is_structured))
        with pytest.raises(UnreadableSector, match="offset 512 cannot be read: Input/output"):
            read_volume(volume, 512, 1024)


def test_a_connection_goes_on_after_an_error(told: Opening) -> None:
    peers: list[int] = []

    def failing(peer: Peer, request: Request) -> None:
        peers.append(peer.number)
        error_chunk(peer, request, EINVAL)

    volume = told(answering(failing))
    for _ in range(3):
        with pytest.raises(SourceError):
            read_volume(volume, 0, 512)
    assert peers == [1, 1, 1]


def test_an_unknown_error_chunk_is_an_error_of_that_read_only(told: Opening) -> None:
    def strange(peer: Peer, request: Request) -> None:
        peer.chunk(request.cookie, 32_768 + 99, struct.pack(">IH", EINVAL, 3) + b"odd" + b"more")

    with pytest.raises(SourceError, match="fails at offset 0: odd"):
        read_volume(told(answering(strange)), 0, 512)


def test_a_server_that_says_no_more_than_one_extent_at_a_time_is_asked_again(
    told: Opening,
) -> None:
    def stepwise(peer: Peer, request: Request) -> None:
        is_zero = request.offset // 131_072 % 2
        peer.status(request, (min(131_072, request.length), 2 * is_zero))

    found = told(answering(stepwise)).extents(0, SIZE_BYTES)
    assert found.tolist() == [[start, 131_072] for start in range(0, SIZE_BYTES, 262_144)]


def test_a_hole_that_need_not_read_as_zeros_is_data(told: Opening) -> None:
    def undefined(peer: Peer, request: Request) -> None:
        peer.status(request, (SIZE_BYTES // 2, 1), (SIZE_BYTES // 2, 3))

    found = told(answering(undefined)).extents(0, SIZE_BYTES)
    assert found.tolist() == [[0, SIZE_BYTES // 2]]


def test_flags_nobody_knows_do_not_make_a_hole(told: Opening) -> None:
    def strange(peer: Peer, request: Request) -> None:
        peer.status(request, (SIZE_BYTES // 2, 0xFFFFFFFD), (SIZE_BYTES // 2, 0xFFFFFFFF))

    found = told(answering(strange)).extents(0, SIZE_BYTES)
    assert found.tolist() == [[0, SIZE_BYTES // 2]]


def test_status_beyond_the_question_stays_inside_the_window(told: Opening) -> None:
    def generous(peer: Peer, request: Request) -> None:
        peer.status(request, (0xFFFFFFFF, 0))

    assert told(answering(generous)).extents(1000, 2000).tolist() == [[1000, 2000]]


def test_a_server_without_an_answer_on_holes_is_read_whole(
    told: Opening, caplog: pytest.LogCaptureFixture
) -> None:
    volume = told(answering(lambda peer, request: error_chunk(peer, request, EINVAL)))
    assert volume.extents(0, SIZE_BYTES).tolist() == [[0, SIZE_BYTES]]
    assert "holes are unknown, all is read" in caplog.text


def test_status_in_crumbs_ends_and_the_rest_is_data(
    told: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backupcore.volume.nbd.status.REQUEST_COUNT_MIN", 20)
    volume = told(answering(lambda peer, request: peer.status(request, (4096, 2))))
    found = volume.extents(0, SIZE_BYTES)
    assert found.tolist() == [[20 * 4096, SIZE_BYTES - 20 * 4096]]


def test_status_that_does_not_fit_the_blocks_counts_as_unknown(told: Opening) -> None:
    crumbs = answering(
        lambda peer, request: peer.status(request, (100_001, 2)), blocks=(512, 4096, 1 << 20)
    )
    found = told(crumbs).extents(0, SIZE_BYTES)
    assert total_length(found) >= SIZE_BYTES - 100_001
