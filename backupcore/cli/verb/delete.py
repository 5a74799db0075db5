"""`backupcore delete`: drop backups."""

from __future__ import annotations

import click

from backupcore import BackupId, delete
from backupcore.cli.opening import open_to_work
from backupcore.cli.parameter import repository_option, speaking, volume_id_option
from backupcore.cli.talk import Talk

__all__ = ["delete_command"]


@click.command("delete")
@click.argument("backups", metavar="BACKUP...", nargs=-1, required=True)
@repository_option
@volume_id_option
@speaking
def delete_command(talk: Talk, backups: tuple[str, ...], url: str, volume_id: str | None) -> None:
    """Delete each BACKUP; all others stay whole.

    Nothing is deleted when one of them cannot be found. Space is given back by pruning.
    """
    deleted: dict[BackupId, None] = {}
    with open_to_work(url) as repository:
        found = [repository.deletable(backup, volume_id).backup_id for backup in backups]
        try:
            for backup_id in dict.fromkeys(found):
                deleted[delete(repository, backup_id, volume_id=volume_id)] = None
        finally:
            if deleted:
                talk.tell(
                    {"deleted": list(deleted)}, "\n".join(f"deleted {done}" for done in deleted)
                )
