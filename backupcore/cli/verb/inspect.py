"""`backupcore list`, `show` and `info`: what there is."""

from __future__ import annotations

from datetime import datetime

import click

from backupcore import Backup, RepositoryInfo, describe
from backupcore.cli.document import backup_document, info_document
from backupcore.cli.opening import open_to_read
from backupcore.cli.parameter import (
    backup_argument,
    repository_option,
    speaking,
    volume_id_option,
)
from backupcore.cli.talk import Talk, table_text
from backupcore.units import format_bytes, format_duration

__all__ = ["info_command", "list_command", "show_command"]

_HEADINGS = ("BACKUP", "COMMITTED", "SIZE", "NEW", "STORED", "KIND", "VOLUME", "NAME")


@click.command("list")
@repository_option
@click.option("--volume-id", metavar="ID", help="Only backups of this volume.")
@speaking
def list_command(talk: Talk, url: str, volume_id: str | None) -> None:
    """List the backups, oldest first."""
    with open_to_read(url) as repository:
        backups = list(repository.backups(volume_id))
    talk.tell(
        {"backups": [backup_document(backup) for backup in backups]},
        _list_text(backups) if not (talk.is_json or talk.is_quiet) else "",
        quiet_text="\n".join(backup.id for backup in backups),
    )


@click.command("show")
@backup_argument
@repository_option
@volume_id_option
@speaking
def show_command(talk: Talk, backup: str, url: str, volume_id: str | None) -> None:
    """Show everything that is known of BACKUP."""
    with open_to_read(url) as repository:
        found = repository.find_backup(backup, volume_id)
    text = _facts_text(_backup_facts(found)) if not (talk.is_json or talk.is_quiet) else ""
    talk.tell(backup_document(found), text, quiet_text=found.id)


@click.command("info")
@repository_option
@speaking
def info_command(talk: Talk, url: str) -> None:
    """Show what the repository is, what it holds and what that costs."""
    with open_to_read(url) as repository:
        info = describe(repository)
    text = _facts_text(_info_facts(info)) if not (talk.is_json or talk.is_quiet) else ""
    talk.tell(info_document(info), text, quiet_text=info.repository_id)


def _list_text(backups: list[Backup]) -> str:
    rows = [
        (
            backup.id,
            _time_text(backup.committed_at),
            format_bytes(backup.size_bytes),
            format_bytes(backup.sums.new_bytes),
            format_bytes(backup.sums.stored_bytes),
            "incremental" if backup.is_incremental else "full",
            backup.volume_id,
            backup.name,
        )
        for backup in backups
    ]
    return table_text(_HEADINGS, rows, right="llrrr") if rows else "no backups"


def _facts_text(facts: dict[str, str]) -> str:
    return table_text(("", ""), facts.items())


def _backup_facts(backup: Backup) -> dict[str, str]:
    sums = backup.sums
    return {
        "backup": backup.id,
        "volume": backup.volume_id,
        "name": backup.name,
        "description": backup.description,
        "labels": ", ".join(f"{key}={text}" for key, text in backup.labels.items()),
        "generation": backup.generation or "",
        "started": _time_text(backup.started_at),
        "committed": _time_text(backup.committed_at),
        "base": backup.base_id or "none (full)",
        "size": format_bytes(backup.size_bytes),
        "of it zeros": format_bytes(sums.zero_bytes),
        "read": format_bytes(sums.read_bytes),
        "new": f"{format_bytes(sums.new_bytes)} in {sums.chunk_count} chunks",
        "stored": f"{format_bytes(sums.stored_bytes)}, {sums.object_count} data packs",
        "took": format_duration(sums.duration_s),
        "chunk size": format_bytes(backup.grid.chunk_size_bytes),
        "frame size": format_bytes(backup.grid.frame_size_bytes),
    }


def _info_facts(info: RepositoryInfo) -> dict[str, str]:
    return {
        "repository": info.repository_id,
        "url": info.url,
        "created": _time_text(info.created_at),
        "chunk size": format_bytes(info.grid.chunk_size_bytes),
        "frame size": format_bytes(info.grid.frame_size_bytes),
        "level": str(info.level),
        "registry": info.registry,
        "backups": str(info.backup_count),
        "volumes": str(info.volume_count),
        "size of all backups": format_bytes(info.volume_bytes),
        "of it data": format_bytes(info.data_bytes),
        "data packs": f"{format_bytes(info.data_pack_bytes)} in {info.data_pack_count}",
        "map packs": f"{format_bytes(info.map_pack_bytes)} in {info.map_pack_count}",
        "compression": _ratio_text(info.compression_ratio),
        "deduplication": _ratio_text(info.dedup_ratio),
        "sessions": str(info.session_count),
        "condemned packs": str(info.condemned_pack_count),
    }


def _ratio_text(ratio: float | None) -> str:
    return "unknown" if ratio is None else f"{ratio:.2f} : 1"


def _time_text(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
