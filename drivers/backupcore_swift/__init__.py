"""The driver `swift:`: one OpenStack Swift object an object, below a prefix of a container.

swift://container/prefix?cloud=…; credentials come from clouds.yaml, the OS_ variables or ST_AUTH.
A put is one request with the MD5 of its bytes, which Swift compares before it keeps them. Nothing
is repeated here but the one call whose token was refused.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime

try:
    from swiftclient import client
except ImportError as error:
    raise ImportError(
        "python-swiftclient is not installed: run pip install 'backupcore[swift]'",
        name="swiftclient",
    ) from error

from swiftclient.exceptions import ClientException

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
from backupcore.driver.http import check_nothing_served
from backupcore.driver.transfer import content_md5
from backupcore.errors import ObjectExists, ObjectMissing, Unavailable
from backupcore.runtime import Clock, SystemClock
from backupcore_swift.connection import Line
from backupcore_swift.container import Container
from backupcore_swift.environment import choose_way
from backupcore_swift.login import Login
from backupcore_swift.option import Settings, read_settings
from backupcore_swift.transfer import Reading, Sending
from backupcore_swift.translation import status_of, translated

__all__ = ["SwiftDriver", "backupcore_open_driver"]

OBJECT_BYTES_MAX = 5 << 30  # Swift's max_file_size unless its operator changed it
LIST_LAG_S_MAX = 86_400.0  # listings are brought up to date later when a server was away


class SwiftDriver(Driver):
    """Objects of one container below a prefix."""

    capabilities = Capabilities(
        list_lag_s_max=LIST_LAG_S_MAX, object_size_bytes_max=OBJECT_BYTES_MAX
    )

    def __init__(self, settings: Settings, login: Login, *, clock: Clock | None = None) -> None:
        self._settings = settings
        self._line = Line(login)
        self._container = Container(self._line, settings)
        self._clock = clock or SystemClock()

    def put(
        self,
        key: str,
        parts: Sequence[Buffer],
        *,
        if_absent: bool = False,
        role: Role = Role.DATA,
    ) -> None:
        """Send the object in one request; Swift refuses it when its bytes have changed."""
        what = self._name(check_key(key))
        headers = {"If-None-Match": "*"} if if_absent else {}
        sending = Sending(what, parts, content_md5(parts).hex(), headers, self._clock)
        with translated(what):
            try:
                self._line.call(sending.run, **self._address(key))
            except ClientException as error:
                if if_absent and status_of(error) == 412:
                    raise ObjectExists(f"{what}: exists") from error
                if status_of(error) == 404:
                    self._container.check()
                    raise Unavailable(f"{what}: 404, its container is new: try again") from error
                raise

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """Read a range into new bytes."""
        memory = bytearray()

        def room(size_bytes: int) -> memoryview:
            nonlocal memory
            memory = bytearray(size_bytes)
            return memoryview(memory)

        self._read(key, offset, length, room)
        return bytes(memory)

    def get_into(self, key: str, offset: int, buffer: Buffer) -> int:
        """Read a range straight into the caller's buffer."""
        view = memoryview(buffer).cast("B")
        return self._read(key, offset, len(view), lambda size_bytes: view)

    def stat(self, key: str) -> ObjectInfo:
        """Return size and time of the last change."""
        what = self._name(check_key(key))
        with self._looking(what):
            headers = self._line.call(client.head_object, **self._address(key))
        size = headers.get("content-length", "")
        if not size.isdecimal() or "etag" not in headers:
            raise Unavailable(f"{what}: the answer tells no size or no ETag: try again later")
        return ObjectInfo(key, int(size), _modified(headers))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        """Ask for one page after the other until one is empty."""
        above = self._settings.prefix
        for info in self._container.objects(above + check_prefix(prefix)):
            yield replace(info, key=info.key.removeprefix(above))

    def delete(self, keys: Iterable[str]) -> None:
        """Delete one object after the other; the first missing one makes it look further."""
        is_checked = False
        for key in keys:
            with translated(self._name(check_key(key))):
                try:
                    self._line.call(client.delete_object, **self._address(key))
                except ClientException as error:
                    if status_of(error) != 404:
                        raise
                    if not is_checked:
                        self._container.check()
                    is_checked = True

    def create_container(self) -> None:
        """Make the container when it is missing."""
        self._container.create()

    def close(self) -> None:
        """Close the connections."""
        self._line.close()

    def _name(self, key: str) -> str:
        return f"{self._settings.place}{key}"

    def _address(self, key: str) -> dict[str, str]:
        return {"container": self._settings.container, "name": self._settings.prefix + key}

    def _read(
        self, key: str, offset: int, length: int | None, room: Callable[[int], memoryview]
    ) -> int:
        """Read a range into memory that `room` gives; return how many bytes there were."""
        what = self._name(check_key(key))
        if offset < 0:
            raise ValueError(f"{what}: offset {offset} is before the start")
        if length != 0:
            reading = Reading(what, offset, length, room, self._clock)
            with self._looking(what):
                try:
                    return self._line.call(reading.run, **self._address(key))
                except ClientException as error:
                    if status_of(error) != 416:
                        raise
        check_nothing_served(offset, length, self.stat(key).size_bytes, what)
        return 0

    @contextmanager
    def _looking(self, what: str) -> Iterator[None]:
        """Translate errors of a request for one object, and tell a missing one for sure."""
        with translated(what):
            try:
                yield
            except ClientException as error:
                if status_of(error) != 404:
                    raise
                self._container.check()
                raise ObjectMissing(f"{what}: no such object") from error


def _modified(headers: Mapping[str, str]) -> datetime | None:
    """Return when an object was stored: the time that listings show too, not its rounded twin."""
    try:
        return datetime.fromtimestamp(float(headers.get("x-timestamp", "")), UTC)
    except (ValueError, OverflowError):
        return None


@hookimpl
def backupcore_open_driver(url: Url, options: Mapping[str, str]) -> Driver:
    """Open the container a URL names; it is asked for only with `create_container=yes`."""
    settings = read_settings(url)
    driver = SwiftDriver(settings, Login(choose_way(settings, os.environ)))
    if settings.may_create_container:
        try:
            driver.create_container()
        except BaseException:
            driver.close()
            raise
    return driver
