"""`backupcore completion`: make a shell complete commands and options."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from backupcore.cli.parameter import speaking
from backupcore.cli.talk import Talk

__all__ = ["COMPLETE_VARIABLE", "PROGRAM", "completion_command"]

PROGRAM = "backupcore"
COMPLETE_VARIABLE = "_BACKUPCORE_COMPLETE"


@click.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@speaking
def completion_command(talk: Talk, shell: str) -> None:
    """Print the script that makes SHELL complete: eval "$(backupcore completion bash)"."""
    kind = get_completion_class(shell)
    if kind is None:
        raise AssertionError("click completes these shells")
    root = click.get_current_context().find_root().command
    script = kind(root, {}, PROGRAM, COMPLETE_VARIABLE).source()
    talk.tell({"shell": shell, "script": script}, script, quiet_text=script)
