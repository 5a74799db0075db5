"""What jobs do: read and write volumes, then tell the catalog what became of it.

creating, restoring, deleting, importing   one kind of job each
outcome     what rows become when work ends, each in one transaction
reconcile   what a restart makes of the work of a process that ended
reason      what a project is told of a failure

Each piece of work looks at its row first and does nothing when somebody else was faster; each may
be done twice. The store decides what is true, the row follows. Whoever moves a backup's row out of
`creating` or `restoring` gives its volume back in the same transaction, and nobody else does.
"""

from __future__ import annotations

from backupcore.catalog import Scope
from backupcore.catalog.error import RowMissing
from backupcore.catalog.row import BackupRow
from backupcore.errors import Stopped
from backupcore.job import JobKind, JobOrder, JobRun
from backupcore.service.context import Context
from backupcore.service.work.creating import Creating
from backupcore.service.work.deleting import Deleting
from backupcore.service.work.importing import Importing
from backupcore.service.work.restoring import Restoring

__all__ = ["Works", "order_of"]


class Works:
    """Performs the service's jobs."""

    def __init__(self, context: Context) -> None:
        self._catalog = context.catalog
        self._importing = Importing(context)
        self.creating = Creating(context)
        self._works = {
            JobKind.CREATE: self.creating.do,
            JobKind.RESTORE: Restoring(context).do,
            JobKind.DELETE: Deleting(context).do,
        }

    def perform(self, order: JobOrder, run: JobRun) -> None:
        """Do what is ordered. Raises: what failed, after the catalog knows of it."""
        if run.stop.is_set():  # the row may be somebody else's by now, who ordered on their own
            raise Stopped(f"{order.id}: stopped before it began")
        try:
            with self._catalog.reading() as rows:
                row = rows.backup(order.backup_id, Scope.everything())
        except RowMissing:
            return
        if order.kind is JobKind.IMPORT:
            self._importing.do(row, order.subject, run)
        else:
            self._works[order.kind](row, run)


def order_of(kind: JobKind, row: BackupRow, subject: object = None) -> JobOrder:
    """Return the order of a job on a backup; its lane is the repository."""
    return JobOrder(kind, row.id, row.repository or "", subject=subject)
