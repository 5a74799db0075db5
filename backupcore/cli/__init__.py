"""The command line: parse, call one library function, print.

tree       the group of commands, and what becomes of an error
verb/      one file a verb or two
talk       text, tables and JSON; logging
progress   bars on a terminal, JSON lines with --json
exit_code  one table from errors to exit codes
"""

from __future__ import annotations

import sys

__all__ = ["main"]

_WITHOUT_EXTRA = "backupcore: the command line is not installed: pip install 'backupcore[cli]'\n"


def main() -> None:
    """Run the command that the process was started with, then exit."""
    try:
        import rich  # noqa: F401, PLC0415 - extra `cli`

        from backupcore.cli.tree import commands  # noqa: PLC0415 - extra `cli`
    except ModuleNotFoundError as error:
        if error.name not in ("click", "rich"):
            raise
        sys.stderr.write(_WITHOUT_EXTRA)
        raise SystemExit(2) from None
    commands.main()
