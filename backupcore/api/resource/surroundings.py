"""What clients ask for around backups: quotas, limits, zones, extensions, services, types."""

from __future__ import annotations

from typing import Any

import falcon

from backupcore.api.wire.body import read_body
from backupcore.api.wire.query import read_boolean
from backupcore.api.wire.schema import GROUP_LIMIT, QUOTA_NOTES
from backupcore.api.wire.view import Document, time_text
from backupcore.catalog import DEFAULT_LIMITS
from backupcore.service import Caller, Service

__all__ = ["routes"]

_TYPE: Document = {
    "id": "00000000-0000-0000-0000-000000000001",
    "name": "__DEFAULT__",
    "description": "Default Volume Type",
    "is_public": True,
    "extra_specs": {},
    "qos_specs_id": None,
    "os-volume-type-access:is_public": True,
}


class _Resource:
    def __init__(self, service: Service) -> None:
        self.service = service

    def check(self, request: falcon.Request, rule: str) -> Caller:
        """Return the caller when a rule lets them pass. Raises: Denied."""
        caller: Caller = request.context.caller
        self.service.policy.check(rule, caller)
        return caller


class _QuotaSet(_Resource):
    """A project's quotas; with `usage=true` what it holds too."""

    def on_get(
        self, request: falcon.Request, response: falcon.Response, target_id: str, **_: str
    ) -> None:
        caller: Caller = request.context.caller
        limits = self.service.quotas.limits(caller, target_id)
        document: Document = {"id": target_id, "groups": GROUP_LIMIT, **limits}
        if read_boolean({"usage": request.get_param("usage") or "false"}, "usage"):
            used = self.service.quotas.usage(caller, target_id)
            document = {
                "id": target_id,
                **{
                    name: {"limit": limit, "in_use": used.get(name, 0), "reserved": 0}
                    for name, limit in {**limits, "groups": GROUP_LIMIT}.items()
                },
            }
        response.media = {"quota_set": document}

    def on_put(
        self, request: falcon.Request, response: falcon.Response, target_id: str, **_: str
    ) -> None:
        body: dict[str, Any] = read_body(request, "quota-set")["quota_set"]
        wanted = {name: int(value) for name, value in body.items() if name not in QUOTA_NOTES}
        limits = self.service.quotas.change(request.context.caller, target_id, wanted)
        response.media = {"quota_set": {**limits, "groups": GROUP_LIMIT}}

    def on_delete(
        self, request: falcon.Request, response: falcon.Response, target_id: str, **_: str
    ) -> None:
        self.service.quotas.reset(request.context.caller, target_id)


class _QuotaDefaults(_Resource):
    def on_get(
        self, request: falcon.Request, response: falcon.Response, target_id: str, **_: str
    ) -> None:
        self.check(request, "volume_extension:quotas:show")
        limits = {
            name: getattr(self.service.settings.quotas, name, limit)
            for name, limit in DEFAULT_LIMITS.items()
        }
        response.media = {"quota_set": {"id": target_id, "groups": GROUP_LIMIT, **limits}}


class _Limits(_Resource):
    def on_get(self, request: falcon.Request, response: falcon.Response, **_: str) -> None:
        caller = self.check(request, "limits_extension:used_limits")
        limits = self.service.quotas.limits(caller, caller.project_id)
        used = self.service.quotas.usage(caller, caller.project_id)
        response.media = {
            "limits": {
                "rate": [],
                "absolute": {
                    "maxTotalBackups": limits["backups"],
                    "maxTotalBackupGigabytes": limits["backup_gigabytes"],
                    "maxTotalVolumes": limits["volumes"],
                    "maxTotalVolumeGigabytes": limits["gigabytes"],
                    "maxTotalSnapshots": limits["snapshots"],
                    "totalBackupsUsed": used["backups"],
                    "totalBackupGigabytesUsed": used["backup_gigabytes"],
                    "totalVolumesUsed": used["volumes"],
                    "totalGigabytesUsed": used["gigabytes"],
                    "totalSnapshotsUsed": used["snapshots"],
                },
            }
        }


class _Zones(_Resource):
    def on_get(self, request: falcon.Request, response: falcon.Response, **_: str) -> None:
        self.check(request, "volume_extension:availability_zone_list")
        zone = self.service.settings.availability_zone
        response.media = {
            "availabilityZoneInfo": [{"zoneName": zone, "zoneState": {"available": True}}]
        }


class _Extensions(_Resource):
    def on_get(self, request: falcon.Request, response: falcon.Response, **_: str) -> None:
        self.check(request, "volume_extension:list_extensions")
        response.media = {
            "extensions": [
                {
                    "name": name,
                    "alias": alias,
                    "description": description,
                    "updated": "2013-04-18T00:00:00+00:00",
                    "links": [],
                }
                for name, alias, description in (
                    ("Backups", "backups", "Backups support."),
                    ("AdminActions", "os-admin-actions", "Enable admin actions."),
                    ("Quotas", "os-quota-sets", "Quota management support."),
                    ("Services", "os-services", "Services support."),
                )
            ]
        }


class _Services(_Resource):
    def on_get(self, request: falcon.Request, response: falcon.Response, **_: str) -> None:
        self.check(request, "volume_extension:services:index")
        settings = self.service.settings
        response.media = {
            "services": [
                {
                    "binary": "cinder-backup",
                    "host": settings.host or "backupcore",
                    "zone": settings.availability_zone,
                    "status": "enabled",
                    "state": "up",
                    "updated_at": time_text(self.service.runtime.clock.now()),
                    "disabled_reason": None,
                }
            ]
        }


class _Types(_Resource):
    def on_get(self, request: falcon.Request, response: falcon.Response, **_: str) -> None:
        self.check(request, "volume_extension:type_get_all")
        response.media = {"volume_types": [_TYPE]}


class _OneType(_Resource):
    def on_get(
        self, request: falcon.Request, response: falcon.Response, type_id: str, **_: str
    ) -> None:
        self.check(request, "volume_extension:type_get")
        if type_id not in ("default", _TYPE["id"], _TYPE["name"]):
            raise falcon.HTTPNotFound
        response.media = {"volume_type": _TYPE}


class _Messages(_Resource):
    def on_get(self, request: falcon.Request, response: falcon.Response, **_: str) -> None:
        self.check(request, "message:get_all")
        response.media = {"messages": []}


def routes(service: Service) -> dict[str, object]:
    """Return the resources by path, below version and project."""
    return {
        "/os-quota-sets/{target_id}": _QuotaSet(service),
        "/os-quota-sets/{target_id}/defaults": _QuotaDefaults(service),
        "/limits": _Limits(service),
        "/os-availability-zone": _Zones(service),
        "/extensions": _Extensions(service),
        "/os-services": _Services(service),
        "/types": _Types(service),
        "/types/{type_id}": _OneType(service),
        "/messages": _Messages(service),
    }
