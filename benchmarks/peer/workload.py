"""What is backed up: an image, the same again, what it is a day later; or clones of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from backupcore.testing.image import Kind, churn, rewrite, write_clones, write_image
from backupcore.units import KIB
from benchmarks.image import SEED, copy_image, data_length, given_image
from benchmarks.peer.tool import Source

__all__ = ["WORKLOADS", "Workload", "make_workload"]

CLONE_COUNT = 10


@dataclass(frozen=True, slots=True)
class Workload:
    """Images in the order in which they are backed up.

    first: backed up twice. later_job: the name of the job that backs all the later ones up.
    """

    name: str
    first: Path
    later_job: str
    later: tuple[Source, ...]
    size_bytes: int
    data_bytes: int

    def first_as(self, label: str) -> Source:
        """Return the first image for a backup of that name."""
        return Source("disk", label, self.first)


def _days(name: str, first: Path, change: Callable[[str], object]) -> Workload:
    """Return a workload of two days; the second image lies in a folder of its own."""
    second = first.parent / "day2" / first.name
    second.parent.mkdir()
    copy_image(first, second)
    change(str(second))
    later = (Source("disk", "day2", second),)
    return Workload(name, first, "day 2", later, first.stat().st_size, data_length(first))


def _os(first: Path) -> Workload:
    return _days("os", first, lambda path: churn(path, seed=SEED + 1))


def _database(first: Path) -> Workload:
    return _days("database", first, lambda path: rewrite(path, seed=SEED + 1))


def _pages(first: Path) -> Workload:
    size = 16 * KIB
    return _days("pages", first, lambda path: rewrite(path, seed=SEED + 1, page_size_bytes=size))


def _random(first: Path) -> Workload:
    return _days("random", first, lambda path: churn(path, seed=SEED + 1))


def _sparse(first: Path) -> Workload:
    return _days("sparse", first, lambda path: churn(path, seed=SEED + 1))


def _clones(first: Path) -> Workload:
    later = []
    for number, path in enumerate(write_clones(str(first), count=CLONE_COUNT, seed=SEED + 1)):
        volume = f"clone{number}"
        place = first.parent / volume / first.name
        place.parent.mkdir()
        later.append(Source(volume, volume, Path(path).rename(place)))
    size_bytes = first.stat().st_size
    job = f"{CLONE_COUNT} clones"
    return Workload("clones", first, job, tuple(later), size_bytes, data_length(first))


WORKLOADS: Mapping[str, tuple[Kind, Callable[[Path], Workload]]] = {
    "os": (Kind.OS, _os),
    "database": (Kind.DATABASE, _database),
    "pages": (Kind.PAGES, _pages),
    "random": (Kind.RANDOM, _random),
    "sparse": (Kind.SPARSE, _sparse),
    "clones": (Kind.OS, _clones),
}


def make_workload(name: str, given: str | None, size_bytes: int, folder: Path) -> Workload:
    """Make the images of a workload in an empty folder.

    given: an image to begin with instead of one that is made; it is copied, holes included.
    """
    kind, make = WORKLOADS[name]
    first = folder / "disk.img"
    if given is not None:
        copy_image(Path(given), first)
    elif kind == Kind.OS:
        given_image(None, size_bytes, folder).rename(first)
    else:
        write_image(str(first), kind, size_bytes, SEED)
    return make(first)
