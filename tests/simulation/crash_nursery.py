"""A process that forks a child for every line of its input and tells how each child ended.

A line is JSON: the URL of a repository, the path of a file that holds a volume's content, and the
driver call before which the child exits as if it were killed. Forking here and not in the test
keeps threads of the test's process out of the child.
"""

from __future__ import annotations

import json
import os
import sys

from backupcore.errors import BackupError
from backupcore.repository import open_repository
from backupcore.testing.fault import Action, FaultyDriver, Rule
from backupcore.volume import open_volume
from tests.operation.scene import INLINE, back_up

KILLED = 137


def run_child(url: str, volume_path: str, nth: int) -> int:
    """Back up and return an exit status; the n-th call to the store ends the process."""
    rule = Rule("*", Action.CALL, nth=nth, callback=lambda: os._exit(KILLED))
    with (
        open_repository(url, layers=lambda below: FaultyDriver(below, rule)) as repository,
        open_volume(volume_path) as volume,
    ):
        try:
            back_up(repository, volume, tuning=INLINE)
        except BackupError:
            return 1
    return 0


def main() -> None:
    """Serve until the input ends."""
    for line in sys.stdin:
        pid = os.fork()
        if not pid:
            os._exit(run_child(**json.loads(line)))
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
