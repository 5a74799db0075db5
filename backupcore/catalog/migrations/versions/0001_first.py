"""The first tables. A migration stands alone: it imports nothing that may change after it."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make all tables and their indexes."""
    _make_projects()
    _make_backups()
    _make_volumes()
    _make_snapshots()
    _make_jobs()


def _text(name: str, *, is_needed: bool = False, length: int = 255) -> sa.Column[Any]:
    kind = sa.String(length).with_variant(postgresql.VARCHAR(length, collation="C"), "postgresql")
    return sa.Column(name, kind, nullable=not is_needed)


def _long_text(name: str) -> sa.Column[Any]:
    kind = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")
    return sa.Column(name, kind, nullable=False)


def _word(name: str, *, is_needed: bool = True) -> sa.Column[Any]:
    return _text(name, is_needed=is_needed, length=32)


def _number(name: str, *, is_needed: bool = True) -> sa.Column[Any]:
    return sa.Column(name, sa.BigInteger(), nullable=not is_needed)


def _flag(name: str) -> sa.Column[Any]:
    return sa.Column(name, sa.Boolean(), nullable=False)


def _described() -> list[sa.Column[Any]]:
    return [
        _text("id", is_needed=True),
        _text("project_id", is_needed=True),
        _text("user_id"),
        _text("name"),
        _text("description"),
        _long_text("metadata"),
        _word("status"),
        _number("size"),
        _number("created_at"),
        _number("updated_at", is_needed=False),
    ]


def _index(table: str, name: str, *columns: str) -> None:
    op.create_index(f"ix_{table}_{name}", table, list(columns))


def _index_list(table: str) -> None:
    _index(table, "created", "created_at", "id")
    _index(table, "project", "project_id", "created_at", "id", "size")
    _index(table, "project_status", "project_id", "status", "created_at", "id")
    _index(table, "status", "status", "created_at", "id")
    _index(table, "name", "name", "project_id", "created_at", "id")


def _make_projects() -> None:
    op.create_table(
        "projects",
        _text("project_id", is_needed=True),
        sa.PrimaryKeyConstraint("project_id", name="pk_projects"),
    )
    op.create_table(
        "limits",
        _text("project_id", is_needed=True),
        _text("resource", is_needed=True),
        _number("value"),
        sa.PrimaryKeyConstraint("project_id", "resource", name="pk_limits"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.project_id"], name="fk_limits_project"),
    )


def _make_backups() -> None:
    op.create_table(
        "backups",
        *_described(),
        _text("volume_id", is_needed=True),
        _text("snapshot_id"),
        _text("fail_reason"),
        _text("container"),
        _text("repository"),
        _text("stored_id"),
        _number("size_bytes", is_needed=False),
        _number("object_count"),
        _flag("is_incremental"),
        _flag("is_imported"),
        _text("parent_id"),
        _text("restore_volume_id"),
        _text("volume_name"),
        _text("volume_description"),
        _long_text("volume_metadata"),
        _text("availability_zone"),
        _text("host"),
        _text("request_id"),
        _number("data_timestamp", is_needed=False),
        sa.PrimaryKeyConstraint("id", name="pk_backups"),
    )
    _index_list("backups")
    _index("backups", "volume", "volume_id", "project_id", "created_at", "id")
    _index("backups", "base", "volume_id", "project_id", "status", "data_timestamp")
    _index("backups", "stored", "stored_id", "repository")


def _make_volumes() -> None:
    op.create_table(
        "volumes",
        *_described(),
        _word("previous_status", is_needed=False),
        _number("size_bytes"),
        _text("provider", is_needed=True),
        _long_text("place"),
        _text("snapshot_id"),
        _text("source_volume_id"),
        _text("availability_zone"),
        _text("volume_type"),
        _flag("is_bootable"),
        _long_text("attachments"),
        sa.PrimaryKeyConstraint("id", name="pk_volumes"),
    )
    _index_list("volumes")


def _make_snapshots() -> None:
    op.create_table(
        "snapshots",
        *_described(),
        _text("volume_id", is_needed=True),
        _number("size_bytes"),
        _text("provider", is_needed=True),
        _long_text("place"),
        sa.PrimaryKeyConstraint("id", name="pk_snapshots"),
        sa.ForeignKeyConstraint(["volume_id"], ["volumes.id"], name="fk_snapshots_volume"),
    )
    _index_list("snapshots")
    _index("snapshots", "volume", "volume_id", "project_id", "created_at", "id")


def _make_jobs() -> None:
    op.create_table(
        "jobs",
        _text("id", is_needed=True),
        _word("kind"),
        _text("backup_id", is_needed=True),
        _text("volume_id"),
        _text("project_id", is_needed=True),
        _text("request_id"),
        _word("status"),
        _number("done_bytes"),
        _number("total_bytes"),
        _number("created_at"),
        _number("started_at", is_needed=False),
        _number("ended_at", is_needed=False),
        _long_text("detail"),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
    )
    _index("jobs", "status", "status", "created_at", "id")
    _index("jobs", "backup", "backup_id")
    _index("jobs", "ended", "ended_at")
