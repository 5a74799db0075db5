"""Backups through each driver to a server on this machine, beside its SDK's plain uploads.

    python -m benchmarks.driver [--image PATH | --size 4GiB] [--rounds 5] [--stores s3,swift]
        [--latency 50] [--json OUT]

The server runs on one processor, so it is what everything waits for; we, and the plain uploads of
the same packs by the same number of threads, run on the other. The latency is added to every
request by a proxy, which counts them too.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from backupcore import Tuning, create_repository
from benchmarks.driver.store import STORES, Store, on_processors
from benchmarks.image import given_image, is_same, work_folder
from benchmarks.measure import (
    format_rate,
    format_ratio,
    new_parser,
    print_table,
    settle,
    write_json,
)
from benchmarks.path import Run, run

__all__ = ["main"]

GIB = 1 << 30


@dataclass(slots=True)
class Found:
    """What was measured of one store, in seconds, round by round; counts are of one backup."""

    backup: list[float] = field(default_factory=list)
    restore: list[float] = field(default_factory=list)
    plain: list[float] = field(default_factory=list)
    near: list[float] = field(default_factory=list)
    far: list[float] = field(default_factory=list)
    stored_bytes: int = 0
    volume_bytes: int = 0
    request_count: int = 0
    restore_request_count: int = 0


class Measuring:
    """One store that was just started, measured once."""

    def __init__(self, store: Store, image: Path, packs: Path, folder: Path) -> None:
        self._store = store
        self._image = image
        self._packs = packs
        self._target = folder / "restored.img"
        self._number = 0

    def measure(self, found: Found, latency_s: float) -> None:
        """Add what one round finds; the first one compares what is restored and counts requests."""
        is_first = not found.backup
        self._warm_up()
        name, done = self._backup(None)
        found.backup.append(done.duration_s)
        found.stored_bytes, found.volume_bytes = done.stored_bytes, done.volume_bytes
        found.restore.append(self._restore(name, None, is_compared=is_first).duration_s)
        if self._store.port is None:
            return
        found.plain.append(self._plain())
        if is_first:
            self._count_requests(found)
        for seconds, added_s in ((found.near, 0.0), (found.far, latency_s)):
            with self._store.through_proxy(added_s) as proxy:
                seconds.append(self._backup(proxy.port)[1].duration_s)

    def _warm_up(self) -> None:
        with self._client(None):
            create_repository(self._store.make_url("first", None)).close()

    def _count_requests(self, found: Found) -> None:
        with self._store.through_proxy(0.0) as proxy:
            name, _ = self._backup(proxy.port)
            found.request_count = proxy.count()
        with self._store.through_proxy(0.0) as proxy:
            self._restore(name, proxy.port)
            found.restore_request_count = proxy.count()

    def _backup(self, port: int | None) -> tuple[str, Run]:
        self._number += 1
        name = f"round-{self._number}"
        settle()
        with self._client(port):
            url = self._store.make_url(name, port)
            return name, run("backup", self._image, url, "--create", "--full")

    def _restore(self, name: str, port: int | None, *, is_compared: bool = False) -> Run:
        self._target.unlink(missing_ok=True)
        settle()
        with self._client(port):
            done = run("restore", self._store.make_url(name, port), self._target)
        if is_compared and not is_same(self._image, self._target):
            raise SystemExit(f"{self._store.kind}: the restored image differs from the source")
        return done

    def _plain(self) -> float:
        self._number += 1
        settle()
        with self._client(None):
            command = [
                sys.executable, "-m", "benchmarks.driver.plain", self._store.kind,
                self._store.make_url(f"plain-{self._number}", None), str(self._packs),
                f"--threads={Tuning().uploaders}",
            ]  # fmt: skip
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        return float(done.stdout)

    @contextmanager
    def _client(self, port: int | None) -> Iterator[None]:
        with on_processors(1), _environment(self._store.make_environment(port)):
            yield


@contextmanager
def _environment(given: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(given)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _ready_packs(image: Path, folder: Path) -> Path:
    """Back up to a folder and return where its data packs are: what the plain uploads send."""
    run("backup", image, f"posix:{folder}/ready?create_container=yes", "--create", "--full")
    return folder / "ready" / "data"


def _row(name: str, found: Found) -> dict[str, str]:
    backup_s = median(found.backup)
    row = {
        "": name,
        "backup s": f"{backup_s:.2f}",
        "stored": format_rate(found.stored_bytes, backup_s),
        "restore s": f"{median(found.restore):.2f}",
    }
    has_server = bool(found.plain)
    gib = found.volume_bytes / GIB
    return row | {
        "plain upload s": f"{median(found.plain):.2f}" if has_server else "",
        "of plain rate": format_ratio(found.plain, found.backup) if has_server else "",
        "with latency": format_ratio(found.far, found.near) if has_server else "",
        "requests/GiB": f"{found.request_count / gib:.0f}" if has_server else "",
        "restoring": f"{found.restore_request_count / gib:.0f}" if has_server else "",
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = new_parser("driver", __doc__)
    parser.add_argument(
        "--stores", type=lambda text: text.split(","), default=list(STORES), metavar="NAME,…",
        help=f"of {', '.join(STORES)} (all)",
    )  # fmt: skip
    parser.add_argument("--latency", type=float, default=50.0, help="added to each request, ms")
    given = parser.parse_args(arguments)
    found: dict[str, Found] = {}
    with work_folder(given.folder) as folder:
        image = given_image(given.image, given.size, folder)
        packs = _ready_packs(image, folder)
        for name in given.stores:
            found[name] = Found()
            for _ in range(
                given.rounds
            ):  # each on an empty disk: of one that fills, the last suffer
                with TemporaryDirectory(dir=folder) as place, STORES[name](Path(place)) as store:
                    one = Measuring(store, image, packs, folder)
                    one.measure(found[name], given.latency / 1000)
    print_table("Through each driver", [_row(name, one) for name, one in found.items()])
    results = {
        name: {slot: getattr(one, slot) for slot in Found.__slots__} for name, one in found.items()
    }
    write_json(given.json, {"stores": results})


if __name__ == "__main__":
    main()
