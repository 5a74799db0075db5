"""`backupcore serve`: the service in this process, until somebody ends it."""

from __future__ import annotations

from pathlib import Path

import click

from backupcore.cli.parameter import speaking
from backupcore.cli.talk import Talk
from backupcore.cli.verb.service.option import config_option, needing_service
from backupcore.runtime import SystemClock

__all__ = ["serve_command"]


@click.command("serve")
@config_option
@speaking
def serve_command(talk: Talk, path: Path) -> None:
    """Serve the Block Storage backups API until interrupted."""
    with needing_service():
        from backupcore.api.operator.log import service_logging  # noqa: PLC0415 - extra `service`
        from backupcore.api.server import serve  # noqa: PLC0415 - extra `service`
        from backupcore.service.settings import read_settings  # noqa: PLC0415 - extra `service`

    def ready(address: str) -> None:
        talk.tell_aside({"serving": address}, f"serving {address}")

    with service_logging(SystemClock(), is_quiet=talk.is_quiet):
        serve(read_settings(path), ready=ready)
