from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from backupcore.errors import Stopped
from backupcore.job import JobKind, JobOrder, JobRun, JobStatus, Perform
from backupcore.job import inline as inline_module
from backupcore.job.inline import InlineEngine

WAIT_S = 20.0


def order(number: int = 0, lane: str = "gold", kind: JobKind = JobKind.CREATE) -> JobOrder:
    return JobOrder(kind, f"backup-{number}", lane)


class Gate:
    """A job that says it began and waits until it may end or is stopped."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.most = 0
        self._open = threading.Event()
        self._running = 0
        self._changed = threading.Condition()

    def __call__(self, order: JobOrder, run: JobRun) -> None:
        with self._changed:
            self._running += 1
            self.most = max(self.most, self._running)
            self.began.append(order.backup_id)
            self._changed.notify_all()
        try:
            while not self._open.wait(0.01):
                if run.stop.is_set():
                    raise Stopped("asked to")
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def open(self) -> None:
        self._open.set()

    def wait(self, is_so: Callable[[], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(is_so, WAIT_S)


@contextmanager
def engine(perform: Perform, **options: int) -> Iterator[InlineEngine]:
    with InlineEngine(perform, thread_count=3, lane_limits=options) as made:
        yield made


def wait_for_end(made: InlineEngine, job_id: str) -> JobStatus:
    pause = threading.Event()
    for _ in range(int(WAIT_S / 0.01)):
        view = made.watch(job_id)
        if view is not None and view.status not in (JobStatus.QUEUED, JobStatus.RUNNING):
            return view.status
        pause.wait(0.01)
    pytest.fail(f"{job_id} did not end")


def test_an_order_is_performed_and_can_be_watched_to_its_end() -> None:
    def perform(order: JobOrder, run: JobRun) -> None:
        run.report(7, 10)

    with engine(perform) as made:
        assert made.submit(order())
        assert wait_for_end(made, order().id) is JobStatus.DONE
        view = made.watch(order().id)
    assert view is not None
    assert (view.done_bytes, view.total_bytes) == (7, 10)


def test_an_order_that_is_queued_is_not_taken_twice() -> None:
    gate = Gate()
    with engine(gate, gold=1) as made:
        assert made.submit(order(0))
        assert made.submit(order(1))
        gate.wait(lambda: bool(gate.began))
        assert not made.submit(order(1))
        gate.open()
        wait_for_end(made, order(1).id)
    assert gate.began == ["backup-0", "backup-1"]


def test_an_order_that_runs_is_performed_again_after_it_ended() -> None:
    gate = Gate()
    with engine(gate) as made:
        assert made.submit(order())
        gate.wait(lambda: bool(gate.began))
        assert made.submit(order())
        gate.open()
        gate.wait(lambda: len(gate.began) == 2)
    assert (gate.began, gate.most) == (["backup-0", "backup-0"], 1)


def test_jobs_of_one_backup_run_one_after_another_and_let_others_pass() -> None:
    gate = Gate()
    with engine(gate) as made:
        made.submit(order(0))
        gate.wait(lambda: bool(gate.began))
        made.submit(order(0, kind=JobKind.DELETE))
        made.submit(order(1))
        gate.wait(lambda: len(gate.began) == 2)
        assert gate.began == ["backup-0", "backup-1"]
        assert made.cancel(order(0).id)
        gate.wait(lambda: len(gate.began) == 3)
        gate.open()
    assert gate.began[2] == "backup-0"


def test_a_lane_runs_no_more_than_its_limit_and_lets_others_pass() -> None:
    gate = Gate()
    with engine(gate, gold=1) as made:
        for number in range(3):
            made.submit(order(number))
        made.submit(order(9, lane="silver"))
        gate.wait(lambda: len(gate.began) == 2)
        assert sorted(gate.began) == ["backup-0", "backup-9"]
        assert [view.status for view in made.jobs()].count(JobStatus.QUEUED) == 2
        gate.open()
        for number in range(3):
            assert wait_for_end(made, order(number).id) is JobStatus.DONE
    assert gate.began[2:] == ["backup-1", "backup-2"]


def test_no_more_jobs_run_than_there_are_threads() -> None:
    gate = Gate()
    with engine(gate) as made:
        for number in range(8):
            made.submit(order(number))
        gate.wait(lambda: len(gate.began) == 3)
        gate.open()
        for number in range(8):
            wait_for_end(made, order(number).id)
    assert gate.most == 3


def test_a_job_that_runs_hears_that_it_is_cancelled() -> None:
    gate = Gate()
    with engine(gate) as made:
        made.submit(order())
        gate.wait(lambda: bool(gate.began))
        assert made.cancel(order().id)
        assert wait_for_end(made, order().id) is JobStatus.CANCELLED
        assert not made.cancel(order().id)


def test_a_queued_order_that_is_cancelled_never_starts() -> None:
    gate = Gate()
    with engine(gate, gold=1) as made:
        made.submit(order(0))
        made.submit(order(1))
        assert made.cancel(order(1).id)
        gate.open()
        wait_for_end(made, order(0).id)
        assert wait_for_end(made, order(1).id) is JobStatus.CANCELLED
    assert gate.began == ["backup-0"]


def test_a_job_that_fails_leaves_its_thread_to_the_next() -> None:
    def perform(order: JobOrder, run: JobRun) -> None:
        if order.backup_id != "backup-5":
            raise ValueError("a bug")

    with engine(perform) as made:
        for number in range(6):
            made.submit(order(number))
        assert wait_for_end(made, order(0).id) is JobStatus.FAILED
        assert wait_for_end(made, order(5).id) is JobStatus.DONE


def test_closing_stops_what_runs_and_takes_nothing_more() -> None:
    gate = Gate()
    made = InlineEngine(gate, thread_count=1)
    made.submit(order(0))
    made.submit(order(1))
    gate.wait(lambda: bool(gate.began))
    made.close()
    assert gate.began == ["backup-0"]
    with pytest.raises(Stopped, match="stopping"):
        made.submit(order(2))


def test_only_the_last_jobs_that_ended_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inline_module, "REMEMBERED_COUNT", 2)
    with engine(lambda order, run: None) as made:
        for number in range(4):
            made.submit(order(number))
            while made.jobs():
                threading.Event().wait(0.005)
        assert [made.watch(order(number).id) is None for number in range(4)] == [
            True,
            True,
            False,
            False,
        ]
