from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from backupcore import (
    Access,
    BackupRequest,
    Repository,
    Tuning,
    backup,
    open_repository,
    open_volume,
    restore,
)
from backupcore.repository.control import Lease
from backupcore.repository.envelope import open_envelope
from backupcore.repository.manifest import State
from backupcore.repository.session import read_tombs
from backupcore.volume.memory import MemoryVolume
from tests.format import reader
from tests.format.make_golden import alpha_content, checksums, main
from tests.format.world import fixed_runtime

GOLDEN = Path(__file__).with_name("golden")
# BLAKE3 of each version's list of checksums: what was written once is never written again.
LISTS = {"v1": "c7472f1a70bf598182a5d9026b3582f164b4083d0bc8fe715634f33ac417a00c"}
KINDS = {"backups": "regi", "config": "conf", "data": "data", "domains": "doma", "map": "maps",
         "sessions": "leas", "tombs": "tomb"}  # fmt: skip


def expected(version: str) -> dict[str, dict[str, Any]]:
    """Return volume id, size and BLAKE3 by backup id."""
    facts: dict[str, dict[str, Any]] = json.loads((GOLDEN / version / "expected.json").read_text())
    return facts


EACH_VERSION = pytest.mark.parametrize("version", LISTS)
EACH_BACKUP = pytest.mark.parametrize(
    ("version", "backup_id"), [(version, name) for version in LISTS for name in expected(version)]
)


def objects(version: str) -> Iterator[tuple[str, bytes]]:
    """Yield key and bytes of everything in a golden repository."""
    store = GOLDEN / version / "repository"
    for path in sorted(store.rglob("*")):
        if path.is_file():
            yield path.relative_to(store).as_posix(), path.read_bytes()


def open_golden(version: str) -> Repository:
    return open_repository(f"posix:{GOLDEN / version / 'repository'}", read_only=True)


def test_every_version_has_its_list() -> None:
    assert sorted(path.name for path in GOLDEN.iterdir()) == sorted(LISTS)


@EACH_VERSION
def test_a_golden_repository_is_what_was_written_once(version: str) -> None:
    folder = GOLDEN / version
    written = (folder / "checksums").read_text()
    assert written == "".join(checksums(folder))
    assert blake3(written.encode()).hexdigest() == LISTS[version]


@EACH_VERSION
def test_a_golden_repository_is_small(version: str) -> None:
    assert sum(len(data) for _, data in objects(version)) < 200 * 1024


@EACH_VERSION
def test_every_object_of_a_golden_repository_opens_whole(version: str) -> None:
    kinds = set()
    for key, data in objects(version):
        folder = key.split("/")[0]
        kinds.add(folder)
        assert open_envelope(data, KINDS[folder]).kind == KINDS[folder]
    assert kinds == set(KINDS)


@EACH_VERSION
def test_a_golden_repository_says_which_version_wrote_it(version: str) -> None:
    config, _ = reader.open_envelope(dict(objects(version))["config"], b"conf", "config")
    assert f"v{config['format']}" == version


@EACH_BACKUP
def test_a_golden_backup_is_restored(version: str, backup_id: str, tmp_path: Path) -> None:
    facts, output = expected(version)[backup_id], tmp_path / "output.img"
    with (
        open_golden(version) as repository,
        open_volume(str(output), access=Access.CREATE, size_bytes=facts["size_bytes"]) as target,
    ):
        restore(repository, backup_id, target, tuning=Tuning.inline())
    assert blake3(output.read_bytes()).hexdigest() == facts["blake3"]


@EACH_BACKUP
def test_a_golden_backup_is_restored_by_the_independent_reader(
    version: str, backup_id: str, tmp_path: Path
) -> None:
    output = tmp_path / "output.img"
    reader.restore(GOLDEN / version / "repository", backup_id, output)
    assert blake3(output.read_bytes()).hexdigest() == expected(version)[backup_id]["blake3"]


@EACH_VERSION
def test_golden_backups_are_listed_by_both(version: str) -> None:
    with open_golden(version) as repository:
        found = {
            manifest.backup.id: manifest.backup.volume_id for manifest in repository.manifests()
        }
    listed = {
        manifest["backup_id"]: manifest["volume"]["id"]
        for manifest in reader.backups(GOLDEN / version / "repository")
    }
    wanted = {name: facts["volume_id"] for name, facts in expected(version).items()}
    assert found == listed == wanted


def test_the_golden_repository_of_version_1_holds_every_kind_of_thing() -> None:
    with open_golden("v1") as repository:
        registers = repository.registers
        states = {
            register.state if (register := registers.state(history)) else State.ABORTED
            for history in registers.histories()
        }
        manifests = list(repository.manifests())
        condemned = read_tombs(repository.driver, repository.runtime.clock)
        leases = [
            Lease.open(repository.driver.get(info.key), info.key)
            for info in repository.driver.list("sessions/")
        ]
    assert states == set(State)
    assert {manifest.root.level if manifest.root else None for manifest in manifests} == {
        0,
        1,
        None,
    }
    assert {manifest.backup.is_incremental for manifest in manifests} == {True, False}
    assert {key.split("/")[0] for key in condemned} == {"data", "map"}
    assert {lease.register is None for lease in leases} == {True, False}


def test_a_golden_repository_takes_another_backup(tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(GOLDEN / "v1" / "repository", store)
    content = alpha_content()
    content[5] ^= 1
    target = MemoryVolume(len(content))
    with open_repository(f"posix:{store}", runtime=fixed_runtime("later")) as repository:
        volume = MemoryVolume(content, name="alpha")
        request = BackupRequest(backup_id="00000000-0000-4000-8000-000000000001")
        done = backup(volume, repository, request=request, tuning=Tuning.inline())
        restore(repository, done.id, target, tuning=Tuning.inline())
    assert (done.is_incremental, target.content) == (True, content)


def test_the_maker_writes_the_same_bytes_in_every_run(tmp_path: Path) -> None:
    main(tmp_path / "one")
    main(tmp_path / "two")
    lists = [(tmp_path / name / "checksums").read_text() for name in ("one", "two")]
    assert lists[0] == lists[1]


def test_the_maker_overwrites_nothing() -> None:
    with pytest.raises(FileExistsError):
        main(GOLDEN / "v1")
