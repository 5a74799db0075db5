"""The engine in this process: some threads, the orders in the order they came, limits by lane."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from backupcore.errors import Stopped
from backupcore.job import Engine, JobOrder, JobRun, JobStatus, JobView, Perform
from backupcore.runtime import open_pool

__all__ = ["InlineEngine"]

log = logging.getLogger(__name__)

REMEMBERED_COUNT = 1000  # jobs that ended, for those who still watch


@dataclass(slots=True)
class _Job:
    view: JobView
    stop: threading.Event = field(default_factory=threading.Event)


class InlineEngine(Engine):
    """Runs up to `thread_count` jobs, of one lane no more than `lane_limits` says.

    Jobs of one backup run one after another, in the order they came.
    lane_limits: how many of a lane run at once, `thread_count` for one that is not named.
    """

    def __init__(
        self,
        perform: Perform,
        *,
        thread_count: int = 4,
        lane_limits: Mapping[str, int] | None = None,
    ) -> None:
        self._perform = perform
        self._lane_limits = dict(lane_limits or {})
        self._thread_count = thread_count
        self._waiting: OrderedDict[str, _Job] = OrderedDict()
        self._running: OrderedDict[str, _Job] = OrderedDict()
        self._ended: OrderedDict[str, JobView] = OrderedDict()
        self._changed = threading.Condition()
        self._is_closing = False
        self._pool = open_pool(thread_count, "job")
        self._threads = [self._pool.submit(self._work) for _ in range(thread_count)]

    def submit(self, order: JobOrder) -> bool:
        """Queue an order that is not queued; one that runs already is performed again after."""
        with self._changed:
            if self._is_closing:
                raise Stopped(f"{order.id}: not taken: the service is stopping")
            if order.id in self._waiting:
                return False
            self._waiting[order.id] = _Job(JobView(order, JobStatus.QUEUED))
            self._changed.notify()
            return True

    def watch(self, job_id: str) -> JobView | None:
        """Return how far a job is, also one of the last that ended."""
        with self._changed:
            job = self._running.get(job_id) or self._waiting.get(job_id)
            return job.view if job else self._ended.get(job_id)

    def jobs(self) -> list[JobView]:
        """Return what runs and then what waits."""
        with self._changed:
            return [job.view for job in (*self._running.values(), *self._waiting.values())]

    def cancel(self, job_id: str) -> bool:
        """Take an order out of the queue, or tell its job to stop."""
        with self._changed:
            waiting, running = self._waiting.pop(job_id, None), self._running.get(job_id)
            if waiting is not None:
                self._remember(waiting.view, JobStatus.CANCELLED)
            if running is not None:
                running.stop.set()
            return waiting is not None or running is not None

    def close(self) -> None:
        """Drop what waits, stop what runs, and wait for it; what was dropped is found again."""
        with self._changed:
            self._is_closing = True
            self._waiting.clear()
            for job in self._running.values():
                job.stop.set()
            self._changed.notify_all()
        self._pool.shutdown(wait=True)

    def _work(self) -> None:
        while (job := self._next()) is not None:
            order = job.view.order
            try:
                self._perform(order, JobRun(job.stop, lambda *at, job=job: self._report(job, *at)))
            except Stopped:
                status = JobStatus.CANCELLED
            except Exception:
                facts = {"job": order.id, "request_id": order.request_id}
                log.exception("job failed", extra=facts)
                status = JobStatus.FAILED
            else:
                status = JobStatus.DONE
            with self._changed:
                del self._running[order.id]
                self._remember(job.view, status)
                self._changed.notify_all()

    def _next(self) -> _Job | None:
        """Wait for an order whose lane and backup have room; None when the engine closes."""
        with self._changed:
            while not self._is_closing:
                for job_id, job in self._waiting.items():
                    if self._has_room(job.view.order):
                        del self._waiting[job_id]
                        job.view = replace(job.view, status=JobStatus.RUNNING)
                        self._running[job_id] = job
                        return job
                self._changed.wait()
            return None

    def _has_room(self, order: JobOrder) -> bool:
        running = [job.view.order for job in self._running.values()]
        if any(other.backup_id == order.backup_id for other in running):
            return False
        in_lane = sum(other.lane == order.lane for other in running)
        return in_lane < self._lane_limits.get(order.lane, self._thread_count)

    def _report(self, job: _Job, done_bytes: int, total_bytes: int) -> None:
        with self._changed:
            job.view = replace(job.view, done_bytes=done_bytes, total_bytes=total_bytes)

    def _remember(self, view: JobView, status: JobStatus) -> None:
        order = replace(view.order, subject=None)
        self._ended[order.id] = replace(view, order=order, status=status)
        self._ended.move_to_end(order.id)
        if len(self._ended) > REMEMBERED_COUNT:
            self._ended.popitem(last=False)
