"""The commands as one group, and the one place where an error becomes a message and a code."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click
from click.shell_completion import shell_complete

from backupcore.cli.exit_code import ExitCode, exit_code_of
from backupcore.cli.stop import STOP
from backupcore.cli.talk import Talk, forget, write_error
from backupcore.cli.verb.backup import backup_command
from backupcore.cli.verb.completion import COMPLETE_VARIABLE, PROGRAM, completion_command
from backupcore.cli.verb.delete import delete_command
from backupcore.cli.verb.init import init_command
from backupcore.cli.verb.inspect import info_command, list_command, show_command
from backupcore.cli.verb.picture import map_command
from backupcore.cli.verb.plugin import driver_group, drivers_command
from backupcore.cli.verb.record import record_group
from backupcore.cli.verb.restore import restore_command
from backupcore.cli.verb.service.catalog import catalog_group
from backupcore.cli.verb.service.config import config_group
from backupcore.cli.verb.service.serve import serve_command
from backupcore.cli.verb.service.token import token_group
from backupcore.cli.verb.verify import verify_command
from backupcore.errors import BackupError, Stopped

__all__ = ["CommandTree", "commands"]


class CommandTree(click.Group):
    """A group whose commands end with an exit code of the table, whatever happens."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run one command and exit."""
        arguments = sys.argv[1:] if args is None else list(args)
        with STOP.installed():
            code = self._run(arguments)
        sys.exit(code)

    def _run(self, arguments: list[str]) -> int:
        asked = os.environ.get(COMPLETE_VARIABLE)
        if asked:
            return shell_complete(self, {}, PROGRAM, COMPLETE_VARIABLE, asked)
        talk = Talk.of_arguments(arguments)
        try:
            with self.make_context(PROGRAM, arguments) as context:
                self.invoke(context)
        except click.exceptions.Exit as end:
            return end.exit_code
        except BrokenPipeError:
            forget(sys.stdout)
        except (KeyboardInterrupt, click.Abort):
            return tell_error(Stopped("stopped"), talk)
        except Exception as error:  # noqa: BLE001 - the process's root
            return tell_error(error, talk)
        return ExitCode.DONE


def tell_error(error: Exception, talk: Talk) -> ExitCode:
    """Write what went wrong to standard error and return the exit code."""
    code = exit_code_of(error)
    if isinstance(error, click.ClickException):
        kind, message = "UsageError", error.format_message()
    elif isinstance(error, BackupError):
        kind, message = type(error).__name__, str(error)
    else:
        kind = "Bug"
        message = (
            f"unexpected {type(error).__name__}: {error}: this is a bug of backupcore: please "
            "report it with what the same command says with -v"
        )
        if talk.verbosity and not talk.is_json:
            write_error("".join(traceback.format_exception(error)).rstrip())
    if talk.is_json:
        write_error(json.dumps({"error": {"kind": kind, "message": message, "exit_code": code}}))
    elif isinstance(error, click.ClickException):
        error.show(sys.stderr)
    else:
        write_error(f"{PROGRAM}: {message}")
    return code


@click.group(cls=CommandTree, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="backupcore", prog_name=PROGRAM)
def commands() -> None:
    """Back up block volumes into a repository, and bring them back.

    Every backup is whole and can be deleted at any time. Each command takes --json, -q and -v.
    """


for command in (
    init_command,
    backup_command,
    list_command,
    show_command,
    map_command,
    restore_command,
    delete_command,
    verify_command,
    serve_command,
    config_group,
    token_group,
    catalog_group,
    record_group,
    info_command,
    drivers_command,
    driver_group,
    completion_command,
):
    commands.add_command(command)
