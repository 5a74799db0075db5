"""What a tomb names is never referenced anew, and what it held is read from the volume again."""

from __future__ import annotations

import pytest

from backupcore.model import PackId
from backupcore.operation.restore import restore
from backupcore.repository import Repository
from backupcore.repository.session import condemn
from backupcore.volume import Volume
from backupcore.volume.memory import MemoryVolume
from tests.operation.scene import (
    CHUNK,
    LEAF_LENGTH,
    Scene,
    back_up,
    chunks,
    noise,
    packs_of,
    restored,
    same,
)
from tests.operation.volumes import SparseVolume

WINDOW_CELLS = 1024 * 1024  # cells below a node of level 1


def two_leaves() -> MemoryVolume:
    """Return a volume of two leaves with chunks at both ends; its first pack holds twelve."""
    content = bytearray(2 * LEAF_LENGTH)
    content[: 16 * CHUNK] = chunks(*range(1, 17))
    content[-3 * CHUNK :] = chunks(20, 21, 22)
    return MemoryVolume(content)


def condemn_packs(repository: Repository, keys: set[str]) -> None:
    condemn(repository.driver, repository.runtime, map(PackId, keys))


def destroy(scene: Scene, keys: set[str]) -> None:
    scene.driver.delete(keys)


def kind(keys: set[str], folder: str) -> set[str]:
    return {key for key in keys if key.startswith(f"{folder}/")}


def test_a_backup_reaches_no_condemned_data_pack() -> None:
    scene, volume = Scene(), two_leaves()
    with scene.open() as repository:
        base = back_up(repository, volume)
        lost = {min(kind(packs_of(repository, base.id), "data"))}
        condemn_packs(repository, lost)
        done = back_up(repository, volume)
        assert not packs_of(repository, done.id) & lost


def test_only_the_cells_in_condemned_packs_are_stored_again() -> None:
    scene, volume = Scene(), two_leaves()
    with scene.open() as repository:
        base = back_up(repository, volume)
        condemn_packs(repository, {min(kind(packs_of(repository, base.id), "data"))})
        done = back_up(repository, volume)
        assert (done.base_id, done.new_bytes) == (base.id, 12 * CHUNK)


def test_a_backup_is_whole_without_the_packs_condemned_before_it() -> None:
    scene, volume = Scene(), two_leaves()
    with scene.open() as repository:
        base = back_up(repository, volume)
        lost = packs_of(repository, base.id)
        condemn_packs(repository, lost)
        done = back_up(repository, volume)
        destroy(scene, lost)
        assert same(restored(repository, done.id), volume.content)


def test_the_backup_whose_packs_are_condemned_goes_on_working() -> None:
    scene, volume = Scene(), two_leaves()
    with scene.open() as repository:
        base = back_up(repository, volume)
        condemn_packs(repository, packs_of(repository, base.id))
        before = bytes(volume.content)
        volume.write(0, noise(99, CHUNK))
        done = back_up(repository, volume)
    scene.check({base.id: before, done.id: bytes(volume.content)})


def test_a_condemned_map_pack_alone_stores_no_chunk_again() -> None:
    scene, volume = Scene(), two_leaves()
    with scene.open() as repository:
        base = back_up(repository, volume)
        lost = kind(packs_of(repository, base.id), "map")
        condemn_packs(repository, lost)
        done = back_up(repository, volume)
        destroy(scene, lost)
        assert (done.new_bytes, restored(repository, done.id)) == (0, bytes(volume.content))


def test_a_condemned_pack_of_the_only_leaf_is_not_inherited() -> None:
    scene, volume = Scene(), MemoryVolume(chunks(1, 2, 3))
    with scene.open() as repository:
        base = back_up(repository, volume)
        lost = kind(packs_of(repository, base.id), "map")
        condemn_packs(repository, lost)
        done = back_up(repository, volume)
        assert not packs_of(repository, done.id) & lost


def test_a_condemned_pack_of_another_volume_changes_nothing() -> None:
    scene = Scene()
    with scene.open() as repository:
        other = back_up(repository, MemoryVolume(chunks(7), name="other"))
        volume = two_leaves()
        base = back_up(repository, volume)
        condemn_packs(repository, packs_of(repository, other.id))
        done = back_up(repository, volume)
        assert packs_of(repository, done.id) == packs_of(repository, base.id)


def test_two_tombs_count_together() -> None:
    scene, volume = Scene(), two_leaves()
    with scene.open() as repository:
        base = back_up(repository, volume)
        lost = packs_of(repository, base.id)
        for key in lost:
            condemn_packs(repository, {key})
        done = back_up(repository, volume)
        assert not packs_of(repository, done.id) & lost


def test_a_condemned_node_is_not_inherited_though_every_leaf_below_it_is() -> None:
    scene = Scene()
    far = 2 * WINDOW_CELLS
    volume = SparseVolume(
        3 * WINDOW_CELLS * CHUNK, {far: noise(1, CHUNK), far + 2048: noise(2, CHUNK)}
    )
    with scene.open() as repository:
        first = back_up(repository, volume)
        del volume.cells[far + 2048]  # the leaf goes, so that only nodes are written
        second = back_up(repository, volume)
        lost = kind(packs_of(repository, second.id) - packs_of(repository, first.id), "map")
        condemn_packs(repository, lost)
        done = back_up(repository, volume)
        assert lost
        assert not packs_of(repository, done.id) & lost


@pytest.mark.parametrize("window", [0, 1, 2])
def test_every_kind_of_map_item_may_be_condemned(window: int) -> None:
    """Each backup puts one leaf and the nodes above it into a map pack of its own."""
    scene, volume = Scene(), SparseVolume(3 * WINDOW_CELLS * CHUNK, {0: noise(1, CHUNK)})
    with scene.open() as repository:
        ids = []
        for cell in (WINDOW_CELLS - 1, WINDOW_CELLS, 2 * WINDOW_CELLS):
            volume.cells[cell] = noise(cell, CHUNK)
            ids.append(back_up(repository, volume).id)
        lost = set(scene.listed(f"map/{session_of(repository, ids[window])}/"))
        condemn_packs(repository, lost)
        done = back_up(repository, volume)
        destroy(scene, lost)
        assert cells_of_backup(repository, done.id, volume) == volume.cells


def session_of(repository: Repository, backup_id: str) -> str:
    history = repository.history(backup_id)
    register = repository.registers.state(history)
    assert register is not None
    return register.decision.session_id


def cells_of_backup(repository: Repository, backup_id: str, like: Volume) -> dict[int, bytes]:
    target = SparseVolume(like.size_bytes, {})
    restore(repository, backup_id, target)
    return target.cells
