"""A hundred days: how fast a volume restores from many small backups, beside one.

    python -m benchmarks.hinted.aging [--image PATH | --size 1GiB] [--days 100] [--rounds 5]
        [--json OUT]

Day 1 is backed up in full; every day a share of the 4 KiB blocks changes, in clusters, and what
changed is backed up from a list of extents. Then the last day is restored from this repository,
and from another that holds one full backup of it, in turn.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from backupcore import (
    Backup,
    BackupRequest,
    ChangedExtents,
    backup,
    create_repository,
    open_repository,
    open_volume,
)
from backupcore.extents import Extents, extents_of_cells
from backupcore.testing.image import churn
from backupcore.units import KIB, MIB, format_bytes
from benchmarks.image import copy_image, given_image, is_same, work_folder
from benchmarks.measure import alternate, new_parser, print_table, write_json
from benchmarks.path import Run, run

__all__ = ["main"]

BLOCK = 4 * KIB
_PIECE_BYTES = 16 * MIB
_VOLUME_ID = "aging"


def changed_extents(before: Path, after: Path) -> Extents:
    """Return where two files of one size differ, by blocks."""
    return np.concatenate(list(_changed_pieces(before, after)))


def _changed_pieces(before: Path, after: Path) -> Iterator[Extents]:
    with before.open("rb") as first, after.open("rb") as second:
        for offset in range(0, after.stat().st_size, _PIECE_BYTES):
            was = np.frombuffer(first.read(_PIECE_BYTES), np.uint64).reshape(-1, BLOCK // 8)
            now = np.frombuffer(second.read(_PIECE_BYTES), np.uint64).reshape(-1, BLOCK // 8)
            yield extents_of_cells((was != now).any(axis=1), BLOCK, offset // BLOCK)


def live_through(image: Path, folder: Path, days: int, share: float) -> list[Backup]:
    """Back up an image that changes every day; return the backups."""
    before = folder / "before.img"
    done: list[Backup] = []
    with create_repository(str(folder / "old")) as repository:
        for day in range(days):
            changed = None
            if day:
                copy_image(image, before)
                churn(str(image), share=share, seed=day)
                changed = ChangedExtents(changed_extents(before, image), since=done[-1].id)
            request = BackupRequest(volume_id=_VOLUME_ID, changed=changed)
            with open_volume(str(image)) as volume:
                done.append(backup(volume, repository, request=request))
    before.unlink(missing_ok=True)
    return done


class Restores:
    """Restores of the last day from both repositories."""

    def __init__(self, image: Path, folder: Path) -> None:
        self._image = image
        self._folder = folder
        self.runs: dict[str, list[Run]] = {"old": [], "new": []}

    def one(self, name: str) -> float:
        """Restore, and compare the first time."""
        target = self._folder / "restored.img"
        target.unlink(missing_ok=True)
        done = run("restore", self._folder / name, target)
        if not self.runs[name] and not is_same(self._image, target):
            raise SystemExit(f"{name}: the restored image differs from the source")
        self.runs[name].append(done)
        return done.duration_s


def main(arguments: Sequence[str] | None = None) -> None:
    parser = new_parser("hinted.aging", __doc__)
    parser.set_defaults(size=1024 * MIB, rounds=5)
    parser.add_argument("--days", type=int, default=100)
    parser.add_argument("--share", type=float, default=0.025)
    given = parser.parse_args(arguments)
    with work_folder(given.folder) as folder:
        image = folder / "today.img"
        copy_image(given_image(given.image, given.size, folder), image)
        done = live_through(image, folder, given.days, given.share)
        with (
            create_repository(str(folder / "new")) as repository,
            open_volume(str(image)) as volume,
        ):
            backup(volume, repository)
        restores = Restores(image, folder)
        steps = {name: lambda name=name: restores.one(name) for name in restores.runs}
        seconds = alternate(steps, given.rounds)
        with open_repository(str(folder / "old")) as repository:
            data_bytes = repository.find_backup(done[-1].id).data_bytes
    rows = [
        {
            "restored from": title,
            "median s": f"{statistics.median(seconds[name]):.2f}",
            "gets": str(sum(restores.runs[name][0].calls.values())),
            "got": format_bytes(restores.runs[name][0].read_bytes),
        }
        for name, title in (("old", f"{given.days} backups"), ("new", "one full backup"))
    ]
    print_table(f"The last day, {format_bytes(data_bytes)} of data", rows)
    ratio = statistics.median(
        new / old for old, new in zip(seconds["old"], seconds["new"], strict=True)
    )
    new_bytes = statistics.median(day.new_bytes for day in done[1:])
    print(f"rate of the old to the new: {ratio:.2f}; a day stored {format_bytes(int(new_bytes))}")
    runs = {name: [asdict(one) for one in many] for name, many in restores.runs.items()}
    write_json(given.json, {"seconds": seconds, "runs": runs, "ratio": ratio})


if __name__ == "__main__":
    main()
