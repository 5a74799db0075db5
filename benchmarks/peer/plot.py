"""A contest as pictures: seconds of each job, stored bytes, memory; SVG, always the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from backupcore.units import GIB, MIB
from benchmarks.peer.contest import Entry
from benchmarks.peer.meter import Cost
from benchmarks.peer.result import Outcome, jobs_of
from benchmarks.peer.tool.ours import Ours

__all__ = ["write_plots"]

_OURS_COLOUR, _COLOUR = "#c44e52", "#4c72b0"
_PANEL_INCHES, _BAR_INCHES, _HEAD_INCHES = 5.0, 0.24, 0.9


def write_plots(folder: Path, outcomes: Sequence[Outcome]) -> list[Path]:
    """Write three pictures of each workload; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for outcome in outcomes:
        jobs = jobs_of(outcome)
        pictures: dict[str, tuple[str, list[str], Callable[[Cost], float]]] = {
            "seconds": ("seconds until on the disk", jobs, lambda cost: cost.durable_s),
            "stored": ("stored, GiB", jobs[:-1], lambda cost: cost.stored_bytes / GIB),
            "memory": ("peak memory, MiB", jobs, lambda cost: cost.peak_rss_bytes / MIB),
        }
        for name, (unit, shown, value) in pictures.items():
            path = folder / f"{outcome.workload.name}-{name}.svg"
            _draw(path, outcome, shown, unit=unit, value=value)
            written.append(path)
    return written


def _draw(
    path: Path, outcome: Outcome, jobs: list[str], *, unit: str, value: Callable[[Cost], float]
) -> None:
    mpl.rcParams["svg.hashsalt"] = "backupcore"
    entries = [entry for entry in outcome.entries if entry.costs]
    height = _HEAD_INCHES + _BAR_INCHES * max(1, len(entries))
    figure = Figure(figsize=(_PANEL_INCHES * len(jobs), height), layout="constrained")
    panels = figure.subplots(1, len(jobs), sharey=True, squeeze=False)[0]
    for panel, job in zip(panels, jobs, strict=True):
        _fill(panel, entries, job, value)
        panel.set_title(job)
        panel.set_xlabel(unit)
    panels[0].invert_yaxis()
    figure.savefig(path, format="svg", metadata={"Date": None})


def _fill(panel: Axes, entries: list[Entry], job: str, value: Callable[[Cost], float]) -> None:
    """Draw a bar for each contender: the median, and the least and the most of the rounds."""
    values = [[value(cost) for cost in entry.costs[job]] for entry in entries]
    middles = [median(each) for each in values]
    least = [middle - min(each) for middle, each in zip(middles, values, strict=True)]
    most = [max(each) - middle for middle, each in zip(middles, values, strict=True)]
    is_ours = [entry.title.startswith(f"{Ours.name} ") for entry in entries]
    colours = [_OURS_COLOUR if ours else _COLOUR for ours in is_ours]
    titles = [entry.title for entry in entries]
    panel.barh(titles, middles, xerr=(least, most), color=colours, height=0.7, capsize=2)
    panel.grid(axis="x", alpha=0.3)
    panel.set_axisbelow(True)
