"""Pictures are exact: whatever the layout, bucket by bucket, they say what the volumes hold."""

from __future__ import annotations

import threading
import tracemalloc
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backupcore.config import Tuning
from backupcore.errors import BackupMissing, MapDamaged, Refused, SourceError, Stopped
from backupcore.model import Grid, Progress
from backupcore.operation.backup import BackupRequest, backup
from backupcore.operation.delete import delete
from backupcore.operation.picture import BUCKET_COUNT_MAX, Picture, depict
from backupcore.repository import Repository
from backupcore.repository.manifest import State
from backupcore.repository.map import FAN_OUT
from backupcore.units import MIB, TIB
from backupcore.volume.memory import MemoryVolume
from backupcore.volume.synthetic import SyntheticSpec, SyntheticVolume
from tests.operation.scene import CHUNK, INLINE, LEAF_LENGTH, Recording, Scene, back_up, chunks
from tests.operation.volumes import SparseVolume, WatchedVolume, failing_at

Buckets = npt.NDArray[np.int64]


def cells_of_bytes(content: bytes | bytearray, chunk: int = CHUNK) -> dict[int, bytes]:
    return {at // chunk: bytes(content[at : at + chunk]) for at in range(0, len(content), chunk)}


def naive(
    cells: Mapping[int, bytes],
    base: Mapping[int, bytes],
    size_bytes: int,
    offsets: Buckets,
    chunk: int = CHUNK,
) -> Buckets:
    """Return the buckets, cell after cell: inherited is what the base has in the same place."""
    edges = offsets.tolist()
    found = np.zeros((len(edges) - 1, 3), np.int64)
    for bucket, (start, end) in enumerate(pairwise(edges)):
        found[bucket, 2] = max(0, min(end, size_bytes) - start)
        for cell in cells:
            inside = min(end, size_bytes, (cell + 1) * chunk) - max(start, cell * chunk)
            if inside > 0 and any(cells[cell]):
                kind = int(base.get(cell) == cells[cell])
                found[bucket, kind] += inside
                found[bucket, 2] -= inside
    return found


def clipped(cells: Mapping[int, bytes], size_bytes: int) -> dict[int, bytes]:
    """Return the cells that lie in a volume, the last one as long as it is."""
    return {
        cell: content[: size_bytes - cell * CHUNK]
        for cell, content in cells.items()
        if cell * CHUNK < size_bytes
    }


def pictures(repository: Repository, bucket_count: int) -> tuple[Picture, Picture]:
    """Return both pictures of the latest backup."""
    latest, before = depict(repository, "latest", bucket_count=bucket_count)
    assert before is not None
    return latest, before


# Around the edges of leaves, and in volumes of one, two and three levels.
CELLS = st.one_of(
    st.integers(0, 12),
    st.integers(FAN_OUT - 3, FAN_OUT + 3),
    st.integers(0, 5 * FAN_OUT),
    st.integers(FAN_OUT * FAN_OUT - 3, FAN_OUT * FAN_OUT + 3 * FAN_OUT),
)
CONTENTS = st.dictionaries(CELLS, st.integers(0, 3), max_size=25)
SIZES = st.builds(
    lambda cell, tail: cell * CHUNK + tail * 512,
    CELLS.map(lambda cell: cell + 1),
    st.integers(0, 7),
)


def written(seeds: Mapping[int, int]) -> dict[int, bytes]:
    return {cell: bytes(chunks(seed or None)) for cell, seed in seeds.items()}


def sparse(size_bytes: int, cells: Mapping[int, bytes]) -> SparseVolume:
    padded = {cell: content.ljust(CHUNK, b"\0") for cell, content in cells.items()}
    return SparseVolume(size_bytes, padded)


@settings(max_examples=80, deadline=None)
@given(
    first=CONTENTS, changed=CONTENTS, sizes=st.tuples(SIZES, SIZES), bucket_count=st.integers(1, 90)
)
def test_every_bucket_holds_what_its_cells_do(
    first: dict[int, int], changed: dict[int, int], sizes: tuple[int, int], bucket_count: int
) -> None:
    old = clipped(written(first), sizes[0])
    new = clipped(written(first) | written(changed), sizes[1])
    with Scene().open() as repository:
        back_up(repository, sparse(sizes[0], old))
        done = back_up(repository, sparse(sizes[1], new))
        latest, before = pictures(repository, bucket_count)
    assert np.array_equal(latest.buckets, naive(new, old, sizes[1], latest.offsets))
    assert np.array_equal(before.buckets, naive(old, {}, sizes[0], before.offsets))
    assert sum(latest.totals[:2]) == done.data_bytes
    assert sum(latest.totals) == sizes[1]


@settings(max_examples=100, deadline=None)
@given(size_bytes=SIZES, bucket_count=st.integers(1, 5000))
def test_buckets_are_whole_cells_and_reach_the_end(size_bytes: int, bucket_count: int) -> None:
    with Scene().open() as repository:
        back_up(repository, SparseVolume(size_bytes, {}))
        latest, _ = depict(repository, "latest", bucket_count=bucket_count)
    lengths = np.diff(latest.offsets)
    assert len(lengths) == min(bucket_count, -(-size_bytes // CHUNK))
    assert (latest.offsets[0], latest.offsets[-1]) == (0, size_bytes)
    assert not (latest.offsets[:-1] % CHUNK).any()
    inner = lengths[:-1].tolist() or [0]  # the last one ends with the volume
    assert max(inner) <= min(inner) * 33 // 32 + CHUNK


def test_a_backup_with_other_chunks_has_the_same_buckets() -> None:
    content = chunks(1, None, 3, 4, None, None, 7)
    with Scene().open() as repository:
        back_up(repository, MemoryVolume(content))
        request = BackupRequest(grid=Grid(2 * CHUNK, 4 * CHUNK))
        backup(MemoryVolume(content), repository, request=request, tuning=INLINE)
        coarse, fine = pictures(repository, 100)
        back_up(repository, MemoryVolume(content))
        again, split = pictures(repository, 100)
    cells, pairs = cells_of_bytes(content), cells_of_bytes(content, 2 * CHUNK)
    expected = naive(pairs, {}, len(content), split.offsets, 2 * CHUNK)
    assert (len(coarse.buckets), len(again.buckets)) == (4, 7)
    assert np.array_equal(fine.buckets, naive(cells, {}, len(content), fine.offsets))
    assert np.array_equal(split.buckets, expected)


def test_the_sums_are_those_of_the_manifest() -> None:
    with Scene().open() as repository:
        content = chunks(*range(40), *[None] * 10)[:-100]
        back_up(repository, MemoryVolume(content))
        content[: 3 * CHUNK] = chunks(101, 102, None)
        done = back_up(repository, MemoryVolume(content))
        latest, _ = depict(repository, done.id, bucket_count=7)
    new, inherited, zero = latest.totals
    assert new == done.new_bytes == 2 * CHUNK
    assert (new + inherited, zero) == (done.data_bytes, done.sums.zero_bytes)


def test_a_chunk_that_repeats_is_new_wherever_it_is() -> None:
    with Scene().open() as repository:
        done = back_up(repository, MemoryVolume(chunks(1, 1, 1)))
        latest, _ = depict(repository, done.id)
    assert (done.new_bytes, latest.totals) == (CHUNK, (3 * CHUNK, 0, 0))


def test_what_a_stopped_attempt_had_stored_is_new() -> None:
    scene, content = Scene(), chunks(*range(200))
    with scene.open() as repository:
        volume = WatchedVolume(content, failing_at(150 * CHUNK))
        with pytest.raises(SourceError):
            back_up(repository, volume)
    with scene.open() as repository:
        done = back_up(repository, MemoryVolume(content, name=volume.name))
        latest, before = depict(repository, done.id)
    assert done.new_bytes < len(content)
    assert (latest.totals, before) == ((len(content), 0, 0), None)


def test_the_backup_before_is_the_last_one_of_the_volume_that_is_there() -> None:
    with Scene().open() as repository:
        first, second, third = (
            back_up(repository, MemoryVolume(chunks(number), name="a")).id for number in range(3)
        )
        back_up(repository, MemoryVolume(chunks(9), name="b"))
        back_up(repository, MemoryVolume(chunks(8), name="a"))
        found = {
            chosen: before.backup.id if before else None
            for chosen in (first, second, third)
            for _, before in [depict(repository, chosen)]
        }
        delete(repository, second)
        _, skipped = depict(repository, third)
    assert found == {first: None, second: first, third: second}
    assert skipped is not None
    assert skipped.backup.id == first


def test_a_volume_without_bytes_has_no_buckets() -> None:
    with Scene().open() as repository:
        back_up(repository, MemoryVolume(b""))
        latest, _ = depict(repository, "latest")
    assert (latest.buckets.shape, latest.totals) == ((0, 3), (0, 0, 0))


@pytest.mark.parametrize("bucket_count", [0, BUCKET_COUNT_MAX + 1])
def test_a_picture_without_buckets_or_with_too_many_is_refused(bucket_count: int) -> None:
    with Scene().open() as repository:
        back_up(repository, MemoryVolume(chunks(1)))
        with pytest.raises(Refused, match="buckets"):
            depict(repository, "latest", bucket_count=bucket_count)


def test_a_deleted_backup_has_no_picture() -> None:
    with Scene().open() as repository:
        done = back_up(repository, MemoryVolume(chunks(1)))
        delete(repository, done.id)
        with pytest.raises(BackupMissing):
            depict(repository, done.id)


def map_gets(recording: Recording) -> int:
    return recording.folders("get").count(("get", "map"))


def full_and_changed(scene: Scene, changed_cells: Iterable[int]) -> Recording:
    """Store 4 leaves full of data, then some changed cells; return a fresh recording."""
    content = chunks(*range(32)) * 128
    with scene.open() as repository:
        back_up(repository, MemoryVolume(content))
        for cell in changed_cells:
            content[cell * CHUNK : (cell + 1) * CHUNK] = chunks(1000 + cell)
        back_up(repository, MemoryVolume(content))
    return Recording(scene.driver)


def test_a_subtree_full_of_inherited_data_is_not_opened() -> None:
    scene = Scene()
    recording = full_and_changed(scene, [])
    with scene.open(driver=recording) as repository:
        latest, before = pictures(repository, 7)
    assert latest.totals == (0, 4 * LEAF_LENGTH, 0)
    assert before.totals == (4 * LEAF_LENGTH, 0, 0)
    assert map_gets(recording) == 1  # the node of the backup before, whose packs are all its own


def test_a_leaf_that_fits_into_a_bucket_is_not_opened() -> None:
    scene, content = Scene(), (chunks(*range(32)) + bytes(32 * CHUNK)) * 64
    with scene.open() as repository:
        for _ in range(2):
            back_up(repository, MemoryVolume(content))
    recording = Recording(scene.driver)
    with scene.open(driver=recording) as repository:
        latest, before = pictures(repository, 4)
    half = LEAF_LENGTH // 2
    assert latest.buckets.tolist() == [[0, half, half]] * 4
    assert before.buckets.tolist() == [[half, 0, half]] * 4
    assert map_gets(recording) == 2  # the one node, for each picture


def test_only_leaves_that_mix_new_and_inherited_are_opened() -> None:
    scene = Scene()
    recording = full_and_changed(scene, [FAN_OUT + 5])
    with scene.open(driver=recording) as repository:
        latest, _ = pictures(repository, 7)
    assert latest.totals == (CHUNK, 4 * LEAF_LENGTH - CHUNK, 0)
    assert map_gets(recording) == 3


def test_a_volume_of_100_tib_is_depicted_with_few_calls_and_little_memory() -> None:
    scene, extent_count = Scene(grid=Grid()), 200
    spec = SyntheticSpec(
        100 * TIB, seed=1, data_bytes=16 * MIB, extent_count=extent_count, changed=0.1
    )
    tuning = Tuning()
    with scene.open() as repository:
        back_up(repository, SyntheticVolume(spec), tuning=tuning)
        changed = SyntheticVolume(replace(spec, generation=1))
        done = back_up(repository, changed, tuning=tuning)
    recording = Recording(scene.driver)
    tracemalloc.start()
    with scene.open(driver=recording) as repository:
        latest, before = pictures(repository, 560)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    new, inherited, zero = latest.totals
    assert (new, new + inherited) == (done.new_bytes, done.data_bytes)
    assert zero == 100 * TIB - done.data_bytes
    assert before.totals[1] == 0
    assert len(recording.calls) < 2 * 2 * extent_count + 20
    assert peak_bytes < 16 * MIB


def test_a_map_that_is_not_what_was_written_is_damage() -> None:
    scene = Scene()
    with scene.open() as repository:
        back_up(repository, MemoryVolume(chunks(*range(3), None)))
    [key] = scene.listed("map/")
    scene.driver.put(key, [bytes(len(scene.driver.get(key)))])
    with scene.open() as repository, pytest.raises(MapDamaged, match="not what was written"):
        depict(repository, "latest")


def test_a_map_that_is_missing_is_damage() -> None:
    scene = Scene()
    with scene.open() as repository:
        back_up(repository, MemoryVolume(chunks(*range(3), None)))
    [key] = scene.listed("map/")
    scene.driver.delete([key])
    with scene.open() as repository, pytest.raises(MapDamaged) as caught:
        depict(repository, "latest")
    assert caught.value.key == key


def test_a_row_that_counts_more_than_there_is_room_for_is_damage() -> None:
    with Scene().open() as repository:
        done = back_up(repository, MemoryVolume(chunks(*range(3))))
        history = repository.history(done.id)
        manifest = repository.manifest(done.id)
        assert manifest.root is not None
        manifest.root.row["logical_bytes"] = 4 * CHUNK
        facts = manifest.header(repository.domain().id_key)
        repository.registers.put(history.next, State.MANIFEST, "0" * 32, facts)
        with pytest.raises(MapDamaged, match="room"):
            depict(repository, done.id)


def test_an_earlier_backup_whose_register_is_damaged_is_left_out() -> None:
    scene = Scene()
    with scene.open() as repository:
        first, second, third = (
            back_up(repository, MemoryVolume(chunks(number))).id for number in range(3)
        )
        [key] = [key for key in scene.listed("backups/") if second in key]
        scene.driver.put(key, [b"x"])
        _, before = depict(repository, third)
    assert before is not None
    assert before.backup.id == first


def test_an_earlier_backup_whose_map_is_damaged_is_left_out() -> None:
    scene = Scene()
    with scene.open() as repository:
        back_up(repository, MemoryVolume(chunks(1)), base=None)
        [key] = scene.listed("map/")
        second = back_up(repository, MemoryVolume(chunks(2)), base=None)
        scene.driver.delete([key])
        picture, before = depict(repository, second.id)
    assert picture.backup.id == second.id
    assert before is None


def test_a_stop_ends_the_drawing() -> None:
    scene, stop = Scene(), threading.Event()
    full_and_changed(scene, [5])
    stop.set()
    with scene.open() as repository, pytest.raises(Stopped):
        depict(repository, "latest", stop=stop)


def test_progress_only_grows_and_ends_with_both_volumes() -> None:
    scene, told = Scene(), list[Progress]()
    full_and_changed(scene, [5, 2000])
    with scene.open() as repository:
        depict(repository, "latest", progress=told.append)
    done = [one.done_bytes for one in told]
    assert done == sorted(done)
    assert done[-1] == told[-1].total_bytes == 8 * LEAF_LENGTH
