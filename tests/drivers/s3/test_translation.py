from __future__ import annotations

from collections.abc import Iterator

import pytest
import urllib3.exceptions
from botocore import exceptions as sdk
from botocore.parsers import ResponseParserError

from backupcore import errors
from backupcore_s3.translation import translated

ANSWERS: list[tuple[int, str, type[errors.StoreError], str]] = [
    (400, "ExpiredToken", errors.AccessDenied, "log in again"),
    (403, "InvalidAccessKeyId", errors.AccessDenied, "credentials"),
    (403, "SignatureDoesNotMatch", errors.AccessDenied, "credentials"),
    (403, "RequestTimeTooSkewed", errors.AccessDenied, "clock"),
    (403, "AccessDenied", errors.AccessDenied, "may do"),
    (401, "Whatever", errors.AccessDenied, "credentials"),
    (404, "NoSuchBucket", errors.StoreError, "create_container=yes"),
    (503, "SlowDown", errors.Unavailable, "later"),
    (500, "InternalError", errors.Unavailable, "later"),
    (400, "RequestTimeout", errors.Unavailable, "later"),
    (409, "OperationAborted", errors.Unavailable, "later"),
    (409, "ConditionalRequestConflict", errors.Unavailable, "later"),
    (429, "Whatever", errors.Unavailable, "later"),
    (503, "503", errors.Unavailable, "later"),
    (400, "BadDigest", errors.Unavailable, "again"),
    (400, "IncompleteBody", errors.Unavailable, "again"),
    (400, "XAmzContentSHA256Mismatch", errors.Unavailable, "again"),
    (403, "QuotaExceeded", errors.StoreFull, "free"),
    (507, "XMinioStorageFull", errors.StoreFull, "free"),
    (507, "507", errors.StoreFull, "free"),
    (400, "EntityTooLarge", errors.StoreFull, "packs smaller"),
    (413, "EntityTooLarge", errors.StoreFull, "quota"),
    (403, "InvalidObjectState", errors.StoreError, "bring it back"),
    (400, "InvalidStorageClass", errors.StoreError, "storage_class"),
    (411, "MissingContentLength", errors.StoreError, "checksums=when_required"),
    (501, "NotImplemented", errors.StoreError, "conditional_put"),
    (301, "PermanentRedirect", errors.StoreError, "region"),
    (400, "AuthorizationHeaderMalformed", errors.StoreError, "region"),
    (418, "Whatever", errors.StoreError, "Whatever"),
]


def answer(status: int, code: str, **headers: str) -> sdk.ClientError:
    metadata = {"HTTPStatusCode": status, "HTTPHeaders": headers}
    told = {"Code": code, "Message": "What the store says."}
    return sdk.ClientError({"Error": told, "ResponseMetadata": metadata}, "PutObject")


def meaning(error: Exception) -> errors.BackupError:
    with pytest.raises(errors.BackupError) as caught, translated("s3://bucket/key"):
        raise error
    assert caught.value.__cause__ is error
    return caught.value


@pytest.mark.parametrize(("status", "code", "kind", "advice"), ANSWERS)
def test_an_answer_leads_to_the_right_deed(
    status: int, code: str, kind: type[errors.StoreError], advice: str
) -> None:
    error = meaning(answer(status, code))
    assert type(error) is kind
    assert str(error).startswith(f"s3://bucket/key: {code}: What the store says")
    assert advice in str(error)


def test_the_region_that_a_store_names_is_told() -> None:
    told = answer(301, "PermanentRedirect", **{"x-amz-bucket-region": "eu-central-1"})
    assert "region=eu-central-1" in str(meaning(told))


def test_an_answer_without_anything_is_an_error_all_the_same() -> None:
    assert type(meaning(sdk.ClientError({}, "PutObject"))) is errors.StoreError


FAULTS: list[tuple[Exception, type[errors.BackupError], str]] = [
    (sdk.NoCredentialsError(), errors.AccessDenied, "environment"),
    (sdk.PartialCredentialsError(provider="env", cred_var="key"), errors.AccessDenied, "key"),
    (sdk.ProfileNotFound(profile="nightly"), errors.AccessDenied, "nightly"),
    (sdk.SSOTokenLoadError(error_msg="none"), errors.AccessDenied, "none"),
    (sdk.UnauthorizedSSOTokenError(), errors.AccessDenied, "aws sso login"),
    (sdk.TokenRetrievalError(provider="sso", error_msg="x"), errors.AccessDenied, "sso"),
    (sdk.EndpointConnectionError(endpoint_url="u"), errors.Unavailable, "later"),
    (sdk.ConnectTimeoutError(endpoint_url="u"), errors.Unavailable, "later"),
    (sdk.ReadTimeoutError(endpoint_url="u"), errors.Unavailable, "later"),
    (sdk.ConnectionClosedError(endpoint_url="u"), errors.Unavailable, "later"),
    (sdk.ProxyConnectionError(proxy_url="u"), errors.Unavailable, "later"),
    (sdk.ResponseStreamingError(error="e"), errors.Unavailable, "later"),
    (sdk.IncompleteReadError(actual_bytes=1, expected_bytes=2), errors.Unavailable, "later"),
    (sdk.FlexibleChecksumError(error_msg="differs"), errors.Unavailable, "later"),
    (ResponseParserError("no XML"), errors.Unavailable, "later"),
    (urllib3.exceptions.ProtocolError("reset"), errors.Unavailable, "later"),
    (sdk.SSLError(endpoint_url="u", error="EOF occurred"), errors.Unavailable, "later"),
    (
        sdk.SSLError(endpoint_url="u", error="CERTIFICATE_VERIFY_FAILED"),
        errors.StoreError,
        "AWS_CA_BUNDLE",
    ),
    (sdk.SSLError(endpoint_url="u", error="WRONG_VERSION_NUMBER"), errors.StoreError, "endpoint"),
    (sdk.ParamValidationError(report="what\nis wrong"), errors.Refused, "what is wrong"),
    (sdk.InvalidRegionError(region_name="?"), errors.Refused, "?"),
]


@pytest.mark.parametrize(
    ("fault", "kind", "text"), FAULTS, ids=[str(fault[0])[:40] for fault in FAULTS]
)
def test_a_fault_of_the_sdk_leads_to_the_right_deed(
    fault: Exception, kind: type[errors.BackupError], text: str
) -> None:
    error = meaning(fault)
    assert type(error) is kind
    assert str(error).startswith("s3://bucket/key: ")
    assert text in str(error)
    assert "\n" not in str(error)


def test_what_the_watchdog_says_is_not_taken_for_a_fault_of_the_connection() -> None:
    said = errors.Unavailable("only 4 bytes went over")
    assert meaning(sdk.HTTPClientError(error=said)) is said


def test_what_a_credential_process_says_is_not_repeated() -> None:
    fault = sdk.CredentialRetrievalError(provider="custom-process", error_msg="canary")
    assert "custom-process" in str(meaning(fault))
    assert "canary" not in str(meaning(fault))


def _kinds(kind: type[Exception]) -> Iterator[type[Exception]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _kinds(below)


@pytest.mark.parametrize("kind", sorted(set(_kinds(sdk.BotoCoreError)), key=str))
def test_no_fault_of_the_sdk_passes_the_door(kind: type[Exception]) -> None:
    meaning(kind.__new__(kind))
