"""A machine whose table of mounts says what a test tells it to, and whose commands do nothing."""

from __future__ import annotations

import os
import re
from pathlib import Path

from backupcore.driver import Url
from backupcore_nfs import NfsDriver, open_store
from backupcore_nfs.machine import Machine, Outcome
from backupcore_nfs.table import Mount, parse_mounts

SOURCE = "server:/export/backups"
EXPORT_URL = "nfs://server/export/backups"
OPTIONS = "rw,vers=4.2,hard,local_lock=none"
SPECIAL = re.compile(r"[ \t\n\\]")


def line(
    point: Path | str, source: str = SOURCE, options: str = OPTIONS, *, kind: str = "nfs4"
) -> str:
    """Return a line of the kernel's table that says that a folder is a mount point."""
    device = os.stat(point).st_dev
    escaped = SPECIAL.sub(lambda found: f"\\{ord(found[0]):03o}", str(point))
    numbers = f"36 35 {os.major(device)}:{os.minor(device)}"
    return f"{numbers} / {escaped} rw,relatime shared:1 - {kind} {source} {options}"


class FakeMachine(Machine):
    """Shows lines of a table; `mount` adds one unless another outcome is told, `umount` removes it.

    outcomes: of the commands to come, in order; done when there is none left.
    """

    def __init__(self, *, is_root: bool = True) -> None:
        self.is_root = is_root
        self.lines: dict[str, str] = {}
        self.commands: list[tuple[str, ...]] = []
        self.outcomes: list[Outcome] = []

    def show(self, point: Path | str, source: str = SOURCE, options: str = OPTIONS) -> None:
        """Let a folder be a mount of an NFS server from now on."""
        self.lines[str(point)] = line(point, source, options)

    def may_mount(self) -> bool:
        return self.is_root

    def mounts(self) -> list[Mount]:
        return parse_mounts("\n".join(self.lines.values()).encode())

    def run(self, *command: str, time_s_max: float) -> Outcome:
        self.commands.append(command)
        outcome = self.outcomes.pop(0) if self.outcomes else Outcome(0)
        if outcome.code == 0 and command[0] == "mount":
            self.show(command[-1], command[-2])
        if outcome.code == 0 and command[0] == "umount":
            del self.lines[command[-1]]
        return outcome


def opened(text: str, machine: Machine) -> NfsDriver:
    """Open a URL on a machine."""
    return open_store(Url.parse(text, default_scheme="nfs"), machine)
