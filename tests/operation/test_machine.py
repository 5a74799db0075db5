"""Any sequence of changes, backups, deletions and restores agrees with a dict of bytes."""

from __future__ import annotations

import io
import random

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from backupcore.chunk.digest import nonzero_chunks
from backupcore.config import Tuning
from backupcore.extents import Extents, clip_extents, empty_extents, extents_of_cells
from backupcore.model import PackId
from backupcore.operation.delete import delete
from backupcore.operation.restore import restore, restore_to_stream
from backupcore.operation.verify import Depth, verify
from backupcore.repository.session import condemn
from backupcore.volume.memory import MemoryVolume
from tests.operation.scene import (
    CHUNK,
    INLINE,
    LEAF_LENGTH,
    THREADS,
    Scene,
    back_up,
    noise,
    packs_of,
    same,
)

BORDERS = [0, CHUNK, 2 * CHUNK, 5 * CHUNK, LEAF_LENGTH, 2 * LEAF_LENGTH]
SIZE_MAX = 2 * LEAF_LENGTH + 3 * CHUNK
NEAR = st.sampled_from([-512, -1, 0, 1, 512])
SIZES = st.builds(lambda border, step: max(1, border + step), st.sampled_from(BORDERS), NEAR)
OFFSETS = SIZES | st.integers(0, 8 * CHUNK)
LENGTHS = st.sampled_from([1, 511, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 9 * CHUNK])
TUNINGS = st.sampled_from([INLINE, INLINE, THREADS])
DIRT = b"\xa5"


class Backups(RuleBasedStateMachine):
    """The model: `content`, what the volume holds, and `backups`, what it held at each backup."""

    def __init__(self) -> None:
        super().__init__()
        self.scene = Scene()
        self.repository = self.scene.open()
        self.content = bytearray(noise(0, 3 * CHUNK))
        self.backups: dict[str, bytes] = {}
        self.deleted: set[str] = set()

    def teardown(self) -> None:
        self.repository.close()

    @rule(offset=OFFSETS, length=LENGTHS, seed=st.integers(0, 3))
    def write(self, offset: int, length: int, seed: int) -> None:
        self._put(offset, noise(seed, length))

    @rule(offset=OFFSETS, count=st.integers(1, 6), seed=st.integers(0, 1))
    def write_one_chunk_again_and_again(self, offset: int, count: int, seed: int) -> None:
        self._put(offset // CHUNK * CHUNK, noise(seed, CHUNK) * count)

    @rule(offset=OFFSETS, length=LENGTHS | st.just(LEAF_LENGTH))
    def zero(self, offset: int, length: int) -> None:
        self._put(offset, bytes(length))

    @rule(size=SIZES)
    def resize(self, size: int) -> None:
        self.content = self.content[:size].ljust(size, b"\0")

    @rule(base=st.sampled_from(["latest", "latest", None]), tuning=TUNINGS, holes=st.booleans())
    def back_up(self, base: str | None, tuning: Tuning, holes: bool) -> None:
        self._back_up(base, tuning, holes)

    @precondition(lambda self: self.backups)
    @rule(pick=st.randoms(use_true_random=False))
    def back_up_against_any(self, pick: random.Random) -> None:
        self._back_up(self._pick(pick), INLINE, False)

    @precondition(lambda self: self.backups)
    @rule(pick=st.randoms(use_true_random=False))
    def delete(self, pick: random.Random) -> None:
        backup_id = self._pick(pick)
        assert delete(self.repository, backup_id) == backup_id
        del self.backups[backup_id]
        self.deleted.add(backup_id)

    @precondition(lambda self: self.deleted)
    @rule()
    def remove_what_no_backup_refers_to(self) -> None:
        used = set[str]().union(*(packs_of(self.repository, done) for done in self.backups))
        packs = {*self.scene.listed("data/"), *self.scene.listed("map/")}
        assert used <= packs
        self.scene.driver.delete(packs - used)

    @precondition(lambda self: self.backups)
    @rule(pick=st.randoms(use_true_random=False))
    def condemn(self, pick: random.Random) -> None:
        packs = sorted({*self.scene.listed("data/"), *self.scene.listed("map/")})
        if packs:
            condemn(self.repository.driver, self.repository.runtime, [PackId(pick.choice(packs))])

    @precondition(lambda self: self.backups)
    @rule(
        pick=st.randoms(use_true_random=False),
        extra=st.sampled_from([0, 0, 1, CHUNK]),
        is_new=st.booleans(),
        tuning=TUNINGS,
    )
    def restore(self, pick: random.Random, extra: int, is_new: bool, tuning: Tuning) -> None:
        backup_id = self._pick(pick)
        content = self.backups[backup_id]
        size = len(content) + extra
        target = MemoryVolume(size if is_new else bytearray(DIRT * size))
        restore(self.repository, backup_id, target, tuning=tuning)
        assert same(target.content, content + (b"\0" if is_new else DIRT) * extra)

    @precondition(lambda self: self.backups)
    @rule(
        pick=st.randoms(use_true_random=False),
        rows=st.lists(st.tuples(OFFSETS, LENGTHS), max_size=4),
    )
    def restore_extents(self, pick: random.Random, rows: list[tuple[int, int]]) -> None:
        backup_id = self._pick(pick)
        content = self.backups[backup_id]
        size = len(content)
        inside = [(at % size, min(length, size - at % size)) for at, length in rows]
        expected = bytearray(DIRT * size)
        for offset, length in inside:
            expected[offset : offset + length] = content[offset : offset + length]
        target = MemoryVolume(bytearray(DIRT * size))
        restore(self.repository, backup_id, target, extents=inside, tuning=INLINE)
        assert same(target.content, expected)

    @precondition(lambda self: self.backups)
    @rule(pick=st.randoms(use_true_random=False))
    def restore_to_stream(self, pick: random.Random) -> None:
        backup_id, stream = self._pick(pick), io.BytesIO()
        restore_to_stream(self.repository, backup_id, stream, tuning=INLINE)
        assert same(stream.getvalue(), self.backups[backup_id])

    @rule(depth=st.sampled_from(list(Depth)))
    def verify(self, depth: Depth) -> None:
        found = verify(self.repository, depth=depth, tuning=INLINE)
        assert (found.losses, found.backup_count) == ((), len(self.backups))

    @invariant()
    def lists_what_the_model_holds(self) -> None:
        listed = {done.id: done.size_bytes for done in self.repository.backups()}
        assert listed == {key: len(content) for key, content in self.backups.items()}
        assert self.scene.listed("sessions/") == []

    def _put(self, offset: int, data: bytes) -> None:
        offset %= len(self.content)
        part = data[: len(self.content) - offset]
        self.content[offset : offset + len(part)] = part

    def _pick(self, pick: random.Random) -> str:
        return pick.choice(list(self.backups))

    def _back_up(self, base: str | None, tuning: Tuning, holes: bool) -> None:
        rows = _holes(self.content) if holes else empty_extents()
        volume = MemoryVolume(bytearray(self.content), holes=rows)
        done = back_up(self.repository, volume, base=base, tuning=tuning)
        assert done.is_incremental == (base is not None and bool(self.backups))
        assert done.new_bytes <= len(self.content)
        self.backups[done.id] = bytes(self.content)


def _holes(content: bytearray) -> Extents:
    """Return every run of chunks of zeros as a hole."""
    zero = ~nonzero_chunks(np.frombuffer(bytes(content), np.uint8), CHUNK)
    return clip_extents(extents_of_cells(zero, CHUNK, 0), 0, len(content))


FEW = settings(
    max_examples=80,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
MANY = settings(FEW, max_examples=1500, stateful_step_count=50)


def test_a_few_sequences_agree_with_the_model() -> None:
    run_state_machine_as_test(Backups, settings=FEW)


@pytest.mark.long
def test_many_sequences_agree_with_the_model() -> None:
    run_state_machine_as_test(Backups, settings=MANY)


def test_thirty_generations_restore_in_any_order_while_others_are_deleted() -> None:
    scene, pick = Scene(), random.Random(7)
    content, kept = bytearray(2 * LEAF_LENGTH), dict[str, bytes]()
    with scene.open() as repository:
        for generation in range(30):
            for _ in range(4):
                at = pick.randrange(len(content) - 3 * CHUNK)
                content[at : at + 3 * CHUNK] = noise(generation % 7, 3 * CHUNK)
            kept[back_up(repository, MemoryVolume(bytearray(content))).id] = bytes(content)
            if len(kept) > 8:
                victim = pick.choice(list(kept))
                delete(repository, victim)
                del kept[victim]
    scene.check(kept)


def test_new_bytes_of_an_incremental_are_the_chunks_that_changed() -> None:
    scene, content = Scene(), bytearray(noise(1, 40 * CHUNK))
    with scene.open() as repository:
        back_up(repository, MemoryVolume(bytearray(content)))
        changed = [3, 4, 17, 39]
        for cell in changed:
            content[cell * CHUNK] ^= 1
        done = back_up(repository, MemoryVolume(bytearray(content)))
        assert done.new_bytes == len(changed) * CHUNK
