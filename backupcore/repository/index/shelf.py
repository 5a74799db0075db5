"""The folder of one dedup index: runs, and which packs each map refers to.

    <random>.run                      a run
    roots/<digest of a root>          that the runs cover a map, and the data packs it refers to

What lies there is the index: there is no list of runs that two processes could disagree about.
Runs and roots are written under another name, locked, and renamed when they are whole; a merged
run is there before the runs it was made from go. Whoever reads a run keeps it open.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Set
from pathlib import Path
from typing import BinaryIO

import numpy as np
import zstandard

from backupcore.chunk.digest import ID_LENGTH, digest
from backupcore.repository.index.build import RunBuilder
from backupcore.repository.index.run import Run
from backupcore.repository.key import PACK_REFERENCE_LENGTH
from backupcore.repository.map import PackRefs

__all__ = ["Shelf"]

_UNFINISHED = ".unfinished"
_LISTINGS_MAX = 10


class Shelf:
    """Reads and writes the files of one index; owned by one thread.

    identity: 32 bytes that tell this index from every other one. is_kept: whether the files are to
    outlive a crash of the machine.
    """

    def __init__(
        self,
        folder: Path,
        identity: bytes,
        random_bytes: Callable[[int], bytes],
        *,
        is_kept: bool = True,
    ) -> None:
        self._folder = folder
        self._roots = folder / "roots"
        self._identity = identity
        self._random_bytes = random_bytes
        self._is_kept = is_kept

    def prepare(self) -> None:
        """Make the folders, and remove what processes that ended have left half written."""
        self._roots.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in self._folder.parent.glob(f"{self._folder.name}.*"):
            shutil.rmtree(path, ignore_errors=True)
        for path in (*self._folder.glob(f"*{_UNFINISHED}"), *self._roots.glob(f"*{_UNFINISHED}")):
            with contextlib.suppress(OSError), path.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink()

    def open_runs(self) -> list[Run]:
        """Return all runs. Raises: Damaged when one is not what was written, OSError."""
        opened: dict[str, Run] = {}
        try:
            for _ in range(_LISTINGS_MAX):
                names = sorted(path.name for path in self._folder.glob("*.run"))
                for gone in opened.keys() - set(names):
                    opened.pop(gone).close()  # merged into another meanwhile
                if self._open_all(names, opened):
                    break
        except BaseException:
            for run in opened.values():
                run.close()
            raise
        return list(opened.values())

    def _open_all(self, names: list[str], opened: dict[str, Run]) -> bool:
        """Open runs that are not; return whether all were still there."""
        for name in names:
            if name not in opened:
                try:
                    opened[name] = Run(self._folder / name, self._identity)
                except FileNotFoundError:
                    return False
        return True

    def write_run(self, fill: Callable[[RunBuilder], None]) -> Run | None:
        """Return a new run, filled by the caller; None when there was nothing to tell."""
        path = self._folder / f"{self._random_bytes(16).hex()}.run"
        with (
            self._unfinished(path) as file,
            RunBuilder(file, self._identity, self._folder) as builder,
        ):
            fill(builder)
            if builder.is_empty:
                return None
            builder.finish()
            self._place(file, path)
        return Run(path, self._identity)

    def remove_run(self, run: Run) -> None:
        """Close a run and remove its file."""
        run.close()
        run.path.unlink(missing_ok=True)

    def packs_of(self, root: bytes) -> PackRefs | None:
        """Return V36[n]: the data packs that a covered map refers to; None when it is not."""
        try:
            data = (self._roots / root.hex()).read_bytes()
        except FileNotFoundError:
            return None
        told, stored = data[:ID_LENGTH], data[ID_LENGTH:]
        if digest(self._identity + root + stored) != told:
            return None
        return np.frombuffer(
            zstandard.ZstdDecompressor().decompress(stored), f"V{PACK_REFERENCE_LENGTH}"
        )

    def note_root(self, root: bytes, packs: Set[bytes]) -> None:
        """Note that the runs cover a map and which data packs it refers to."""
        path = self._roots / root.hex()
        stored = zstandard.ZstdCompressor(level=1).compress(b"".join(sorted(packs)))
        with self._unfinished(path) as file:
            file.write(digest(self._identity + root + stored) + stored)
            self._place(file, path)

    def forget_roots(self, kept: Set[bytes]) -> None:
        """Remove what was noted of other maps than some."""
        names = {root.hex() for root in kept}
        for path in self._roots.iterdir():
            if path.name not in names and path.suffix != _UNFINISHED:
                path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove everything, for whoever else works there too: it writes to what is no more."""
        former = self._folder.with_name(f"{self._folder.name}.{self._random_bytes(8).hex()}")
        with contextlib.suppress(FileNotFoundError):
            self._folder.rename(former)
        shutil.rmtree(former, ignore_errors=True)

    @contextlib.contextmanager
    def _unfinished(self, path: Path) -> Iterator[BinaryIO]:
        """Open a file to be written and placed; what was not placed is removed."""
        unfinished = path.with_name(f"{path.name}.{self._random_bytes(8).hex()}{_UNFINISHED}")
        with unfinished.open("xb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield file
            finally:
                with contextlib.suppress(OSError):
                    unfinished.unlink(missing_ok=True)

    def _place(self, file: BinaryIO, path: Path) -> None:
        """Give a written file its name, once it is durable."""
        file.flush()
        if self._is_kept:
            os.fsync(file.fileno())
        Path(file.name).replace(path)
