"""JSON Schemas of request bodies, which the OpenAPI document shows as well.

Source: the Block Storage API's own schemas; `additionalProperties` is false at every level.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from backupcore.api.wire.version import Version
from backupcore.catalog import DEFAULT_LIMITS
from backupcore.catalog.status import SnapshotStatus, VolumeStatus

__all__ = ["GROUP_LIMIT", "QUOTA_NOTES", "SCHEMAS", "Schema", "schema_of"]

Schema: TypeAlias = dict[str, Any]

GROUP_LIMIT = 10  # there are no groups, and clients expect the quota all the same

_TEXT: Schema = {"type": ["string", "null"], "minLength": 0, "maxLength": 255}
_PRINTABLE: Schema = {**_TEXT, "format": "printable"}
_UUID: Schema = {"type": "string", "format": "uuid"}
_UUID_OR_NULL: Schema = {"type": ["string", "null"], "format": "uuid"}
_BOOLEAN: Schema = {
    "enum": [
        True, False, "True", "TRUE", "true", "1", "ON", "On", "on", "YES", "Yes", "yes", "y", "t",
        "False", "FALSE", "false", "0", "OFF", "Off", "off", "NO", "No", "no", "n", "f",
    ]
}  # fmt: skip
_METADATA: Schema = {
    "type": "object",
    "patternProperties": {r"^[a-zA-Z0-9-_:. /]{1,255}$": {"type": "string", "maxLength": 255}},
    "additionalProperties": False,
}
_METADATA_OR_NULL: Schema = {**_METADATA, "type": ["object", "null"]}


def _wrapped(name: str, properties: Schema, *required: str, nullable: bool = False) -> Schema:
    """Return the schema of a document with one key, whose object has these properties."""
    inner: Schema = {
        "type": ["object", "null"] if nullable else "object",
        "properties": properties,
        "additionalProperties": False,
    }
    if required:
        inner["required"] = list(required)
    return {
        "type": "object",
        "properties": {name: inner},
        "required": [name],
        "additionalProperties": False,
    }


def _one_of(properties: Schema) -> Schema:
    """Return the schema of an action: its name is the only key."""
    return {
        "type": "object",
        "properties": properties,
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": False,
    }


def _status(*words: str) -> Schema:
    """Return the schema of a status; clients may write it in capitals."""
    pattern = "|".join("".join(f"[{a}{a.upper()}]" if a.isalpha() else a for a in word)
                       for word in words)  # fmt: skip
    return {
        "type": "object",
        "properties": {"status": {"type": "string", "pattern": f"^({pattern})$"}},
        "required": ["status"],
        "additionalProperties": False,
    }


_SIZE: Schema = {
    "oneOf": [
        {"type": "integer", "minimum": 1, "maximum": 2147483647},
        {"type": "string", "pattern": "^[1-9][0-9]{0,8}$"},
    ]
}
_LIMIT: Schema = {
    "oneOf": [
        {"type": "integer", "minimum": -1, "maximum": 2147483647},
        {"type": "string", "pattern": "^(-1|[0-9]{1,9})$"},
    ]
}
_CREATE: Schema = {
    "volume_id": _UUID,
    "container": _TEXT,
    "description": _PRINTABLE,
    "name": _TEXT,
    "incremental": _BOOLEAN,
    "force": _BOOLEAN,
    "snapshot_id": _UUID_OR_NULL,
}
_VOLUME: Schema = {
    "size": _SIZE,
    "name": _TEXT,
    "description": _PRINTABLE,
    "display_name": _TEXT,
    "display_description": _PRINTABLE,
    "metadata": _METADATA_OR_NULL,
    "volume_type": _TEXT,
    "availability_zone": _TEXT,
    "multiattach": {"type": ["boolean", "null"]},
    **{
        name: {"type": ["string", "null"], "maxLength": 255}
        for name in (
            "snapshot_id",
            "source_volid",
            "source_replica",
            "imageRef",
            "consistencygroup_id",
            "group_id",
            "user_id",
            "project_id",
            "status",
            "attach_status",
        )
    },
    "scheduler_hints": {"type": ["object", "null"]},
}
# One of size and backup is needed, which the call sees to.
_VOLUME_OR_BACKUP: Schema = {
    **_VOLUME,
    "size": {"anyOf": [_SIZE, {"type": "null"}]},
    "backup_id": _UUID_OR_NULL,
}
# What stands in a quota set beside what can be changed.
QUOTA_NOTES: Schema = {
    "id": _TEXT,
    "tenant_id": _TEXT,
    "force": _BOOLEAN,
    "skip_validation": _BOOLEAN,
    "groups": {"enum": [GROUP_LIMIT, str(GROUP_LIMIT)]},
}

SCHEMAS: dict[str, Schema] = {
    "backup-create": _wrapped("backup", _CREATE, "volume_id"),
    "backup-create-3.43": _wrapped(
        "backup", {**_CREATE, "metadata": _METADATA_OR_NULL}, "volume_id"
    ),
    "backup-create-3.51": _wrapped(
        "backup",
        {**_CREATE, "metadata": _METADATA_OR_NULL, "availability_zone": _TEXT},
        "volume_id",
    ),
    "backup-restore": _wrapped(
        "restore", {"name": _TEXT, "volume_id": _UUID_OR_NULL}, nullable=True
    ),
    "backup-import": _wrapped(
        "backup-record",
        {
            "backup_service": {"type": "string", "minLength": 0, "maxLength": 255},
            "backup_url": {"type": "string", "minLength": 1},
        },
        "backup_service",
        "backup_url",
    ),
    "backup-update": _wrapped("backup", {"name": _TEXT, "description": _PRINTABLE}),
    "backup-update-3.43": _wrapped(
        "backup", {"name": _TEXT, "description": _PRINTABLE, "metadata": _METADATA}
    ),
    "volume-create": _wrapped("volume", _VOLUME, "size"),
    "volume-create-3.47": _wrapped("volume", _VOLUME_OR_BACKUP),
    "volume-update": _wrapped(
        "volume", {"name": _TEXT, "description": _PRINTABLE, "metadata": _METADATA}
    ),
    "snapshot-create": _wrapped(
        "snapshot",
        {
            "volume_id": _UUID,
            "name": _TEXT,
            "description": _PRINTABLE,
            "display_name": _TEXT,
            "display_description": _PRINTABLE,
            "metadata": _METADATA_OR_NULL,
            "force": {"oneOf": [_BOOLEAN, {"type": "null"}]},
        },
        "volume_id",
    ),
    "snapshot-update": _wrapped("snapshot", {"name": _TEXT, "description": _PRINTABLE}),
    "quota-set": {
        "type": "object",
        "properties": {
            "quota_set": {
                "type": "object",
                "properties": {
                    **dict.fromkeys(DEFAULT_LIMITS, _LIMIT),
                    **QUOTA_NOTES,
                },
                "additionalProperties": _LIMIT,
            }
        },
        "required": ["quota_set"],
        "additionalProperties": False,
    },
    "backup-action": _one_of(
        {"os-force_delete": {}, "os-reset_status": _status("available", "error")}
    ),
    "volume-action": _one_of(
        {
            "os-attach": {
                "type": "object",
                "properties": {
                    name: {"type": ["string", "null"], "maxLength": 255}
                    for name in ("instance_uuid", "host_name", "mountpoint")
                },
            },
            "os-detach": {},
            "os-reset_status": _status(*VolumeStatus),
        }
    ),
    "snapshot-action": _one_of({"os-reset_status": _status(*SnapshotStatus)}),
}


def schema_of(name: str, version: Version) -> Schema:
    """Return the schema of a body as a version has it: of the latest change up to there."""
    begin = f"{name}-3."
    minors = [int(known.removeprefix(begin)) for known in SCHEMAS if known.startswith(begin)]
    fitting = [minor for minor in minors if version.is_at_least(minor)]
    return SCHEMAS[f"{begin}{max(fitting)}" if fitting else name]
