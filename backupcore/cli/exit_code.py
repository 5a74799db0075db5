"""What a process says at its end: the one table from errors to exit codes.

docs/reference/exit-codes.md tells it to people; a test keeps the two the same.
"""

from __future__ import annotations

from enum import IntEnum

import click

from backupcore.errors import (
    BackupError,
    Damaged,
    NotFound,
    Refused,
    SourceError,
    Stopped,
    StoreError,
    TargetError,
)

__all__ = ["ExitCode", "exit_code_of"]


class ExitCode(IntEnum):
    """What scripts may rely on."""

    DONE = 0
    BUG = 1
    WRONG_USE = 2
    NOT_FOUND = 3
    DAMAGED = 4
    STORE = 5
    SOURCE = 6
    TARGET = 7
    STOPPED = 130


_OF_ERROR: dict[type[Exception], ExitCode] = {
    click.ClickException: ExitCode.WRONG_USE,
    Refused: ExitCode.WRONG_USE,
    NotFound: ExitCode.NOT_FOUND,
    Damaged: ExitCode.DAMAGED,
    StoreError: ExitCode.STORE,
    SourceError: ExitCode.SOURCE,
    TargetError: ExitCode.TARGET,
    Stopped: ExitCode.STOPPED,
    BackupError: ExitCode.BUG,  # a branch that this table does not know
}


def exit_code_of(error: Exception) -> ExitCode:
    """Return the exit code of an error; what nobody raises on purpose is a bug."""
    for kind, code in _OF_ERROR.items():
        if isinstance(error, kind):
            return code
    return ExitCode.BUG
