"""`/snapshots`: as much of them as clients of backups call."""

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
from backupcore.api.wire.view import Document, Place, time_text
from backupcore.catalog import SNAPSHOT_FILTERS, SNAPSHOT_SORT_KEYS
from backupcore.catalog.change import SnapshotChanges
from backupcore.catalog.row import SnapshotRow
from backupcore.catalog.status import SnapshotStatus
from backupcore.service import Caller, Service, SnapshotWish

__all__ = ["routes"]

_COLUMNS = Columns.of(
    SnapshotRow, {"name", "status", "volume_id"}, SNAPSHOT_FILTERS, SNAPSHOT_SORT_KEYS
)


class _Resource:
    def __init__(self, service: Service) -> None:
        self.service = service

    def shown(self, request: falcon.Request, row: SnapshotRow) -> Document:
        """Return a row with every field the caller may see."""
        document = _summary(row)
        caller: Caller = request.context.caller
        rule = "volume_extension:extended_snapshot_attributes"
        if self.service.policy.allows(rule, caller, row.project_id):
            is_whole = row.status is not SnapshotStatus.CREATING
            document["os-extended-snapshot-attributes:progress"] = "100%" if is_whole else "0%"
            document["os-extended-snapshot-attributes:project_id"] = row.project_id
        place: Place = request.context.place
        if place.version.is_at_least(14):
            document["group_snapshot_id"] = None
        if place.version.is_at_least(41):
            document["user_id"] = row.user_id
        return document


class _List(_Resource):
    is_detailed = False

    def on_get(self, request: falcon.Request, response: falcon.Response, **_: str) -> None:
        caller: Caller = request.context.caller
        place: Place = request.context.place
        limit_max = self.service.settings.api.page_limit_max
        query = read_query(request, place, _COLUMNS, is_admin=caller.is_admin, limit_max=limit_max)
        page = self.service.snapshots.page(caller, query.listing, is_all=query.is_all)
        documents = [
            self.shown(request, row) if self.is_detailed else _summary(row)
            for row in ([] if query.is_empty else page.rows)
        ]
        kind = "snapshots/detail" if self.is_detailed else "snapshots"
        response.media = query.page("snapshots", kind, place, documents, page.count)

    def on_post(self, request: falcon.Request, response: falcon.Response, **_: str) -> None:
        body = read_body(request, "snapshot-create")["snapshot"]
        wish = SnapshotWish(
            volume_id=uuid_text(body["volume_id"]),
            name=stripped(body.get("name") or body.get("display_name")),
            description=stripped(body.get("description") or body.get("display_description")),
            metadata=body.get("metadata") or {},
            is_forced=as_bool(body.get("force") or False),
        )
        row = self.service.snapshots.create(request.context.caller, wish)
        response.status = 202
        response.media = {"snapshot": _summary(row)}


class _Detail(_List):
    is_detailed = True


class _One(_Resource):
    def on_get(
        self, request: falcon.Request, response: falcon.Response, snapshot_id: str, **_: str
    ) -> None:
        row = self.service.snapshots.show(request.context.caller, snapshot_id)
        response.media = {"snapshot": self.shown(request, row)}

    def on_put(
        self, request: falcon.Request, response: falcon.Response, snapshot_id: str, **_: str
    ) -> None:
        body = read_body(request, "snapshot-update")["snapshot"]
        changes = read_changes(SnapshotChanges, body)
        row = self.service.snapshots.update(request.context.caller, snapshot_id, changes)
        response.media = {"snapshot": _summary(row)}

    def on_delete(
        self, request: falcon.Request, response: falcon.Response, snapshot_id: str, **_: str
    ) -> None:
        self.service.snapshots.delete(request.context.caller, snapshot_id)
        response.status = 202


class _Action(_Resource):
    def on_post(
        self, request: falcon.Request, response: falcon.Response, snapshot_id: str, **_: str
    ) -> None:
        name, value = read_action(request)
        if name != "os-reset_status":
            raise unknown_action(name)
        status = SnapshotStatus(read_status(value, "Snapshot", SnapshotStatus))
        self.service.snapshots.reset(request.context.caller, snapshot_id, status)
        response.status = 202


def routes(service: Service) -> dict[str, object]:
    """Return the resources by path, below version and project."""
    return {
        "/snapshots": _List(service),
        "/snapshots/detail": _Detail(service),
        "/snapshots/{snapshot_id}": _One(service),
        "/snapshots/{snapshot_id}/action": _Action(service),
    }


def _summary(row: SnapshotRow) -> Document:
    return {
        "id": row.id,
        "name": row.name,
        "description": row.description,
        "volume_id": row.volume_id,
        "status": row.status,
        "size": row.size,
        "metadata": dict(row.metadata),
        "created_at": time_text(row.created_at),
        "updated_at": time_text(row.updated_at),
    }
