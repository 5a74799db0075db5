"""The API as an OpenAPI 3.1 document, made from the table of calls and the schemas of bodies.

It describes the newest microversion below `/v3/{project_id}`; `docs/reference/api.md` says what
older ones and `/v2` leave out.
"""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

from backupcore.api.openapi.shape import SHAPES
from backupcore.api.route import ROUTES, Route
from backupcore.api.wire.body import MEDIA_TYPES
from backupcore.api.wire.fault import NAMES, OTHER
from backupcore.api.wire.schema import Schema, schema_of
from backupcore.api.wire.version import HEADER, MAXIMUM, Version

__all__ = ["openapi_document", "openapi_text"]

_VARIABLE = re.compile(r"\{(\w+)\}")
_PRINTABLE = r"^[^\x00-\x1f\x7f]*$"
_BOOLEAN: Schema = {"type": "string", "pattern": "^(?i:true|false|1|0|yes|no|on|off|y|n|t|f)$"}
_QUERY: dict[str, Schema] = {
    "limit": {"type": "string", "pattern": "^[0-9]{1,18}$"},
    "offset": {"type": "string", "pattern": "^[0-9]{1,9}$"},
    "sort_dir": {"enum": ["asc", "desc"]},
    "all_tenants": _BOOLEAN,
    "with_count": _BOOLEAN,
    "usage": _BOOLEAN,
}
_REFUSALS = (400, 401, 403, 404, 406, 413, 415, 503)


@cache
def openapi_text(body_bytes_max: int) -> str:
    """Return the document as JSON."""
    return json.dumps(openapi_document(body_bytes_max), indent=1)


def openapi_document(body_bytes_max: int) -> dict[str, Any]:
    """Return the document."""
    paths: dict[str, Any] = {}
    for route in ROUTES:
        path = paths.setdefault(f"/v3/{{project_id}}{route.path}", {})
        path[route.method.lower()] = _operation(route)
    newest = Version(*MAXIMUM)
    schemas = {f"{name}-request": _plain(schema_of(name, newest)) for name in _body_names()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Block Storage backups",
            "version": f"{MAXIMUM[0]}.{MAXIMUM[1]}",
            "description": "Backups of volumes. Send `OpenStack-API-Version: volume "
            f"{MAXIMUM[0]}.{MAXIMUM[1]}` to get what stands here; bodies have at most "
            f"{body_bytes_max} bytes.",
        },
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {"type": "apiKey", "in": "header", "name": "X-Auth-Token"}
            },
            "schemas": schemas | SHAPES | {"fault": _FAULT},
        },
    }


_FAULT: Schema = {
    "type": "object",
    "minProperties": 1,
    "maxProperties": 1,
    "patternProperties": {
        f"^({'|'.join(sorted({*NAMES.values(), OTHER}))})$": {
            "type": "object",
            "properties": {
                "code": {"type": "integer"},
                "message": {"type": "string", "minLength": 1},
                "retryAfter": {"const": "0"},
            },
            "required": ["code", "message"],
            "additionalProperties": False,
        }
    },
    "additionalProperties": False,
}


def _operation(route: Route) -> dict[str, Any]:
    names = ["project_id", *_VARIABLE.findall(route.path)]
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
        for name in names
    ]
    parameters += [
        {"name": name, "in": "query", "schema": _QUERY.get(name, {"type": "string"})}
        for name in route.query
    ]
    parameters.append({"name": HEADER, "in": "header", "schema": {"type": "string"}})
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": route.summary,
        "description": "Rules: " + ", ".join(f"`{rule}`" for rule in route.rules) + ".",
        "tags": [route.path.split("/")[1]],
        "parameters": parameters,
        "responses": {str(route.code): _answer(route)}
        | {str(code): _refusal() for code in _REFUSALS},
    }
    if route.body is not None:
        schema = _reference(f"{route.body}-request")
        operation["requestBody"] = {"required": True, "content": {MEDIA_TYPES[0]: schema}}
    return operation


def _answer(route: Route) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "description": "Done" if route.code < 202 else "Accepted",
        "headers": {
            name: {"required": True, "schema": {"type": "string"}}
            for name in ("x-openstack-request-id", HEADER)
        },
    }
    if route.answer is not None:
        answer["content"] = {MEDIA_TYPES[0]: _reference(route.answer)}
    return answer


def _refusal() -> dict[str, Any]:
    return {"description": "Refused", "content": {MEDIA_TYPES[0]: _reference("fault")}}


def _reference(name: str) -> dict[str, Any]:
    return {"schema": {"$ref": f"#/components/schemas/{name}"}}


def _body_names() -> list[str]:
    return sorted({route.body for route in ROUTES if route.body is not None})


def _plain(value: Any) -> Any:
    """Return a schema without formats that only this service knows."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    plain = {name: _plain(item) for name, item in value.items()}
    if plain.get("format") == "printable":
        del plain["format"]
        plain["pattern"] = _PRINTABLE
    return plain
