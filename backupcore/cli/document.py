"""Results as JSON documents; docs/reference/json.md tells every field."""

from __future__ import annotations

from dataclasses import asdict

from backupcore import (
    Backup,
    Capabilities,
    Comparison,
    RepositoryInfo,
    Restored,
    Verification,
)
from backupcore.cli.talk import Document
from backupcore.testing.promise import PromiseResult

__all__ = [
    "backup_document",
    "capabilities_document",
    "comparison_document",
    "info_document",
    "promise_document",
    "restored_document",
    "verification_document",
]


def backup_document(backup: Backup) -> Document:
    """Return a backup's facts and what it cost."""
    sums = backup.sums
    return {
        "id": backup.id,
        "volume_id": backup.volume_id,
        "name": backup.name,
        "description": backup.description,
        "labels": dict(backup.labels),
        "generation": backup.generation,
        "hint": backup.hint,
        "started_at": backup.started_at.isoformat(),
        "committed_at": backup.committed_at.isoformat(),
        "base_id": backup.base_id,
        "is_incremental": backup.is_incremental,
        "size_bytes": backup.size_bytes,
        "sector_size_bytes": backup.sector_size_bytes,
        "read_bytes": sums.read_bytes,
        "zero_bytes": sums.zero_bytes,
        "new_bytes": sums.new_bytes,
        "stored_bytes": sums.stored_bytes,
        "chunk_count": sums.chunk_count,
        "object_count": sums.object_count,
        "duration_s": sums.duration_s,
        "data_bytes": backup.data_bytes,
        "live_bytes": backup.live_bytes,
        "domain_id": backup.domain_id,
        "chunk_size_bytes": backup.grid.chunk_size_bytes,
        "frame_size_bytes": backup.grid.frame_size_bytes,
    }


def restored_document(restored: Restored, target: str) -> Document:
    """Return what a restore did."""
    return {**asdict(restored), "target": target}


def comparison_document(found: Comparison, target: str) -> Document:
    """Return what a restore in place would do."""
    return {**asdict(found), "target": target}


def verification_document(found: Verification) -> Document:
    """Return what a verification found."""
    losses = [
        {
            "key": loss.key,
            "reason": loss.reason,
            "backup_id": loss.backup_id,
            "volume_id": loss.volume_id,
            "extents": [{"offset": offset, "length": length} for offset, length in loss.extents],
        }
        for loss in found.losses
    ]
    return {
        "is_sound": found.is_sound,
        "depth": found.depth,
        "backup_count": found.backup_count,
        "pack_count": found.pack_count,
        "read_bytes": found.read_bytes,
        "losses": losses,
        "condemned": list(found.condemned),
    }


def info_document(info: RepositoryInfo) -> Document:
    """Return a repository's facts, sizes and ratios."""
    facts = asdict(info)
    grid = facts.pop("grid")
    return {
        **facts,
        "created_at": info.created_at.isoformat(),
        **grid,
        "compression_ratio": info.compression_ratio,
        "dedup_ratio": info.dedup_ratio,
    }


def capabilities_document(capabilities: Capabilities) -> Document:
    """Return what a store promises."""
    return asdict(capabilities)


def promise_document(result: PromiseResult) -> Document:
    """Return what became of a promise."""
    return asdict(result)
