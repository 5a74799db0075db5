from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from backupcore.volume import open_volume
from backupcore.volume.hint import ChangedExtents
from tests.servers import nbd_fake as fake
from tests.servers.nbd_fake import SIZE_BYTES, Peer, Request
from tests.servers.nbd_server import qemu_img, qemu_nbd, unix_url, write_qcow2
from tests.servers.process import Server, need
from tests.volume.nbd.conftest import Opening

MIB = 1 << 20
ALLOCATION, DIRTY = 101, 102  # the numbers the fake server gives the two contexts
UNUSABLE = "dirty bitmap cannot be used, the whole volume is read"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A qcow2 image of 16 MiB, written at 1 MiB, then a bitmap, then written at 3 and 5 MiB."""
    path = tmp_path / "disk.qcow2"
    qemu_img("create", "-q", "-f", "qcow2", str(path), "16M")
    write_qcow2(path, "write -P 0xaa 1M 64k")
    qemu_img("bitmap", "--add", str(path), "monday")
    write_qcow2(path, "write -P 0xbb 3M 192k", "write -z 5M 64k")
    return path


def tracked(url: str) -> ChangedExtents | None:
    with open_volume(url) as volume:
        return volume.tracked_changes()


def exported(tmp_path: Path, image: Path, query: str, *words: str) -> ChangedExtents | None:
    with qemu_nbd(tmp_path, image, "--read-only", "--shared=4", *words):
        return tracked(unix_url(tmp_path / "qemu.sock", query=query))


@need("qemu-nbd", "qemu-img", "qemu-io")
class TestQemu:
    def test_a_bitmap_tells_what_was_written_since_it_began(
        self, tmp_path: Path, image: Path
    ) -> None:
        changed = exported(tmp_path, image, "&bitmap=monday", "--bitmap=monday")
        assert changed is not None
        assert changed.extents.tolist() == [[3 * MIB, 192 * 1024], [5 * MIB, 64 * 1024]]
        assert (changed.since, changed.size_bytes) == ("monday", 16 * MIB)

    def test_discarded_extents_count_as_changed(self, tmp_path: Path, image: Path) -> None:
        write_qcow2(image, "discard 1M 64k")
        changed = exported(tmp_path, image, "&bitmap=monday", "--bitmap=monday")
        assert changed is not None
        assert changed.extents.tolist()[0] == [MIB, 64 * 1024]

    def test_since_names_another_generation(self, tmp_path: Path, image: Path) -> None:
        changed = exported(tmp_path, image, "&bitmap=monday&since=42", "--bitmap=monday")
        assert changed is not None
        assert changed.since == "42"

    def test_a_bitmap_without_changes_is_a_hint_of_nothing(
        self, tmp_path: Path, image: Path
    ) -> None:
        qemu_img("bitmap", "--add", str(image), "tuesday")
        changed = exported(tmp_path, image, "&bitmap=tuesday", "--bitmap=tuesday")
        assert changed is not None
        assert changed.extents.shape == (0, 2)

    def test_without_the_option_nothing_is_tracked(self, tmp_path: Path, image: Path) -> None:
        assert exported(tmp_path, image, "", "--bitmap=monday") is None

    def test_a_bitmap_that_is_not_exported_is_no_hint_and_said(
        self, tmp_path: Path, image: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert exported(tmp_path, image, "&bitmap=monday") is None
        assert UNUSABLE in caplog.text

    def test_another_bitmap_than_the_exported_one_is_no_hint(
        self, tmp_path: Path, image: Path
    ) -> None:
        qemu_img("bitmap", "--add", str(image), "tuesday")
        assert exported(tmp_path, image, "&bitmap=tuesday", "--bitmap=monday") is None

    def test_a_bitmap_after_the_writer_was_killed_is_not_exported_and_no_hint(
        self, tmp_path: Path, image: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with qemu_nbd(tmp_path, image, "--persistent") as writer:
            tracked(unix_url(tmp_path / "qemu.sock"))
            writer.kill()
        command = ["qemu-nbd", "--read-only", "--bitmap=monday", "-k", str(tmp_path / "x")]
        refusing = Server([*command, str(image)], tmp_path / "refusing.log")
        assert refusing.process.wait(10)
        assert "inconsistent" in refusing.log.read_text()
        assert exported(tmp_path, image, "&bitmap=monday") is None
        assert UNUSABLE in caplog.text

    def test_a_bitmap_with_many_extents_is_told_whole(self, tmp_path: Path) -> None:
        image = tmp_path / "many.qcow2"
        qemu_img("create", "-q", "-f", "qcow2", str(image), "4G")
        qemu_img("bitmap", "--add", "-g", "4k", str(image), "b")
        places = range(0, 2000 << 13, 1 << 13)
        write_qcow2(image, *(f"write -z {place} 4k" for place in places))
        changed = exported(tmp_path, image, "&bitmap=b", "--bitmap=b")
        assert changed is not None
        assert changed.extents.tolist() == [[place, 4096] for place in places]


def telling(*replies: Callable[[Peer, Request], None], **facts: object) -> Callable[[Peer], None]:
    """Return a script that answers one question after the other; then it answers the last."""

    def script(peer: Peer) -> None:
        peer.negotiate(**facts)  # type: ignore[arg-type]
        count = 0
        while True:
            replies[min(count, len(replies) - 1)](peer, peer.request())
            count += 1

    return script


def both(*dirty: tuple[int, int]) -> Callable[[Peer, Request], None]:
    """Return an answer that tells the status of both contexts."""

    def answer(peer: Peer, request: Request) -> None:
        rows = ((request.length, 0),), dirty
        for number, table in zip((ALLOCATION, DIRTY), rows, strict=True):
            payload = struct.pack(">I", number) + b"".join(
                struct.pack(">II", *row) for row in table
            )
            flags = fake.DONE if number == DIRTY else 0
            peer.chunk(request.cookie, fake.STATUS, payload, flags=flags)

    return answer


def failing(code: int) -> Callable[[Peer, Request], None]:
    def answer(peer: Peer, request: Request) -> None:
        peer.chunk(request.cookie, fake.ERROR_CHUNK, struct.pack(">IH", code, 0))

    return answer


def hang_up(peer: Peer, _: Request) -> None:
    raise fake.Gone


HALF = SIZE_BYTES // 2


def test_the_bitmap_is_asked_for_until_it_covers_the_volume(told: Opening) -> None:
    volume = told(telling(both((HALF, 0)), both((4096, 1), (HALF - 4096, 0))), bitmap="b")
    changed = volume.tracked_changes()
    assert changed is not None
    assert changed.extents.tolist() == [[HALF, 4096]]


def test_flags_nobody_knows_count_as_changed(told: Opening) -> None:
    changed = told(telling(both((HALF, 2), (HALF, 0))), bitmap="b").tracked_changes()
    assert changed is not None
    assert changed.extents.tolist() == [[0, HALF]]


@pytest.mark.parametrize(
    "replies",
    [(failing(22),), (both((HALF, 1)), failing(5))],
    ids=["at once", "after half of it"],
)
def test_an_error_while_the_bitmap_is_read_makes_no_hint(
    replies: tuple[Callable[[Peer, Request], None], ...],
    told: Opening,
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert told(telling(*replies), bitmap="b").tracked_changes() is None
    assert UNUSABLE in caplog.text


def only_allocation(peer: Peer, request: Request) -> None:
    peer.status(request, (request.length, 0), context=ALLOCATION)


def test_a_server_that_leaves_the_bitmap_out_makes_no_hint(told: Opening) -> None:
    assert told(telling(only_allocation), bitmap="b").tracked_changes() is None


def test_a_bitmap_that_is_not_granted_makes_no_hint(
    told: Opening, caplog: pytest.LogCaptureFixture
) -> None:
    script = telling(both((SIZE_BYTES, 0)), withheld="qemu:dirty-bitmap:b")
    volume = told(script, bitmap="b")
    assert volume.tracked_changes() is None
    assert UNUSABLE in caplog.text


def test_the_connection_is_kept_when_the_bitmap_is_missing(told: Opening) -> None:
    peers: list[int] = []

    def script(peer: Peer) -> None:
        peers.append(peer.number)
        telling(only_allocation, withheld="qemu:dirty-bitmap:b")(peer)

    volume = told(script, bitmap="b")
    volume.tracked_changes()
    volume.extents(0, 512)
    assert peers == [1]


def test_a_bitmap_in_crumbs_makes_no_hint(told: Opening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backupcore.volume.nbd.status.REQUEST_COUNT_MIN", 20)
    assert told(telling(both((4096, 1))), bitmap="b").tracked_changes() is None


def test_a_bitmap_is_read_anew_when_the_connection_was_lost_halfway(told: Opening) -> None:
    def script(peer: Peer) -> None:
        if peer.number == 1:
            telling(both((HALF, 1)), hang_up)(peer)
        telling(both((HALF, 0)), both((4096, 1), (HALF - 4096, 0)))(peer)

    changed = told(script, bitmap="b").tracked_changes()
    assert changed is not None
    assert changed.extents.tolist() == [[HALF, 4096]]


def test_a_bitmap_that_is_gone_after_a_lost_connection_makes_no_hint(told: Opening) -> None:
    def script(peer: Peer) -> None:
        if peer.number == 1:
            telling(both((HALF, 1)), hang_up)(peer)
        telling(both((SIZE_BYTES, 0)), withheld="qemu:dirty-bitmap:b")(peer)

    assert told(script, bitmap="b").tracked_changes() is None


def test_holes_are_told_beside_a_bitmap(told: Opening) -> None:
    def answer(peer: Peer, request: Request) -> None:
        for number, flags in ((DIRTY, 0), (ALLOCATION, fake.DONE)):
            payload = struct.pack(">III", number, request.length, 3 if number == ALLOCATION else 1)
            peer.chunk(request.cookie, fake.STATUS, payload, flags=flags)

    assert not len(told(telling(answer), bitmap="b").extents(0, SIZE_BYTES))
