"""Whoever wants to hear what jobs did, such as a door that counts; nobody needs to."""

from __future__ import annotations

from dataclasses import dataclass

from backupcore.errors import Stopped
from backupcore.job import JobKind, JobOrder, JobRun, Perform
from backupcore.job.trace import working_for
from backupcore.runtime import Clock

__all__ = ["JobEnd", "Observer", "observed"]


@dataclass(frozen=True, slots=True)
class JobEnd:
    """How a job ended. container: the configured one. error: the class of what it raised."""

    kind: JobKind
    container: str
    duration_s: float
    error: str | None = None
    is_stopped: bool = False


class Observer:
    """Hears of jobs, from the threads they run in; does nothing unless told otherwise."""

    def job_ended(self, end: JobEnd) -> None:
        """Hear that a job ended, well or not."""

    def backed_up(self, container: str, *, read_bytes: int, stored_bytes: int) -> None:
        """Hear what a backup took from a volume and put into its repository."""

    def restored(self, container: str, *, restored_bytes: int, got_bytes: int) -> None:
        """Hear what a restore gave to a volume and got from its repository."""


def observed(perform: Perform, observer: Observer, clock: Clock) -> Perform:
    """Return a perform that works for the request of its order and tells how it ended."""

    def run(order: JobOrder, job_run: JobRun) -> None:
        began_s = clock.monotonic()
        error: BaseException | None = None
        try:
            with working_for(order.request_id):
                perform(order, job_run)
        except BaseException as raised:
            error = raised
            raise
        finally:
            observer.job_ended(
                JobEnd(
                    order.kind,
                    order.lane,
                    clock.monotonic() - began_s,
                    None if error is None else type(error).__name__,
                    isinstance(error, Stopped),
                )
            )

    return run
