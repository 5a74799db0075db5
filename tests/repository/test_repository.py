from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backupcore.config import Tuning
from backupcore.driver import Driver
from backupcore.driver.registry import open_driver
from backupcore.errors import (
    BackupMissing,
    ManifestDamaged,
    ReadOnly,
    Refused,
    RepositoryMissing,
    Unsupported,
)
from backupcore.model import Backup, Grid
from backupcore.operation.backup import BackupRequest, backup
from backupcore.operation.delete import delete
from backupcore.operation.restore import restore
from backupcore.repository import Repository, create_repository, open_repository
from backupcore.repository.control import Config
from backupcore.repository.key import CONFIG, domain_key
from backupcore.volume.memory import MemoryVolume
from tests.format.world import fixed_runtime
from tests.repository.sample import rewritten

GRID = Grid(4096, 16384)
CONTENT = b"volume" * 3000
FIRST, SECOND, THIRD = (f"{name}-0000-4000-8000-000000000000" for name in
                        ("aaaa0000", "aaaa1111", "bbbb0000"))  # fmt: skip


@pytest.fixture
def url() -> str:
    return f"memory:{uuid.uuid4().hex}"


@pytest.fixture
def repository(url: str) -> Iterator[Repository]:
    with create_repository(url, grid=GRID, level=3, runtime=fixed_runtime()) as made:
        yield made


def back_up(repository: Repository, volume_id: str, backup_id: str | None = None) -> Backup:
    request = BackupRequest(volume_id=volume_id, backup_id=backup_id)
    volume = MemoryVolume(CONTENT, name=volume_id)
    return backup(volume, repository, request=request, tuning=Tuning.inline())


def put_config(url: str, config: Config) -> None:
    store(url).put(CONFIG, config.seal())


def store(url: str) -> Driver:
    return open_driver(url)


def test_a_repository_keeps_its_defaults(url: str, repository: Repository) -> None:
    with open_repository(url) as opened:
        assert opened.config == repository.config
        assert (opened.config.grid, opened.config.level) == (GRID, 3)
        assert opened.domain() == repository.domain()


def test_two_repositories_have_nothing_in_common() -> None:
    with create_repository("memory:") as first, create_repository("memory:") as second:
        assert first.config.repository_id != second.config.repository_id
        assert first.domain().id_key != second.domain().id_key


def test_a_place_without_a_repository_says_so(url: str, tmp_path: Path) -> None:
    for place in (url, str(tmp_path), str(tmp_path / "nothing")):
        with pytest.raises(RepositoryMissing):
            open_repository(place)


def test_opening_puts_nothing(tmp_path: Path) -> None:
    with pytest.raises(RepositoryMissing):
        open_repository(str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_second_repository_in_one_place_is_refused(url: str, repository: Repository) -> None:
    with pytest.raises(Refused, match="already"):
        create_repository(url)
    with open_repository(url) as opened:
        assert opened.config == repository.config


def test_a_config_of_another_program_is_neither_opened_nor_overwritten(url: str) -> None:
    store(url).put(CONFIG, [b"[core]\n"])
    with pytest.raises(RepositoryMissing, match="right URL"):
        open_repository(url)
    with pytest.raises(Refused):
        create_repository(url)
    assert store(url).get(CONFIG) == b"[core]\n"


def test_objects_whose_names_only_begin_alike_are_no_repository(url: str) -> None:
    store(url).put("config-of-another", [b"x"])
    create_repository(url).close()
    open_repository(url).close()


def test_a_repository_of_a_newer_format_is_refused(url: str, repository: Repository) -> None:
    data = rewritten(repository.config.seal(), "conf", lambda header: header.update(format=2))
    store(url).put(CONFIG, [data])
    with pytest.raises(Unsupported, match="format 2"):
        open_repository(url)


def test_a_repository_that_needs_an_unknown_feature_is_refused(
    url: str, repository: Repository
) -> None:
    put_config(url, replace(repository.config, features_required=("sealed-maps",)))
    with pytest.raises(Unsupported, match="sealed-maps"):
        open_repository(url)


def test_a_repository_with_an_unknown_feature_of_writers_can_be_read_only(
    url: str, repository: Repository
) -> None:
    done = back_up(repository, "one")
    put_config(url, replace(repository.config, features_to_write=("sealed-maps",)))
    before = {info.key for info in store(url).list()}
    target = MemoryVolume(len(CONTENT))
    with open_repository(url) as opened:
        restore(opened, done.id, target, tuning=Tuning.inline())
        with pytest.raises(Unsupported, match="sealed-maps"):
            back_up(opened, "one")
        with pytest.raises(Unsupported, match="sealed-maps"):
            delete(opened, done.id)
    assert target.content == CONTENT
    assert {info.key for info in store(url).list()} == before


def test_a_repository_opened_for_reading_restores_and_puts_nothing(
    url: str, repository: Repository
) -> None:
    done = back_up(repository, "one")
    before = {info.key for info in store(url).list()}
    target = MemoryVolume(len(CONTENT))
    with open_repository(url, read_only=True) as opened:
        restore(opened, done.id, target, tuning=Tuning.inline())
        with pytest.raises(ReadOnly):
            back_up(opened, "one")
    assert target.content == CONTENT
    assert {info.key for info in store(url).list()} == before


def test_a_missing_domain_is_damage(url: str, repository: Repository) -> None:
    domain_id = repository.domain().domain_id
    store(url).delete([domain_key(domain_id)])
    with open_repository(url) as opened, pytest.raises(ManifestDamaged, match=domain_id):
        opened.domain()


def test_layers_lie_between_the_repository_and_its_store(url: str, repository: Repository) -> None:
    seen = []

    def watch(driver: Driver) -> Driver:
        seen.append(driver)
        return driver

    open_repository(url, layers=watch).close()
    assert len(seen) == 1


def test_a_backup_is_found_by_the_beginning_of_its_id(repository: Repository) -> None:
    for backup_id in (FIRST, SECOND, THIRD):
        back_up(repository, "one", backup_id)
    found = [repository.manifest(text).backup.id for text in (FIRST, "aaaa1", "b", THIRD[:-1])]
    assert found == [FIRST, SECOND, THIRD, THIRD]


def test_an_ambiguous_beginning_is_refused(repository: Repository) -> None:
    for backup_id in (FIRST, SECOND):
        back_up(repository, "one", backup_id)
    with pytest.raises(Refused, match="2 backups"):
        repository.manifest("aaaa")


@pytest.mark.parametrize("text", ["", "c", "AAAA", "latest ", "aaaa0000/", "%", "aaaa0000-1"])
def test_a_text_that_means_no_backup_is_told_so(repository: Repository, text: str) -> None:
    back_up(repository, "one", FIRST)
    with pytest.raises(BackupMissing):
        repository.manifest(text)


def test_a_deleted_backup_is_not_meant(repository: Repository) -> None:
    for backup_id in (FIRST, SECOND):
        back_up(repository, "one", backup_id)
    delete(repository, SECOND)
    assert repository.manifest("aaaa").backup.id == FIRST
    with pytest.raises(BackupMissing):
        repository.manifest(SECOND)


def test_latest_is_the_one_committed_last(repository: Repository) -> None:
    for backup_id in (THIRD, FIRST, SECOND):
        back_up(repository, "one", backup_id)
    assert repository.manifest("latest").backup.id == SECOND
    delete(repository, SECOND)
    assert repository.manifest("latest").backup.id == FIRST


def test_latest_of_two_volumes_must_say_which(repository: Repository) -> None:
    first, second = back_up(repository, "one"), back_up(repository, "two")
    with pytest.raises(Refused, match="2 volumes"):
        repository.manifest("latest")
    found = [repository.manifest("latest", name).backup.id for name in ("one", "two")]
    assert found == [first.id, second.id]


def test_latest_of_nothing_is_missing(repository: Repository) -> None:
    with pytest.raises(BackupMissing, match="no backup in this"):
        repository.manifest("latest")
    back_up(repository, "one")
    with pytest.raises(BackupMissing, match="volume two"):
        repository.manifest("latest", "two")


def test_backups_are_listed_oldest_first(repository: Repository) -> None:
    made = [back_up(repository, name).id for name in ("one", "two", "one")]
    assert [backup.id for backup in repository.backups()] == made
    assert [backup.id for backup in repository.backups("one")] == [made[0], made[2]]


def test_objects_of_others_beside_ours_are_not_listed(repository: Repository, url: str) -> None:
    done = back_up(repository, "one")
    for key in ("backups/readme", "backups/x/y/z", "sessions/x", "tombs/x", "other/thing"):
        store(url).put(key, [b"not ours"])
    assert [backup.id for backup in repository.backups()] == [done.id]
    assert back_up(repository, "one").is_incremental


def test_a_cache_saves_reading_registers_and_is_never_believed(
    url: str, repository: Repository, tmp_path: Path
) -> None:
    done = back_up(repository, "one")
    with open_repository(url, cache_folder=tmp_path) as opened:
        assert opened.manifest("latest").backup == done
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(kept) == 1
    kept[0].write_bytes(b"garbage")
    with open_repository(url, cache_folder=tmp_path) as opened:
        assert opened.manifest("latest").backup == done


def test_a_damaged_register_is_named(url: str, repository: Repository) -> None:
    done = back_up(repository, "one")
    key = next(info.key for info in store(url).list("backups/"))
    data = bytearray(store(url).get(key))
    data[100] ^= 1
    store(url).put(key, [data])
    with pytest.raises(ManifestDamaged, match=key):
        repository.manifest(done.id)
