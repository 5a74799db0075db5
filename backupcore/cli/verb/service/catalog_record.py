"""Records of a service's rows by the command line, also while the service runs.

The use cases are the service's own; the job of an import is done in this process. Rows decide:
whatever moves one does it in one transaction, whichever process it is in.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from backupcore.cli.stop import STOP
from backupcore.cli.talk import Document
from backupcore.cli.verb.service.option import needing_service
from backupcore.errors import BackupError, Refused

with needing_service():
    import msgspec

    from backupcore.catalog import Scope
    from backupcore.catalog.error import RowMissing
    from backupcore.catalog.status import BackupStatus
    from backupcore.job import Engine, JobOrder, JobRun, JobView, Perform
    from backupcore.runtime import Runtime
    from backupcore.service import Caller, ExportedRecord, Service, read_settings
    from backupcore.service.meaning import new_uuid

if TYPE_CHECKING:
    from backupcore.service import Settings

__all__ = ["export_from_catalog", "import_to_catalog"]


class _Here(Engine):
    """Performs an order at once, in the thread that hands it in."""

    def __init__(self, perform: Perform) -> None:
        self._perform = perform
        self.failure: BackupError | None = None

    def submit(self, order: JobOrder) -> bool:
        """Do what is ordered; what it fails with is kept, for the rows know of it already."""
        try:
            with STOP.heard() as stop:
                self._perform(order, JobRun(stop, lambda done_bytes, total_bytes: None))
        except BackupError as error:
            self.failure = error
        return True

    def watch(self, job_id: str) -> JobView | None:
        """Know of no job: each has ended when `submit` has."""
        return None

    def jobs(self) -> list[JobView]:
        """Return none, as `watch`."""
        return []

    def cancel(self, job_id: str) -> bool:
        """Cancel nothing, as `watch`."""
        return False


def export_from_catalog(path: Path, backup_id: str) -> tuple[str, str]:
    """Return `backup_service` and `backup_url` of a row. Raises: ServiceError, Refused."""
    with _opened(path) as (service, _):
        exported = service.records.export(_caller(service.runtime, ""), backup_id)
    return exported.backup_service, exported.backup_url


def import_to_catalog(path: Path, backup_service: str, url: str, project_id: str) -> Document:
    """Add a project's row for a record and return what became of it.

    Raises: ServiceError, Refused; what the import failed with.
    """
    with _opened(path) as (service, here):
        service.stores.prepare()
        exported = ExportedRecord(backup_service, url)
        taken = service.records.take(_caller(service.runtime, project_id), exported)
        if here.failure is not None:
            raise here.failure
        try:
            with service.catalog.reading() as rows:
                row = rows.backup(taken.id, Scope.everything())
        except RowMissing as error:
            raise Refused(f"backup {taken.id} was deleted while it was imported") from error
    if row.status is not BackupStatus.AVAILABLE:
        raise Refused(f"backup {row.id} is {row.status}: {row.fail_reason or 'somebody moved it'}")
    return {
        "id": row.id,
        "name": row.name,
        "status": str(row.status),
        "project_id": row.project_id,
        "stored_id": row.stored_id,
        "size_bytes": row.size_bytes,
    }


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Service, _Here]]:
    """Give the service of some settings, which is not started: its rows are left as they are."""
    settings = read_settings(path)
    # The tables are the running service's: only it, or somebody who means it, upgrades them.
    catalog = msgspec.structs.replace(settings.catalog, upgrade=False)
    # Nor is a repository made where the running service's is not mounted at the moment.
    containers = {
        name: msgspec.structs.replace(container, create=False)
        for name, container in settings.containers.items()
    }
    made: list[_Here] = []

    def engine(perform: Perform, _: Settings, lane_limits: Mapping[str, int]) -> _Here:
        made.append(_Here(perform))
        return made[0]

    settings = msgspec.structs.replace(settings, catalog=catalog, containers=containers)
    with Service(settings, make_engine=engine) as service:
        yield service, made[0]


def _caller(runtime: Runtime, project_id: str) -> Caller:
    """Return the operator, who may read the settings and so may do anything."""
    request_id = f"req-{new_uuid(runtime)}"
    roles = frozenset({"admin", "member", "reader"})
    return Caller(_user(), project_id, roles, True, request_id)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # an id without a name
        return str(os.getuid())
