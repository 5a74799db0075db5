"""Huge and nearly empty volumes: time and memory shall follow the data, not the size.

    python -m benchmarks.sparse [--image PATH | --size 4GiB] [--file-size 1TiB]
        [--volume-size 100TiB] [--data 1GiB] [--extents 10000] [--json OUT]

Each volume is backed up in full and again after a change; then some of its extents are restored and
compared: an image, a sparse file with 64 MiB of data, and a computed volume, which also stands
there in the size of the image, so that nothing but the size differs.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from backupcore import open_volume
from backupcore.extents import Extents, as_extents
from backupcore.testing.image import churn
from backupcore.units import MIB, format_bytes, parse_bytes
from benchmarks.image import (
    copy_image,
    given_image,
    is_same_extents,
    work_folder,
    write_islands,
)
from benchmarks.measure import new_parser, print_table, settle, write_json
from benchmarks.path import Run, run

__all__ = ["main"]

FILE_DATA_BYTES = 64 * MIB
_RESTORED_COUNT = 64
_RESTORED_LENGTH = MIB
_SEED = 3


@dataclass(frozen=True, slots=True)
class Subject:
    """A volume on two days: what to open, and what happens to it overnight."""

    name: str
    first_url: str
    second_url: str
    change: Callable[[], object]


def _nothing() -> None:
    """Leave a volume as it is; its URL says which day it is."""


def _image(given: argparse.Namespace, folder: Path) -> Subject:
    image, copy = given_image(given.image, given.size, folder), folder / "changed.img"
    copy_image(image, copy)
    name = f"image, {format_bytes(image.stat().st_size)}"
    return Subject(name, str(copy), str(copy), lambda: churn(str(copy), share=0.01, seed=_SEED))


def _file(given: argparse.Namespace, folder: Path) -> Subject:
    path = folder / "sparse.img"
    path.touch()
    os.truncate(path, given.file_size)
    write_islands(path, FILE_DATA_BYTES, seed=_SEED)

    def change() -> None:
        write_islands(path, FILE_DATA_BYTES, seed=_SEED + 1, step=8)

    name = f"sparse file, {format_bytes(given.file_size)}"
    return Subject(name, str(path), str(path), change)


def _computed(given: argparse.Namespace, size_bytes: int) -> Subject:
    options = f"size={size_bytes}&data={given.data}&extents={given.extents}&changed=0.01"
    url = f"synthetic:?{options}&seed={_SEED}&generation="
    return Subject(f"computed, {format_bytes(size_bytes)}", f"{url}0", f"{url}1", _nothing)


def measure(subject: Subject, folder: Path) -> list[Run]:
    """Back up in full, change, back up, restore some extents, each in a process of its own."""
    repository, target = folder / "repository", folder / "restored"
    repository.mkdir()
    settle()
    runs = [run("backup", subject.first_url, repository, "--create", "--full")]
    subject.change()
    settle()
    runs.append(run("backup", subject.second_url, repository))
    chosen = _choose(subject.second_url)
    pairs = ",".join(f"{offset}:{length}" for offset, length in chosen.tolist())
    settle()
    runs.append(run("restore", repository, target, "--stream", f"--extents={pairs}"))
    with open_volume(subject.second_url) as volume:
        if not is_same_extents(volume, chosen, target):
            raise SystemExit(f"{subject.name}: the restored extents differ from the source")
    return runs


def _choose(url: str) -> Extents:
    """Return some of a volume's data extents, evenly spread, up to 1 MiB of each."""
    with open_volume(url) as volume:
        extents = volume.extents(0, volume.size_bytes)
    picks = np.linspace(0, len(extents) - 1, min(_RESTORED_COUNT, len(extents))).astype(np.intp)
    chosen = extents[picks]
    chosen[:, 1] = np.minimum(chosen[:, 1], _RESTORED_LENGTH)
    return as_extents(chosen)


def _rows(results: dict[str, list[Run]]) -> list[dict[str, str]]:
    return [
        {
            "": f"{name}: {step}",
            "s": f"{done.duration_s:.2f}",
            "process s": f"{done.process_s:.2f}",
            "cpu s": f"{done.user_s + done.system_s:.2f}",
            "peak RSS": format_bytes(done.peak_rss_bytes),
            "read": format_bytes(done.read_bytes),
            "data": format_bytes(done.data_bytes),
            "maps": format_bytes(done.map_bytes),
            "calls": str(sum(done.calls.values())),
        }
        for name, runs in results.items()
        for step, done in zip(("full", "changed", "extents"), runs, strict=True)
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = new_parser("sparse", __doc__)
    parser.add_argument("--file-size", type=parse_bytes, default=parse_bytes("1TiB"))
    parser.add_argument("--volume-size", type=parse_bytes, default=parse_bytes("100TiB"))
    parser.add_argument("--data", type=parse_bytes, default=parse_bytes("1GiB"))
    parser.add_argument("--extents", type=int, default=10_000)
    given = parser.parse_args(arguments)
    makers: list[Callable[[Path], Subject]] = [
        lambda folder: _image(given, folder),
        lambda folder: _file(given, folder),
        lambda folder: _computed(given, given.size),
        lambda folder: _computed(given, given.volume_size),
    ]
    results: dict[str, list[Run]] = {}
    for make in makers:
        with work_folder(given.folder) as folder:
            subject = make(folder)
            results[subject.name] = measure(subject, folder)
    print_table("Huge and nearly empty volumes", _rows(results))
    volumes = {name: [asdict(done) for done in runs] for name, runs in results.items()}
    write_json(given.json, {"volumes": volumes})


if __name__ == "__main__":
    main()
