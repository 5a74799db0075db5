from __future__ import annotations

from uuid import UUID

import pytest

from backupcore.errors import BackupMissing, NotFound, Refused
from backupcore.operation.backup import BackupRequest, backup
from backupcore.operation.delete import delete
from backupcore.operation.verify import Depth, verify
from backupcore.repository import Repository
from backupcore.repository.control import SessionKind
from backupcore.repository.key import RegisterName, volume_tag
from backupcore.testing.fault import Action, Rule
from backupcore.volume.memory import MemoryVolume
from tests.operation.scene import CHUNK, ELSEWHERE, INLINE, Scene, back_up, noise, restored, same

ONE, OTHER = str(UUID(int=1)), str(UUID(int=2))


@pytest.mark.parametrize(
    "request_",
    [
        BackupRequest(labels={"n": 1}),  # type: ignore[dict-item]
        BackupRequest(name=None),  # type: ignore[arg-type]
        BackupRequest(generation=7),  # type: ignore[arg-type]
        BackupRequest(name="\udcff"),
        BackupRequest(volume_id="\udcff"),
        BackupRequest(level=99),
    ],
    ids=["labels", "name", "generation", "surrogate", "volume id", "level"],
)
def test_what_no_manifest_can_tell_is_refused_and_nothing_stored(request_: BackupRequest) -> None:
    scene = Scene()
    with scene.open() as repository:
        with pytest.raises(Refused):
            backup(MemoryVolume(noise(1, CHUNK)), repository, request=request_, tuning=INLINE)
        assert scene.listed("data/") == scene.listed("backups/") == []


def test_one_id_of_two_volumes_is_told_apart_by_the_volume() -> None:
    scene = Scene()
    contents = {name: noise(seed, CHUNK) for seed, name in enumerate(("one", "two"))}
    with scene.open() as repository:
        for name, content in contents.items():
            request = BackupRequest(volume_id=name, backup_id=ONE)
            backup(MemoryVolume(content), repository, request=request, tuning=INLINE)
        with pytest.raises(Refused, match="volume id"):
            repository.find_backup(ONE)
        assert repository.find_backup(ONE, "two").volume_id == "two"
        delete(repository, ONE, volume_id="one")
        assert same(restored(repository, ONE), contents["two"])


def test_a_volume_id_that_is_not_the_backups_finds_nothing() -> None:
    scene = Scene()
    with scene.open() as repository:
        done = back_up(repository, MemoryVolume(noise(1, CHUNK)))
        with pytest.raises(BackupMissing):
            repository.find_backup(done.id, "another volume")


def test_a_backup_that_was_only_begun_is_deleted_by_its_whole_id() -> None:
    scene, volume = Scene(), MemoryVolume(noise(1, CHUNK))
    with scene.open(process=ELSEWHERE) as elsewhere:
        _begin(elsewhere, volume, ONE)
    with scene.open() as repository:
        assert delete(repository, ONE) == ONE
        with pytest.raises(Refused, match="deleted"):
            back_up(repository, volume, backup_id=ONE)
        with pytest.raises(NotFound):
            delete(repository, OTHER)


def test_a_retry_gives_up_on_the_attempt_of_another_machine_and_takes_the_next_register() -> None:
    scene, volume = Scene(), MemoryVolume(noise(1, CHUNK))
    with scene.open(process=ELSEWHERE) as elsewhere:
        _begin(elsewhere, volume, ONE)
    with scene.open() as repository:
        done = back_up(repository, volume, backup_id=ONE)
        assert [key[-1] for key in scene.listed("backups/")] == ["0", "1"]
        assert same(restored(repository, done.id), volume.content)


@pytest.mark.parametrize("action", [Action.CORRUPT, Action.VANISH])
def test_a_read_that_went_wrong_once_is_not_damage(action: Action) -> None:
    scene, volume = Scene(), MemoryVolume(noise(1, 9 * CHUNK))
    with scene.open() as repository:
        done = back_up(repository, volume)
    with scene.open(Rule("get", action, key="data/*")) as repository:
        assert same(restored(repository, done.id), volume.content)


def test_a_read_of_the_map_that_went_wrong_once_is_not_damage() -> None:
    scene = Scene()
    with scene.open() as repository:
        done = back_up(repository, MemoryVolume(noise(1, 9 * CHUNK)))
    with scene.open(Rule("get", Action.CORRUPT, key="map/*")) as repository:
        assert verify(repository, done.id, depth=Depth.EXISTS, tuning=INLINE).is_sound


def _begin(repository: Repository, volume: MemoryVolume, backup_id: str) -> None:
    """Leave a session behind that has decided nothing."""
    domain = repository.domain()
    tag = volume_tag(volume.identity, domain.id_key)
    name = RegisterName.parse(f"backups/{tag}/{backup_id}/0000000000")
    repository.open_session(
        SessionKind.BACKUP, name, domain_id=domain.domain_id, chunk_size_bytes=CHUNK
    )
