"""The same work gives the same backup, whatever the threads; without any, the same bytes."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import pytest

from backupcore.chunk.frame import Frame, FrameEncoder, FrameLabel
from backupcore.config import SelfCheck, Tuning
from backupcore.errors import Damaged
from backupcore.model import Backup, Buffer
from backupcore.operation.backup import backup
from backupcore.operation.restore import restore
from backupcore.repository.writer import PackWriter
from backupcore.units import KIB
from backupcore.volume.memory import MemoryVolume
from tests.operation.scene import (
    CHUNK,
    INLINE,
    LEAF_LENGTH,
    THREADS,
    Scene,
    back_up,
    chunks,
    noise,
    restored,
    same,
)


def two_backups(scene: Scene, tuning: Tuning) -> list[Backup]:
    """Back up repeated, new and zero chunks in three leaves, then some changes."""
    content = bytearray(2 * LEAF_LENGTH) + chunks(*range(40), *range(20), None, *range(60, 100))
    content[CHUNK : 200 * CHUNK] = noise(7, 199 * CHUNK)
    volume = MemoryVolume(content)
    with scene.open() as repository:
        first = backup(volume, repository, tuning=tuning)
        for at in range(0, len(content) - CHUNK, 97 * CHUNK):
            content[at : at + CHUNK] = noise(at, CHUNK)
        second = backup(volume, repository, tuning=tuning)
        assert same(restored(repository, second.id, tuning), content)
    return [first, second]


def test_two_runs_without_threads_give_the_same_repository() -> None:
    first, second = Scene(), Scene()
    two_backups(first, INLINE)
    two_backups(second, INLINE)
    assert {key: data for key, (data, _) in first.store.objects.items()} == {
        key: data for key, (data, _) in second.store.objects.items()
    }


@pytest.mark.parametrize("memory_bytes", [1, 200 * KIB, THREADS.memory_bytes])
def test_threads_store_what_a_run_without_them_stores(memory_bytes: int) -> None:
    alone = two_backups(Scene(), INLINE)
    tuning = replace(THREADS, memory_bytes=memory_bytes)
    together = two_backups(Scene(), tuning)
    for one, other in zip(alone, together, strict=True):
        assert (one.sums.new_bytes, one.sums.chunk_count, one.sums.object_count) == (
            other.sums.new_bytes, other.sums.chunk_count, other.sums.object_count,
        )  # fmt: skip
        assert (one.data_bytes, one.live_bytes) == (other.data_bytes, other.live_bytes)


@pytest.mark.parametrize("memory_bytes", [1, CHUNK, 64 * KIB])
def test_any_memory_budget_finishes(memory_bytes: int) -> None:
    two_backups(Scene(), replace(INLINE, memory_bytes=memory_bytes))


@pytest.mark.parametrize("pack_size_bytes", [1, 8 * KIB, 40 * KIB])
def test_any_pack_size_finishes(pack_size_bytes: int) -> None:
    two_backups(Scene(), replace(THREADS, pack_size_bytes=pack_size_bytes))


@pytest.mark.parametrize("slab_size_bytes", [1, CHUNK, 3 * CHUNK, 2 * LEAF_LENGTH])
def test_any_slab_size_finishes(slab_size_bytes: int) -> None:
    two_backups(Scene(), replace(THREADS, slab_size_bytes=slab_size_bytes))


def test_a_restore_by_threads_writes_the_same_as_one_without() -> None:
    scene = Scene()
    _, done = two_backups(scene, INLINE)
    with scene.open() as repository:
        alone, together = MemoryVolume(done.size_bytes), MemoryVolume(done.size_bytes)
        first = restore(repository, done.id, alone, tuning=INLINE)
        second = restore(repository, done.id, together, tuning=THREADS)
    assert same(alone.content, together.content)
    assert (first.written_bytes, first.got_bytes) == (second.written_bytes, second.got_bytes)


def spoil_nth(monkeypatch: pytest.MonkeyPatch, nth: int) -> None:
    """Let the n-th frame that any encoder makes have one bit flipped."""
    encode, numbers = FrameEncoder.encode, count(1)

    def spoil(encoder: FrameEncoder, plain: Buffer, label: FrameLabel) -> Frame:
        frame = encode(encoder, plain, label)
        if next(numbers) != nth:
            return frame
        payload = bytearray(frame.payload)
        payload[len(payload) // 2] ^= 1
        return replace(frame, payload=bytes(payload))

    monkeypatch.setattr(FrameEncoder, "encode", spoil)


@pytest.mark.parametrize("nth", range(1, 11))
@pytest.mark.parametrize("tuning", [INLINE, THREADS], ids=["inline", "threads"])
def test_an_encoder_that_spoils_a_frame_is_noticed_before_anything_is_committed(
    nth: int, tuning: Tuning, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames 1 to 5 hold chunks, the others leaves, nodes and footers."""
    scene, content = Scene(), bytearray(2 * LEAF_LENGTH)
    content[: 18 * CHUNK] = chunks(*range(18))
    spoil_nth(monkeypatch, nth)
    with scene.open() as repository:
        try:
            done = back_up(repository, MemoryVolume(content), tuning=tuning)
        except Damaged:
            scene.check({})
        else:
            assert nth == 10
            scene.check({done.id: bytes(content)})


def test_a_sample_of_the_frames_is_checked_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene()
    spoil_nth(monkeypatch, 1)
    tuning = replace(INLINE, self_check=SelfCheck.SAMPLE)
    with scene.open() as repository, pytest.raises(Damaged, match="does not decode"):
        back_up(repository, MemoryVolume(chunks(*range(18))), tuning=tuning)


def test_no_label_of_a_frame_is_given_out_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[FrameLabel] = []
    take = PackWriter.take_labels

    def note(writer: PackWriter, count: int) -> list[FrameLabel]:
        labels = take(writer, count)
        given.extend(labels)
        return labels

    monkeypatch.setattr(PackWriter, "take_labels", note)
    two_backups(Scene(), THREADS)
    assert len(given) == len(set(given))
