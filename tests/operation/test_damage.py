"""Damaged and missing objects: told exactly, healed by the next backup, harmless to the rest."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest

from backupcore.errors import BackupError, Damaged, ManifestDamaged, MapDamaged, PackDamaged
from backupcore.operation.restore import restore
from backupcore.operation.verify import Depth, verify
from backupcore.volume.memory import MemoryVolume
from tests.operation.scene import (
    CHUNK,
    INLINE,
    LEAF_LENGTH,
    Scene,
    back_up,
    chunks,
    noise,
    restored,
    same,
)
from tests.operation.volumes import SparseVolume

Spoil = Callable[[Scene, str], None]


def flip(scene: Scene, key: str) -> None:
    """Flip a bit in the first frame's payload."""
    data, modified = scene.store.objects[key]
    at = data.index(b"\xf5BKF") + 60
    scene.store.objects[key] = (data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :], modified)


def cut(scene: Scene, key: str) -> None:
    data, modified = scene.store.objects[key]
    scene.store.objects[key] = (data[: len(data) // 2], modified)


def remove(scene: Scene, key: str) -> None:
    del scene.store.objects[key]


def empty(scene: Scene, key: str) -> None:
    scene.store.objects[key] = (b"", scene.store.objects[key][1])


SPOILS = [flip, cut, remove, empty]


def two_backups(scene: Scene) -> tuple[MemoryVolume, str, str]:
    """Return a volume of two leaves and two backups of it; only the second leaf changed."""
    content = bytearray(2 * LEAF_LENGTH)
    content[: 3 * CHUNK], content[-2 * CHUNK :] = chunks(1, 2, 3), chunks(4, 5)
    volume = MemoryVolume(content)
    with scene.open() as repository:
        first = back_up(repository, volume)
        volume.write(2 * LEAF_LENGTH - CHUNK, noise(6, CHUNK))
        second = back_up(repository, volume)
    return volume, first.id, second.id


def own_pack(scene: Scene, backup_id: str, folder: str) -> str:
    """Return the one pack of a kind that a backup has put."""
    with scene.open() as repository:
        register = repository.registers.state(repository.history(backup_id))
    assert register is not None
    (key,) = scene.listed(f"{folder}/{register.decision.session_id}/")
    return key


@pytest.mark.parametrize("spoil", [flip, remove, empty])
@pytest.mark.parametrize("folder", ["data", "map"])
def test_verification_names_every_backup_that_lost_something(folder: str, spoil: Spoil) -> None:
    scene = Scene()
    _, first, second = two_backups(scene)
    key = own_pack(scene, first, folder)
    spoil(scene, key)
    with scene.open() as repository:
        losses = verify(repository, depth=Depth.DATA, tuning=INLINE).losses
    assert {loss.backup_id for loss in losses} == {first, second}
    assert {loss.key for loss in losses} == {key}


@pytest.mark.parametrize("depth", list(Depth))
def test_a_missing_data_pack_is_told_in_extents(depth: Depth) -> None:
    scene = Scene()
    _, first, second = two_backups(scene)
    remove(scene, own_pack(scene, first, "data"))
    with scene.open() as repository:
        losses = verify(repository, depth=depth, tuning=INLINE).losses
    lost = {loss.backup_id: loss.extents for loss in losses}
    end = 2 * LEAF_LENGTH
    assert lost == {
        first: ((0, 3 * CHUNK), (end - 2 * CHUNK, 2 * CHUNK)),
        second: ((0, 3 * CHUNK), (end - 2 * CHUNK, CHUNK)),
    }


def test_one_flipped_bit_loses_one_frame() -> None:
    scene = Scene()
    *_, second = two_backups(scene)
    flip(scene, own_pack(scene, second, "data"))
    with scene.open() as repository:
        losses = verify(repository, depth=Depth.SUMS, tuning=INLINE).losses
    lost = [(loss.backup_id, loss.extents) for loss in losses]
    assert lost == [(second, ((2 * LEAF_LENGTH - CHUNK, CHUNK),))]


@pytest.mark.parametrize("depth", list(Depth))
def test_a_missing_map_pack_is_told_in_extents(depth: Depth) -> None:
    scene = Scene()
    _, _, second = two_backups(scene)
    remove(scene, own_pack(scene, second, "map"))
    with scene.open() as repository:
        losses = verify(repository, depth=depth, tuning=INLINE).losses
    assert [(loss.backup_id, loss.extents) for loss in losses] == [
        (second, ((0, 2 * LEAF_LENGTH),))
    ]


@pytest.mark.parametrize("depth", list(Depth))
def test_a_missing_leaf_that_two_backups_share_is_told_of_both(depth: Depth) -> None:
    scene = Scene()
    _, first, second = two_backups(scene)
    remove(scene, own_pack(scene, first, "map"))
    with scene.open() as repository:
        losses = verify(repository, depth=depth, tuning=INLINE).losses
    lost = {loss.backup_id: loss.extents for loss in losses}
    assert lost == {first: ((0, 2 * LEAF_LENGTH),), second: ((0, LEAF_LENGTH),)}


@pytest.mark.parametrize("spoil", SPOILS)
@pytest.mark.parametrize("folder", ["data", "map"])
def test_the_backup_after_damaged_packs_were_condemned_is_whole(folder: str, spoil: Spoil) -> None:
    scene = Scene()
    volume, first, _ = two_backups(scene)
    spoil(scene, own_pack(scene, first, folder))
    with scene.open() as repository:
        found = verify(repository, depth=Depth.DATA, condemn_damaged=True, tuning=INLINE)
        assert len(found.condemned) == 1
        healed = back_up(repository, volume)
        assert same(restored(repository, healed.id), volume.content)
        assert verify(repository, healed.id, depth=Depth.DATA, tuning=INLINE).is_sound


@pytest.mark.parametrize("spoil", SPOILS)
@pytest.mark.parametrize("owner", [0, 1])
def test_a_backup_over_a_damaged_map_is_whole_without_being_told(owner: int, spoil: Spoil) -> None:
    scene = Scene()
    volume, *ids = two_backups(scene)
    spoil(scene, own_pack(scene, ids[owner], "map"))
    with scene.open() as repository:
        healed = back_up(repository, volume)
        assert same(restored(repository, healed.id), volume.content)


def test_a_damaged_leaf_of_what_is_zero_now_is_not_inherited() -> None:
    scene, volume = Scene(), MemoryVolume(chunks(1, 2, 3))
    with scene.open() as repository:
        base = back_up(repository, volume)
        flip(scene, own_pack(scene, base.id, "map"))
        volume.zero(0, 3 * CHUNK)
        healed = back_up(repository, volume)
        assert same(restored(repository, healed.id), bytes(3 * CHUNK))


@pytest.mark.parametrize("level", [1, 2])
def test_a_damaged_node_of_what_is_zero_now_is_not_inherited(level: int) -> None:
    scene = Scene()
    far = 1024 ** (level + 1)
    size = (far + 4096) * CHUNK
    volume = SparseVolume(size, {far: noise(1, CHUNK), far + 2048: noise(2, CHUNK)})
    with scene.open() as repository:
        back_up(repository, volume)
        del volume.cells[far + 2048]
        nodes = back_up(repository, volume)
        volume.cells[0] = noise(3, CHUNK)
        back_up(repository, volume)
        remove(scene, own_pack(scene, nodes.id, "map"))
        del volume.cells[far]
        healed = back_up(repository, volume)
        target = SparseVolume(size, {})
        restore(repository, healed.id, target, tuning=INLINE)
    assert target.cells == volume.cells


@pytest.mark.parametrize("spoil", SPOILS)
@pytest.mark.parametrize(("folder", "error"), [("data", PackDamaged), ("map", MapDamaged)])
def test_a_restore_from_a_damaged_pack_fails(
    folder: str, error: type[BackupError], spoil: Spoil
) -> None:
    scene = Scene()
    _, first, _ = two_backups(scene)
    key = own_pack(scene, first, folder)
    spoil(scene, key)
    with scene.open() as repository, pytest.raises(error, match=key):
        restored(repository, first)


def test_what_does_not_lie_in_a_damaged_pack_is_restored() -> None:
    scene = Scene()
    volume, _, second = two_backups(scene)
    flip(scene, own_pack(scene, second, "data"))
    target = MemoryVolume(2 * LEAF_LENGTH)
    intact = 2 * LEAF_LENGTH - CHUNK
    with scene.open() as repository:
        restore(repository, second, target, extents=[(0, intact)], tuning=INLINE)
    assert target.content[:intact] == volume.content[:intact]


def test_a_damaged_manifest_is_told_and_the_others_restore() -> None:
    scene = Scene()
    _, first, second = two_backups(scene)
    (key,) = [key for key in scene.listed("backups/") if second in key]
    empty(scene, key)
    with scene.open() as repository:
        losses = verify(repository, depth=Depth.DATA, tuning=INLINE).losses
        assert [loss.backup_id for loss in losses] == [second]
        assert len(restored(repository, first)) == 2 * LEAF_LENGTH


def test_a_full_backup_works_beside_a_damaged_manifest() -> None:
    scene = Scene()
    volume, _, second = two_backups(scene)
    (key,) = [key for key in scene.listed("backups/") if second in key]
    empty(scene, key)
    with scene.open() as repository:
        done = back_up(repository, volume, base=None)
        assert same(restored(repository, done.id), volume.content)


def test_a_damaged_lease_of_somebody_stops_no_backup() -> None:
    scene = Scene()
    volume, *_ = two_backups(scene)
    scene.driver.put("sessions/" + "ab" * 16 + "/0000000000", [b"rubbish"])
    with scene.open() as repository:
        assert same(restored(repository, back_up(repository, volume).id), volume.content)


def test_a_damaged_tomb_stops_a_backup_before_anything_is_stored() -> None:
    scene = Scene()
    volume, *_ = two_backups(scene)
    before = scene.listed("data/")
    scene.driver.put("tombs/" + "ab" * 16 + ".0000000000", [b"rubbish"])
    with scene.open() as repository, pytest.raises(ManifestDamaged, match="tombs/"):
        back_up(repository, volume, base=None)
    assert scene.listed("data/") == before


def test_a_damaged_tomb_stops_no_restore() -> None:
    scene = Scene()
    volume, _, second = two_backups(scene)
    scene.driver.put("tombs/" + "ab" * 16 + ".0000000000", [b"rubbish"])
    with scene.open() as repository:
        assert same(restored(repository, second), volume.content)


def test_no_bit_of_the_store_may_flip_unnoticed() -> None:
    """Every byte of every object in turn: a restore gives the right bytes or says no."""
    scene, volume = Scene(), MemoryVolume(chunks(1, None, 2))
    with scene.open() as repository:
        done = back_up(repository, volume)
    for key in scene.listed():
        size = len(scene.store.objects[key][0])
        for at in range(0, size, max(1, size // 40)):
            spoiled = scene.copy()
            data, modified = spoiled.store.objects[key]
            data = data[:at] + bytes([data[at] ^ 0x40]) + data[at + 1 :]
            spoiled.store.objects[key] = (data, modified)
            with spoiled.open() as repository, contextlib.suppress(Damaged):
                assert same(restored(repository, done.id), volume.content), (key, at)
