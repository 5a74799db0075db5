"""A folder of immutable objects read before: a hint, never evidence that something exists.

Nodes are kept by digest, registers by key; whoever reads one checks it as if it came from the
store. Any file may vanish at any time, and a folder that cannot be written is no error.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

from backupcore.units import MIB

__all__ = ["Cache"]

log = logging.getLogger(__name__)

_SWEEP_EVERY = 256  # puts between two looks at the folder's size


class Cache:
    """Keeps what one repository's readers have read, up to a size; shared by processes."""

    def __init__(
        self,
        folder: Path,
        repository_id: str,
        *,
        random_bytes: Callable[[int], bytes],
        limit_bytes: int = 512 * MIB,
    ) -> None:
        self._folder = folder / repository_id
        self._random_bytes = random_bytes
        self._limit_bytes = limit_bytes
        self._put_count = 0

    @property
    def index_folder(self) -> Path:
        """Where the repository's dedup indexes lie: beside what is swept."""
        return self._folder.with_name(f"{self._folder.name}.index")

    def get_node(self, digest: bytes) -> bytes | None:
        """Return the stored bytes of a node, None when they are not kept."""
        return self._get(self._node(digest))

    def put_node(self, digest: bytes, stored: bytes) -> None:
        """Keep the stored bytes of a node."""
        self._put(self._node(digest), stored)

    def get_register(self, key: str) -> bytes | None:
        """Return the bytes of a register, None when they are not kept."""
        return self._get(self._register(key))

    def put_register(self, key: str, data: bytes) -> None:
        """Keep the bytes of a register."""
        self._put(self._register(key), data)

    def _node(self, digest: bytes) -> Path:
        name = digest.hex()
        return self._folder / "nodes" / name[:2] / name

    def _register(self, key: str) -> Path:
        _, tag, rest = key.split("/", 2)
        return self._folder / "registers" / tag / rest.replace("/", "-")

    def _get(self, path: Path) -> bytes | None:
        try:
            data = path.read_bytes()
            os.utime(path)  # what is read stays longest
        except OSError:
            return None
        return data

    def _put(self, path: Path, data: bytes) -> None:
        unfinished = path.with_name(f"{path.name}.{self._random_bytes(8).hex()}")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            unfinished.write_bytes(data)
            unfinished.replace(path)
        except OSError as error:
            log.debug("cache not written", extra={"path": str(path), "error": str(error)})
            with contextlib.suppress(OSError):
                unfinished.unlink()
        if self._put_count % _SWEEP_EVERY == 0:
            self._sweep()
        self._put_count += 1

    def _sweep(self) -> None:
        """Remove what was not used for longest until the folder is within its limit."""
        found = []
        for path in self._folder.rglob("*"):
            with contextlib.suppress(OSError):
                facts = path.stat()
                if path.is_file():
                    found.append((facts.st_mtime, facts.st_size, path))
        excess = sum(size for _, size, _ in found) - self._limit_bytes
        for _, size, path in sorted(found):
            if excess <= 0:
                break
            with contextlib.suppress(OSError):
                path.unlink()
            excess -= size
