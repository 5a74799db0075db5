"""What got slower: two files of results, of the same measurement, before and after a change.

    python -m benchmarks.compare OLD NEW [--least 0.1]

Reads what `benchmarks.limit`, `.churn` and `.peer` write with --json, and pytest-benchmark's files.
A difference counts when the ratio of the medians is more than `--least` and more than the spread of
both sides together. The exit code is 1 when something got slower, 2 when a file says nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from benchmarks.measure import print_table

__all__ = ["Change", "Sample", "Verdict", "judge", "main", "read_samples"]

LEAST = 0.1
# One round alone has no spread; on a quiet machine single rounds differ by up to a quarter.
LONE_SPREAD = math.log(1.25)
_MACHINE_FACTS = ("processor", "cpu_count", "memory_bytes", "kernel", "machine", "python")


class Verdict(StrEnum):
    """What a change comes to."""

    SLOWER = "slower"
    FASTER = "faster"
    SAME = "same"
    GONE = "only in the old file"
    NEW = "only in the new file"


@dataclass(frozen=True, slots=True)
class Sample:
    """What was measured of one thing.

    spread: half the rounds lie within so much of each other, as a logarithm of a ratio.
    """

    median_s: float
    spread: float
    round_count: int

    @classmethod
    def of_rounds(cls, seconds: Sequence[float]) -> Sample:
        """Return the sample of some rounds."""
        return cls(median(seconds), _spread(seconds), len(seconds))

    @classmethod
    def of_statistics(cls, stats: Mapping[str, Any]) -> Sample:
        """Return the sample that pytest-benchmark describes."""
        count = int(stats["rounds"])
        spread = math.log(stats["q3"] / stats["q1"]) if count > 1 else LONE_SPREAD
        return cls(float(stats["median"]), spread, count)


def _spread(seconds: Sequence[float]) -> float:
    """Return the range between the quartiles; of fewer than four rounds, the whole range."""
    if len(seconds) < 2:
        return LONE_SPREAD
    if len(seconds) < 4:
        return math.log(max(seconds) / min(seconds))
    first, _, third = quantiles(seconds, n=4, method="inclusive")
    return math.log(third / first)


@dataclass(frozen=True, slots=True)
class Change:
    """One thing before and after; either may be missing."""

    name: str
    old: Sample | None
    new: Sample | None
    verdict: Verdict

    @property
    def ratio(self) -> float | None:
        """Seconds after to seconds before."""
        return self.new.median_s / self.old.median_s if self.old and self.new else None


def judge(name: str, old: Sample | None, new: Sample | None, least: float = LEAST) -> Change:
    """Say whether something got slower.

    The quartiles' range is about 2.4 standard errors of the difference of two medians of five
    rounds; of more rounds it is more, which leaves room for what differs between two runs.
    """
    if old is None or new is None:
        return Change(name, old, new, Verdict.NEW if old is None else Verdict.GONE)
    noise = max(math.log1p(least), math.hypot(old.spread, new.spread))
    difference = math.log(new.median_s / old.median_s)
    if abs(difference) <= noise:
        return Change(name, old, new, Verdict.SAME)
    return Change(name, old, new, Verdict.SLOWER if difference > 0 else Verdict.FASTER)


def read_samples(results: Mapping[str, Any]) -> dict[str, Sample]:
    """Return what a file of results measured, by name; nothing when it is of no known kind."""
    if "benchmarks" in results:
        stages = results["benchmarks"]
        return {stage["fullname"]: Sample.of_statistics(stage["stats"]) for stage in stages}
    seconds: Mapping[str, Sequence[float]] = results.get("seconds", {})
    return {name: Sample.of_rounds(rounds) for name, rounds in seconds.items() if rounds}


def compare(
    old: Mapping[str, Sample], new: Mapping[str, Sample], least: float = LEAST
) -> list[Change]:
    """Return the change of everything that either side measured, in the order of the old."""
    return [judge(name, old.get(name), new.get(name), least) for name in {**old, **new}]


def differing_facts(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return what of the machine differs, as far as both files tell it."""
    before, after = _facts(old), _facts(new)
    return [
        f"{name}: {before[name]} before, {after[name]} now"
        for name in before
        if name in after and before[name] != after[name]
    ]


def _facts(results: Mapping[str, Any]) -> dict[str, object]:
    told = results.get("setting") or results.get("machine_info") or {}
    known = {name: told[name] for name in _MACHINE_FACTS if name in told}
    if "cpu" in told:
        known["processor"] = told["cpu"].get("brand_raw")
    return known


def _row(change: Change) -> dict[str, str]:
    return {
        "": change.name,
        "old s": _seconds(change.old),
        "new s": _seconds(change.new),
        "ratio": "" if change.ratio is None else f"{change.ratio:.3f}",
        "verdict": change.verdict,
    }


def _seconds(sample: Sample | None) -> str:
    if sample is None:
        return ""
    return f"{sample.median_s:.4g} ±{math.expm1(sample.spread) / 2:.0%}"


def _load(parser: argparse.ArgumentParser, path: Path) -> dict[str, Any]:
    try:
        results: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        parser.error(f"{path}: {error}")
    if not read_samples(results):
        parser.error(f"{path}: holds no seconds that can be compared")
    return results


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--least", type=float, default=LEAST, help=f"that counts ({LEAST})")
    given = parser.parse_args(arguments)
    old, new = _load(parser, given.old), _load(parser, given.new)
    for fact in differing_facts(old, new):
        print(f"not the same machine: {fact}", file=sys.stderr)
    changes = compare(read_samples(old), read_samples(new), given.least)
    print_table(f"{given.old} and {given.new}", [_row(change) for change in changes])
    slower = [change.name for change in changes if change.verdict is Verdict.SLOWER]
    if slower:
        print(f"slower: {', '.join(slower)}")
        sys.exit(1)
    print("nothing got slower beyond the noise")


if __name__ == "__main__":
    main()
