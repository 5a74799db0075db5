"""The client of the SDK: how it connects, and what it leaves to us."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Any, Protocol

from boto3.session import Session
from botocore.config import Config
from botocore.exceptions import ClientError

from backupcore.driver.transfer import content_md5
from backupcore.errors import Refused
from backupcore_s3.option import Checksums, Settings
from backupcore_s3.translation import code_of, is_missing, translated

__all__ = ["Client", "create_bucket", "open_client"]

CONNECT_S_MAX = 10
READ_S_MAX = 60
NO_REGION = ("aws-global", "us-east-1")  # these are where a bucket is made that names no place


class Call(Protocol):
    """One request; what it takes and returns is of the S3 API."""

    def __call__(self, **parameters: object) -> Mapping[str, Any]:
        """Ask and return the answer."""
        ...


class Meta(Protocol):
    """What a client knows of itself."""

    region_name: str


class Client(Protocol):
    """The calls of the SDK that are used."""

    meta: Meta
    put_object: Call
    get_object: Call
    head_object: Call
    head_bucket: Call
    create_bucket: Call
    list_objects_v2: Call
    delete_object: Call
    delete_objects: Call

    def close(self) -> None:
        """Close the connections."""


def open_client(settings: Settings) -> Client:
    """Return a client for many threads; nothing is asked of the store yet.

    Raises: AccessDenied for a profile that is not there, Refused for what makes no address.
    """
    with translated(settings.place):
        session = Session(profile_name=settings.profile, region_name=settings.region)
        try:
            client: Any = session.client(
                "s3", endpoint_url=settings.endpoint_url, config=_configuration(settings)
            )
        except ValueError as error:
            raise Refused(f"{settings.place}: {error}: check endpoint_url and region") from error
    if settings.checksums is Checksums.WHEN_REQUIRED:
        client.meta.events.register("before-call.s3.DeleteObjects", _protect_by_md5)
    opened: Client = client
    return opened


def _configuration(settings: Settings) -> Config:
    return Config(
        connect_timeout=CONNECT_S_MAX,
        read_timeout=READ_S_MAX,
        # the layer above repeats, and must know of every attempt of a conditional put
        retries={"total_max_attempts": 1, "mode": "standard"},
        max_pool_connections=settings.connection_count,
        signature_version="s3v4",
        tcp_keepalive=True,
        user_agent_extra="backupcore",
        request_checksum_calculation=settings.checksums.value,
        # what is read is checked by the repository, by digests of its own
        response_checksum_validation="when_required",
        s3={"addressing_style": settings.addressing.value},
    )


def create_bucket(client: Client, settings: Settings) -> None:
    """Make the bucket unless it is there. Raises: AccessDenied, StoreError, Unavailable."""
    what = settings.place
    with translated(what):
        try:
            client.head_bucket(Bucket=settings.bucket)
        except ClientError as error:
            if not is_missing(error):
                raise
        else:
            return
    parameters: dict[str, object] = {"Bucket": settings.bucket}
    region = client.meta.region_name
    if region not in NO_REGION:
        parameters["CreateBucketConfiguration"] = {"LocationConstraint": region}
    if settings.lock:
        parameters["ObjectLockEnabledForBucket"] = True
    with translated(what):
        try:
            client.create_bucket(**parameters)
        except ClientError as error:
            if code_of(error) != "BucketAlreadyOwnedByYou":
                raise


def _protect_by_md5(params: dict[str, Any], **_: object) -> None:
    """Send Content-MD5 in place of the checksum that the SDK would add to a deletion."""
    params["headers"]["Content-MD5"] = b64encode(content_md5([params["body"]])).decode()
    params.get("context", {}).pop("checksum", None)
