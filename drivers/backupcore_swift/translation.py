"""What the answers of Swift and the errors on the way to it mean to a backup.

Source: Swift API reference and `swift/common/swob.py` for the statuses, `swiftclient/exceptions.py`
and `requests/exceptions.py` for what is raised.
"""

from __future__ import annotations

import http.client
import re
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import requests
import urllib3.exceptions
from swiftclient.exceptions import ClientException

from backupcore.driver.http import retry_after_s, status_error
from backupcore.errors import StoreError, StoreFull, Unavailable

__all__ = ["answer_error", "status_of", "translated", "transport_error"]

TRANSPORT = (OSError, http.client.HTTPException, urllib3.exceptions.HTTPError)
CAUSES_MAX = 16
TOLD_MAX = 120
_MARKUP = re.compile(r"<h1>.*?</h1>|<[^>]*>", re.DOTALL | re.IGNORECASE)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn an error of the SDK into the one it means; what: the object and its store."""
    try:
        yield
    except ClientException as error:
        status = status_of(error)
        fact = " ".join(part for part in (str(status or ""), str(error.http_reason or "")) if part)
        told = _told(error.http_response_content)
        fact = ": ".join(part for part in (what, fact or str(error.msg), told) if part)
        raise answer_error(status, fact, _lower(error.http_response_headers)) from error
    except TRANSPORT as error:
        raise transport_error(error, what) from error


def status_of(error: ClientException) -> int:
    """Return the status of an answer, 0 when there was none."""
    return int(error.http_status or 0)


def answer_error(status: int, fact: str, headers: Mapping[str, str]) -> StoreError:
    """Return the error that a status means; fact: of what, and what the store said."""
    if status == 413:
        return StoreFull(f"{fact}: free some space, or raise the quota or Swift's max_file_size")
    if status == 422:
        return Unavailable(
            f"{fact}: the bytes changed on their way: send them again",
            retry_after_s=retry_after_s(headers),
        )
    return status_error(status, fact, headers)


def transport_error(error: BaseException, what: str) -> StoreError:
    """Return the error that a failure on the way to the store means."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return StoreError(
                f"{what}: the server's certificate is not trusted: {cause.verify_message}: name "
                "the file of its authority in OS_CACERT, or as cacert in clouds.yaml"
            )
    # requests marks so what no server was asked, such as a URL or a header that cannot be;
    # its text would show the header
    if isinstance(error, ValueError) and isinstance(error, requests.RequestException):
        return StoreError(f"{what}: {type(error).__name__}: check the URLs and the credentials")
    if isinstance(error, FileNotFoundError) or "CA certificate bundle" in str(error):
        return StoreError(f"{what}: {error}: check OS_CACERT, REQUESTS_CA_BUNDLE and clouds.yaml")
    return Unavailable(f"{what}: {_reason(causes)}: try again later")


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what led to it, down to the first."""
    cause: BaseException | None = error
    for _ in range(CAUSES_MAX):
        if cause is None:
            return
        yield cause
        cause = cause.__cause__ or cause.__context__


def _reason(causes: list[BaseException]) -> str:
    """Return the words of the innermost cause, which are the plainest."""
    first = causes[-1]
    text = getattr(first, "strerror", None) or str(first) or type(first).__name__
    return " ".join(str(text).split())[:TOLD_MAX]


def _told(content: object) -> str:
    """Return what the body of an answer says, without its markup."""
    text = content.decode("utf-8", "replace") if isinstance(content, bytes) else ""
    return " ".join(_MARKUP.sub(" ", text).split())[:TOLD_MAX].rstrip(". ")


def _lower(headers: Mapping[str, str] | None) -> dict[str, str]:
    return {name.lower(): value for name, value in (headers or {}).items()}
