"""A service is killed before any of its steps; the next one on the same folder settles it all."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backupcore.catalog import Listing, Scope
from backupcore.catalog.row import VolumeRow
from backupcore.catalog.status import BackupStatus, SnapshotStatus, VolumeStatus
from backupcore.service import SnapshotWish
from tests.service.crash_nursery import ACTIONS, KILLED
from tests.service.scene import ADMIN, ALICE, Scene, content, started

TOP = Path(__file__).resolve().parents[2]
STEP_COUNT_MAX = 200
SAMPLE = (2, 12)  # in the catalog, within the work


class Nursery:
    """Children that are killed; one line out and one line in for each."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.service.crash_nursery"],
            cwd=TOP, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, folder: Path, action: str, nth: int) -> int:
        """Return how a child ended that asks for something and is killed at its n-th step."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = {"folder": str(folder), "action": action, "nth": nth}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    nursery.close()


def prepare(folder: Path, action: str) -> Path:
    """Make a service with two backups, and what the action needs; return its folder."""
    with started(folder) as scene:
        scene.create(name="first")
        scene.write(2)
        second = scene.create(name="second")
        scene.write(3)
        if action == "create of a volume in use":
            scene.attach()
        if action == "create of a snapshot":
            scene.service.snapshots.create(ALICE, SnapshotWish(volume_id=scene.volume.id))
        if action == "import":
            record = scene.service.records.export(ADMIN, second.id)
            texts = [record.backup_service, record.backup_url]
            (folder / "record").write_text(json.dumps(texts))
            with scene.service.catalog.writing() as rows:
                rows.remove_backup(second.id)
    return folder


def check(folder: Path, action: str) -> str:
    """Start again where a child was killed and check everything; return what became of it."""
    with started(folder) as scene:
        scene.wait(lambda: not scene.service.engine.jobs())
        assert len(scene.gate.begun) == len(set(scene.gate.begun)) <= 1
        outcome = CHECKS[action](scene)
        check_settled(scene)
        check_goes_on(scene)
    return outcome


def check_settled(scene: Scene) -> None:
    """Check that nothing is under way, and that what is called available is there."""
    rows = scene.rows()
    settled = (BackupStatus.AVAILABLE, BackupStatus.ERROR)
    assert all(row.status in settled for row in rows)
    named = {row.stored_id for row in rows if row.status is BackupStatus.AVAILABLE}
    assert named <= set(scene.stored())
    resting = (VolumeStatus.AVAILABLE, VolumeStatus.IN_USE, VolumeStatus.ERROR_RESTORING,
               VolumeStatus.ERROR)  # fmt: skip
    assert all(volume.status in resting for volume in volumes(scene))
    with scene.service.catalog.reading() as reading:
        snapshots = reading.page_snapshots(Scope.everything(), Listing(limit=9)).rows
    assert all(snapshot.status is SnapshotStatus.AVAILABLE for snapshot in snapshots)
    assert len(scene.frozen()) == len(snapshots)


def check_goes_on(scene: Scene) -> None:
    """Check that the backup of before restores to its bytes, and that a new one works."""
    first = next(row for row in scene.rows() if row.name == "first")
    scene.set_status(scene.volume.id, VolumeStatus.AVAILABLE)
    assert scene.read(scene.restore(first.id, volume_id=scene.volume.id)) == content(1)
    scene.write(9)
    done = scene.create(is_incremental=True)
    assert done.status is BackupStatus.AVAILABLE
    assert scene.read(scene.restore(done.id)) == content(9)


def volumes(scene: Scene) -> list[VolumeRow]:
    with scene.service.catalog.reading() as rows:
        return rows.page_volumes(Scope.everything(), Listing(limit=99)).rows


def check_create(scene: Scene) -> str:
    was = VolumeStatus.IN_USE if scene.volume.attachments else VolumeStatus.AVAILABLE
    assert scene.volume.status is was
    made = [row for row in scene.rows() if row.name is None]
    if not made:
        return "no row"
    assert len(made) == 1
    if made[0].status is BackupStatus.AVAILABLE:
        assert scene.read(scene.restore(made[0].id, name="look")) == content(3)
        return "available"
    assert made[0].fail_reason == "incomplete backup reset on manager restart"
    assert made[0].id not in scene.stored()
    return "error"


def check_restore(scene: Scene) -> str:
    assert {row.status for row in scene.rows()} == {BackupStatus.AVAILABLE}
    target = scene.volume
    if target.status is VolumeStatus.AVAILABLE:
        assert scene.read(target) in (content(1), content(3))
        return "restored" if scene.read(target) == content(1) else "not begun"
    assert target.status is VolumeStatus.ERROR_RESTORING
    return "volume error_restoring"


def check_restore_to_new(scene: Scene) -> str:
    assert {row.status for row in scene.rows()} == {BackupStatus.AVAILABLE}
    targets = [volume for volume in volumes(scene) if volume.name == "fresh"]
    if not targets:
        return "no volume"
    if targets[0].status is VolumeStatus.AVAILABLE:
        is_restored = "src_backup_id" in targets[0].metadata
        assert scene.read(targets[0]) == (content(1) if is_restored else bytes(len(content(1))))
        return "restored" if is_restored else "an empty volume"
    return f"volume {targets[0].status}"


def check_delete(scene: Scene) -> str:
    second = [row for row in scene.rows() if row.name == "second"]
    assert len(scene.stored()) == len(scene.rows())
    if not second:
        return "gone"
    assert second[0].status is BackupStatus.AVAILABLE
    return "not begun"


def check_force_delete(scene: Scene) -> str:
    assert scene.volume.status is VolumeStatus.AVAILABLE
    doomed = [row for row in scene.rows() if row.name == "doomed"]
    assert len(scene.stored()) == 2 + sum(row.status is BackupStatus.AVAILABLE for row in doomed)
    return str(doomed[0].status) if doomed else "gone"


def check_import(scene: Scene) -> str:
    assert len(scene.stored()) == 2
    taken = [row for row in scene.rows() if row.is_imported]
    if not taken:
        return "no row"
    if taken[0].status is BackupStatus.AVAILABLE:
        assert scene.read(scene.restore(taken[0].id)) == content(2)
        return "available"
    assert taken[0].fail_reason is not None
    assert taken[0].fail_reason.startswith("incomplete import")
    stored = scene.stored()
    scene.delete(taken[0].id)
    assert scene.stored() == stored
    return "error"


CHECKS = {
    "create": check_create,
    "create of a volume in use": check_create,
    "create of a snapshot": check_create,
    "restore": check_restore,
    "restore to new": check_restore_to_new,
    "delete": check_delete,
    "force delete": check_force_delete,
    "import": check_import,
}


def kill(nursery: Nursery, tmp_path: Path, action: str, nth: int) -> Path | None:
    """Return a copy of the prepared folder where a child was killed; None when it had finished."""
    prepared = tmp_path / "prepared"
    if not prepared.exists():
        prepare(prepared, action)
    folder = tmp_path / f"at-{nth}"
    shutil.copytree(prepared, folder)
    status = nursery.run(folder, action, nth)
    assert status in (0, KILLED)
    return folder if status == KILLED else None


@pytest.mark.parametrize("action", ACTIONS)
def test_a_service_killed_at_some_steps_is_settled_by_the_next(
    nursery: Nursery, tmp_path: Path, action: str
) -> None:
    for nth in SAMPLE:
        folder = kill(nursery, tmp_path, action, nth)
        if folder is not None:
            check(folder, action)


@pytest.mark.long
@pytest.mark.parametrize("action", ACTIONS)
def test_a_service_killed_at_any_step_is_settled_by_the_next(
    nursery: Nursery, tmp_path: Path, action: str
) -> None:
    outcomes: dict[str, str] = {}
    for nth in range(1, STEP_COUNT_MAX):
        folder = kill(nursery, tmp_path, action, nth)
        if folder is None:
            break
        step = (folder / "step").read_text()
        outcomes[f"{nth} {step}"] = check(folder, action)
        shutil.rmtree(folder)
    else:
        pytest.fail("it never finished")
    print(action, json.dumps(outcomes, indent=1), sep="\n")  # noqa: T201 - the table of the design
    assert len(set(outcomes.values())) > 1
