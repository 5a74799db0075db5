"""Running what takes long: one contract, whatever runs the jobs.

A job is an order (what to do, to which backup, in which lane) and whoever performs it: one
function of the service, which knows the orders' words. An engine remembers nothing that the
service could not find again in its catalog, so an order may be handed in twice.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from backupcore.catalog.status import JobKind, JobStatus
from backupcore.closing import Closing
from backupcore.job.trace import current_request
from backupcore.runtime import StopFlag

__all__ = ["Engine", "JobKind", "JobOrder", "JobRun", "JobStatus", "JobView", "Perform"]


@dataclass(frozen=True, slots=True)
class JobOrder:
    """What to do. lane: the name of the repository, whose jobs are limited together.

    request_id: of the request that orders it, for the log. subject: what the catalog does not
    keep of it; whoever drops the order drops that.
    """

    kind: JobKind
    backup_id: str
    lane: str
    request_id: str | None = field(default_factory=current_request, compare=False)
    subject: object = field(default=None, compare=False, repr=False)

    @property
    def id(self) -> str:
        """Names the job: a backup has one job of a kind at a time."""
        return f"{self.kind}:{self.backup_id}"


@dataclass(frozen=True, slots=True)
class JobView:
    """A job as it is seen from outside; the bytes are of the volume."""

    order: JobOrder
    status: JobStatus
    done_bytes: int = 0
    total_bytes: int = 0


@dataclass(frozen=True, slots=True)
class JobRun:
    """What a job is given: the flag that ends it, and whom it tells how far it is."""

    stop: StopFlag
    report: Callable[[int, int], None]


Perform: TypeAlias = Callable[[JobOrder, JobRun], None]


class Engine(Closing, ABC):
    """Runs orders, those of one backup one after another. Any thread may call, several at once."""

    @abstractmethod
    def submit(self, order: JobOrder) -> bool:
        """Take an order; return False when the same one is queued already.

        One that runs already is performed once more after it has ended: its job may have looked at
        the rows before they were changed for this order.

        Raises: Stopped when the engine is closing.
        """

    @abstractmethod
    def watch(self, job_id: str) -> JobView | None:
        """Return how far a job is; None when the engine does not know it (any more)."""

    @abstractmethod
    def jobs(self) -> list[JobView]:
        """Return what is queued and running, the longest waiting first."""

    @abstractmethod
    def cancel(self, job_id: str) -> bool:
        """Ask a job to end; return whether it was queued or running.

        One that is queued never starts; one that runs hears its stop flag. Whoever cancels settles
        the rows first.
        """

    def close(self) -> None:
        """Start nothing new, ask what runs to end, and wait for it."""
