"""`backupcore config check`: whether the service could start, as far as one can tell by looking."""

from __future__ import annotations

from pathlib import Path

import click

from backupcore.cli.parameter import speaking
from backupcore.cli.talk import Document, Talk
from backupcore.cli.verb.service.option import config_option, needing_service

__all__ = ["config_group"]


@click.group("config")
def config_group() -> None:
    """Look at the service's settings."""


@config_group.command("check")
@config_option
@speaking
def config_check_command(talk: Talk, path: Path) -> None:
    """Say whether the service could start with its settings, and start nothing."""
    with needing_service():
        from backupcore.api.server import check_settings  # noqa: PLC0415 - extra `service`
        from backupcore.service.settings import read_settings  # noqa: PLC0415 - extra `service`

    settings = read_settings(path)
    check_settings(settings)
    facts: Document = {
        "config": str(path),
        "containers": sorted(settings.containers),
        "providers": sorted(settings.providers),
        "auth": settings.api.auth.kind,
        "listen": settings.api.listen,
    }
    talk.tell(facts, f"{path}: good")
