"""The application: what every request passes on its way in, and every answer on its way out."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import falcon

from backupcore.api.access import Access
from backupcore.api.openapi.page import Document, Page
from backupcore.api.operator.door import REQUEST_ID
from backupcore.api.resource import backup, snapshot, surroundings, volume
from backupcore.api.route import PREFIXES, find_route
from backupcore.api.wire.fault import add_error_handlers
from backupcore.api.wire.version import Version, Versions, choose_version, version_header
from backupcore.api.wire.view import Place
from backupcore.service import Service
from backupcore.service.meaning import new_uuid

__all__ = ["OPEN_PATHS", "Addition", "create_app"]

log = logging.getLogger(__name__)

OPEN_PATHS = frozenset({"/", "/v2", "/v3", "/docs", "/openapi", "/openapi.json", "/healthcheck"})
_HOST = re.compile(r"[A-Za-z0-9._-]+(:\d{1,5})?|\[[0-9A-Fa-f:.]+\](:\d{1,5})?")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Addition:
    """More to serve beside the API: resources by path, and Falcon middleware.

    What is open to anybody has its path in `OPEN_PATHS`; other resources find a `caller`.
    """

    routes: Mapping[str, object] = field(default_factory=dict)
    middleware: Sequence[Any] = ()


def create_app(
    service: Service, access: Access, *, additions: Iterable[Addition] = ()
) -> falcon.App[falcon.Request, falcon.Response]:
    """Return the application. access: tells who a request is of."""
    app: falcon.App[falcon.Request, falcon.Response] = falcon.App()
    given = list(additions)
    frame: Any = _Frame(service)
    door: Any = _Door(access, service)
    app.add_middleware(frame)
    for addition in given:
        for part in addition.middleware:
            app.add_middleware(part)
    app.add_middleware(door)
    app.req_options.strip_url_path_trailing_slash = True
    app.req_options.keep_blank_qs_values = True
    app.req_options.auto_parse_qs_csv = False
    app.resp_options.default_media_type = falcon.MEDIA_JSON
    add_error_handlers(app)
    open_to_anybody = {
        "/": Versions(2, 3), "/v2": Versions(2), "/v3": Versions(3),
        "/openapi": Document(service.settings.api.body_bytes_max), "/docs": Page(),
    }  # fmt: skip
    for path, resource in open_to_anybody.items():
        app.add_route(path, resource)
    for addition in given:
        for path, resource in addition.routes.items():
            app.add_route(path, resource)
    for prefix in PREFIXES:
        for module in (backup, volume, snapshot, surroundings):
            for path, resource in module.routes(service).items():
                app.add_route(prefix + path, resource)
    return app


class _Frame:
    """Gives every request an id, a version and a place, and every answer its headers."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def process_request(self, request: falcon.Request, response: falcon.Response) -> None:
        context = request.context
        settings = self._service.settings.api
        given = request.env.get(REQUEST_ID)
        context.request_id = given or f"req-{new_uuid(self._service.runtime)}"
        context.body_bytes_max = settings.body_bytes_max
        context.base_url = (settings.public_url or _origin(request)).rstrip("/")
        request.path = request.path.removesuffix(".json")
        context.version = choose_version(request.path, None)  # what a refusal of another speaks
        context.version = choose_version(request.path, request.get_header("OpenStack-API-Version"))

    def process_response(
        self,
        request: falcon.Request,
        response: falcon.Response,
        resource: object,
        req_succeeded: bool,
    ) -> None:
        request_id = request.context.request_id
        response.set_header("x-compute-request-id", request_id)
        response.set_header("x-openstack-request-id", request_id)
        version: Version = request.context.version
        for name, value in version_header(version).items():
            response.set_header(name, value)


class _Door:
    """Lets nobody pass whom the access does not know, nor into another project than theirs."""

    def __init__(self, access: Access, service: Service) -> None:
        self._access = access
        self._policy = service.policy

    def process_resource(
        self,
        request: falcon.Request,
        response: falcon.Response,
        resource: object,
        params: dict[str, str],
    ) -> None:
        is_served = hasattr(resource, f"on_{request.method.lower()}")
        if request.path in OPEN_PATHS:
            if not is_served:
                raise falcon.HTTPNotFound
            return
        context = request.context
        identity = self._access.identify(request)
        project = params.get("project_id")
        if project is not None and project != identity.project_id:
            raise falcon.HTTPBadRequest(description="Malformed request url")
        if not is_served or not _is_known(request) or _has_controls(params):
            raise falcon.HTTPNotFound
        is_admin = self._policy.is_admin(identity.roles)
        context.caller = identity.caller(context.request_id, is_admin=is_admin)
        context.place = Place(context.base_url, context.version, project)


def _origin(request: falcon.Request) -> str:
    """Return where a client came to, as it says; what no host can be called is not repeated."""
    if _HOST.fullmatch(request.get_header("Host") or ""):
        return request.prefix
    server = f"{request.env['SERVER_NAME']}:{request.env['SERVER_PORT']}"
    return f"{request.scheme}://{server}{request.root_path}"


def _is_known(request: falcon.Request) -> bool:
    """Return whether a path of the API stands in the table of calls, as all of them must."""
    template = request.uri_template or ""
    if not template.startswith(("/v2", "/v3")):
        return True
    route = find_route(request.method, template)
    version: Version = request.context.version
    return route is not None and (not route.minor or version.is_at_least(route.minor))


def _has_controls(params: Mapping[str, str]) -> bool:
    return any(_UNPRINTABLE.search(value) for value in params.values())
