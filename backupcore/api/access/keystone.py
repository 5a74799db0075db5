"""Access by Keystone: keystonemiddleware stands before the app and tells what it found true."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import falcon

from backupcore.api.access.identity import Access, Identity, unauthorized
from backupcore.errors import Refused

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["KeystoneAccess", "check_keystone", "with_keystone"]

log = logging.getLogger(__name__)

_IDENTITY = (
    "HTTP_X_IDENTITY_STATUS", "HTTP_X_USER", "HTTP_X_PROJECT", "HTTP_X_ROLE", "HTTP_X_SERVICE_",
    "HTTP_X_DOMAIN", "HTTP_X_TENANT", "HTTP_X_IS_ADMIN", "HTTP_X_SYSTEM", "HTTP_OPENSTACK_SYSTEM",
)  # fmt: skip
_SERVICE_TOKEN = "HTTP_X_SERVICE_TOKEN"  # noqa: S105  # a proof like the user's, no claim
_AWAY = {
    "serviceUnavailable": {"code": 503, "message": "Keystone does not answer as it should now."}
}


class KeystoneAccess(Access):
    """Reads what keystonemiddleware wrote; it removes these headers from what clients send."""

    def identify(self, request: falcon.Request) -> Identity:
        """Let in whom Keystone confirmed, in a project."""
        if request.get_header("X-Identity-Status") != "Confirmed":
            raise unauthorized()
        user, project = request.get_header("X-User-Id"), request.get_header("X-Project-Id")
        if not user or not project:
            raise unauthorized()
        roles = [role.strip() for role in (request.get_header("X-Roles") or "").split(",")]
        return Identity(
            user,
            project,
            frozenset(role.lower() for role in roles if role),
            request.get_header("X-User-Domain-Id"),
            request.get_header("X-Project-Domain-Id"),
        )


def check_keystone(options: Mapping[str, str]) -> None:
    """Check the options of keystonemiddleware without asking Keystone. Raises: Refused."""
    _tools().token_check(lambda environ, start_response: [], options)


def with_keystone(
    application: WSGIApplication,
    options: Mapping[str, str],
    open_paths: Collection[str],
    request_id: Callable[[WSGIEnvironment], str],
) -> WSGIApplication:
    """Return the application behind keystonemiddleware; what is open to anybody goes around it.

    request_id: returns a request's, which refusals tell too. Raises: Refused.
    """
    tools = _tools()
    protected = tools.token_check(application, options)

    def choose(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        for name in [name for name in environ if _is_claim(name)]:
            del environ[name]
        path = environ.get("PATH_INFO", "").rstrip("/") or "/"
        if path in open_paths:
            return application(environ, start_response)
        start = _telling(request_id(environ), start_response)
        try:
            answer: Iterable[bytes] = protected(environ, start)
        except tools.ClientException as error:
            log.error("keystone cannot be asked", extra={"reason": f"{type(error).__name__}"})
            return _away(start)
        return answer

    return choose


def _tools() -> Any:
    try:
        # from extra `keystone`
        from backupcore.api.access import authtoken  # noqa: PLC0415
    except ImportError as error:
        raise Refused(
            "api.auth.kind keystone: keystonemiddleware is not installed: "
            "pip install 'backupcore[keystone]'"
        ) from error
    return authtoken


def _is_claim(name: str) -> bool:
    """Return whether a header says who somebody is, which clients may not."""
    return name.startswith(_IDENTITY) and name != _SERVICE_TOKEN


def _telling(request_id: str, start_response: StartResponse) -> Any:
    """Return a start of answers that adds the request id to those of the middleware."""

    def start(status: str, headers: list[tuple[str, str]], *extra: Any) -> Any:
        if not any(name.lower() == "x-openstack-request-id" for name, _ in headers):
            names = ("x-openstack-request-id", "x-compute-request-id")
            headers = [*headers, *((name, request_id) for name in names)]
        return start_response(status, headers, *extra)

    return start


def _away(start_response: Any) -> list[bytes]:
    body = json.dumps(_AWAY).encode()
    headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
    start_response("503 Service Unavailable", headers)
    return [body]
