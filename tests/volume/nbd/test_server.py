from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from backupcore.errors import ReadOnly, SourceError, UnreadableSector, VolumeMissing
from backupcore.extents import total_length
from backupcore.testing.volume import ReadOnlyVolumeConformance, read_volume
from backupcore.volume import Access, Volume, open_volume
from backupcore.volume.nbd import NbdVolume
from backupcore.volume.nbd.address import Address
from tests.servers.nbd_fake import QuickClock
from tests.servers.nbd_server import nbdkit, qemu_img, qemu_nbd, unix_url
from tests.servers.process import free_port, need

DATA = os.urandom(65536) + bytes(200_000) + os.urandom(123_457)
ALIGNED = DATA[: 93 * 4096] + bytes(45 * 4096) + b"end!" * 1024


def sparse_file(path: Path, content: bytes) -> Path:
    """Write content with holes where it is zero for 64 KiB."""
    zeros = bytes(65536)
    with path.open("wb") as image:
        for offset in range(0, len(content), 65536):
            part = content[offset : offset + 65536]
            if part != zeros:
                image.seek(offset)
                image.write(part)
        image.truncate(len(content))
    return path


class ServerConformance(ReadOnlyVolumeConformance):
    """The kit over one server for all of its tests."""

    @pytest.fixture
    def volume(self, url: str) -> Iterator[Volume]:
        with open_volume(url) as volume:
            yield volume


class NbdkitConformance(ServerConformance):
    bytes_read: bytes = DATA
    words: tuple[str, ...] = ()

    @pytest.fixture
    def content(self) -> bytes:
        return self.bytes_read

    @pytest.fixture(scope="class")
    @classmethod
    def url(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
        folder = tmp_path_factory.mktemp("nbdkit")
        image = sparse_file(folder / "disk.img", cls.bytes_read)
        with nbdkit(folder, *cls.words, "file", str(image)):
            yield unix_url(folder / "nbdkit.sock")


@need("nbdkit")
class TestNbdkitFile(NbdkitConformance):
    bytes_read = DATA + bytes(262_144) + b"x"


@need("nbdkit")
class TestNbdkitWithoutStructuredReplies(NbdkitConformance):
    words = ("--no-sr",)


@need("nbdkit")
class TestNbdkitOverTcpWithBlocks(ServerConformance):
    @pytest.fixture
    def content(self) -> bytes:
        return ALIGNED

    @pytest.fixture(scope="class")
    @classmethod
    def url(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
        folder, port = tmp_path_factory.mktemp("nbdkit"), free_port()
        image = sparse_file(folder / "disk.img", ALIGNED)
        sizes = {"minimum": "4096", "preferred": "4096", "maximum": "64K", "error-policy": "error"}
        limits = [f"blocksize-{name}={value}" for name, value in sizes.items()]
        words = ["--filter=blocksize-policy", "file", str(image), *limits]
        with nbdkit(folder, *words, port=port):
            yield f"nbd://127.0.0.1:{port}"


class QemuConformance(ServerConformance):
    shared = 1

    @pytest.fixture
    def content(self) -> bytes:
        return ALIGNED

    @pytest.fixture(scope="class")
    @classmethod
    def url(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
        folder = tmp_path_factory.mktemp("qemu")
        raw, image = sparse_file(folder / "disk.raw", ALIGNED), folder / "disk.qcow2"
        qemu_img("convert", "-f", "raw", "-O", "qcow2", str(raw), str(image))
        words = ["--read-only", "--persistent", "--export-name=a vol", f"--shared={cls.shared}"]
        with qemu_nbd(folder, image, *words):
            yield unix_url(folder / "qemu.sock", "a vol")


@need("qemu-nbd", "qemu-img")
class TestQemuOverOneConnection(QemuConformance):
    pass


@need("qemu-nbd", "qemu-img")
class TestQemuOverManyConnections(QemuConformance):
    shared = 8


@need("nbdkit")
def test_holes_of_a_sparse_file_are_told(tmp_path: Path) -> None:
    image = sparse_file(tmp_path / "disk.img", bytes(1 << 20) + b"x" * 65536 + bytes(1 << 20))
    with (
        nbdkit(tmp_path, "file", str(image)),
        open_volume(unix_url(tmp_path / "nbdkit.sock")) as volume,
    ):
        assert volume.extents(0, volume.size_bytes).tolist() == [[1 << 20, 65536]]


@need("nbdkit")
def test_a_server_that_knows_no_holes_is_read_whole(tmp_path: Path) -> None:
    with (
        nbdkit(tmp_path, "--filter=noextents", "memory", "1M"),
        open_volume(unix_url(tmp_path / "nbdkit.sock")) as volume,
    ):
        assert total_length(volume.extents(0, 1 << 20)) == 1 << 20


@need("nbdkit")
def test_a_huge_sparse_volume_tells_its_holes_window_by_window(tmp_path: Path) -> None:
    words = ["memory", f"size={1 << 50}", "allocator=sparse"]
    with (
        nbdkit(tmp_path, *words),
        open_volume(unix_url(tmp_path / "nbdkit.sock")) as volume,
    ):
        assert volume.size_bytes == 1 << 50
        assert not len(volume.extents((1 << 50) - (1 << 35), 1 << 35))


@need("nbdkit")
def test_every_data_byte_of_a_fragmented_volume_is_in_the_extents(tmp_path: Path) -> None:
    words = ["sparse-random", "8M", "seed=1", "percent=10", "runlength=65536"]
    with (
        nbdkit(tmp_path, *words),
        open_volume(unix_url(tmp_path / "nbdkit.sock")) as volume,
    ):
        content = bytearray(read_volume(volume, 0, volume.size_bytes))
        extents = volume.extents(0, volume.size_bytes)
        assert any(content)
        assert total_length(extents) < volume.size_bytes
    for offset, length in extents.tolist():
        content[offset : offset + length] = bytes(length)
    assert not any(content)


@need("nbdkit")
def test_an_export_can_only_be_read(tmp_path: Path) -> None:
    with (
        nbdkit(tmp_path, "memory", "1M"),
        pytest.raises(ReadOnly, match="can only be read"),
    ):
        open_volume(unix_url(tmp_path / "nbdkit.sock"), access=Access.WRITE)


@need("qemu-nbd", "qemu-img")
def test_an_unknown_export_is_a_missing_volume(tmp_path: Path) -> None:
    image = sparse_file(tmp_path / "disk.raw", ALIGNED)
    with (
        qemu_nbd(tmp_path, image, "--read-only", "--persistent", "--export-name=right"),
        pytest.raises(VolumeMissing, match=r"/wrong\?socket=.*no export of this name"),
    ):
        open_volume(unix_url(tmp_path / "qemu.sock", "wrong"))


@need("nbdkit")
def test_a_server_that_demands_tls_says_so(tmp_path: Path) -> None:
    keys = tmp_path / "keys.psk"
    keys.write_text(f"alice:{os.urandom(32).hex()}\n")
    with (
        nbdkit(tmp_path, "--tls=require", f"--tls-psk={keys}", "memory", "1M"),
        pytest.raises(VolumeMissing, match="demands TLS"),
    ):
        open_volume(unix_url(tmp_path / "nbdkit.sock"))


BAD_SECTOR = (
    "if [ $4 -lt 70144 ] && [ $(($4 + $3)) -gt 69632 ]; then echo EIO bad disk >&2; exit 1; fi; "
    "head -c $3 /dev/zero"
)


@need("nbdkit")
def test_a_bad_sector_is_named_by_its_offset(tmp_path: Path) -> None:
    with (
        nbdkit(tmp_path, "eval", "get_size=echo 1048576", f"pread={BAD_SECTOR}"),
        open_volume(unix_url(tmp_path / "nbdkit.sock")) as volume,
    ):
        with pytest.raises(UnreadableSector, match=r"sector at offset 69632 cannot be read"):
            read_volume(volume, 0, 1 << 20)
        assert read_volume(volume, 70144, 512) == bytes(512)


@need("nbdkit")
def test_read_errors_that_go_away_do_no_harm(tmp_path: Path) -> None:
    image = sparse_file(tmp_path / "disk.img", DATA)
    words = ["--filter=error", "file", str(image), "error-pread=EIO", "error-pread-rate=20%"]
    with (
        nbdkit(tmp_path, *words, "error-pread-file=" + str(tmp_path / "faulty")),
        open_volume(unix_url(tmp_path / "nbdkit.sock")) as volume,
    ):
        assert read_volume(volume, 0, len(DATA)) == DATA
        (tmp_path / "faulty").touch()
        found = 0
        for _ in range(40):
            try:
                assert read_volume(volume, 0, len(DATA)) == DATA
                found += 1
            except UnreadableSector:
                continue
        assert found


@need("nbdkit")
def test_a_server_without_permission_names_offset_and_reason(tmp_path: Path) -> None:
    words = ["--filter=error", "memory", "1M", "error-pread=EPERM", "error-rate=100%"]
    with (
        nbdkit(tmp_path, *words),
        open_volume(unix_url(tmp_path / "nbdkit.sock")) as volume,
        pytest.raises(SourceError, match="fails at offset 4096: Operation not permitted"),
    ):
        read_volume(volume, 4096, 512)


@need("nbdkit")
def test_a_server_slower_than_the_time_out_is_given_up(tmp_path: Path) -> None:
    address = Address("", socket_path=str(tmp_path / "nbdkit.sock"))
    with (
        nbdkit(tmp_path, "--filter=delay", "memory", "1M", "delay-read=3"),
        NbdVolume(address, timeout_s=0.1, clock=QuickClock()) as volume,
        pytest.raises(SourceError, match=r"silent for 0\.1 s"),
    ):
        read_volume(volume, 0, 512)


@need("qemu-nbd")
def test_reading_goes_on_when_the_server_was_killed_and_started_again(tmp_path: Path) -> None:
    image = sparse_file(tmp_path / "disk.raw", ALIGNED)
    url = unix_url(tmp_path / "qemu.sock")
    with (
        qemu_nbd(tmp_path, image, "--read-only", "--persistent") as server,
        open_volume(url) as volume,
    ):
        assert read_volume(volume, 0, 1000) == ALIGNED[:1000]
        server.kill()
        again = threading.Timer(0.3, server.restart)
        again.start()
        assert read_volume(volume, 0, len(ALIGNED)) == ALIGNED
        again.join()


@need("qemu-nbd")
def test_a_server_that_stays_away_is_an_error_that_names_it(tmp_path: Path) -> None:
    image = sparse_file(tmp_path / "disk.raw", ALIGNED)
    address = Address("", socket_path=str(tmp_path / "qemu.sock"))
    with (
        qemu_nbd(tmp_path, image, "--read-only") as server,
        NbdVolume(address, clock=QuickClock()) as volume,
    ):
        server.kill()
        with pytest.raises(SourceError, match=r"qemu\.sock: cannot be reached"):
            read_volume(volume, 0, 512)


@need("qemu-nbd")
def test_an_image_swapped_for_another_size_is_no_point_in_time(tmp_path: Path) -> None:
    image = sparse_file(tmp_path / "disk.raw", ALIGNED)
    with (
        qemu_nbd(tmp_path, image, "--read-only", "--persistent") as server,
        open_volume(unix_url(tmp_path / "qemu.sock")) as volume,
    ):
        read_volume(volume, 0, 512)
        server.kill()
        os.truncate(image, 4096)
        server.restart()
        with pytest.raises(SourceError, match=r"has 4096 bytes now, had \d+ when opened"):
            read_volume(volume, 0, 512)


@need("qemu-nbd")
def test_two_openings_have_the_same_identity(tmp_path: Path) -> None:
    image = sparse_file(tmp_path / "disk.raw", ALIGNED)
    url = unix_url(tmp_path / "qemu.sock")
    with (
        qemu_nbd(tmp_path, image, "--read-only", "--shared=2"),
        open_volume(url) as one,
        open_volume(url + "&timeout_s=5") as other,
    ):
        assert one.identity == other.identity == url
