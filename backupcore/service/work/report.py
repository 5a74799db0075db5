"""How far a job is, handed on from the operation to the engine."""

from __future__ import annotations

from backupcore.job import JobRun
from backupcore.model import Progress, ProgressCallback

__all__ = ["reporting"]


def reporting(run: JobRun) -> ProgressCallback:
    """Return the callback that tells a job's engine how many bytes of the volume are done."""

    def report(progress: Progress) -> None:
        run.report(progress.done_bytes, progress.total_bytes)

    return report
