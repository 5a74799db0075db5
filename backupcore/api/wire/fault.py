"""Refusals on the wire: one envelope, named after the code.

{"itemNotFound": {"code": 404, "message": "Backup 7f… could not be found."}}
"""

from __future__ import annotations

import logging

import falcon

from backupcore.catalog.error import CatalogUnavailable
from backupcore.errors import BackupError, RepositoryMissing, StoreError
from backupcore.service import Denied, Invalid, Missing, NotReady, OverQuota, ServiceError

__all__ = ["NAMES", "OTHER", "add_error_handlers", "fault_document"]

log = logging.getLogger(__name__)

NAMES = {
    400: "badRequest",
    401: "unauthorized",
    403: "forbidden",
    404: "itemNotFound",
    405: "badMethod",
    409: "conflictingRequest",
    413: "overLimit",
    415: "badMediaType",
    429: "overLimit",
    501: "notImplemented",
    503: "serviceUnavailable",
}
OTHER = "computeFault"
_CODES: dict[type[ServiceError], int] = {
    Invalid: 400,
    Denied: 403,
    Missing: 404,
    OverQuota: 413,
    NotReady: 503,
}
NOT_FOUND = "The resource could not be found."
INTERNAL = "The server has either erred or is incapable of performing the requested operation."


def fault_document(code: int, message: str) -> dict[str, object]:
    """Return the document of a refusal."""
    fault: dict[str, object] = {"code": code, "message": message}
    if code == 413:
        fault["retryAfter"] = "0"
    return {NAMES.get(code, OTHER): fault}


def add_error_handlers(app: falcon.App[falcon.Request, falcon.Response]) -> None:
    """Let every error that leaves a resource become an envelope."""
    app.add_error_handler(Exception, _internal)
    app.add_error_handler(BackupError, _unexpected)
    app.add_error_handler(ServiceError, _refused)
    app.add_error_handler(falcon.HTTPError, _http)


def _answer(response: falcon.Response, code: int, message: str) -> None:
    response.status = code
    response.media = fault_document(code, message)
    if code == 413:
        response.set_header("Retry-After", "0")


def _refused(
    request: falcon.Request,
    response: falcon.Response,
    error: ServiceError,
    params: dict[str, object],
) -> None:
    _answer(response, _CODES[type(error)], str(error))


def _http(
    request: falcon.Request,
    response: falcon.Response,
    error: falcon.HTTPError,
    params: dict[str, object],
) -> None:
    code = error.status_code
    if code in (404, 405):  # unknown methods are answered as unknown paths
        _answer(response, 404, NOT_FOUND)
        return
    response.set_headers(error.headers or {})
    _answer(response, code, error.description or error.title or str(code))


def _unexpected(
    request: falcon.Request,
    response: falcon.Response,
    error: BackupError,
    params: dict[str, object],
) -> None:
    """Hide what the operator's own errors tell; what is away is worth another try."""
    log.error("request failed", exc_info=error)
    if isinstance(error, CatalogUnavailable):
        _answer(response, 503, "The catalog is not available.")
    elif isinstance(error, (StoreError, RepositoryMissing)):
        _answer(response, 503, "The backup store is not available.")
    else:
        _answer(response, 500, INTERNAL)


def _internal(
    request: falcon.Request,
    response: falcon.Response,
    error: Exception,
    params: dict[str, object],
) -> None:
    log.error("request failed", exc_info=error)
    _answer(response, 500, INTERNAL)
