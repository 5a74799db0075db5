"""What the answers of an S3 store and the errors of its SDK mean to a backup.

A store says what it means by a code; where it says none, or one that is not here, the status of
HTTP decides. Source: "Error responses", Amazon S3 API Reference; `botocore/exceptions.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import urllib3.exceptions
from botocore import exceptions as sdk
from botocore.parsers import ResponseParserError

from backupcore.driver.http import retry_after_s, status_error
from backupcore.errors import (
    AccessDenied,
    BackupError,
    Refused,
    StoreError,
    StoreFull,
    Unavailable,
)

__all__ = ["code_of", "is_missing", "is_present", "is_unable", "key_error", "translated"]

_LATER = "try again later"
_CREDENTIALS = "check the credentials"
_REGION = "write region=… and endpoint_url=… of the bucket"

_CODES: dict[str, tuple[type[StoreError], str]] = {
    **dict.fromkeys(
        (
            "BandwidthLimitExceeded",
            "Busy",
            "ConditionalRequestConflict",
            "InternalError",
            "InternalFailure",
            "OperationAborted",
            "RequestLimitExceeded",
            "RequestTimeout",
            "RequestTimeoutException",
            "ServerBusy",
            "ServiceUnavailable",
            "SlowDown",
            "SlowDownRead",
            "SlowDownWrite",
            "Throttling",
            "ThrottlingException",
            "TooManyRequests",
            "XMinioServerNotInitialized",
        ),
        (Unavailable, _LATER),
    ),
    **dict.fromkeys(
        ("BadDigest", "IncompleteBody", "XAmzContentChecksumMismatch", "XAmzContentSHA256Mismatch"),
        (Unavailable, "the bytes changed on their way: send them again"),
    ),
    **dict.fromkeys(
        ("InvalidAccessKeyId", "InvalidClientTokenId", "InvalidToken", "SignatureDoesNotMatch"),
        (AccessDenied, _CREDENTIALS),
    ),
    **dict.fromkeys(
        ("ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"),
        (AccessDenied, "the credentials have expired: log in again"),
    ),
    "RequestTimeTooSkewed": (AccessDenied, "check the clock of this machine"),
    **dict.fromkeys(
        ("AccessDenied", "AccessDeniedException", "AllAccessDisabled", "UnauthorizedAccess"),
        (AccessDenied, "check what the credentials may do"),
    ),
    **dict.fromkeys(
        ("AccountProblem", "InvalidPayer", "InvalidSecurity", "NotSignedUp"),
        (AccessDenied, "check the account"),
    ),
    **dict.fromkeys(
        (
            "InsufficientStorage",
            "QuotaExceeded",
            "StorageFull",
            "XMinioAdminBucketQuotaExceeded",
            "XMinioStorageFull",
        ),
        (StoreFull, "free some space or raise the quota"),
    ),
    # Swift says so of a quota, and no pack comes near the 5 GiB that S3 means
    "EntityTooLarge": (StoreFull, "raise the quota or free some space, or make packs smaller"),
    "InvalidObjectState": (
        StoreError,
        "the object is archived: bring it back with restore-object first, and wait for it",
    ),
    "NoSuchBucket": (StoreError, "create the bucket or open it with create_container=yes"),
    "BucketAlreadyExists": (StoreError, "the bucket is somebody else's: choose another name"),
    "InvalidStorageClass": (StoreError, "the store does not know this storage_class"),
    **dict.fromkeys(
        ("MissingContentLength", "411"),
        (StoreError, "the store takes no checksum behind the body: write checksums=when_required"),
    ),
    **dict.fromkeys(
        ("MethodNotAllowed", "NotImplemented"),
        (
            StoreError,
            "the store lacks what was asked for: see checksums, conditional_put, object_lock, sse",
        ),
    ),
    **dict.fromkeys(
        (
            "301",
            "307",
            "AuthorizationHeaderMalformed",
            "IllegalLocationConstraintException",
            "InvalidLocationConstraint",
            "PermanentRedirect",
            "TemporaryRedirect",
        ),
        (StoreError, _REGION),
    ),
}

_Kinds = tuple[type[BaseException], ...]


def _kinds(*names: str) -> _Kinds:
    """Return the exceptions of these names; some are younger than the oldest SDK that will do."""
    return tuple(getattr(sdk, name) for name in names if hasattr(sdk, name))


_DENIED = _kinds(
    "NoCredentialsError",
    "PartialCredentialsError",
    "UnknownCredentialError",
    "NoAuthTokenError",
    "TokenRetrievalError",
    "UnknownTokenProviderError",
    "ProfileNotFound",
    "SSOError",
    "LoginError",
    "RefreshWithMFAUnsupportedError",
)
# A role's credentials are fetched again now and then; the service that gives them may be away.
_PASSING = _kinds("CredentialRetrievalError", "MetadataRetrievalError")
_TRANSPORT = (
    *_kinds(
        "ConnectionError",
        "HTTPClientError",
        "IncompleteReadError",
        "ChecksumError",
        "FlexibleChecksumError",
        "PaginationError",
        "CapacityNotAvailableError",
    ),
    ResponseParserError,
    urllib3.exceptions.HTTPError,
)
_IS_LASTING = re.compile("certificate|wrong.version|no such file", re.IGNORECASE)
# Their text may hold what a credential process or a login service has said.
_UNSPOKEN = _kinds("TokenRetrievalError")
_ALL = (sdk.BotoCoreError, sdk.ClientError, ResponseParserError, urllib3.exceptions.HTTPError)


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Turn an error of the SDK into the one it means; what: the object and its store."""
    try:
        yield
    except _ALL as error:
        raise _meaning(error, what) from error


def _meaning(error: Exception, what: str) -> BackupError:
    if isinstance(error, sdk.ClientError):
        return _answer_error(error.response, what)
    inner = getattr(error, "kwargs", {}).get("error")
    if isinstance(inner, BackupError):
        return inner  # of the watchdog, which the SDK took for a fault of the connection
    return _sdk_error(error, what)


def _sdk_error(error: Exception, what: str) -> BackupError:
    """Return the error that one of the SDK itself means."""
    fact = f"{what}: {' '.join(str(error).split())}"
    if isinstance(error, _PASSING):
        return Unavailable(f"{what}: no credentials from {_provider(error)} now: try again later")
    if isinstance(error, _UNSPOKEN):
        return AccessDenied(f"{what}: no credentials from {_provider(error)}: {_CREDENTIALS}")
    if isinstance(error, _DENIED):
        return AccessDenied(f"{fact}: {_CREDENTIALS} in the environment or the AWS files")
    if isinstance(error, sdk.SSLError) and _IS_LASTING.search(fact):
        return StoreError(f"{fact}: check endpoint_url and the certificate, or set AWS_CA_BUNDLE")
    if isinstance(error, _TRANSPORT):
        return Unavailable(f"{fact}: {_LATER}")
    return Refused(fact)


def _provider(error: Exception) -> str:
    return str(getattr(error, "kwargs", {}).get("provider", "the chain"))


def _answer_error(response: Mapping[str, Any], what: str) -> StoreError:
    """Return the error that the answer of a store means."""
    told = response.get("Error", {})
    metadata = response.get("ResponseMetadata", {})
    headers: Mapping[str, str] = metadata.get("HTTPHeaders", {})
    code, message = str(told.get("Code") or ""), str(told.get("Message") or "").rstrip(". ")
    status = int(metadata.get("HTTPStatusCode") or (code if code.isdecimal() else 0))
    fact = ": ".join(part for part in (what, code or str(status), message) if part)
    if code not in _CODES:
        return status_error(status, fact, headers)
    kind, advice = _CODES[code]
    if kind is Unavailable:
        return Unavailable(f"{fact}: {advice}", retry_after_s=retry_after_s(headers))
    region = told.get("Region") or headers.get("x-amz-bucket-region")
    if advice is _REGION and region:
        advice = f"write region={region}"
    return kind(f"{fact}: {advice}")


def key_error(told: Mapping[str, Any], what: str) -> StoreError:
    """Return the error that a store tells of one key of many."""
    return _answer_error({"Error": told, "ResponseMetadata": {}}, what)


def code_of(error: sdk.ClientError) -> str:
    """Return the code a store gave, or the status where it gave none."""
    return str(error.response.get("Error", {}).get("Code"))


def is_missing(error: sdk.ClientError) -> bool:
    """Return whether a store says that something is not there; "404" does not say what."""
    return code_of(error) in ("NoSuchKey", "404", "NotFound")


def is_present(error: sdk.ClientError) -> bool:
    """Return whether a conditional put found an object."""
    return code_of(error) in ("PreconditionFailed", "412", "NotModified", "304")


def is_unable(error: sdk.ClientError) -> bool:
    """Return whether a store does not know a request at all."""
    return code_of(error) in ("NotImplemented", "MethodNotAllowed", "501", "405")
