"""Options and arguments that several commands share, and what people may write for a value."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Concatenate, ParamSpec

import click

from backupcore.chunk.frame import check_level
from backupcore.cli.talk import Talk
from backupcore.config import AUTO, Level
from backupcore.errors import Refused
from backupcore.repository.label import is_of_service
from backupcore.units import parse_bytes

__all__ = [
    "backup_argument",
    "extent",
    "label",
    "level",
    "repository_option",
    "size",
    "speaking",
    "volume_id_option",
]

P = ParamSpec("P")


def size(text: str) -> int:
    """Return a positive number of bytes, such as `64KiB`."""
    size_bytes = _bytes(text)
    if not size_bytes:
        raise click.BadParameter("must be more than 0")
    return size_bytes


def extent(text: str) -> tuple[int, int]:
    """Return an extent, such as `1MiB:64KiB`."""
    offset, colon, length = text.partition(":")
    if not colon:
        raise click.BadParameter(f"{text!r} is no extent: write OFFSET:LENGTH, as in 1MiB:64KiB")
    return _bytes(offset), _bytes(length)


def label(text: str) -> tuple[str, str]:
    """Return a label, such as `tier=gold`."""
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise click.BadParameter(f"{text!r} is no label: write KEY=VALUE")
    if is_of_service(key):
        raise click.BadParameter(f"a label {key!r} is a service's: call it otherwise")
    return key, value


def level(text: str) -> Level:
    """Return a zstd level, or `auto`."""
    if text == AUTO:
        return AUTO
    try:
        return check_level(int(text))
    except (ValueError, Refused) as error:
        raise click.BadParameter(f"{error}; or write {AUTO}") from error


def _bytes(text: str) -> int:
    try:
        return parse_bytes(str(text))
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


repository_option = click.option(
    "-r",
    "--repository",
    "url",
    metavar="URL",
    envvar="BACKUPCORE_REPOSITORY",
    show_envvar=True,
    required=True,
    help="Where the repository is: a URL, or the path of a directory.",
)
volume_id_option = click.option(
    "--volume-id", metavar="ID", help="The volume whose `latest` is meant."
)
backup_argument = click.argument("backup")


def speaking(command: Callable[Concatenate[Talk, P], None]) -> Callable[P, None]:
    """Give a command --json, -q and -v, and hand it how to speak."""

    @click.option("--json", "is_json", is_flag=True, help="Write one JSON document.")
    @click.option("-q", "--quiet", "is_quiet", is_flag=True, help="Write only what was asked for.")
    @click.option("-v", "--verbose", "verbosity", count=True, help="Log; -vv logs more.")
    @functools.wraps(command)
    def spoken(*args: P.args, **kwargs: P.kwargs) -> None:
        talk = Talk(
            is_json=bool(kwargs.pop("is_json")),
            is_quiet=bool(kwargs.pop("is_quiet")),
            verbosity=int(str(kwargs.pop("verbosity"))),
        )
        with talk.logging():
            command(talk, *args, **kwargs)

    return spoken
