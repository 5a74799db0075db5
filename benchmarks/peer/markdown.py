"""A contest as a page of Markdown: the machine, a table a job, the commands."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median

from backupcore.units import format_bytes
from benchmarks.peer.contest import Entry, Lineup
from benchmarks.peer.result import OURS, Outcome, jobs_of

__all__ = ["contest_page", "table"]

_INTRODUCTION = f"""\
Medians of rounds in turn, {{}} in all. Seconds run until everything is on the disk. Ratios are to
{OURS} in the same round, with the least and the most of the rounds; above 1 took longer than ours.
Memory is that of the largest process."""


def contest_page(
    outcomes: Sequence[Outcome],
    lineup: Lineup,
    machine: Mapping[str, object],
    *,
    rounds: int,
) -> str:
    """Return the page."""
    lines = [
        "# Other tools beside ours",
        "",
        _INTRODUCTION.format(rounds),
        "",
        *_machine(machine, lineup),
    ]
    for outcome in outcomes:
        lines += ["", *_workload(outcome)]
    lines += ["", "## Commands", ""]
    if outcomes:
        lines += _commands(outcomes[0].entries)
    return "\n".join(lines) + "\n"


def table(rows: Sequence[Mapping[str, str]]) -> list[str]:
    """Return rows as a table; the first row's keys head the columns, the first is to the left."""
    if not rows:
        return ["Nobody did this."]
    heads = list(rows[0])
    marks = ["---", *["--:"] * (len(heads) - 1)]
    lines = [heads, marks, *[list(row.values()) for row in rows]]
    return [f"| {' | '.join(line)} |" for line in lines]


def _machine(machine: Mapping[str, object], lineup: Lineup) -> Iterator[str]:
    facts = [
        {"": name.removesuffix("_bytes").replace("_", " "), "value": _fact(name, value)}
        for name, value in machine.items()
    ]
    versions = [{"": name, "value": text} for name, text in lineup.versions.items()]
    yield from table([*facts, *versions])
    if lineup.missing:
        yield ""
        yield "Not installed:"
        yield ""
        yield from (f"- {name}: `{install}`" for name, install in lineup.missing.items())


def _fact(name: str, value: object) -> str:
    if isinstance(value, int) and name.endswith("_bytes"):
        return format_bytes(value)
    return str(value)


def _workload(outcome: Outcome) -> Iterator[str]:
    workload = outcome.workload
    yield f"## Workload `{workload.name}`"
    yield ""
    size, data = format_bytes(workload.size_bytes), format_bytes(workload.data_bytes)
    yield f"An image of {size}, {data} of it data."
    for job in jobs_of(outcome):
        rows = [_row(outcome, entry, job) for entry in outcome.entries if entry.costs.get(job)]
        yield ""
        yield f"### {job[0].upper()}{job[1:]}"
        yield ""
        yield from table(rows)
    faults = [f"- {entry.title}: {fault}" for entry in outcome.entries for fault in entry.faults]
    if faults:
        yield ""
        yield "Ended with an error or restored other bytes:"
        yield ""
        yield from faults


def _row(outcome: Outcome, entry: Entry, job: str) -> dict[str, str]:
    costs = entry.costs[job]
    ratio = outcome.ratio(entry, job)
    row = {
        "": entry.title,
        "s": f"{median(cost.durable_s for cost in costs):.2f}",
        "ratio": "" if ratio is None else str(ratio),
        "of that in the process": f"{median(cost.duration_s for cost in costs):.2f}",
        "cpu s": f"{median(cost.cpu_s for cost in costs):.2f}",
        "peak memory": format_bytes(int(median(cost.peak_rss_bytes for cost in costs))),
    }
    if job == "restore":
        return row
    stored = int(median(cost.stored_bytes for cost in costs))
    files = int(median(cost.file_count for cost in costs))
    return row | {"stored": format_bytes(stored), "files": str(files)}


def _commands(entries: Sequence[Entry]) -> Iterator[str]:
    for entry in entries:
        yield f"{entry.title}:"
        yield ""
        yield from (f"    {command}" for command in entry.commands.values())
        yield ""
