"""`/backups`: each call parses, asks the service once, and shows what came back."""

from __future__ import annotations

import falcon

from backupcore.api.wire.body import as_bool, read_body
from backupcore.api.wire.query import Columns, read_query
from backupcore.api.wire.text import (
    read_action,
    read_changes,
    read_status,
    stripped,
    unknown_action,
    uuid_text,
)
from backupcore.api.wire.view import Document, Place, backup_detail, backup_summary
from backupcore.catalog import BACKUP_FILTERS, BACKUP_SORT_KEYS
from backupcore.catalog.change import BackupChanges
from backupcore.catalog.row import BackupRow
from backupcore.catalog.status import BackupStatus
from backupcore.service import (
    BackupWish,
    Caller,
    ExportedRecord,
    RestoreWish,
    Service,
)

__all__ = ["routes"]

_STATUSES = (BackupStatus.AVAILABLE, BackupStatus.ERROR)
_COLUMNS = Columns.of(BackupRow, {"name", "status", "volume_id"}, BACKUP_FILTERS, BACKUP_SORT_KEYS)


class _Resource:
    def __init__(self, service: Service) -> None:
        self.service = service

    def shown(self, request: falcon.Request, row: BackupRow) -> Document:
        """Return a row with every field the caller may see."""
        caller: Caller = request.context.caller
        owner = self.service.policy.allows("backup:backup_project_attribute", caller)
        return backup_detail(row, request.context.place, shows_owner=owner)


class _List(_Resource):
    """GET lists, POST creates."""

    def on_get(self, request: falcon.Request, response: falcon.Response, **_: str) -> None:
        self.list(request, response, is_detailed=False)

    def list(
        self, request: falcon.Request, response: falcon.Response, *, is_detailed: bool
    ) -> None:
        """Show one page."""
        caller: Caller = request.context.caller
        place: Place = request.context.place
        limit_max = self.service.settings.api.page_limit_max
        query = read_query(request, place, _COLUMNS, is_admin=caller.is_admin, limit_max=limit_max)
        page = self.service.backups.page(caller, query.listing, is_all=query.is_all)
        rows = [] if query.is_empty else page.rows
        documents = [
            self.shown(request, row) if is_detailed else backup_summary(row, place) for row in rows
        ]
        kind = "backups/detail" if is_detailed else "backups"
        response.media = query.page("backups", kind, place, documents, page.count)

    def on_post(self, request: falcon.Request, response: falcon.Response, **_: str) -> None:
        place: Place = request.context.place
        body = read_body(request, "backup-create")["backup"]
        wish = BackupWish(
            volume_id=uuid_text(body["volume_id"]),
            snapshot_id=uuid_text(body["snapshot_id"]) if body.get("snapshot_id") else None,
            container=body.get("container"),
            name=stripped(body.get("name")),
            description=stripped(body.get("description")),
            metadata=body.get("metadata") or {},
            availability_zone=body.get("availability_zone"),
            is_incremental=as_bool(body.get("incremental", False)),
            is_forced=as_bool(body.get("force", False)),
        )
        row = self.service.backups.create(request.context.caller, wish)
        response.status = 202
        response.media = {"backup": backup_summary(row, place)}


class _Detail(_List):
    """GET lists with every field."""

    def on_get(self, request: falcon.Request, response: falcon.Response, **_: str) -> None:
        self.list(request, response, is_detailed=True)


class _One(_Resource):
    """GET shows, PUT changes, DELETE deletes."""

    def on_get(
        self, request: falcon.Request, response: falcon.Response, backup_id: str, **_: str
    ) -> None:
        row = self.service.backups.show(request.context.caller, backup_id)
        response.media = {"backup": self.shown(request, row)}

    def on_put(
        self, request: falcon.Request, response: falcon.Response, backup_id: str, **_: str
    ) -> None:
        place: Place = request.context.place
        changes = read_changes(BackupChanges, read_body(request, "backup-update")["backup"])
        row = self.service.backups.update(request.context.caller, backup_id, changes)
        response.media = {"backup": backup_summary(row, place)}

    def on_delete(
        self, request: falcon.Request, response: falcon.Response, backup_id: str, **_: str
    ) -> None:
        self.service.backups.delete(request.context.caller, backup_id)
        response.status = 202


class _Restore(_Resource):
    def on_post(
        self, request: falcon.Request, response: falcon.Response, backup_id: str, **_: str
    ) -> None:
        body = read_body(request, "backup-restore")["restore"] or {}
        volume_id = body.get("volume_id")
        wish = RestoreWish(
            volume_id=uuid_text(volume_id) if volume_id else None, name=stripped(body.get("name"))
        )
        restoring = self.service.backups.restore(request.context.caller, backup_id, wish)
        response.status = 202
        response.media = {
            "restore": {
                "backup_id": restoring.backup.id,
                "volume_id": restoring.volume.id,
                "volume_name": restoring.volume.name or "",
            }
        }


class _Export(_Resource):
    def on_get(
        self, request: falcon.Request, response: falcon.Response, backup_id: str, **_: str
    ) -> None:
        record = self.service.records.export(request.context.caller, backup_id)
        response.media = {
            "backup-record": {
                "backup_service": record.backup_service,
                "backup_url": record.backup_url,
            }
        }


class _Import(_Resource):
    def on_post(self, request: falcon.Request, response: falcon.Response, **_: str) -> None:
        body = read_body(request, "backup-import")["backup-record"]
        record = ExportedRecord(body["backup_service"], body["backup_url"])
        row = self.service.records.take(request.context.caller, record)
        response.status = 201
        response.media = {"backup": backup_summary(row, request.context.place)}

    def on_get(self, request: falcon.Request, response: falcon.Response, **_: str) -> None:
        """Show the backup of this id, as any other path of this form: there is none."""
        self.service.backups.show(request.context.caller, "import_record")


class _Action(_Resource):
    def on_post(
        self, request: falcon.Request, response: falcon.Response, backup_id: str, **_: str
    ) -> None:
        name, value = read_action(request)
        caller: Caller = request.context.caller
        if name == "os-force_delete":
            self.service.backups.force_delete(caller, backup_id)
        elif name == "os-reset_status":
            status = read_status(value, "Backup", _STATUSES)
            self.service.backups.reset(caller, backup_id, status)
        else:
            raise unknown_action(name)
        response.status = 202


def routes(service: Service) -> dict[str, object]:
    """Return the resources by path, below version and project."""
    one = "/backups/{backup_id}"
    return {
        "/backups": _List(service),
        "/backups/detail": _Detail(service),
        "/backups/import_record": _Import(service),
        one: _One(service),
        f"{one}/restore": _Restore(service),
        f"{one}/export_record": _Export(service),
        f"{one}/action": _Action(service),
    }
