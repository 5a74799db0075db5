"""Bodies of requests: bounded before they are read, strict JSON, checked against a schema."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn, cast
from uuid import UUID

import falcon
import jsonschema
from jsonschema.exceptions import best_match

from backupcore.api.wire.schema import Schema, schema_of

__all__ = ["MALFORMED", "MEDIA_TYPES", "as_bool", "read_body", "read_json"]

MEDIA_TYPES = ("application/json", "application/vnd.openstack.volume+json")
MALFORMED = "Malformed request body"
_DEPTH_MAX = 16
_TRUE = frozenset({"1", "t", "true", "on", "y", "yes"})
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")
_HYPHENS = re.compile(r"[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}")


def read_body(request: falcon.Request, name: str) -> dict[str, Any]:
    """Return a body that the schema of this name fits, as the request's version has it.

    Raises: as `read_json`, naming the field.
    """
    document = read_json(request)
    _check(document, schema_of(name, request.context.version))
    return document


def read_json(request: falcon.Request) -> dict[str, Any]:
    """Return the JSON object of a body.

    Raises: HTTPContentTooLarge, HTTPUnsupportedMediaType, HTTPBadRequest.
    """
    content = _read(request)
    if not content.strip():
        raise falcon.HTTPBadRequest(description=MALFORMED)
    kind = (request.content_type or "").partition(";")[0].strip().lower()
    if kind not in MEDIA_TYPES:
        raise falcon.HTTPUnsupportedMediaType(description="Unsupported Content-Type")
    try:
        document = json.loads(
            content, object_pairs_hook=_without_twins, parse_constant=_refuse, parse_int=_small
        )
    except (ValueError, RecursionError) as error:
        raise falcon.HTTPBadRequest(description=MALFORMED) from error
    if not isinstance(document, dict) or not _is_sound(document, _DEPTH_MAX):
        raise falcon.HTTPBadRequest(description=MALFORMED)
    return document


def as_bool(value: object) -> bool:
    """Return what a boolean, or a text a schema let pass as one, means."""
    return value if isinstance(value, bool) else str(value).lower() in _TRUE


def _read(request: falcon.Request) -> bytes:
    """Return the body. Raises: HTTPContentTooLarge before anything is parsed."""
    limit: int = request.context.body_bytes_max
    if (request.content_length or 0) > limit:
        raise falcon.HTTPContentTooLarge(description="Request is too large.")
    # A server that ends the stream of a chunked body itself tells no length.
    is_ended = request.content_length is None and request.env.get("wsgi.input_terminated")
    stream = request.stream if is_ended else request.bounded_stream
    content: bytes = stream.read(limit + 1)
    if len(content) > limit:
        raise falcon.HTTPContentTooLarge(description="Request is too large.")
    return content


def _without_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key twice")
    return document


def _refuse(text: str) -> NoReturn:
    raise ValueError(text)


def _small(text: str) -> int:
    if len(text) > 20:
        raise ValueError("a number too long")
    return int(text)


def _is_sound(value: object, depth: int) -> bool:
    """Return whether a document is shallow and every text in it can be stored and sent back."""
    if isinstance(value, str):
        return not _UNSTORABLE.search(value)
    if isinstance(value, dict):
        inner = (item for pair in value.items() for item in pair)
        return depth > 0 and all(_is_sound(item, depth - 1) for item in inner)
    if isinstance(value, list):
        return depth > 0 and all(_is_sound(item, depth - 1) for item in value)
    return True


def _check(document: Mapping[str, object], schema: Schema) -> None:
    checker = jsonschema.Draft202012Validator(schema, format_checker=FORMATS)
    error = best_match(checker.iter_errors(cast(Any, document)))
    if error is None:
        return
    if not error.path:
        raise falcon.HTTPBadRequest(description=error.message[:255])
    field = error.path[-1]
    raise falcon.HTTPBadRequest(
        description=f"Invalid input for field/attribute {str(field)[:80]}. Value: "
        f"{str(error.instance)[:80]}. {error.message[:200]}"
    )


FORMATS = jsonschema.FormatChecker(())


@FORMATS.checks("uuid", raises=ValueError)
def _is_uuid(value: object) -> bool:
    """Return whether a text means a UUID, with or without hyphens, in any case."""
    return not isinstance(value, str) or bool(_HYPHENS.fullmatch(value) and UUID(value))


@FORMATS.checks("printable")
def _is_printable(value: object) -> bool:
    return not isinstance(value, str) or not _UNPRINTABLE.search(value)
