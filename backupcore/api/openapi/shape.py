"""Shapes of answers as JSON Schemas, at the newest microversion.

What only some callers see is not required; nothing else may be there.
"""

from __future__ import annotations

from typing import Any

from backupcore.api.wire.schema import Schema
from backupcore.catalog import DEFAULT_LIMITS
from backupcore.catalog.status import BackupStatus, SnapshotStatus, VolumeStatus

__all__ = ["SHAPES"]

_TEXT: Schema = {"type": "string"}
_TEXT_OR_NULL: Schema = {"type": ["string", "null"]}
_NULL: Schema = {"type": "null"}
_BOOLEAN: Schema = {"type": "boolean"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_TIME: Schema = {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}$"}
_TIME_OR_NULL: Schema = {**_TIME, "type": ["string", "null"]}
_TEXTS: Schema = {"type": "object", "additionalProperties": _TEXT}


def _object(properties: Schema, optional: Schema | None = None) -> Schema:
    """Return the shape of an object that has all of the first and maybe some of the second."""
    return {
        "type": "object",
        "properties": {**properties, **(optional or {})},
        "required": list(properties),
        "additionalProperties": False,
    }


def _array(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _page(name: str, item: Schema) -> Schema:
    """Return the shape of a list: its links are absent rather than empty."""
    links = {**_array(_LINK), "minItems": 1, "maxItems": 1}
    return _object({name: _array(item)}, {f"{name}_links": links, "count": _COUNT})


_LINK = _object({"rel": _TEXT, "href": _TEXT})
_LINKS: Schema = {**_array(_LINK), "minItems": 2, "maxItems": 2}
_SUMMARY = _object({"id": _TEXT, "name": _TEXT_OR_NULL, "links": _LINKS})
_BACKUP = _object(
    {
        "id": _TEXT,
        "status": {"enum": list(BackupStatus)},
        "size": _COUNT,
        "object_count": _COUNT,
        "availability_zone": _TEXT_OR_NULL,
        "container": _TEXT_OR_NULL,
        "created_at": _TIME,
        "updated_at": _TIME_OR_NULL,
        "name": _TEXT_OR_NULL,
        "description": _TEXT_OR_NULL,
        "fail_reason": {"type": ["string", "null"], "maxLength": 255},
        "volume_id": _TEXT,
        "links": _LINKS,
        "is_incremental": _BOOLEAN,
        "has_dependent_backups": {"const": False},
        "snapshot_id": _TEXT_OR_NULL,
        "data_timestamp": _TIME_OR_NULL,
    },
    {
        "metadata": _TEXTS,
        "os-backup-project-attr:project_id": _TEXT,
        "user_id": _TEXT_OR_NULL,
    },
)
_VOLUME = _object(
    {
        "id": _TEXT,
        "status": {"enum": list(VolumeStatus)},
        "size": _COUNT,
        "availability_zone": _TEXT_OR_NULL,
        "created_at": _TIME,
        "updated_at": _TIME_OR_NULL,
        "name": _TEXT_OR_NULL,
        "description": _TEXT_OR_NULL,
        "volume_type": _TEXT_OR_NULL,
        "snapshot_id": _TEXT_OR_NULL,
        "source_volid": _TEXT_OR_NULL,
        "metadata": _TEXTS,
        "links": _LINKS,
        "user_id": _TEXT_OR_NULL,
        "bootable": {"enum": ["true", "false"]},
        "encrypted": _BOOLEAN,
        "replication_status": _NULL,
        "consistencygroup_id": _NULL,
        "multiattach": _BOOLEAN,
        "attachments": _array({"type": "object", "additionalProperties": _TEXT_OR_NULL}),
    },
    {
        "os-vol-tenant-attr:tenant_id": _TEXT,
        "migration_status": _NULL,
        "os-vol-host-attr:host": _TEXT,
        "os-vol-mig-status-attr:migstat": _NULL,
        "os-vol-mig-status-attr:name_id": _NULL,
        "group_id": _NULL,
        "provider_id": _NULL,
        "service_uuid": _NULL,
        "shared_targets": _BOOLEAN,
        "cluster_name": _NULL,
        "volume_type_id": _NULL,
    },
)
_SNAPSHOT_FIELDS: Schema = {
    "id": _TEXT,
    "name": _TEXT_OR_NULL,
    "description": _TEXT_OR_NULL,
    "volume_id": _TEXT,
    "status": {"enum": list(SnapshotStatus)},
    "size": _COUNT,
    "metadata": _TEXTS,
    "created_at": _TIME,
    "updated_at": _TIME_OR_NULL,
}
_SNAPSHOT = _object(
    _SNAPSHOT_FIELDS,
    {
        "os-extended-snapshot-attributes:progress": _TEXT,
        "os-extended-snapshot-attributes:project_id": _TEXT,
        "group_snapshot_id": _NULL,
        "user_id": _TEXT_OR_NULL,
    },
)
_LIMIT: Schema = {"type": "integer", "minimum": -1}
_IN_USE = _object({"limit": _LIMIT, "in_use": _COUNT, "reserved": _COUNT})
_QUOTA: Schema = {"oneOf": [_LIMIT, _IN_USE]}
_TYPE: dict[str, Any] = {"type": "object", "required": ["id", "name", "is_public", "extra_specs"]}
_MAXIMA = ("Backups", "BackupGigabytes", "Volumes", "VolumeGigabytes", "Snapshots")
_USED = ("Backups", "BackupGigabytes", "Volumes", "Gigabytes", "Snapshots")
_ABSOLUTE: Schema = {f"maxTotal{name}": _LIMIT for name in _MAXIMA} | {
    f"total{name}Used": _COUNT for name in _USED
}

SHAPES: dict[str, Schema] = {
    "backups": _page("backups", _SUMMARY),
    "backups-detail": _page("backups", _BACKUP),
    "backup": _object({"backup": _BACKUP}),
    "backup-summary": _object({"backup": _SUMMARY}),
    "restore": _object(
        {"restore": _object({"backup_id": _TEXT, "volume_id": _TEXT, "volume_name": _TEXT})}
    ),
    "backup-record": _object(
        {"backup-record": _object({"backup_service": _TEXT, "backup_url": _TEXT})}
    ),
    "volumes": _page("volumes", _SUMMARY),
    "volumes-detail": _page("volumes", _VOLUME),
    "volume": _object({"volume": _VOLUME}),
    "snapshots": _page("snapshots", _object(_SNAPSHOT_FIELDS)),
    "snapshots-detail": _page("snapshots", _SNAPSHOT),
    "snapshot": _object({"snapshot": _SNAPSHOT}),
    "snapshot-made": _object({"snapshot": _object(_SNAPSHOT_FIELDS)}),
    "quota-set": _object(
        {"quota_set": _object(dict.fromkeys((*DEFAULT_LIMITS, "groups"), _QUOTA), {"id": _TEXT})}
    ),
    "limits": _object(
        {
            "limits": _object(
                {"rate": {"type": "array", "maxItems": 0}, "absolute": _object(_ABSOLUTE)}
            )
        }
    ),
    "zones": _object(
        {
            "availabilityZoneInfo": _array(
                _object({"zoneName": _TEXT, "zoneState": _object({"available": _BOOLEAN})})
            )
        }
    ),
    "extensions": _object(
        {
            "extensions": _array(
                _object(
                    {
                        **dict.fromkeys(("name", "alias", "description", "updated"), _TEXT),
                        "links": _array({}),
                    }
                )
            )
        }
    ),
    "services": _object(
        {
            "services": _array(
                _object(
                    {
                        **dict.fromkeys(("binary", "host", "zone", "status", "state"), _TEXT),
                        "updated_at": _TIME,
                        "disabled_reason": _TEXT_OR_NULL,
                    }
                )
            )
        }
    ),
    "types": _object({"volume_types": _array(_TYPE)}),
    "type": _object({"volume_type": _TYPE}),
    "messages": _object({"messages": _array({"type": "object"})}),
}
