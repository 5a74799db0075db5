"""`/volumes`: as much of them as clients of backups call."""

from __future__ import annotations

from typing import Any, TypedDict

import falcon

from backupcore.api.wire.body import read_body
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
from backupcore.catalog import VOLUME_FILTERS, VOLUME_SORT_KEYS
from backupcore.catalog.change import VolumeChanges
from backupcore.catalog.row import VolumeRow
from backupcore.catalog.status import VolumeStatus
from backupcore.service import Caller, RestoreWish, Service, VolumeWish

__all__ = ["routes", "volume_detail"]

_COLUMNS = Columns.of(
    VolumeRow, {"name", "status", "availability_zone"}, VOLUME_FILTERS, VOLUME_SORT_KEYS
)
# Asked for and told about by other services only.
_FOREIGN = (
    "snapshot_id",
    "source_volid",
    "imageRef",
    "consistencygroup_id",
    "group_id",
)


def volume_detail(row: VolumeRow, place: Place, *, shows_owner: bool, is_admin: bool) -> Document:
    """Return every field a caller may see."""
    document: Document = {
        "id": row.id,
        "status": row.status,
        "size": row.size,
        "availability_zone": row.availability_zone,
        "created_at": time_text(row.created_at),
        "updated_at": time_text(row.updated_at),
        "name": row.name,
        "description": row.description,
        "volume_type": row.volume_type,
        "snapshot_id": row.snapshot_id,
        "source_volid": row.source_volume_id,
        "metadata": dict(row.metadata),
        "links": place.links("volumes", row.id),
        "user_id": row.user_id,
        "bootable": "true" if row.is_bootable else "false",
        "encrypted": False,
        "replication_status": None,
        "consistencygroup_id": None,
        "multiattach": False,
        "attachments": [dict(attachment) for attachment in row.attachments],
    }
    if shows_owner:
        document["os-vol-tenant-attr:tenant_id"] = row.project_id
    if is_admin:
        document |= {
            "migration_status": None,
            "os-vol-host-attr:host": row.provider,
            "os-vol-mig-status-attr:migstat": None,
            "os-vol-mig-status-attr:name_id": None,
        }
    return document | _later_fields(row, place, is_admin=is_admin)


def _later_fields(row: VolumeRow, place: Place, *, is_admin: bool) -> Document:
    """Return the fields that microversions added: what volumes here have none of is null."""
    added: dict[int, Document] = {
        13: {"group_id": None},
        21: {"provider_id": None} if is_admin else {},
        48: {"service_uuid": None, "shared_targets": False},
        61: {"cluster_name": None} if is_admin else {},
        63: {"volume_type_id": None},
    }
    found: Document = {}
    for minor, fields in added.items():
        if place.version.is_at_least(minor):
            found |= fields
    return found


class _Resource:
    def __init__(self, service: Service) -> None:
        self.service = service

    def shown(self, request: falcon.Request, row: VolumeRow) -> Document:
        """Return a row with every field the caller may see."""
        caller: Caller = request.context.caller
        policy = self.service.policy
        return volume_detail(
            row,
            request.context.place,
            shows_owner=policy.allows(
                "volume_extension:volume_tenant_attribute", caller, row.project_id
            ),
            is_admin=policy.allows("volume_extension:volume_host_attribute", caller),
        )


class _List(_Resource):
    is_detailed = False

    def on_get(self, request: falcon.Request, response: falcon.Response, **_: str) -> None:
        caller: Caller = request.context.caller
        place: Place = request.context.place
        limit_max = self.service.settings.api.page_limit_max
        query = read_query(request, place, _COLUMNS, is_admin=caller.is_admin, limit_max=limit_max)
        page = self.service.volumes.page(caller, query.listing, is_all=query.is_all)
        documents: list[Document] = [
            self.shown(request, row)
            if self.is_detailed
            else {"id": row.id, "name": row.name, "links": place.links("volumes", row.id)}
            for row in ([] if query.is_empty else page.rows)
        ]
        kind = "volumes/detail" if self.is_detailed else "volumes"
        response.media = query.page("volumes", kind, place, documents, page.count)

    def on_post(self, request: falcon.Request, response: falcon.Response, **_: str) -> None:
        body = read_body(request, "volume-create")["volume"]
        for name in _FOREIGN:
            if body.get(name):
                raise falcon.HTTPBadRequest(
                    description=f"Invalid input received: {name}: volumes are made empty here, or "
                    "from a backup"
                )
        caller: Caller = request.context.caller
        size = None if body.get("size") is None else int(body["size"])
        backup_id = body.get("backup_id")
        if size is None and backup_id is None:
            raise falcon.HTTPBadRequest(description="'size' is a required property")
        if backup_id is None:
            row = self.service.volumes.create(caller, VolumeWish(size=size or 0, **_wished(body)))
        else:
            wish = RestoreWish(size=size, **_wished(body))
            row = self.service.backups.restore(caller, uuid_text(backup_id), wish).volume
        response.status = 202
        response.media = {"volume": self.shown(request, row)}


class _Detail(_List):
    is_detailed = True


class _One(_Resource):
    def on_get(
        self, request: falcon.Request, response: falcon.Response, volume_id: str, **_: str
    ) -> None:
        row = self.service.volumes.show(request.context.caller, volume_id)
        response.media = {"volume": self.shown(request, row)}

    def on_put(
        self, request: falcon.Request, response: falcon.Response, volume_id: str, **_: str
    ) -> None:
        changes = read_changes(VolumeChanges, read_body(request, "volume-update")["volume"])
        row = self.service.volumes.update(request.context.caller, volume_id, changes)
        response.media = {"volume": self.shown(request, row)}

    def on_delete(
        self, request: falcon.Request, response: falcon.Response, volume_id: str, **_: str
    ) -> None:
        self.service.volumes.delete(request.context.caller, volume_id)
        response.status = 202


class _Action(_Resource):
    def on_post(
        self, request: falcon.Request, response: falcon.Response, volume_id: str, **_: str
    ) -> None:
        name, value = read_action(request)
        caller: Caller = request.context.caller
        volumes = self.service.volumes
        options: dict[str, Any] = value if isinstance(value, dict) else {}
        if name == "os-attach":
            volumes.attach(caller, volume_id, _attachment(volume_id, options))
        elif name == "os-detach":
            volumes.detach(caller, volume_id)
        elif name == "os-reset_status":
            status = VolumeStatus(read_status(value, "Volume", VolumeStatus))
            volumes.reset(caller, volume_id, status)
        else:
            raise unknown_action(name)
        response.status = 202


def routes(service: Service) -> dict[str, object]:
    """Return the resources by path, below version and project."""
    return {
        "/volumes": _List(service),
        "/volumes/detail": _Detail(service),
        "/volumes/{volume_id}": _One(service),
        "/volumes/{volume_id}/action": _Action(service),
    }


class _Wished(TypedDict):
    """What is said of a new volume, empty or from a backup."""

    name: str | None
    description: str | None
    metadata: dict[str, str]
    volume_type: str | None
    availability_zone: str | None


def _wished(body: dict[str, Any]) -> _Wished:
    return {
        "name": stripped(body.get("name") or body.get("display_name")),
        "description": stripped(body.get("description") or body.get("display_description")),
        "metadata": body.get("metadata") or {},
        "volume_type": body.get("volume_type"),
        "availability_zone": body.get("availability_zone"),
    }


def _attachment(volume_id: str, options: dict[str, Any]) -> dict[str, str | None]:
    wanted = ("instance_uuid", "host_name", "mountpoint")
    given = {name: options.get(name) for name in wanted}
    if any(value is not None and not isinstance(value, str) for value in given.values()):
        raise falcon.HTTPBadRequest(description="Invalid input received: os-attach takes texts")
    return {
        "id": volume_id,
        "volume_id": volume_id,
        "server_id": given["instance_uuid"],
        "host_name": given["host_name"],
        "device": given["mountpoint"],
    }
