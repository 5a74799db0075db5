"""The driver `s3:`: one S3 object an object, below a prefix of a bucket.

s3://bucket/prefix?endpoint_url=…&region=…; credentials come from the SDK's own chain (AWS_*, the
AWS configuration files, the machine's role). A put is one request, never in parts, so that it is
whole or not at all. Nothing is repeated here: neither by us nor by the SDK.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

try:
    import boto3  # noqa: F401 - asked for here, to say what brings it
except ImportError as error:
    raise ImportError(
        "boto3 is not installed: run pip install 'backupcore[s3]'", name="boto3"
    ) from error

from botocore.exceptions import ClientError

from backupcore.driver import (
    Buffer,
    Capabilities,
    Driver,
    ObjectInfo,
    Role,
    Url,
    check_key,
    check_prefix,
    hookimpl,
)
from backupcore.driver.http import check_nothing_served, range_header
from backupcore.driver.transfer import Body, Watchdog, content_md5
from backupcore.errors import ObjectExists, ObjectMissing, StoreError
from backupcore.runtime import Clock, SystemClock
from backupcore_s3.client import Client, create_bucket, open_client
from backupcore_s3.deletion import Deletion
from backupcore_s3.listing import list_entries
from backupcore_s3.option import Checksums, Settings, read_settings
from backupcore_s3.reading import Served, served
from backupcore_s3.translation import (
    code_of,
    is_missing,
    is_present,
    key_error,
    translated,
)

__all__ = ["S3Driver", "backupcore_open_driver"]

PUT_BYTES_MAX = 5 << 30  # what one request takes


class S3Driver(Driver):
    """Objects of one bucket below a prefix, by one client that all threads share."""

    capabilities = Capabilities(conditional_put=True, object_size_bytes_max=PUT_BYTES_MAX)

    def __init__(self, client: Client, settings: Settings, *, clock: Clock | None = None) -> None:
        self._client = client
        self._settings = settings
        self._clock = clock or SystemClock()
        self._deletion = Deletion(client, settings)
        self.capabilities = replace(
            type(self).capabilities,
            conditional_put=settings.has_conditional_put,
            list_lag_s_max=float(settings.list_lag_s),
            object_lock=settings.lock is not None,
        )

    def put(
        self,
        key: str,
        parts: Sequence[Buffer],
        *,
        if_absent: bool = False,
        role: Role = Role.DATA,
    ) -> None:
        """Send the object in one request, with a checksum that the store compares."""
        what = self._name(check_key(key))
        if if_absent and not self._settings.has_conditional_put:
            self._refuse_present(key)
        body = Body(parts, moved=self._watch(what).moved)
        parameters = {
            **self._address(key),
            **self._care(role),
            "Body": body,
            "ContentLength": len(body),
        }
        if self._settings.checksums is Checksums.WHEN_REQUIRED:
            parameters["ContentMD5"] = b64encode(content_md5(parts)).decode()
        if if_absent and self._settings.has_conditional_put:
            parameters["IfNoneMatch"] = "*"
        with translated(what):
            try:
                self._client.put_object(**parameters)
            except ClientError as error:
                if if_absent and is_present(error):
                    raise ObjectExists(f"{what}: exists") from error
                raise

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """Read a range into new bytes."""
        with self._opened(key, offset, length) as answer:
            buffer = bytearray(answer.length)
            answer.read_into(memoryview(buffer))
        return bytes(buffer)

    def get_into(self, key: str, offset: int, buffer: Buffer) -> int:
        """Read a range straight into the caller's buffer."""
        view = memoryview(buffer).cast("B")
        with self._opened(key, offset, len(view)) as answer:
            return answer.read_into(view)

    def stat(self, key: str) -> ObjectInfo:
        """Return size and time of the last change."""
        with self._looking(key):
            answer = self._client.head_object(**self._address(key))
        if "ContentLength" not in answer:
            raise StoreError(f"{self._name(key)}: the store does not tell the size")
        return ObjectInfo(key, answer["ContentLength"], answer.get("LastModified"))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Ask for one page after the other."""
        check_prefix(prefix)
        above = self._settings.prefix
        for entry in list_entries(self._client, self._settings, above + prefix):
            yield ObjectInfo(
                entry["Key"].removeprefix(above), entry["Size"], entry.get("LastModified")
            )

    def delete(self, keys: Iterable[str]) -> None:
        """Delete a thousand objects a request, or one where the store knows no other way."""
        self._deletion.run(map(check_key, keys))

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _name(self, key: str) -> str:
        return f"{self._settings.place}{key}"

    def _watch(self, what: str) -> Watchdog:
        return Watchdog(what, clock=self._clock)

    def _address(self, key: str) -> dict[str, object]:
        """Return what every request for one object carries."""
        address: dict[str, object] = {
            "Bucket": self._settings.bucket,
            "Key": self._settings.prefix + key,
        }
        if self._settings.customer_key:
            address |= {
                "SSECustomerAlgorithm": "AES256",
                "SSECustomerKey": self._settings.customer_key,
            }
        return address

    def _care(self, role: Role) -> dict[str, object]:
        """Return how the store is to keep an object of this role."""
        settings = self._settings
        care: dict[str, object] = {}
        if settings.storage_class and role is Role.DATA:
            care["StorageClass"] = settings.storage_class
        if settings.encryption:
            care["ServerSideEncryption"] = settings.encryption.value
        if settings.kms_key_id:
            care["SSEKMSKeyId"] = settings.kms_key_id
        if settings.lock and role is not Role.CONTROL:
            care["ObjectLockMode"] = settings.lock.mode.upper()
            until = self._clock.now() + timedelta(days=settings.lock.day_count)
            care["ObjectLockRetainUntilDate"] = until
        return care

    def _refuse_present(self, key: str) -> None:
        """Look first, for a store that replaces whatever it is told. Raises: ObjectExists."""
        try:
            self.stat(key)
        except ObjectMissing:
            return
        raise ObjectExists(f"{self._name(key)}: exists")

    @contextmanager
    def _opened(self, key: str, offset: int, length: int | None) -> Iterator[Served]:
        """Ask for a range and yield what is served of it."""
        what = self._name(check_key(key))
        parameters = self._address(key)
        if offset < 0:
            raise ValueError(f"{what}: offset {offset} is before the start")
        if length == 0:
            yield self._nothing(key, offset, length)
            return
        if offset or length is not None:
            parameters["Range"] = range_header(offset, length)
        with self._looking(key):
            try:
                answer = self._client.get_object(**parameters)
            except ClientError as error:
                if code_of(error) not in ("InvalidRange", "416"):
                    raise
                answer = None
            if answer is not None:
                with served(answer, offset, length, what, self._watch(what)) as found:
                    yield found
        if answer is None:
            yield self._nothing(key, offset, length)

    def _nothing(self, key: str, offset: int, length: int | None) -> Served:
        """Return no bytes of an object that has none in a range, if that is so."""
        what = self._name(key)
        check_nothing_served(offset, length, self.stat(key).size_bytes, what)
        return Served(0, lambda _: b"", self._watch(what))

    @contextmanager
    def _looking(self, key: str) -> Iterator[None]:
        """Translate errors of a request for one object, and tell a missing one for sure."""
        what = self._name(check_key(key))
        with translated(what):
            try:
                yield
            except ClientError as error:
                if not is_missing(error):
                    raise
                if code_of(error) != "NoSuchKey":
                    self._check_bucket()
                raise ObjectMissing(f"{what}: no such object") from error

    def _check_bucket(self) -> None:
        """Ask for the bucket; an answer without a body does not say what is not there."""
        place = self._settings.place
        with translated(place):
            try:
                self._client.head_bucket(Bucket=self._settings.bucket)
            except ClientError as error:
                if not is_missing(error):
                    raise
                raise key_error({"Code": "NoSuchBucket"}, place) from error


@hookimpl
def backupcore_open_driver(url: Url, options: Mapping[str, str]) -> Driver:
    """Open the bucket a URL names; it is asked for only with `create_container=yes`."""
    settings = read_settings(url)
    client = open_client(settings)
    if settings.may_create_container:
        try:
            create_bucket(client, settings)
        except BaseException:
            client.close()
            raise
    return S3Driver(client, settings)
