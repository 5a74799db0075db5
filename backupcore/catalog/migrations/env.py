"""What Alembic runs around the migrations: they happen on the connection they are given."""

from __future__ import annotations

from alembic import context

from backupcore.catalog.migration import VERSION_TABLE
from backupcore.catalog.schema import tables

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=tables,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
