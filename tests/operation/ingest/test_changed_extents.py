from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backupcore.driver import Role
from backupcore.errors import Refused
from backupcore.extents import Extents, as_extents, empty_extents, total_length
from backupcore.model import Backup, Grid, Hint
from backupcore.operation.backup import BackupRequest, backup
from backupcore.operation.ingest.sample import Sample
from backupcore.operation.verify import Depth, verify
from backupcore.repository import Repository
from backupcore.repository.key import DATA
from backupcore.repository.map import FAN_OUT
from backupcore.units import GIB, KIB, MIB, TIB
from backupcore.volume.hint import ChangedExtents
from backupcore.volume.memory import MemoryVolume
from backupcore.volume.synthetic import SyntheticSpec, SyntheticVolume
from tests.operation.scene import (
    CHUNK,
    INLINE,
    LEAF_LENGTH,
    THREADS,
    Recording,
    Scene,
    noise,
    packs_of,
    restored,
    same,
)

LEAF_COUNT = 3
NOTHING_ELSE: dict[str, Any] = {"volume_id": None, "size_bytes": None}


def volume_with(cells: dict[int, int], size_bytes: int = LEAF_COUNT * LEAF_LENGTH) -> MemoryVolume:
    """A volume whose cells hold the noise of a seed each; the others are zero, not holes."""
    content = bytearray(size_bytes)
    for cell, seed in cells.items():
        part = noise(seed, CHUNK)[: max(0, size_bytes - cell * CHUNK)]
        content[cell * CHUNK : cell * CHUNK + len(part)] = part
    return MemoryVolume(content)


def changed(extents: Extents, since: str | None, **facts: Any) -> ChangedExtents:
    return ChangedExtents(
        extents=extents, since=since, **{"volume_id": None, "size_bytes": None, **facts}
    )


def of_cells(*cells: int) -> Extents:
    return as_extents([(cell * CHUNK, CHUNK) for cell in cells])


def hinted(
    repository: Repository,
    volume: MemoryVolume,
    hint: ChangedExtents,
    *,
    base: str | None = "latest",
    **facts: Any,
) -> Backup:
    request = BackupRequest(changed=hint, **facts)
    return backup(volume, repository, base=base, request=request, tuning=INLINE)


def plain(repository: Repository, volume: MemoryVolume, **facts: Any) -> Backup:
    return backup(volume, repository, request=BackupRequest(**facts), tuning=INLINE)


SPREAD = {cell: cell for cell in range(0, LEAF_COUNT * FAN_OUT, 7)}


def test_only_what_is_said_to_have_changed_is_read() -> None:
    scene = Scene()
    with scene.open() as repository:
        first = plain(repository, volume_with(SPREAD))
        volume = volume_with({**SPREAD, 5: 1, 700: 2, 2100: 3})
        hint = changed(of_cells(5, 700, 2100), first.id)
        second = hinted(repository, volume, hint, rewrite_share=0)
        assert second.hint is Hint.USED
        assert second.sums.read_bytes == 3 * CHUNK
        assert second.new_bytes == 2 * CHUNK + CHUNK
        assert same(restored(repository, second.id), volume.content)
    scene.check_sound()


def test_a_hint_of_part_of_a_cell_reads_the_cell() -> None:
    scene = Scene()
    with scene.open() as repository:
        first = plain(repository, volume_with(SPREAD))
        volume = volume_with({**SPREAD, 8: 1})
        hint = changed(as_extents([(8 * CHUNK + 100, 1)]), first.id)
        second = hinted(repository, volume, hint, rewrite_share=0)
        assert second.sums.read_bytes == CHUNK
        assert same(restored(repository, second.id), volume.content)


def test_a_hint_that_nothing_changed_stores_no_map() -> None:
    scene = Scene()
    with scene.open() as repository:
        first = plain(repository, volume_with(SPREAD))
        before = scene.listed("maps/")
        second = hinted(repository, volume_with(SPREAD), changed(empty_extents(), first.id))
        assert second.sums.read_bytes == 0
        assert scene.listed("maps/") == before
        assert same(restored(repository, second.id), volume_with(SPREAD).content)


CELLS = st.integers(0, LEAF_COUNT * FAN_OUT - 1)
SIZES = st.one_of(
    st.integers(1, LEAF_COUNT * FAN_OUT).map(lambda count: count * CHUNK),
    st.integers(1, LEAF_COUNT * LEAF_LENGTH),
    st.sampled_from([1, CHUNK + 1, LEAF_LENGTH, LEAF_LENGTH + 1, 2 * LEAF_LENGTH]),
)


@settings(max_examples=60, deadline=None)
@given(
    before=st.dictionaries(CELLS, st.integers(0, 99), max_size=30),
    after=st.dictionaries(CELLS, st.one_of(st.none(), st.integers(100, 199)), max_size=30),
    sizes=st.tuples(SIZES, SIZES),
    surplus=st.lists(CELLS, max_size=5),
    share=st.sampled_from([0.0, 0.05, 1.0]),
)
def test_a_hinted_backup_restores_to_its_volume_whatever_changed_and_however_long_it_is(
    before: dict[int, int],
    after: dict[int, int | None],
    sizes: tuple[int, int],
    surplus: list[int],
    share: float,
) -> None:
    scene = Scene()
    now = {**before, **after}
    volume = volume_with({c: seed for c, seed in now.items() if seed is not None}, sizes[1])
    with scene.open() as repository:
        first = plain(repository, volume_with(before, sizes[0]))
        hint = changed(of_cells(*after, *surplus), first.id)
        second = hinted(repository, volume, hint, rewrite_share=share)
        third = hinted(repository, volume, changed(empty_extents(), second.id))
        assert second.hint is Hint.USED
        assert same(restored(repository, second.id), volume.content)
        assert same(restored(repository, third.id), volume.content)
    scene.check_sound()


def test_a_hint_that_lies_is_refuted_and_everything_is_read() -> None:
    scene = Scene()
    with scene.open() as repository:
        first = plain(repository, volume_with(SPREAD))
        volume = volume_with({cell: seed + 10_000 for cell, seed in SPREAD.items()})
        second = hinted(repository, volume, changed(of_cells(0), first.id))
        assert second.hint is Hint.REFUTED
        assert second.sums.read_bytes == len(volume.content)
        assert same(restored(repository, second.id), volume.content)
        assert repository.find_backup(second.id).hint is Hint.REFUTED


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"since": None}, "since when"),
        ({"since": "nobody"}, "no backup of volume"),
        ({"volume_id": "another"}, "of volume 'another'"),
        ({"size_bytes": 4096}, "of 4096 bytes"),
    ],
)
def test_a_hint_that_does_not_match_is_refused(facts: dict[str, Any], reason: str) -> None:
    scene = Scene()
    with scene.open() as repository:
        first = plain(repository, volume_with(SPREAD))
        hint = replace(changed(empty_extents(), first.id), **facts)
        with pytest.raises(Refused, match=reason):
            hinted(repository, volume_with(SPREAD), hint)
        assert [done.id for done in repository.backups()] == [first.id]


def test_a_hint_for_a_full_backup_is_refused() -> None:
    with Scene().open() as repository, pytest.raises(Refused, match="full backup"):
        hinted(repository, volume_with({}), changed(empty_extents(), "x"), base=None)


def test_a_hint_for_another_base_than_the_one_asked_for_is_refused() -> None:
    with Scene().open() as repository:
        first = plain(repository, volume_with({}))
        second = plain(repository, volume_with({1: 1}))
        hint = changed(of_cells(1), first.id)
        with pytest.raises(Refused, match="since backup"):
            hinted(repository, volume_with({1: 1}), hint, base=second.id)
        assert hinted(repository, volume_with({1: 1}), hint, base=first.id).base_id == first.id


def test_since_may_be_a_generation_and_the_newest_backup_with_it_is_the_base() -> None:
    with Scene().open() as repository:
        plain(repository, volume_with({1: 1}), generation="tuesday")
        second = plain(repository, volume_with({1: 2}), generation="tuesday")
        plain(repository, volume_with({1: 3}), generation="wednesday")
        done = hinted(repository, volume_with({1: 2}), changed(empty_extents(), "tuesday"))
        assert done.base_id == second.id
        assert same(restored(repository, done.id), volume_with({1: 2}).content)


@pytest.mark.parametrize("since", ["latest", "beginning"])
def test_since_is_never_the_beginning_of_an_id_nor_a_word(since: str) -> None:
    with Scene().open() as repository:
        first = plain(repository, volume_with({1: 1}))
        name = first.id[:8] if since == "beginning" else since
        with pytest.raises(Refused, match="no backup of volume"):
            hinted(repository, volume_with({1: 1}), changed(empty_extents(), name))


@pytest.mark.parametrize("share", [float("nan"), float("inf"), -0.1, 7])
def test_a_share_to_be_stored_again_is_from_none_to_all(share: float) -> None:
    with pytest.raises(Refused, match="share is from 0 to 1"):
        BackupRequest(rewrite_share=share)


def test_a_base_of_another_chunk_size_makes_the_hint_useless_and_all_is_read() -> None:
    with Scene().open() as repository:
        first = plain(repository, volume_with(SPREAD), grid=Grid(2 * CHUNK, 8 * CHUNK))
        done = hinted(repository, volume_with({3: 3}), changed(empty_extents(), first.id))
        assert (done.base_id, done.hint) == (None, None)
        assert same(restored(repository, done.id), volume_with({3: 3}).content)


class Tracking(MemoryVolume):
    """A volume that says by itself what changed."""

    tracked: ChangedExtents | None = None

    def tracked_changes(self) -> ChangedExtents | None:
        return self.tracked


def test_what_a_volume_tracks_is_used_when_its_base_is_there() -> None:
    with Scene().open() as repository:
        volume = Tracking(volume_with(SPREAD).content)
        volume.tracked = changed(of_cells(7), "monday")
        first = plain(repository, volume, generation="monday")
        assert (first.hint, first.sums.read_bytes) == (None, len(volume.content))
        second = plain(repository, volume, rewrite_share=0)
        assert (second.hint, second.sums.read_bytes) == (Hint.USED, CHUNK)


def test_what_a_volume_tracks_is_not_used_against_the_base_that_was_asked_for() -> None:
    with Scene().open() as repository:
        volume = Tracking(volume_with(SPREAD).content)
        plain(repository, volume, generation="monday")
        second = plain(repository, volume)
        volume.tracked = changed(of_cells(7), "monday")
        third = backup(volume, repository, base=second.id, tuning=INLINE)
        assert (third.base_id, third.hint) == (second.id, None)


def test_cells_in_condemned_packs_are_read_though_nobody_says_they_changed() -> None:
    scene = Scene()
    with scene.open() as repository:
        first = plain(repository, volume_with(SPREAD))
    key = scene.listed(f"{DATA.folder}/")[0]
    broken = bytearray(scene.driver.get(key))
    broken[len(broken) // 2] ^= 1
    scene.driver.put(key, [bytes(broken)], role=Role.DATA)
    with scene.open() as repository:
        verify(repository, depth=Depth.DATA, condemn_damaged=True, tuning=INLINE)
        second = hinted(repository, volume_with(SPREAD), changed(empty_extents(), first.id))
        assert second.sums.read_bytes > 0
        assert key not in packs_of(repository, second.id)
        assert same(restored(repository, second.id), volume_with(SPREAD).content)


def test_threads_and_none_read_the_same() -> None:
    done: list[tuple[int, int]] = []
    for tuning in (INLINE, THREADS):
        with Scene().open() as repository:
            first = plain(repository, volume_with(SPREAD))
            volume = volume_with({**SPREAD, 5: 1, 2100: 3})
            request = BackupRequest(changed=changed(of_cells(5, 2100), first.id))
            second = backup(volume, repository, request=request, tuning=tuning)
            assert same(restored(repository, second.id), volume.content)
            done.append((second.sums.read_bytes, second.new_bytes))
    assert done[0] == done[1]


def days_of_churn(share: float) -> tuple[Scene, Backup]:
    """Forty hinted days of a few cells each."""
    scene, chance = Scene(), random.Random(5)
    cells = {cell: cell for cell in range(FAN_OUT)}
    tuning = replace(INLINE, pack_size_bytes=4 * MIB)
    volume = volume_with(cells, LEAF_LENGTH)
    with scene.open() as repository:
        done = backup(volume, repository, tuning=tuning)
        for day in range(1, 40):
            start = chance.randrange(FAN_OUT - 8)
            touched = [start + step for step in range(0, 8, 3)]
            cells |= {cell: 5000 * day + cell for cell in touched}
            volume = volume_with(cells, LEAF_LENGTH)
            hint = changed(of_cells(*touched), done.id)
            request = BackupRequest(changed=hint, rewrite_share=share)
            done = backup(volume, repository, request=request, tuning=tuning)
            assert done.new_bytes <= len(touched) * CHUNK + share * LEAF_LENGTH
        assert same(restored(repository, done.id), volume.content)
    return scene, done


def test_what_lies_scattered_is_stored_again_within_the_share() -> None:
    scene, done = days_of_churn(0.05)
    loose, last = days_of_churn(0.0)
    with scene.open() as repository, loose.open() as other:
        assert len(packs_of(repository, done.id)) < len(packs_of(other, last.id)) / 4


def test_a_hinted_backup_of_a_huge_volume_calls_the_store_seldom() -> None:
    def calls(size_bytes: int) -> int:
        spec = SyntheticSpec(size_bytes=size_bytes, seed=3, data_bytes=16 * MIB, extent_count=8)
        scene = Scene(grid=Grid(32 * KIB, MIB))
        with scene.open() as repository:
            first = backup(SyntheticVolume(spec), repository, tuning=INLINE)
            recording = Recording(scene.driver)
        later = SyntheticVolume(replace(spec, generation=1, changed=0.5))
        extents = later.changed_extents(0, 0, size_bytes)
        with scene.open(driver=recording) as repository:
            request = BackupRequest(volume_id=first.volume_id, changed=changed(extents, first.id))
            done = backup(later, repository, request=request, tuning=INLINE)
        assert done.hint is Hint.USED
        assert done.sums.read_bytes <= total_length(extents) + 16 * 32 * KIB
        return len(recording.calls)

    assert calls(TIB) <= calls(16 * GIB) + 60


@pytest.mark.parametrize("seed", range(5))
def test_a_sample_takes_one_in_a_hundred_of_the_cells_that_are_inherited(seed: int) -> None:
    scene = Scene()
    cells = {cell: cell for cell in range(0, LEAF_COUNT * FAN_OUT, 2)}
    with scene.open() as repository:
        first = plain(repository, volume_with(cells))
        manifest = repository.manifest(first.id)
        reads = as_extents([(0, LEAF_LENGTH)])
        tree = repository.tree(manifest)
        sample = Sample(tree, reads, manifest.backup.grid, first.size_bytes, seed)
        drawn = list(sample.draw())
        leaves = {cell // FAN_OUT for cell, _ in drawn}
        assert len(drawn) == -(-len(cells) // 100)
        assert leaves == {1, 2}
        assert {cell for cell, _ in drawn} <= set(cells)
        for cell, name in drawn:
            leaf = tree.leaf(cell // FAN_OUT)
            assert leaf is not None
            rank = int(leaf.present[: cell % FAN_OUT].sum())
            assert leaf.ids[rank].tobytes() == name
        assert drawn == list(sample.draw())


def test_a_sample_of_nothing_is_empty() -> None:
    with Scene().open() as repository:
        first = plain(repository, volume_with({}))
        tree = repository.tree(repository.manifest(first.id))
        sample = Sample(tree, empty_extents(), Grid(CHUNK, 4 * CHUNK), first.size_bytes, 1)
        assert list(sample.draw()) == []


def test_a_list_given_as_an_array_needs_no_object_of_ours() -> None:
    with Scene().open() as repository:
        first = plain(repository, volume_with(SPREAD))
        rows = np.array([[0, 4096]], np.int64)
        done = hinted(repository, volume_with(SPREAD), ChangedExtents(rows, first.id, None, None))
        assert done.hint is Hint.USED
