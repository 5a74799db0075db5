"""What a restore writes, where, and what it refuses."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from backupcore.errors import BackupMissing, ReadOnly, Refused, TargetError, TargetTooSmall
from backupcore.model import Buffer
from backupcore.operation.restore import restore, restore_to_stream
from backupcore.volume import Access, open_volume
from backupcore.volume.memory import MemoryVolume
from tests.operation.scene import CHUNK, INLINE, LEAF_LENGTH, Scene, back_up, chunks, noise, same
from tests.operation.volumes import SparseVolume

SIZE = 2 * LEAF_LENGTH + 100
DIRT = b"\xa5"


@pytest.fixture
def content() -> bytes:
    """Return noise at the begin, around the first leaf's end and in the tail, else zeros."""
    content = bytearray(SIZE)
    content[: 5 * CHUNK] = noise(1, 5 * CHUNK)
    content[LEAF_LENGTH - 3 * CHUNK + 7 : LEAF_LENGTH + 2 * CHUNK + 9] = noise(2, 5 * CHUNK + 2)
    content[-60:] = noise(3, 60)
    return bytes(content)


@pytest.fixture
def scene(content: bytes) -> Scene:
    scene = Scene()
    with scene.open() as repository:
        back_up(repository, MemoryVolume(content))
    return scene


def dirty(size: int = SIZE) -> MemoryVolume:
    return MemoryVolume(bytearray(DIRT * size))


EXTENTS: list[list[tuple[int, int]]] = [
    [],
    [(0, 1)],
    [(0, SIZE)],
    [(CHUNK - 1, 2)],
    [(5 * CHUNK, 10)],
    [(7 * CHUNK, CHUNK), (0, 3)],
    [(100, 1000), (500, 2000), (600, 1)],
    [(LEAF_LENGTH - 1, 2)],
    [(LEAF_LENGTH - CHUNK, 3 * CHUNK), (SIZE - 1, 1)],
    [(2 * LEAF_LENGTH, 40)],
    [(SIZE, 0)],
]


@pytest.mark.parametrize("extents", EXTENTS, ids=str)
def test_extents_and_nothing_else_are_written(
    scene: Scene, content: bytes, extents: list[tuple[int, int]]
) -> None:
    expected, target = bytearray(DIRT * SIZE), dirty()
    for offset, length in extents:
        expected[offset : offset + length] = content[offset : offset + length]
    with scene.open() as repository:
        restore(repository, "latest", target, extents=extents, tuning=INLINE)
    assert same(target.content, expected)


@pytest.mark.parametrize("extents", EXTENTS, ids=str)
def test_extents_to_a_stream_come_once_and_in_volume_order(
    scene: Scene, content: bytes, extents: list[tuple[int, int]]
) -> None:
    wanted, stream = bytearray(SIZE), io.BytesIO()
    for offset, length in extents:
        wanted[offset : offset + length] = b"\1" * length
    with scene.open() as repository:
        restore_to_stream(repository, "latest", stream, extents=extents, tuning=INLINE)
    expected = bytes(byte for byte, is_wanted in zip(content, wanted, strict=True) if is_wanted)
    assert same(stream.getvalue(), expected)


@pytest.mark.parametrize(
    "extents", [[(SIZE, 1)], [(0, SIZE + 1)], [(SIZE - 1, 2)], [(1 << 62, 1)], [(0, 1 << 63)]]
)
def test_extents_beyond_the_end_are_refused(scene: Scene, extents: list[tuple[int, int]]) -> None:
    target = dirty()
    with scene.open() as repository, pytest.raises(Refused):
        restore(repository, "latest", target, extents=extents)
    assert same(target.content, DIRT * SIZE)


def test_negative_extents_are_refused(scene: Scene) -> None:
    with scene.open() as repository, pytest.raises(Refused, match="negative"):
        restore(repository, "latest", dirty(), extents=[(-1, 1)])


def test_a_target_that_is_too_small_is_refused_untouched(scene: Scene) -> None:
    target = dirty(SIZE - 1)
    with scene.open() as repository, pytest.raises(TargetTooSmall, match=f"needs {SIZE}"):
        restore(repository, "latest", target)
    assert same(target.content, DIRT * (SIZE - 1))


def test_what_lies_beyond_the_backup_on_a_larger_target_stays(scene: Scene, content: bytes) -> None:
    target = dirty(SIZE + CHUNK)
    with scene.open() as repository:
        restore(repository, "latest", target, tuning=INLINE)
    assert same(target.content, content + DIRT * CHUNK)


@pytest.mark.parametrize("size", [1, CHUNK, LEAF_LENGTH + 1, 3 * LEAF_LENGTH])
def test_zeros_overwrite_what_a_target_held(size: int) -> None:
    scene, target = Scene(), dirty(size)
    with scene.open() as repository:
        back_up(repository, MemoryVolume(bytes(size)))
        restore(repository, "latest", target, tuning=INLINE)
    assert same(target.content, bytes(size))


@pytest.mark.parametrize("size", [1, CHUNK, LEAF_LENGTH + 1, 3 * LEAF_LENGTH])
def test_a_volume_of_zeros_comes_whole_from_a_stream(size: int) -> None:
    scene, stream = Scene(), io.BytesIO()
    with scene.open() as repository:
        back_up(repository, MemoryVolume(bytes(size)))
        restore_to_stream(repository, "latest", stream, tuning=INLINE)
    assert same(stream.getvalue(), bytes(size))


def test_zeros_are_not_written_to_a_target_that_reads_as_zeros(scene: Scene) -> None:
    target = SparseVolume(SIZE, {})
    with scene.open() as repository:
        done = restore(repository, "latest", target, tuning=INLINE)
    assert done.written_bytes < 20 * CHUNK
    assert sorted(target.cells)[-1] == SIZE // CHUNK


def test_a_read_only_target_is_refused(scene: Scene, tmp_path: Path) -> None:
    path = tmp_path / "target"
    path.write_bytes(bytes(SIZE))
    with scene.open() as repository, open_volume(str(path)) as target, pytest.raises(ReadOnly):
        restore(repository, "latest", target)


def test_a_created_file_is_gone_after_a_restore_that_failed(scene: Scene, tmp_path: Path) -> None:
    path = tmp_path / "target"
    scene.driver.delete(scene.listed("data/"))
    with (
        scene.open() as repository,
        open_volume(str(path), access=Access.CREATE, size_bytes=SIZE) as target,
        pytest.raises(Exception, match="data/"),
    ):
        restore(repository, "latest", target)
    assert list(tmp_path.iterdir()) == []


def test_a_created_file_holds_the_backup(scene: Scene, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "target"
    with (
        scene.open() as repository,
        open_volume(str(path), access=Access.CREATE, size_bytes=SIZE) as target,
    ):
        restore(repository, "latest", target)
    assert same(path.read_bytes(), content)


class Broken(io.RawIOBase):
    """Takes nothing."""

    def write(self, data: object) -> int:
        raise BrokenPipeError(32, "broken pipe")


def test_an_output_that_breaks_is_an_error_of_the_target(scene: Scene) -> None:
    with scene.open() as repository, pytest.raises(TargetError, match="output failed"):
        restore_to_stream(repository, "latest", Broken())  # type: ignore[arg-type]
    assert scene.listed("sessions/") == []


class Sipping(io.BytesIO):
    """Takes a little at a time, as pipes and raw files may."""

    def write(self, data: Buffer) -> int:  # type: ignore[override]
        return super().write(memoryview(data)[:1000])


def test_an_output_that_takes_little_at_a_time_gets_everything(
    scene: Scene, content: bytes
) -> None:
    stream = Sipping()
    with scene.open() as repository:
        restore_to_stream(repository, "latest", stream, tuning=INLINE)
    assert same(stream.getvalue(), content)


@pytest.mark.parametrize("text", ["", "zzz", "latest ", "12345678", "../x"])
def test_what_means_no_backup_is_missing(scene: Scene, text: str) -> None:
    with scene.open() as repository, pytest.raises(BackupMissing):
        restore(repository, text, dirty())


def test_a_beginning_that_means_several_backups_is_refused(scene: Scene) -> None:
    with scene.open() as repository:
        for number in range(17):
            back_up(repository, MemoryVolume(chunks(number)))
        ids = [done.id for done in repository.backups()]
        first = next(text for text in "0123456789abcdef" if sum(i[0] == text for i in ids) > 1)
        with pytest.raises(Refused, match="give more"):
            restore(repository, first, dirty())


def test_one_opened_target_takes_one_backup_after_another() -> None:
    scene, target = Scene(), MemoryVolume(4 * CHUNK)
    with scene.open() as repository:
        first = back_up(repository, MemoryVolume(chunks(1, 2, 3, 4)))
        second = back_up(repository, MemoryVolume(chunks(1, None, 3, None)))
        restore(repository, first.id, target, tuning=INLINE)
        restore(repository, second.id, target, tuning=INLINE)
    assert same(target.content, chunks(1, None, 3, None))
