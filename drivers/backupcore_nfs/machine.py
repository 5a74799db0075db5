"""What this machine does for a mount: its commands, its user, its table of mounts."""

from __future__ import annotations

import os
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass

from backupcore_nfs.table import Mount, parse_mounts

__all__ = ["Machine", "Outcome"]

KILLED_S_MAX = 5.0
_NOT_FOUND = 127


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a command ended: its exit code, None when its time was up, and what it said."""

    code: int | None
    said: str = ""


class Machine:
    """The machine as it is."""

    def may_mount(self) -> bool:
        """Return whether the user is the one who may mount."""
        return os.geteuid() == 0

    def mounts(self) -> list[Mount]:
        """Return what is mounted, as this process sees it."""
        with open("/proc/self/mountinfo", "rb") as table:
            return parse_mounts(table.read())

    def run(self, *command: str, time_s_max: float) -> Outcome:
        """Run a command in English; all of its processes are killed when its time is up."""
        path = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
        environment = {**os.environ, "LC_ALL": "C", "PATH": path}
        try:
            process = subprocess.Popen(  # noqa: S603 - a list of words, no shell
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        except FileNotFoundError:
            return Outcome(_NOT_FOUND, f"{command[0]}: command not found")
        try:
            said, _ = process.communicate(timeout=time_s_max)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            # a process that waits for a server in the kernel may not even hear this
            with suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=KILLED_S_MAX)
            return Outcome(None)
        return Outcome(process.returncode, os.fsdecode(said).strip())
