"""Whatever target and backup hold, the target becomes the backup by the changes foretold."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from backupcore.extents import as_extents, clip_extents, total_length
from backupcore.operation.restore import Restored, compare, restore_in_place
from backupcore.volume.memory import MemoryVolume
from tests.operation.scene import CHUNK, INLINE, Scene, back_up, noise

CELL_COUNT = 9
CHUNKS = [bytes(CHUNK), *(noise(seed, CHUNK) for seed in range(3))]

cells = st.lists(st.integers(0, 3), min_size=CELL_COUNT, max_size=CELL_COUNT)
rows = st.lists(
    st.tuples(st.integers(0, CELL_COUNT * CHUNK), st.integers(0, 3 * CHUNK)), max_size=3
)


def differing(content: bytes, target: bytes, extents: list[tuple[int, int]]) -> Restored:
    """Return what a restore must tell, found cell by cell."""
    written = zeroed = 0
    wanted = as_extents(extents)
    for start in range(0, len(content), CHUNK):
        cell = content[start : start + CHUNK]
        touched = total_length(clip_extents(wanted, start, len(cell)))
        if cell != target[start : start + len(cell)]:
            written += touched * any(cell)
            zeroed += touched * (not any(cell))
    total = total_length(wanted)
    return Restored("", total, written, zeroed, total - written - zeroed, 0, 0.0)  # type: ignore[arg-type]


@given(cells, cells, st.integers(1, CHUNK), st.sampled_from([0, 1, CHUNK]), st.none() | rows)
@settings(max_examples=150, deadline=None)
def test_the_target_becomes_the_backup_where_it_is_wanted(
    source: list[int],
    held: list[int],
    tail: int,
    excess: int,
    extents: list[tuple[int, int]] | None,
) -> None:
    size = (CELL_COUNT - 1) * CHUNK + tail
    content = b"".join(CHUNKS[cell] for cell in source)[:size]
    before = (b"".join(CHUNKS[cell] for cell in held) + CHUNKS[1])[: size + excess]
    if extents is not None:
        extents = [
            (min(start, size), min(length, max(0, size - start))) for start, length in extents
        ]
    rows = [(0, size)] if extents is None else extents
    expected = bytearray(before)
    for start, length in rows:
        expected[start : start + length] = content[start : start + length]
    scene, target = Scene(), MemoryVolume(before)
    with scene.open() as repository:
        back_up(repository, MemoryVolume(content))
        found = compare(repository, "latest", target, extents=extents, tuning=INLINE)
        assert target.content == before
        done = restore_in_place(repository, "latest", target, extents=extents, tuning=INLINE)
    assert target.content == expected
    told = differing(content, before, rows)
    for one in ("written_bytes", "zeroed_bytes", "equal_bytes", "restored_bytes"):
        assert getattr(done, one) == getattr(told, one)
    assert (found.to_write_bytes, found.to_zero_bytes) == (done.written_bytes, done.zeroed_bytes)
    assert (found.compared_bytes, found.equal_bytes) == (done.restored_bytes, done.equal_bytes)
