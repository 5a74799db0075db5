r"""The kernel's table of mounts.

A line of /proc/self/mountinfo, octal escapes (`\040` is a space) in each field:

    36 35 0:41 / /mnt/nfs rw,relatime shared:1 - nfs4 host:/export rw,vers=4.2,hard,…
    id parent major:minor root point options optional… - kind source options

Source: proc(5), Linux manual page; the options of NFS: nfs(5).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

__all__ = ["LIST_LAG_S", "Mount", "parse_mounts", "topmost"]

LIST_LAG_S = 60.0  # acdirmax unless the mount says otherwise
_ESCAPE = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount. device: as in `st_dev`. root: what of the source's tree is mounted."""

    number: int
    parent: int
    device: int
    root: str
    point: str
    kind: str
    source: str
    options: Mapping[str, str]

    @property
    def is_nfs(self) -> bool:
        """Whether it is an NFS file system."""
        return self.kind in ("nfs", "nfs4")

    @property
    def export(self) -> str:
        """The source, down to the directory that is seen at the mount point."""
        below = "" if self.root == "/" else self.root
        return self.source.rstrip("/") + below if below else self.source

    @property
    def list_lag_s(self) -> float:
        """How long a directory's cached content may be used, in seconds."""
        if "noac" in self.options:
            return 0.0
        for name in ("acdirmax", "actimeo"):
            if self.options.get(name, "").isdigit():
                return float(self.options[name])
        return LIST_LAG_S

    @property
    def has_local_locks(self) -> bool:
        """Whether other machines do not see the locks taken here (flock(2))."""
        return "nolock" in self.options or self.options.get("local_lock") in ("all", "flock")

    @property
    def asks_on_opening(self) -> bool:
        """Whether opening a directory asks the server if it has changed (close-to-open)."""
        return "nocto" not in self.options


def parse_mounts(table: bytes) -> list[Mount]:
    """Return the mounts in the table's order."""
    return [_parse(line.split()) for line in table.splitlines()]


def topmost(mounts: Iterable[Mount], point: str) -> Mount | None:
    """Return what is to be seen at a mount point: of a stack of mounts the last one."""
    here = [mount for mount in mounts if mount.point == point]
    covered = {mount.parent for mount in here}
    return next((mount for mount in reversed(here) if mount.number not in covered), None)


def _parse(fields: list[bytes]) -> Mount:
    end = fields.index(b"-", 6)
    major, _, minor = fields[2].partition(b":")
    # a file system without a source has an empty field, which the split has swallowed
    kind, source, own = (*fields[end + 1 : end + 4], b"")[:3]
    return Mount(
        number=int(fields[0]),
        parent=int(fields[1]),
        device=os.makedev(int(major), int(minor)),
        root=_text(fields[3]),
        point=_text(fields[4]),
        kind=_text(kind),
        source=_text(source),
        options=_options(_text(own)) | _options(_text(fields[5])),
    )


def _options(text: str) -> dict[str, str]:
    pairs = (item.partition("=") for item in text.split(",") if item)
    return {name: value for name, _, value in pairs}


def _text(field: bytes) -> str:
    return os.fsdecode(_ESCAPE.sub(lambda found: bytes([int(found[1], 8)]), field))
