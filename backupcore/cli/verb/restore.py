"""`backupcore restore`: write a backup to a file, a device or standard output."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import BinaryIO, TypedDict, Unpack, cast

import click

from backupcore import (
    Access,
    Backup,
    Comparison,
    Refused,
    Repository,
    Restored,
    SourceError,
    TargetError,
    Volume,
    compare,
    open_volume,
    restore,
    restore_in_place,
    restore_to_stream,
)
from backupcore.cli.document import comparison_document, restored_document
from backupcore.cli.opening import open_to_work, volume_url
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


class Manner(TypedDict):
    """How a target is written to."""

    is_forced: bool
    is_in_place: bool
    is_dry_run: bool


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
@click.option(
    "--force", "is_forced", is_flag=True, help="Overwrite a device that is mounted or in use."
)
@click.option("--in-place", "is_in_place", is_flag=True, help="Write only what differs.")
@click.option(
    "--dry-run", "is_dry_run", is_flag=True, help="With --in-place: say how much, write nothing."
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
    **manner: Unpack[Manner],
) -> None:
    """Restore BACKUP to TARGET.

    A TARGET that does not exist is created and appears when it is whole; an existing file or
    block device is overwritten, with --in-place only where it differs; - is standard output.
    """
    if manner["is_dry_run"] and not manner["is_in_place"]:
        raise click.UsageError("--dry-run goes with --in-place")
    if manner["is_in_place"] and target == _STANDARD_OUTPUT:
        raise click.UsageError("--in-place reads the target: name a file or a device")
    stream = _standard_output() if target == _STANDARD_OUTPUT else None
    with open_to_work(url) as repository:
        found = repository.find_backup(backup, volume_id)
        if stream is not None:
            done = _to_stream(talk, repository, found, stream, extents)
            talk.tell_aside(restored_document(done, target), _text(done, "standard output"))
            return
        where = volume_url(target, force=manner["is_forced"])
        if manner["is_dry_run"]:
            seen = _compare(talk, repository, found, where, extents)
            talk.tell(comparison_document(seen, target), _comparison_text(seen, target))
            return
        is_in_place = manner["is_in_place"]
        volume = _open_target(where, found.size_bytes, is_in_place=is_in_place)
        done = _to_volume(talk, repository, found, volume, extents, is_in_place=is_in_place)
        talk.tell(restored_document(done, target), _text(done, target))


def _to_volume(
    talk: Talk,
    repository: Repository,
    backup: Backup,
    target: Volume,
    extents: Sequence[tuple[int, int]],
    *,
    is_in_place: bool,
) -> Restored:
    work = restore_in_place if is_in_place else restore
    with target, STOP.heard() as stop, showing_progress(talk, "restore") as progress:
        return work(
            repository, backup.id, target, extents=extents or None, progress=progress, stop=stop
        )


def _open_target(url: Url, size_bytes: int, *, is_in_place: bool) -> Volume:
    """Open what exists to overwrite it, and what does not to create it."""
    if url.scheme == "file" and not os.path.lexists(url.path) and not is_in_place:
        return open_volume(url, access=Access.CREATE, size_bytes=size_bytes)
    return open_volume(url, access=Access.WRITE)


def _compare(
    talk: Talk,
    repository: Repository,
    backup: Backup,
    target: Url,
    extents: Sequence[tuple[int, int]],
) -> Comparison:
    try:
        volume = open_volume(target)
    except SourceError as error:
        raise TargetError(str(error)) from error
    with volume, STOP.heard() as stop, showing_progress(talk, "compare") as progress:
        return compare(
            repository, backup.id, volume, extents=extents or None, progress=progress, stop=stop
        )


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
        f"written {format_bytes(done.written_bytes)}, zeroed {format_bytes(done.zeroed_bytes)}, "
        f"left alone {format_bytes(done.equal_bytes)}, got {format_bytes(done.got_bytes)} "
        f"in {format_duration(done.duration_s)}"
    )


def _comparison_text(seen: Comparison, target: str) -> str:
    return (
        f"compared {format_bytes(seen.compared_bytes)} of backup {seen.backup_id} with {target} "
        f"in {format_duration(seen.duration_s)}: a restore in place would write "
        f"{format_bytes(seen.to_write_bytes)}, zero {format_bytes(seen.to_zero_bytes)} and leave "
        f"{format_bytes(seen.equal_bytes)} alone"
    )
