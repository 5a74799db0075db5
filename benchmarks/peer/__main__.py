"""Other tools beside ours, in turn, on the same images.

    python -m benchmarks.peer [--image IMG | --size 4GiB] [--rounds 5]
        [--json OUT] [--markdown OUT] [--plots DIR]
        [--workload os,database,…] [--tools restic,borg,…] [--default-settings]

Each contender backs an image up in full, again unchanged, as it is a day later, and restores that,
which is compared byte for byte. What is not installed is named and left out. The exit code is not
zero when a command failed or a restored image differs.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.image import work_folder
from benchmarks.measure import (
    describe_machine,
    file_system_of,
    new_parser,
    print_table,
    write_json,
)
from benchmarks.peer.contest import TOOLS, Entry, Lineup, find_tools, run_contest
from benchmarks.peer.markdown import contest_page
from benchmarks.peer.plot import write_plots
from benchmarks.peer.result import Outcome, jobs_of, seconds_of
from benchmarks.peer.tool import Tool
from benchmarks.peer.workload import WORKLOADS, make_workload

__all__ = ["main"]

_VENVS = "build/venvs"


def measure(given: argparse.Namespace, lineup: Lineup, folder: Path) -> list[Outcome]:
    """Run the contest on every workload asked for; the images of one are removed for the next."""
    outcomes: list[Outcome] = []
    for name in given.workload:
        images = folder / "images"
        images.mkdir()
        workload = make_workload(name, given.image, given.size, images)
        entries = run_contest(lineup.contenders, workload, folder, given.rounds)
        shutil.rmtree(images)
        outcomes.append(Outcome(workload, entries))
    return outcomes


def show(outcome: Outcome) -> None:
    """Print seconds and ratios of every job."""
    rows = [
        {"": entry.title, **{job: _cell(outcome, entry, job) for job in jobs_of(outcome)}}
        for entry in outcome.entries
    ]
    print_table(f"{outcome.workload.name}: ratio of the seconds to ours, by job", rows)


def _cell(outcome: Outcome, entry: Entry, job: str) -> str:
    ratio = outcome.ratio(entry, job)
    return "failed" if job not in entry.costs else "" if ratio is None else str(ratio)


def _document(outcomes: list[Outcome], lineup: Lineup, file_system: str) -> dict[str, object]:
    return {
        "file_system": file_system,
        "versions": lineup.versions,
        "not_installed": lineup.missing,
        "workloads": {outcome.workload.name: outcome.document() for outcome in outcomes},
        "seconds": seconds_of(outcomes),
    }


def _workloads(text: str) -> list[str]:
    names = text.split(",")
    for name in names:
        if name not in WORKLOADS:
            raise argparse.ArgumentTypeError(f"{name}: choose from {', '.join(WORKLOADS)}")
    return names


def _tools(text: str) -> list[type[Tool]]:
    known = {tool.name: tool for tool in TOOLS}
    names = text.split(",")
    for name in names:
        if name not in known:
            raise argparse.ArgumentTypeError(f"{name}: choose from {', '.join(known)}")
    return [tool for tool in TOOLS if tool is TOOLS[0] or tool.name in names]


def _parser() -> argparse.ArgumentParser:
    parser = new_parser("peer", __doc__)
    parser.add_argument("--markdown", metavar="OUT", help="also write a page to this file")
    parser.add_argument("--plots", metavar="DIR", type=Path, help="also write pictures here")
    parser.add_argument(
        "--workload",
        type=_workloads,
        default=["os"],
        metavar="NAME,…",
        help=f"of {', '.join(WORKLOADS)} (os)",
    )
    parser.add_argument(
        "--tools", type=_tools, default=TOOLS, metavar="NAME,…", help="these, and ours (all)"
    )
    parser.add_argument(
        "--default-settings", action="store_true", help="leave the other settings of each tool out"
    )
    parser.add_argument(
        "--venvs", type=Path, default=Path(_VENVS), metavar="DIR", help=f"see docs ({_VENVS})"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    given = _parser().parse_args(arguments)
    lineup = find_tools(given.tools, given.venvs, only_default=given.default_settings)
    for name, install in lineup.missing.items():
        print(f"{name} is not installed: {install}", file=sys.stderr)
    with work_folder(given.folder) as folder:
        file_system = file_system_of(folder)
        outcomes = measure(given, lineup, folder)
    for outcome in outcomes:
        show(outcome)
    write_json(given.json, _document(outcomes, lineup, file_system))
    if given.markdown is not None:
        machine = {**describe_machine(), "file system": file_system}
        page = contest_page(outcomes, lineup, machine, rounds=given.rounds)
        Path(given.markdown).write_text(page, encoding="utf-8")
    if given.plots is not None:
        write_plots(given.plots, outcomes)
    faults = [
        f"{entry.title}: {fault}"
        for outcome in outcomes
        for entry in outcome.entries
        for fault in entry.faults
    ]
    if faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    main()
