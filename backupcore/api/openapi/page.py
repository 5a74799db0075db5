"""`/openapi.json` and `/docs`: the document, and a page to read it that loads nothing else."""

from __future__ import annotations

import json
from html import escape
from typing import Any

import falcon

from backupcore.api.openapi import openapi_document, openapi_text

__all__ = ["Document", "Page"]

_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "summary{cursor:pointer;padding:.3rem}b{display:inline-block;min-width:4rem}"
    "pre{background:#8881;padding:.6rem;overflow:auto}code{font-size:.95em}"
)
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"


class Document:
    """The document, for programs."""

    def __init__(self, body_bytes_max: int) -> None:
        self._text = openapi_text(body_bytes_max)

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Tell it."""
        response.text = self._text


class Page:
    """The document, for people."""

    def __init__(self) -> None:
        self._text = _page(openapi_document(0))

    def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
        """Show it."""
        response.content_type = falcon.MEDIA_HTML
        response.set_header("Content-Security-Policy", _POLICY)
        response.text = self._text


def _page(document: dict[str, Any]) -> str:
    title = escape(document["info"]["title"])
    calls = [
        _call(method, path, operation, document["components"]["schemas"])
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    return (
        f'<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1>"
        f"<p>Version {escape(document['info']['version'])}; for programs: "
        f'<a href="openapi.json">openapi.json</a>.</p>{"".join(calls)}</body></html>'
    )


def _call(method: str, path: str, operation: dict[str, Any], schemas: dict[str, Any]) -> str:
    """Return one call, folded together."""
    parts = [f"<p>{escape(operation['description'])}</p>"]
    asked = [name["name"] for name in operation["parameters"] if name["in"] == "query"]
    if asked:
        parts.append(f"<p>Query: <code>{escape(', '.join(asked))}</code></p>")
    if "requestBody" in operation:
        parts.append("<p>Body</p>" + _shown(operation["requestBody"], schemas))
    code, answer = next(iter(operation["responses"].items()))
    parts.append(f"<p>Answer {code}</p>" + (_shown(answer, schemas) if "content" in answer else ""))
    return (
        f"<details><summary><b>{method.upper()}</b> <code>{escape(path)}</code> "
        f"{escape(operation['summary'])}</summary>{''.join(parts)}</details>"
    )


def _shown(part: dict[str, Any], schemas: dict[str, Any]) -> str:
    name = next(iter(part["content"].values()))["schema"]["$ref"].rpartition("/")[2]
    return f"<pre>{escape(json.dumps(schemas[name], indent=1))}</pre>"
