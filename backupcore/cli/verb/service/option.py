"""What the service's verbs share: where the settings are, and what to say when a library lacks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from backupcore.errors import Refused

__all__ = ["FILE", "config_option", "needing_service"]

FILE = click.Path(dir_okay=False, path_type=Path)
config_option = click.option(
    "--config",
    "path",
    type=FILE,
    default=Path("/etc/backupcore/backupcore.toml"),
    envvar="BACKUPCORE_CONFIG",
    show_envvar=True,
    show_default=True,
    help="The service's settings.",
)


@contextmanager
def needing_service() -> Iterator[None]:
    """Import what the extra brings. Raises: Refused, naming the extra when a library lacks."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise Refused(
            f"{error.name} is not installed, which the service needs: "
            "pip install 'backupcore[service]'"
        ) from error
