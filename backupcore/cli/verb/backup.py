"""`backupcore backup`: store a volume as it is now."""

from __future__ import annotations

from dataclasses import replace
from typing import TypedDict, Unpack

import click

from backupcore import (
    Backup,
    BackupRequest,
    ChangedExtents,
    Dedup,
    Hint,
    backup,
    open_volume,
    read_changed_extents,
)
from backupcore.cli.document import backup_document
from backupcore.cli.opening import open_to_work, volume_url
from backupcore.cli.parameter import label, level, repository_option, size, speaking
from backupcore.cli.progress import showing_progress
from backupcore.cli.stop import STOP
from backupcore.cli.talk import Talk
from backupcore.config import Level
from backupcore.errors import Refused
from backupcore.units import format_bytes, format_duration

__all__ = ["backup_command"]


class About(TypedDict):
    """What is to be written about the backup, what is known of its chunks."""

    volume_id: str | None
    name: str
    description: str
    labels: tuple[tuple[str, str], ...]
    generation: str | None
    changed_extents: str | None
    since: str | None
    dedup: str
    level: Level | None


@click.command("backup")
@click.argument("volume")
@repository_option
@click.option("--volume-id", metavar="ID", help="What the volume is called; its path by default.")
@click.option("--name", default="", help="A name for the backup.")
@click.option("--description", default="", help="A text for the backup.")
@click.option("--label", "labels", type=label, multiple=True, metavar="KEY=VALUE", help="A label.")
@click.option("--full", "is_full", is_flag=True, help="Compare with no base.")
@click.option("--base", metavar="BACKUP", help="Compare with this one, not with the latest.")
@click.option("--generation", metavar="TOKEN", help="Stored with the backup, for a later --since.")
@click.option("--changed-extents", metavar="FILE", help="Read only what FILE says has changed.")
@click.option("--since", metavar="BACKUP|GENERATION", help="Since when FILE says so.")
@click.option(
    "--dedup",
    type=click.Choice([scope.value for scope in Dedup]),
    default=Dedup.BASE.value,
    help="Look for chunks in the base, or in every backup of the domain.",
)
@click.option("--level", type=level, metavar="N|auto", help="How hard zstd tries.")
@click.option("--rate-limit", type=size, metavar="RATE", help="Bytes a second, such as 50MiB.")
@click.option("--direct", "is_direct", is_flag=True, help="Read past the page cache.")
@speaking
def backup_command(
    talk: Talk,
    volume: str,
    url: str,
    *,
    is_full: bool,
    base: str | None,
    rate_limit: int | None,
    is_direct: bool,
    **about: Unpack[About],
) -> None:
    """Back up VOLUME: a block device, an image file, or the URL of another kind of volume.

    What is as it was in the base is neither sent nor stored again; the backup is whole all the
    same. A backup that was stopped is taken up again.
    """
    if is_full and base is not None:
        raise click.UsageError("--full and --base exclude each other")
    request = BackupRequest(
        volume_id=about["volume_id"],
        name=about["name"],
        description=about["description"],
        labels=dict(about["labels"]),
        generation=about["generation"],
        changed=_changed(about["changed_extents"], about["since"]),
        dedup=Dedup(about["dedup"]),
        level=about["level"],
    )
    with (
        open_to_work(url, rate_bytes_s=rate_limit) as repository,
        open_volume(volume_url(volume, direct=is_direct)) as source,
        STOP.heard() as stop,
        showing_progress(talk, "backup") as progress,
    ):
        done = backup(
            source,
            repository,
            base=None if is_full else base or "latest",
            request=request,
            progress=progress,
            stop=stop,
        )
    aside = ", read past the page cache" if is_direct else ""
    talk.tell(backup_document(done), _text(done) + aside, quiet_text=done.id)


def _changed(file: str | None, since: str | None) -> ChangedExtents | None:
    """Return what a file says has changed, since when the user says it does."""
    if file is None:
        if since is not None:
            raise click.UsageError("--since goes with --changed-extents")
        return None
    changed = read_changed_extents(file)
    if since is not None and changed.since not in (None, since):
        raise Refused(f"{file}: says what changed since {changed.since!r}, --since says {since!r}")
    return replace(changed, since=since or changed.since)


def _text(done: Backup) -> str:
    sums = done.sums
    facts = {
        "size": done.size_bytes,
        "read": sums.read_bytes,
        "new": sums.new_bytes,
        "stored": sums.stored_bytes,
    }
    shown = ", ".join(f"{name} {format_bytes(value)}" for name, value in facts.items())
    kind = f"incremental to {done.base_id}" if done.base_id else "full"
    if done.hint is Hint.REFUTED:
        kind += "; the changed extents could not be relied on, so everything was read"
    return (
        f"backup {done.id} of {done.volume_id}\n"
        f"{shown} in {format_duration(sums.duration_s)}, {kind}"
    )
