"""Figures of a contest: medians, spreads, ratios of the same round, and all of it as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from benchmarks.peer.contest import Entry
from benchmarks.peer.meter import Cost
from benchmarks.peer.tool.ours import Ours
from benchmarks.peer.workload import Workload

__all__ = ["OURS", "Outcome", "Ratio", "jobs_of", "paired_ratio", "seconds_of"]

OURS = f"{Ours.name} {next(iter(Ours.settings))}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """A workload and what everybody did on it."""

    workload: Workload
    entries: list[Entry]

    def document(self) -> dict[str, object]:
        """Return all of it for JSON."""
        entries = {
            entry.title: {
                "costs": {job: [asdict(cost) for cost in costs] for job, costs in _costs(entry)},
                "ratios": {
                    job: asdict(ratio) for job, ratio in self._ratios(entry) if ratio is not None
                },
                "commands": entry.commands,
                "faults": entry.faults,
            }
            for entry in self.entries
        }
        sizes = {"size_bytes": self.workload.size_bytes, "data_bytes": self.workload.data_bytes}
        return {**sizes, "contenders": entries}

    def ratio(self, entry: Entry, job: str) -> Ratio | None:
        """Return how a contender's seconds are to ours, if both did the job."""
        ours = next((entry for entry in self.entries if entry.title == OURS), None)
        if ours is None or job not in ours.costs or job not in entry.costs:
            return None
        return paired_ratio(entry.costs[job], ours.costs[job])

    def _ratios(self, entry: Entry) -> list[tuple[str, Ratio | None]]:
        return [(job, self.ratio(entry, job)) for job in entry.costs]


def _costs(entry: Entry) -> list[tuple[str, list[Cost]]]:
    return list(entry.costs.items())


@dataclass(frozen=True, slots=True)
class Ratio:
    """Seconds of theirs to seconds of ours: the median of the rounds, the least, the most."""

    median: float
    least: float
    most: float

    def __str__(self) -> str:
        if self.least == self.most:
            return f"{self.median:.2f}"
        return f"{self.median:.2f} ({self.least:.2f} to {self.most:.2f})"


def paired_ratio(theirs: Sequence[Cost], ours: Sequence[Cost]) -> Ratio:
    """Return the ratio of the seconds until all is on the disk, round by round."""
    rounds = [their.durable_s / our.durable_s for their, our in zip(theirs, ours, strict=False)]
    return Ratio(median(rounds), min(rounds), max(rounds))


def jobs_of(outcome: Outcome) -> list[str]:
    """Return the jobs in the order in which they are done."""
    return ["full", "unchanged", outcome.workload.later_job, "restore"]


def seconds_of(outcomes: Sequence[Outcome]) -> Mapping[str, list[float]]:
    """Return the seconds of every round by workload, job and contender: what compare reads."""
    return {
        f"{outcome.workload.name}: {job}: {entry.title}": [cost.durable_s for cost in costs]
        for outcome in outcomes
        for entry in outcome.entries
        for job, costs in entry.costs.items()
    }
