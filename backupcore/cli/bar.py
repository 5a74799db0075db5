"""Bars on a terminal: done, rate, time left, and what it costs in the store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    ProgressColumn,
    Task,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.text import Text

from backupcore import Progress
from backupcore.units import format_bytes

__all__ = ["drawing_bars"]


class _Amount(ProgressColumn):
    """How much of how much, and how fast."""

    def __init__(self, *, counts: bool) -> None:
        super().__init__()
        self._counts = counts

    def render(self, task: Task) -> Text:
        """Return the column's text."""
        if self._counts:
            return Text(f"{task.completed:.0f}/{task.total:.0f}")
        text = f"{format_bytes(task.completed)}/{format_bytes(task.total or 0)}"
        rate = task.finished_speed or task.speed
        return Text(f"{text}  {format_bytes(rate)}/s" if rate else text)


@contextmanager
def drawing_bars(*, counts: bool) -> Iterator[Callable[[Progress], None]]:
    """Yield what draws progress, one bar a phase; the bars vanish at the end."""
    bars = Bars(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        TaskProgressColumn(),
        _Amount(counts=counts),
        TimeRemainingColumn(),
        TextColumn("{task.fields[cost]}"),
        console=Console(stderr=True),
        transient=True,
    )
    tasks: dict[str, TaskID] = {}

    def draw(progress: Progress) -> None:
        if progress.phase not in tasks:
            tasks[progress.phase] = bars.add_task(progress.phase, cost="")
        bars.update(
            tasks[progress.phase],
            completed=progress.done_bytes,
            total=progress.total_bytes,
            cost=_cost(progress),
        )

    with bars:
        yield draw


def _cost(progress: Progress) -> str:
    facts = {"new": progress.new_bytes, "stored": progress.stored_bytes}
    return "  ".join(f"{name} {format_bytes(value)}" for name, value in facts.items() if value)
