"""Traces on which a broken protocol loses data, led call by call through the real code."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from backupcore.errors import BackupError, SessionFenced
from backupcore.model import Backup, PackId
from backupcore.operation.delete import delete
from backupcore.repository import Repository, session
from backupcore.runtime import Process
from backupcore.volume.memory import MemoryVolume
from tests.operation.scene import back_up, chunks, restored
from tests.simulation.prune import Habits, condemn_unreferenced, sweep
from tests.simulation.scheduler import Actor
from tests.simulation.world import World

CONTENT = bytes(chunks(1, 2, 3))


class Stage:
    """An empty store and processes that are led by hand."""

    def __init__(self) -> None:
        self.world = World.empty()
        self.done: dict[Actor, Backup | BackupError] = {}

    def begin(self, work: Callable[[Repository], Backup | None]) -> Actor:
        """Start a process that does one piece of work when it is led."""

        def run(actor: Actor) -> None:
            with self.world.open(actor) as repository:
                try:
                    outcome = work(repository)
                except BackupError as error:
                    self.done[actor] = error
                else:
                    if outcome is not None:
                        self.done[actor] = outcome

        return self.world.scheduler.add(run)

    def lead(self, actor: Actor, until: str | None = None) -> None:
        self.world.scheduler.lead(actor, until)

    def do(self, work: Callable[[Repository], Backup | None]) -> Backup | BackupError | None:
        """Do work from its begin to its end."""
        actor = self.begin(work)
        self.lead(actor)
        return self.done.get(actor)

    def check(self, *actors: Actor) -> None:
        """Check that these processes committed backups that restore."""
        self.world.scheduler.run()
        with self.world.open() as repository:
            for actor in actors:
                done = self.done[actor]
                assert isinstance(done, Backup)
                assert restored(repository, done.id) == CONTENT


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    stage = Stage()

    def is_gone(process: Process) -> bool:
        return stage.world.scheduler.is_gone(process)

    monkeypatch.setattr(Process, "is_gone", is_gone)
    yield stage
    stage.world.scheduler.run()


def write(repository: Repository) -> Backup:
    return back_up(repository, MemoryVolume(CONTENT))


def condemn(repository: Repository) -> None:
    condemn_unreferenced(repository)


def sweep_patiently(repository: Repository) -> None:
    sweep(repository, lambda: None, Habits(patience=1000))


def sweep_at_once(repository: Repository) -> None:
    sweep(repository, lambda: None, Habits(patience=0))


def delete_all(repository: Repository) -> None:
    for done in list(repository.backups()):
        delete(repository, done.id)


def inherit_while_swept(stage: Stage) -> Actor:
    """Let a session begin after a sweep has looked for sessions, and commit after it swept.

    Its base was condemned by mistake while it was written, and is deleted under its hands.
    """
    base = stage.begin(write)
    stage.lead(base, "put backups/")
    stage.do(condemn)
    stage.lead(base)
    sweeper = stage.begin(sweep_patiently)
    stage.lead(sweeper, "list backups/")
    writer = stage.begin(write)
    stage.lead(writer, "put backups/")
    stage.do(delete_all)
    stage.lead(sweeper)
    stage.lead(writer)
    return writer


def test_a_session_inherits_nothing_that_was_condemned(stage: Stage) -> None:
    stage.check(inherit_while_swept(stage))


def test_a_session_that_heeds_no_tomb_loses_what_it_inherits(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "read_tombs", lambda driver, clock: frozenset[PackId]())
    with pytest.raises(BackupError):
        stage.check(inherit_while_swept(stage))


def test_a_sweep_waits_for_the_session_that_inherits(stage: Stage) -> None:
    stage.do(write)
    writer = stage.begin(write)
    stage.lead(writer, "put backups/")
    stage.do(delete_all)
    stage.do(condemn)
    sweeper = stage.begin(sweep_patiently)
    for _ in range(20):
        stage.lead(sweeper, "get backups/")
        stage.world.scheduler.step(sweeper)
    assert not sweeper.is_done
    stage.lead(writer)
    stage.lead(sweeper)
    stage.check(writer)


def test_a_session_that_was_given_up_on_commits_nothing(stage: Stage) -> None:
    stage.do(write)
    writer = stage.begin(write)
    stage.lead(writer, "put backups/")
    stage.do(delete_all)
    stage.do(condemn)
    stage.do(sweep_at_once)
    stage.lead(writer)
    assert isinstance(stage.done[writer], SessionFenced)
    with stage.world.open() as repository:
        assert list(repository.backups()) == []


def test_a_zombie_whose_session_was_taken_up_commits_nothing_else(stage: Stage) -> None:
    zombie = stage.begin(write)
    stage.lead(zombie, "put backups/")
    zombie.is_gone = True
    resumer = stage.begin(write)
    stage.lead(resumer)
    stage.lead(zombie)
    stage.check(resumer)
    with stage.world.open() as repository:
        assert len(list(repository.backups())) == 1


def test_a_zombie_that_commits_first_fences_whoever_took_its_session_up(stage: Stage) -> None:
    zombie = stage.begin(write)
    stage.lead(zombie, "put backups/")
    zombie.is_gone = True
    resumer = stage.begin(write)
    stage.lead(resumer, "put backups/")
    stage.lead(zombie)
    stage.lead(resumer)
    assert isinstance(stage.done[resumer], SessionFenced)
    stage.check(zombie)


def test_packs_of_a_session_taken_up_survive_a_sweep_that_condemned_them(stage: Stage) -> None:
    first = stage.begin(write)
    stage.lead(first, "put backups/")
    first.is_gone = first.is_killed = True
    stage.lead(first)
    stage.do(condemn)
    sweeper = stage.begin(sweep_patiently)
    stage.lead(sweeper, "get backups/")
    resumer = stage.begin(write)
    stage.lead(resumer)
    stage.lead(sweeper)
    stage.check(resumer)


def test_a_manifest_that_comes_late_does_not_bring_a_deleted_backup_back(stage: Stage) -> None:
    writer = stage.begin(write)
    stage.lead(writer, "put backups/")
    tag, backup_id = writer.at.split("/")[1:3]
    with stage.world.open() as repository:
        repository.registers.delete(repository.registers.history(tag, backup_id))  # type: ignore[arg-type]
    stage.lead(writer)
    assert isinstance(stage.done[writer], SessionFenced)


def test_a_base_deleted_and_swept_before_the_tombs_were_read_is_not_used(stage: Stage) -> None:
    stage.do(write)
    writer = stage.begin(write)
    stage.lead(writer, "list tombs/")
    stage.do(delete_all)
    stage.do(condemn)
    sweeper = stage.begin(sweep_patiently)
    stage.lead(sweeper, "get backups/")
    stage.lead(writer)
    stage.lead(sweeper)
    stage.check(writer)
