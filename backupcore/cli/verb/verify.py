"""`backupcore verify`: prove that what is stored still makes the volumes."""

from __future__ import annotations

import click

from backupcore import Depth, Loss, Verification, verify
from backupcore.cli.document import verification_document
from backupcore.cli.exit_code import ExitCode
from backupcore.cli.opening import open_to_work
from backupcore.cli.parameter import repository_option, speaking, volume_id_option
from backupcore.cli.progress import showing_progress
from backupcore.cli.stop import STOP
from backupcore.cli.talk import Talk
from backupcore.units import format_bytes

__all__ = ["verify_command"]

_EXTENTS_SHOWN = 5


@click.command("verify")
@click.argument("backup", required=False)
@repository_option
@volume_id_option
@click.option(
    "--depth",
    type=click.Choice([depth.value for depth in Depth]),
    default=Depth.SUMS.value,
    show_default=True,
    help="Objects exist, have the bytes that were written, decode to what was backed up.",
)
@click.option(
    "--condemn", is_flag=True, help="Never refer to what is damaged again: later backups heal."
)
@speaking
def verify_command(
    talk: Talk, backup: str | None, url: str, *, volume_id: str | None, depth: str, condemn: bool
) -> None:
    """Verify BACKUP, or all of them; the exit code is 4 when something is lost."""
    if volume_id is not None and backup is None:
        raise click.UsageError("--volume-id goes with a BACKUP, such as latest")
    with open_to_work(url) as repository:
        chosen = repository.find_backup(backup, volume_id).id if backup is not None else None
        with STOP.heard() as stop, showing_progress(talk, "verify", counts=True) as progress:
            found = verify(
                repository,
                chosen,
                depth=Depth(depth),
                condemn_damaged=condemn,
                progress=progress,
                stop=stop,
            )
    talk.tell(verification_document(found), _text(found))
    if not found.is_sound:
        click.get_current_context().exit(ExitCode.DAMAGED)


def _text(found: Verification) -> str:
    summary = (
        f"verified {found.backup_count} backups in {found.pack_count} packs, depth {found.depth}, "
        f"read {format_bytes(found.read_bytes)}: {'sound' if found.is_sound else 'DAMAGED'}"
    )
    losses = [_loss_text(loss) for loss in found.losses]
    return "\n".join([summary, *losses, *(f"condemned {pack}" for pack in found.condemned)])


def _loss_text(loss: Loss) -> str:
    if not loss.backup_id:
        return f"no backup's data is touched: {loss.reason}"
    whose = f"backup {loss.backup_id}" + (f" of {loss.volume_id}" if loss.volume_id else "")
    shown = ", ".join(f"{offset}:{length}" for offset, length in loss.extents[:_EXTENTS_SHOWN])
    more = len(loss.extents) - _EXTENTS_SHOWN
    shown += f" and {more} more extents" if more > 0 else ""
    return f"{whose}: lost {shown or 'as a whole'}: {loss.reason}"
