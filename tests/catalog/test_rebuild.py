"""A catalog is filled from the store alone: with what is there, and nothing else."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backupcore import (
    Backup,
    BackupRequest,
    MemoryVolume,
    Repository,
    Tuning,
    backup,
    delete,
    open_repository,
)
from backupcore.catalog import BackupStatus, Catalog, Listing, Scope
from backupcore.catalog.rebuild import Rebuilt, _Filling, rebuild
from backupcore.driver import Driver
from backupcore.driver.relay import Layer
from backupcore.errors import Unavailable
from backupcore.repository import create_repository
from backupcore.repository.key import RegisterName, volume_tag
from backupcore.repository.label import ServiceLabels
from backupcore.repository.manifest import State
from tests.catalog.sample import backup_row

EVERYTHING = Scope.everything()
TUNING = replace(Tuning.inline(), slab_size_bytes=1 << 20, pack_size_bytes=1 << 20)


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Repository]:
    with create_repository(str(tmp_path / "store"), create_container=True) as made:
        yield made


def _back_up(repository: Repository, volume_id: str = "vol", **facts: Any) -> Backup:
    request = BackupRequest(volume_id=volume_id, **facts)
    volume = MemoryVolume(uuid.uuid4().bytes * 4096)
    return backup(volume, repository, request=request, tuning=TUNING)


def _rebuild(catalog: Catalog, repository: Repository) -> Rebuilt:
    return rebuild(
        catalog,
        repository,
        container="backups",
        project_of=lambda found: found.labels.get("project", "nobody"),
        availability_zone="nova",
    )


def _ids(catalog: Catalog) -> set[str]:
    with catalog.reading() as rows:
        return {row.id for row in rows.page_backups(EVERYTHING, Listing(limit=100)).rows}


def test_an_empty_catalog_gets_a_row_for_each_backup(
    catalog: Catalog, repository: Repository
) -> None:
    first = _back_up(repository, name="first", description="d", labels={"project": "p"})
    second = _back_up(repository)
    assert _rebuild(catalog, repository) == Rebuilt(added=2)
    with catalog.reading() as rows:
        row, later = (
            rows.backup(first.id, Scope.of("p")),
            rows.backup(second.id, Scope.of("nobody")),
        )
        base = rows.base_of(row.volume_id, Scope.of("p"))
    assert (row.status, row.name, row.description) == (BackupStatus.AVAILABLE, "first", "d")
    assert (row.container, row.repository, row.stored_id) == ("backups", "backups", first.id)
    assert (row.size, row.size_bytes) == (1, 65536)
    assert (row.created_at, row.data_timestamp) == (first.started_at, first.started_at)
    assert (row.metadata, row.is_imported) == ({}, False)
    assert (later.is_incremental, later.parent_id, later.name) == (True, first.id, None)
    assert base == row


def test_a_row_shows_what_people_gave_and_nothing_of_the_services(
    catalog: Catalog, repository: Repository
) -> None:
    facts = ServiceLabels(
        project="p",
        metadata={"k": "v", "project": "mine"},
        volume_name="n" * 300,
        volume_description="d",
        volume_metadata={"a": "1"},
    )
    labels, _ = facts.fit()
    by_service = _back_up(repository, labels=labels)
    by_hand = _back_up(repository, labels={"tier": "gold"})
    _rebuild(catalog, repository)
    with catalog.reading() as rows:
        row, other = (rows.backup(one.id, EVERYTHING) for one in (by_service, by_hand))
    assert (row.project_id, row.metadata) == ("p", {"k": "v", "project": "mine"})
    assert (row.volume_name, row.volume_description) == ("n" * 255, "d")
    assert row.volume_metadata == {"a": "1"}
    assert (other.metadata, other.volume_name, other.volume_metadata) == (
        {"tier": "gold"},
        None,
        None,
    )
    assert row.availability_zone == other.availability_zone == "nova"


def test_what_was_deleted_or_given_up_gets_no_row(catalog: Catalog, repository: Repository) -> None:
    deleted, kept = _back_up(repository), _back_up(repository)
    delete(repository, deleted.id)
    given_up = RegisterName(
        volume_tag("vol", repository.domain().id_key), type(kept.id)(str(uuid.uuid4())), 0
    )
    repository.registers.put(given_up, State.ABORTED, "f" * 32, {})
    assert _rebuild(catalog, repository) == Rebuilt(added=1, gone=2)
    assert _ids(catalog) == {kept.id}


def test_rows_that_exist_are_left_alone(catalog: Catalog, repository: Repository) -> None:
    known, taken, new = (_back_up(repository) for _ in range(3))
    mine = backup_row(
        id="imported", status=BackupStatus.ERROR, repository="backups", stored_id=known.id
    )
    other = backup_row(id=taken.id, repository="elsewhere", stored_id="x")
    with catalog.writing() as rows:
        rows.add_backup(mine)
        rows.add_backup(other)
    assert _rebuild(catalog, repository) == Rebuilt(added=1, known=1, taken=1)
    assert _rebuild(catalog, repository) == Rebuilt(known=2, taken=1)
    with catalog.reading() as rows:
        assert rows.backup("imported", EVERYTHING) == mine
        assert rows.backup(taken.id, EVERYTHING) == other
    assert _ids(catalog) == {"imported", taken.id, new.id}


def test_a_damaged_register_is_counted_and_the_others_get_their_rows(
    catalog: Catalog, repository: Repository, tmp_path: Path
) -> None:
    damaged, sound = _back_up(repository), _back_up(repository)
    (register,) = (tmp_path / "store" / "backups").glob(f"*/{damaged.id}/*")
    register.chmod(0o600)
    register.write_bytes(register.read_bytes()[:-1])
    assert _rebuild(catalog, repository) == Rebuilt(added=1, damaged=1)
    assert _ids(catalog) == {sound.id}


def test_quotas_do_not_keep_out_what_is_there(catalog: Catalog, repository: Repository) -> None:
    _back_up(repository)
    catalog.write(lambda rows: rows.set_limits("nobody", {"backups": 0}))
    assert _rebuild(catalog, repository).added == 1


def test_texts_that_no_row_can_hold_are_cut(catalog: Catalog, repository: Repository) -> None:
    done = _back_up(repository, name="n" * 300, description="nul \0")
    _rebuild(catalog, repository)
    with catalog.reading() as rows:
        row = rows.backup(done.id, EVERYTHING)
    assert (row.name, row.description) == ("n" * 255, "nul \ufffd")


def test_a_volume_that_is_called_by_its_path_gets_an_opaque_id_that_stays(
    catalog: Catalog, repository: Repository
) -> None:
    known = str(uuid.uuid4())
    first, second, other, service = (
        _back_up(repository, volume_id=name)
        for name in ("/srv/images/x.img", "/srv/images/x.img", "/dev/vg/db", known)
    )
    assert _rebuild(catalog, repository) == Rebuilt(added=4)
    with catalog.reading() as rows:
        ids = [rows.backup(one.id, EVERYTHING).volume_id for one in (first, second, other, service)]
    assert ids[0] == ids[1] == str(uuid.UUID(ids[0]))
    assert (len(set(ids)), ids[3]) == (3, known)
    assert not any("srv" in one or "dev" in one for one in ids)


def test_the_longest_name_of_a_volume_is_no_obstacle(
    catalog: Catalog, repository: Repository
) -> None:
    _back_up(repository, volume_id="/" + "x" * 1000)
    _back_up(repository, name="n" * 500, description="d" * 500)
    assert _rebuild(catalog, repository) == Rebuilt(added=2)


def test_what_a_row_cannot_hold_is_skipped_with_a_warning_and_the_others_get_theirs(
    catalog: Catalog, repository: Repository, caplog: pytest.LogCaptureFixture
) -> None:
    odd = _back_up(repository, volume_id="/odd", labels={"project": "p" * 256})
    sound = _back_up(repository)
    assert _rebuild(catalog, repository) == Rebuilt(added=1, skipped=1)
    assert _ids(catalog) == {sound.id}
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert [(one.__dict__["backup"], one.__dict__["volume"]) for one in warnings] == [
        (odd.id, "/odd")
    ]


def test_a_row_that_a_rebuilding_left_half_done_is_finished_by_the_next(
    catalog: Catalog, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = _back_up(repository)
    with monkeypatch.context() as patching:
        patching.setattr(_Filling, "_finish", _cut_off)
        with pytest.raises(Unavailable):
            _rebuild(catalog, repository)
    with catalog.reading() as rows:
        assert rows.backup(done.id, EVERYTHING).status is BackupStatus.CREATING
    assert _rebuild(catalog, repository) == Rebuilt(added=1)
    with catalog.reading() as rows:
        row = rows.backup(done.id, EVERYTHING)
    assert (row.status, row.is_imported) == (BackupStatus.AVAILABLE, False)


def _cut_off(*_: object) -> str:
    raise Unavailable("the store does not answer")


def test_what_a_session_still_makes_gets_no_second_row(
    catalog: Catalog, repository: Repository
) -> None:
    done = _back_up(repository)
    mine = backup_row(id="made", repository="backups", stored_id=done.id, size_bytes=65536)
    catalog.write(lambda rows: rows.add_backup(mine))
    assert _rebuild(catalog, repository) == Rebuilt(known=1)
    with catalog.reading() as rows:
        assert rows.backup("made", EVERYTHING) == mine


class _DeletingAfterTheList(Layer):
    """Deletes a backup as soon as all of them were listed."""

    def __init__(self, below: Driver, repository: Repository, backup_id: str) -> None:
        super().__init__(below)
        self._repository = repository
        self._backup_id = backup_id

    def list(self, prefix: str = "") -> Iterator[Any]:
        found = list(super().list(prefix))
        if prefix == "backups/":
            delete(self._repository, self._backup_id)
        return iter(found)


def test_what_is_deleted_while_it_is_rebuilt_gets_no_row(
    catalog: Catalog, repository: Repository, tmp_path: Path
) -> None:
    deleted, kept = _back_up(repository), _back_up(repository)

    def layers(below: Driver) -> Driver:
        return _DeletingAfterTheList(below, repository, deleted.id)

    with open_repository(str(tmp_path / "store"), layers=layers) as listed:
        assert _rebuild(catalog, listed) == Rebuilt(added=1, gone=1)
    assert _ids(catalog) == {kept.id}
