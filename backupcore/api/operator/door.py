"""What stands before the API: an id for each request, a line and a count after it, two open paths.

/healthcheck  for anybody: 200 while the catalog answers, else 503
/metrics      for Prometheus: from this machine, or from everywhere when the settings say so
"""

from __future__ import annotations

import ipaddress
import json
import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import falcon

from backupcore.api.operator.metrics import Metrics
from backupcore.errors import BackupError
from backupcore.job.trace import working_for
from backupcore.service import Service
from backupcore.service.meaning import new_uuid

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["REQUEST_ID", "OperatorDoor", "Trail"]

log = logging.getLogger(__name__)

REQUEST_ID = "backupcore.request_id"
_ROUTE = "backupcore.route"
_CALLER = "backupcore.caller"
UNKNOWN_ROUTE = "unknown"


class Trail:
    """Tells the door, as falcon's middleware, which route a request took and whose it was."""

    def process_resource(
        self,
        request: falcon.Request,
        response: falcon.Response,
        resource: object,
        params: dict[str, str],
    ) -> None:
        """Note the route; what leads nowhere has none."""
        request.env[_ROUTE] = request.uri_template

    def process_response(
        self,
        request: falcon.Request,
        response: falcon.Response,
        resource: object,
        req_succeeded: bool,
    ) -> None:
        """Note the caller; a refusal at the door has none."""
        caller = getattr(request.context, "caller", None)
        if caller is not None:
            request.env[_CALLER] = {"user": caller.user_id, "project": caller.project_id}


class OperatorDoor:
    """A WSGI application before another."""

    def __init__(self, application: WSGIApplication, service: Service, metrics: Metrics) -> None:
        self._application = application
        self._service = service
        self._metrics = metrics
        api = service.settings.api
        self._is_open = api.metrics
        self._is_local = api.public_url is None

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer, count and log."""
        path = environ.get("PATH_INFO", "").rstrip("/")
        if path == "/healthcheck":
            return self._health(environ, start_response)
        if path == "/metrics":
            return self._figures(environ, start_response)
        request_id = f"req-{new_uuid(self._service.runtime)}"
        environ[REQUEST_ID] = request_id
        with working_for(request_id):
            return self._watched(environ, start_response)

    def _watched(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        clock, codes = self._service.runtime.clock, [500]

        def start(status: str, headers: list[tuple[str, str]], *extra: Any) -> Any:
            codes.append(int(status.split(maxsplit=1)[0]))
            return start_response(status, headers, *extra)

        began_s = clock.monotonic()
        try:
            return self._application(environ, start)
        finally:
            duration_s, code = clock.monotonic() - began_s, codes[-1]
            method = environ.get("REQUEST_METHOD", "")
            self._metrics.answered(method, environ.get(_ROUTE, UNKNOWN_ROUTE), code, duration_s)
            facts = {
                "method": method,
                "path": environ.get("PATH_INFO", ""),  # without the query: it may hold anything
                "code": code,
                "duration_s": round(duration_s, 4),
                **environ.get(_CALLER, {}),
            }
            level = logging.ERROR if code >= 500 else logging.INFO
            log.log(level, "request answered", extra=facts)

    def _health(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        try:
            self._service.catalog.schema_version()
        except BackupError as error:
            log.error("the catalog does not answer", extra={"reason": str(error)})
            body = {"status": "unavailable", "reason": "the catalog does not answer"}
            return _answer(environ, start_response, "503 Service Unavailable", _json(body))
        return _answer(environ, start_response, "200 OK", _json({"status": "ok"}))

    def _figures(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if not self._is_open and not (self._is_local and _is_loopback(environ)):
            body = _json({"itemNotFound": {"code": 404, "message": "There are no metrics here."}})
            return _answer(environ, start_response, "404 Not Found", body)
        page, kind = self._metrics.page(environ.get("HTTP_ACCEPT", ""))
        return _answer(environ, start_response, "200 OK", page, kind)


def _is_loopback(environ: WSGIEnvironment) -> bool:
    try:
        address = ipaddress.ip_address(environ.get("REMOTE_ADDR", ""))
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def _json(document: dict[str, Any]) -> bytes:
    return json.dumps(document).encode()


def _answer(
    environ: WSGIEnvironment,
    start_response: StartResponse,
    status: str,
    body: bytes,
    kind: str = "application/json",
) -> Iterable[bytes]:
    start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [] if environ.get("REQUEST_METHOD") == "HEAD" else [body]
