"""Chunks that other volumes of the domain hold are referred to, and every backup stays whole."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from backupcore.config import Dedup, Tuning
from backupcore.driver import Role
from backupcore.errors import SessionFenced, Stopped, StoreFull
from backupcore.model import Backup, Grid, PackId
from backupcore.operation.backup import BackupRequest, backup
from backupcore.operation.delete import delete
from backupcore.repository import Repository
from backupcore.repository.cache import Cache
from backupcore.repository.control import Domain
from backupcore.repository.key import domain_key
from backupcore.repository.manifest import Manifest, State
from backupcore.repository.map import TreeReader
from backupcore.repository.session import condemn, find_leases
from backupcore.runtime import StopFlag
from backupcore.testing.fault import Action, Rule
from backupcore.volume import Volume
from backupcore.volume.memory import MemoryVolume
from tests.operation.scene import (
    CHUNK,
    INLINE,
    LEAF_LENGTH,
    THREADS,
    Recording,
    Scene,
    chunks,
    noise,
    packs_of,
    restored,
    same,
)

CONTENT = bytes(chunks(*range(1, 200), None, *range(300, 340)))
DOMAIN = BackupRequest(dedup=Dedup.DOMAIN)


@pytest.fixture
def scene() -> Scene:
    return Scene()


def volume(name: str, content: bytes = CONTENT) -> MemoryVolume:
    return MemoryVolume(content, name=name)


def share(
    repository: Repository,
    source: Volume,
    *,
    request: BackupRequest = DOMAIN,
    tuning: Tuning = INLINE,
    base: str | None = "latest",
    stop: StopFlag | None = None,
) -> Backup:
    """Back up, and look for chunks in the whole domain."""
    return backup(source, repository, base=base, request=request, tuning=tuning, stop=stop)


def open_cached(scene: Scene, folder: Path | str) -> Repository:
    """Open the repository with a cache that outlives the process."""
    repository = scene.open()
    cache = Cache(Path(folder), scene.config.repository_id, random_bytes=scene.chance.randbytes)
    return Repository(
        repository.driver, scene.config, runtime=repository.runtime, cache=cache, url="scene"
    )


def data_packs(repository: Repository, backup_id: str) -> set[str]:
    return {key for key in packs_of(repository, backup_id) if key.startswith("data/")}


def remove_unreferenced(scene: Scene, repository: Repository) -> None:
    used = set[str]().union(*(packs_of(repository, done.id) for done in repository.backups()))
    scene.driver.delete({*scene.listed("data/"), *scene.listed("map/")} - used)


@pytest.mark.parametrize("tuning", [INLINE, THREADS], ids=["inline", "threads"])
def test_a_second_volume_with_the_same_content_stores_no_chunk(
    scene: Scene, tuning: Tuning
) -> None:
    with scene.open() as repository:
        share(repository, volume("one"), tuning=tuning)
        done = share(repository, volume("two"), tuning=tuning)
        assert (done.new_bytes, done.sums.object_count) == (0, 0)


def test_both_of_two_volumes_that_share_chunks_are_restored(scene: Scene) -> None:
    with scene.open() as repository:
        ids = [share(repository, volume(name)).id for name in ("one", "two")]
    scene.check(dict.fromkeys(ids, CONTENT))
    scene.check_sound()


def test_the_second_is_whole_after_the_first_and_its_garbage_are_gone(scene: Scene) -> None:
    with scene.open() as repository:
        first = share(repository, volume("one")).id
        second = share(repository, volume("two", CONTENT[: 50 * CHUNK])).id
        delete(repository, first)
        remove_unreferenced(scene, repository)
    scene.check({second: CONTENT[: 50 * CHUNK]})
    scene.check_sound()


def test_base_is_the_default_and_stores_another_volume_anew(scene: Scene) -> None:
    with scene.open() as repository:
        share(repository, volume("one"), request=BackupRequest())
        done = share(repository, volume("two"), request=BackupRequest())
        assert done.new_bytes == 239 * CHUNK


def test_chunks_are_found_wherever_they_lie(scene: Scene) -> None:
    with scene.open() as repository:
        share(repository, volume("one"))
        cells = [CONTENT[at : at + CHUNK] for at in range(0, len(CONTENT), CHUNK)]
        random.Random(1).shuffle(cells)
        moved = bytes(LEAF_LENGTH - 3 * CHUNK) + b"".join(cells)
        done = share(repository, volume("two", moved))
        assert done.new_bytes == 0
        assert same(restored(repository, done.id), moved)


def test_only_chunks_that_no_backup_holds_are_stored(scene: Scene) -> None:
    with scene.open() as repository:
        share(repository, volume("one"))
        other = bytearray(CONTENT)
        other[10 * CHUNK : 12 * CHUNK] = noise(999, 2 * CHUNK)
        done = share(repository, volume("two", bytes(other)))
        assert done.new_bytes == 2 * CHUNK
        assert same(restored(repository, done.id), other)


def test_a_short_last_chunk_is_shared(scene: Scene) -> None:
    content = CONTENT[: 20 * CHUNK + 512]
    with scene.open() as repository:
        share(repository, volume("one", content))
        done = share(repository, volume("two", content))
        assert (done.new_bytes, restored(repository, done.id)) == (0, content)


def test_a_full_backup_of_the_same_volume_stores_nothing(scene: Scene) -> None:
    with scene.open() as repository:
        share(repository, volume("one"))
        assert share(repository, volume("one"), base=None).new_bytes == 0


def test_what_was_moved_within_a_volume_is_not_stored_again(scene: Scene) -> None:
    with scene.open() as repository:
        share(repository, volume("one"))
        done = share(repository, volume("one", bytes(7 * CHUNK) + CONTENT))
        assert done.base_id is not None
        assert done.new_bytes == 0


def test_a_backup_that_was_not_committed_is_not_referred_to(scene: Scene) -> None:
    full = Rule("put", Action.FULL, key="backups/*", nth=0)
    with scene.open(full) as repository, pytest.raises(StoreFull):
        share(repository, volume("one"))
    assert scene.listed("data/")
    with scene.open() as repository:
        assert share(repository, volume("two")).new_bytes == 239 * CHUNK


def test_packs_of_a_deleted_backup_are_never_referred_to(scene: Scene, tmp_path: Path) -> None:
    with open_cached(scene, tmp_path) as repository:
        first = share(repository, volume("one"))
        share(repository, volume("three", bytes(chunks(7777))))
        lost = packs_of(repository, first.id)
        delete(repository, first.id)
        second = share(repository, volume("two"))
        assert not packs_of(repository, second.id) & lost
        scene.driver.delete(lost)
        assert same(restored(repository, second.id), CONTENT)


def test_condemned_packs_are_never_referred_to(scene: Scene, tmp_path: Path) -> None:
    with open_cached(scene, tmp_path) as repository:
        first = share(repository, volume("one"))
        share(repository, volume("three", bytes(chunks(7777))))
        lost = data_packs(repository, first.id)
        condemned = set(sorted(lost)[:2])
        condemn(repository.driver, repository.runtime, map(PackId, condemned))
        second = share(repository, volume("two"))
        assert data_packs(repository, second.id) & lost == lost - condemned


def test_what_a_condemned_pack_held_is_stored_once_for_all(scene: Scene, tmp_path: Path) -> None:
    with open_cached(scene, tmp_path) as repository:
        clones = [volume(f"clone {number}") for number in range(3)]
        done = [share(repository, clone) for clone in clones]
        (*_, lost) = sorted(data_packs(repository, done[0].id))
        condemn(repository.driver, repository.runtime, [PackId(lost)])
        again = [share(repository, clone).new_bytes for clone in clones]
        assert again[0] > 0
        assert again[1:] == [0, 0]


def test_domains_share_nothing(scene: Scene, tmp_path: Path) -> None:
    other = Domain("ab" * 16, bytes(32))
    scene.driver.put(domain_key(other.domain_id), other.seal(), role=Role.CONTROL)
    with open_cached(scene, tmp_path) as repository:
        share(repository, volume("one"))
        request = replace(DOMAIN, domain_id=other.domain_id)
        assert share(repository, volume("two"), request=request).new_bytes == 239 * CHUNK
        assert share(repository, volume("three"), request=request).new_bytes == 0


def test_backups_with_other_chunk_sizes_share_nothing(scene: Scene, tmp_path: Path) -> None:
    request = replace(DOMAIN, grid=Grid(2 * CHUNK, 8 * CHUNK))
    with open_cached(scene, tmp_path) as repository:
        share(repository, volume("one"))
        done = share(repository, volume("two"), request=request)
        assert done.new_bytes > 0
        assert same(restored(repository, done.id), CONTENT)


def test_backups_with_other_frame_sizes_share_chunks(scene: Scene) -> None:
    request = replace(DOMAIN, grid=Grid(CHUNK, 16 * CHUNK))
    with scene.open() as repository:
        share(repository, volume("one"))
        done = share(repository, volume("two"), request=request)
        assert (done.new_bytes, restored(repository, done.id)) == (0, CONTENT)


def test_a_backup_whose_base_lies_in_other_volumes_packs_goes_on(scene: Scene) -> None:
    with scene.open() as repository:
        share(repository, volume("one"))
        share(repository, volume("two"))
        content = bytearray(CONTENT)
        content[:CHUNK] = noise(4711, CHUNK)
        done = share(repository, volume("two", bytes(content)), request=BackupRequest())
        assert done.new_bytes == CHUNK
        assert same(restored(repository, done.id), content)


def test_a_resumed_backup_shares_chunks(scene: Scene) -> None:
    content = bytes(chunks(*range(5000, 5100))) + CONTENT
    with scene.open() as repository:
        share(repository, volume("one"))
    full = Rule("put", Action.FULL, key="data/*", nth=3)
    with scene.open(full) as repository, pytest.raises(StoreFull):
        share(repository, volume("two", content))
    with scene.open() as repository:
        done = share(repository, volume("two", content))
        assert done.new_bytes <= 100 * CHUNK
        assert same(restored(repository, done.id), content)


def test_runs_without_threads_are_the_same_byte_for_byte() -> None:
    stores = []
    for _ in range(2):
        scene = Scene(3)
        with scene.open() as repository:
            for name in ("one", "two"):
                share(repository, volume(name))
        stores.append({key: data for key, (data, _) in scene.store.objects.items()})
    assert stores[0] == stores[1]


def test_a_lost_index_is_made_anew(scene: Scene, tmp_path: Path) -> None:
    with open_cached(scene, tmp_path / "one") as repository:
        share(repository, volume("one"))
        assert share(repository, volume("two")).new_bytes == 0
    with open_cached(scene, tmp_path / "two") as repository:
        assert share(repository, volume("three")).new_bytes == 0


def damage_every_run(folder: Path, change: Callable[[bytearray], object]) -> None:
    for path in folder.rglob("*.run"):
        data = bytearray(path.read_bytes())
        change(data)
        path.write_bytes(data)


DAMAGE: dict[str, Callable[[bytearray], object]] = {
    "truncated": lambda data: data.__delitem__(slice(len(data) // 2, None)),
    "rows": lambda data: data.__setitem__(slice(0, 4000), bytes(4000)),
    "end": lambda data: data.__setitem__(-1, data[-1] ^ 1),
}


@pytest.mark.parametrize("change", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_index_damages_no_backup(
    scene: Scene, tmp_path: Path, change: Callable[[bytearray], object]
) -> None:
    with open_cached(scene, tmp_path) as repository:
        share(repository, volume("one"))
        share(repository, volume("two"))
        damage_every_run(tmp_path, change)
        third = share(repository, volume("three"))
        assert same(restored(repository, third.id), CONTENT)
        assert share(repository, volume("four")).new_bytes == 0
    scene.check_sound()


def test_a_stop_is_heard_while_the_index_is_brought_up_to_date(scene: Scene) -> None:
    class Stop:
        def is_set(self) -> bool:
            return True

        def wait(self, timeout: float | None = None) -> bool:
            return True

    with scene.open() as repository:
        share(repository, volume("one"))
        with pytest.raises(Stopped):
            share(repository, volume("two"), stop=Stop())


def slow_maps(
    monkeypatch: pytest.MonkeyPatch, repository: Repository, meanwhile: Callable[[], None]
) -> None:
    """Let something happen, and time pass, whenever a map is opened."""
    tree = repository.tree

    def slow(manifest: Manifest | None, *, is_tolerant: bool = False) -> TreeReader:
        meanwhile()
        return tree(manifest, is_tolerant=is_tolerant)

    monkeypatch.setattr(repository, "tree", slow)


def test_the_lease_is_renewed_while_the_index_is_brought_up_to_date(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = Recording(scene.driver)
    with scene.open(driver=driver) as repository:
        share(repository, volume("one"))

        def meanwhile() -> None:
            scene.clock.time_s += 100

        slow_maps(monkeypatch, repository, meanwhile)
        driver.calls.clear()
        share(repository, volume("two"))
    assert driver.folders("put").count(("put", "sessions")) > 1


def test_a_fenced_session_ends_while_the_index_is_brought_up_to_date(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scene.open() as repository:
        share(repository, volume("one"))

        def meanwhile() -> None:
            scene.clock.time_s += 100
            for lease in find_leases(scene.driver):
                assert lease.register is not None
                repository.registers.put(lease.register, State.ABORTED, "f" * 32, {})

        slow_maps(monkeypatch, repository, meanwhile)
        with pytest.raises(SessionFenced):
            share(repository, volume("two"))


def test_ten_clones_take_the_room_of_one(scene: Scene) -> None:
    image = b"".join(noise(seed, CHUNK) for seed in range(1500))
    with scene.open() as repository:
        stored = []
        for number in range(10):
            clone = bytearray(image)
            for at in random.Random(number).sample(range(1500), 15):
                clone[at * CHUNK : at * CHUNK + 10] = number.to_bytes(10, "big")
            stored.append(share(repository, volume(f"{number}", bytes(clone))).sums.stored_bytes)
        assert sum(stored) <= 1.25 * stored[0]
