"""`backupcore restore`: write a backup to a file, a device or standard output."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import BinaryIO, cast

import click

from backupcore import (
    Access,
    Backup,
    Refused,
    Repository,
    Restored,
    TargetError,
    Volume,
    open_volume,
    restore,
    restore_to_stream,
)
from backupcore.cli.document import restored_document
from backupcore.cli.opening import open_to_work
from backupcore.cli.parameter import (
    backup_argument,
    extent,
    repository_option,
    speaking,
    volume_id_option,
)
from backupcore.cli.progress import showing_progress
from backupcore.cli.stop import STOP
from backupcore.cli.talk import Talk, forget
from backupcore.units import format_bytes, format_duration
from backupcore.url import Url

__all__ = ["restore_command"]

_STANDARD_OUTPUT = "-"


@click.command("restore")
@backup_argument
@click.argument("target")
@repository_option
@volume_id_option
@click.option(
    "--extent",
    "extents",
    type=extent,
    multiple=True,
    metavar="OFFSET:LENGTH",
    help="Only this part, such as 1MiB:64KiB; may be given again.",
)
@speaking
def restore_command(
    talk: Talk,
    backup: str,
    target: str,
    url: str,
    *,
    volume_id: str | None,
    extents: tuple[tuple[int, int], ...],
) -> None:
    """Restore BACKUP to TARGET.

    A TARGET that does not exist is created and appears when it is whole; an existing file or
    block device is overwritten in place; - is standard output.
    """
    stream = _standard_output() if target == _STANDARD_OUTPUT else None
    with open_to_work(url) as repository:
        found = repository.find_backup(backup, volume_id)
        if stream is not None:
            done = _to_stream(talk, repository, found, stream, extents)
            talk.tell_aside(restored_document(done, target), _text(done, "standard output"))
        else:
            done = _to_volume(talk, repository, found, target, extents)
            talk.tell(restored_document(done, target), _text(done, target))


def _to_volume(
    talk: Talk,
    repository: Repository,
    backup: Backup,
    target: str,
    extents: Sequence[tuple[int, int]],
) -> Restored:
    with (
        _open_target(target, backup.size_bytes) as volume,
        STOP.heard() as stop,
        showing_progress(talk, "restore") as progress,
    ):
        return restore(
            repository, backup.id, volume, extents=extents or None, progress=progress, stop=stop
        )


def _open_target(target: str, size_bytes: int) -> Volume:
    """Open what exists to overwrite it, and what does not to create it."""
    url = Url.parse(target, default_scheme="file")
    if url.scheme == "file" and not os.path.lexists(url.path):
        return open_volume(url, access=Access.CREATE, size_bytes=size_bytes)
    return open_volume(url, access=Access.WRITE)


class _Output:
    """Standard output, whose reader may stall: a signal interrupts a write that waits."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write(self, part: memoryview) -> int:
        with STOP.heard(False):
            return self._stream.write(part)

    def flush(self) -> None:
        with STOP.heard(False):
            self._stream.flush()


def _to_stream(
    talk: Talk,
    repository: Repository,
    backup: Backup,
    stream: BinaryIO,
    extents: Sequence[tuple[int, int]],
) -> Restored:
    output = _Output(stream)
    with STOP.heard() as stop, showing_progress(talk, "restore") as progress:
        try:
            done = restore_to_stream(
                repository,
                backup.id,
                cast(BinaryIO, output),
                extents=extents or None,
                progress=progress,
                stop=stop,
            )
            output.flush()
        except OSError as error:
            raise TargetError(f"standard output: {error.strerror}") from error
        finally:
            if sys.exc_info()[0] is not None:
                forget(sys.stdout)
    return done


def _standard_output() -> BinaryIO:
    """Return standard output for bytes. Raises: Refused, TargetError."""
    if sys.stdout is None:
        raise TargetError("standard output is closed: name a file or open a pipe")
    if sys.stdout.isatty():
        raise Refused("standard output is a terminal: send it to a file or a pipe")
    return sys.stdout.buffer


def _text(done: Restored, target: str) -> str:
    return (
        f"restored {format_bytes(done.restored_bytes)} of backup {done.backup_id} to {target}: "
        f"written {format_bytes(done.written_bytes)}, got {format_bytes(done.got_bytes)} "
        f"in {format_duration(done.duration_s)}"
    )
