"""Exports of NBD servers as volumes (schemes `nbd` and `nbd+unix`), for reading.

    nbd://host:10809/EXPORT             nbd+unix:///EXPORT?socket=/run/vm.sock&bitmap=monday

Holes come from the metadata context `base:allocation`, changed extents from a dirty bitmap of QEMU
(`qemu:dirty-bitmap:NAME`). The client is our own, see docs/decisions/0011-nbd-client.md.

    address     the URL's parts             connection  reads and block status, checked
    wire        bytes and time-outs         pool        connections lent, lost and replaced
    handshake   what is exported            status      block status of windows, gathered
"""

from __future__ import annotations

import errno
import logging
import math
from collections.abc import Mapping

from backupcore.errors import Refused, SourceError, UnreadableSector
from backupcore.extents import Extents, clip_extents, empty_extents, single_extent
from backupcore.model import Buffer
from backupcore.runtime import Clock, SystemClock
from backupcore.volume import Url, Volume, hookimpl
from backupcore.volume.hint import ChangedExtents
from backupcore.volume.hole import HOLE_LENGTH_MIN
from backupcore.volume.nbd.address import STRING_LENGTH_MAX, Address, parse_address
from backupcore.volume.nbd.connection import Connection
from backupcore.volume.nbd.pool import Pool
from backupcore.volume.nbd.status import Gathering, Incomplete, select_extents, walk_status
from backupcore.volume.nbd.wire import RequestFailed, ServerError

__all__ = ["NbdVolume", "backupcore_open_volume"]

log = logging.getLogger(__name__)

ALLOCATION = "base:allocation"
STATE_ZERO = 2
BITMAP = "qemu:dirty-bitmap:"
TIMEOUT_S = 60.0
TIMEOUT_S_MAX = 86400.0
CONNECTION_COUNT = 4
CONNECTION_COUNT_MAX = 16


@hookimpl
def backupcore_open_volume(url: Url, options: Mapping[str, str]) -> Volume:
    """Return the export a URL names.

    options: socket (`nbd+unix` only), bitmap, since, timeout_s, connections.
    """
    only_unix = ("socket",) if url.scheme == "nbd+unix" else ()
    url.take_options(*only_unix, "bitmap", "since", "timeout_s", "connections")
    return NbdVolume(
        parse_address(url),
        bitmap=_bitmap(url, options),
        since=options.get("since"),
        timeout_s=_timeout_s(url, options),
        connection_count_max=_connection_count(url, options),
    )


class NbdVolume(Volume):
    """One export, read over as many connections as the server allows."""

    def __init__(
        self,
        address: Address,
        *,
        bitmap: str = "",
        since: str | None = None,
        timeout_s: float = TIMEOUT_S,
        connection_count_max: int = CONNECTION_COUNT,
        clock: Clock | None = None,
    ) -> None:
        """Connect. bitmap: the dirty bitmap that tells what changed; since: when it began.

        Raises: VolumeMissing, SourceError.
        """
        self.name = self.identity = address.identity
        self._since = bitmap if since is None else since
        self._context = BITMAP + bitmap if bitmap else ""
        self._pool = Pool(
            address,
            (ALLOCATION, self._context) if bitmap else (ALLOCATION,),
            timeout_s=timeout_s,
            connection_count_max=connection_count_max,
            clock=clock or SystemClock(),
        )
        export = self._pool.export
        self.size_bytes = export.size_bytes
        self._block_size_bytes = export.block_size_bytes
        self.sector_size_bytes = max(512, export.block_size_bytes)

    def read_into(self, offset: int, buffer: Buffer) -> None:
        """Fill the whole buffer with the bytes from an offset on."""
        view = memoryview(buffer).cast("B")
        self.check_read(offset, len(view))
        start, length = self._widen(offset, len(view))
        if (start, length) == (offset, len(view)):
            self._read(offset, view)
            return
        whole = memoryview(bytearray(length))
        self._read(start, whole)
        view[:] = whole[offset - start :][: len(view)]

    def _read(self, offset: int, view: memoryview) -> None:
        """Read what fits the block size, a request's longest length at a time."""
        step = self._pool.export.read_length_max
        for start in range(0, len(view), step):
            part = view[start : start + step]
            error = self._request(offset + start, part)
            if error is not None:
                self._narrow_down(offset + start, part, error)
                log.warning("read error went away when repeated", extra={"volume": self.name})

    def _request(self, offset: int, view: memoryview) -> ServerError | None:
        """Read; return the error when the medium cannot deliver."""
        try:
            self._pool.run(lambda connection: connection.read_into(offset, view))
        except ServerError as error:
            if error.code == errno.EIO:
                return error
            raise SourceError(str(error)) from error
        return None

    def _narrow_down(self, offset: int, view: memoryview, error: ServerError) -> None:
        """Read again by halves what failed; raises UnreadableSector naming the first culprit."""
        sector, end = self.sector_size_bytes, offset + len(view)
        middle = (offset + len(view) // 2) // sector * sector
        if middle <= offset:
            middle = offset // sector * sector + sector
        if middle >= end:
            place = offset if error.offset is None else error.offset
            raise UnreadableSector(
                f"{self.name}: sector at offset {place - place % sector} cannot be read: "
                f"{error.said}: copy the volume with a rescue tool, then back up the copy"
            ) from error
        for start, part in ((offset, view[: middle - offset]), (middle, view[middle - offset :])):
            again = self._request(start, part)
            if again is not None:
                self._narrow_down(start, part, again)

    def extents(self, offset: int, length: int) -> Extents:
        """Return the extents of a window that are not known to read as zeros.

        Holes shorter than 64 KiB count as data.
        """
        self.check_read(offset, length)
        if not length:
            return empty_extents()
        start, wide = self._widen(offset, length)
        try:
            found = self._pool.run(lambda connection: _find_data(connection, start, wide))
        except ServerError as error:
            log.warning("holes are unknown, all is read", extra={"reason": str(error)})
            found = single_extent(offset, length)
        return clip_extents(found, offset, length)

    def tracked_changes(self) -> ChangedExtents | None:
        """Return what the dirty bitmap says, or None when it says nothing that can be relied on.

        The bitmap is read on one connection from end to end, so that it is of one server's life.
        """
        if not self._context:
            return None
        try:
            found = self._pool.run(self._find_dirty)
        except SourceError as error:
            log.warning(
                "dirty bitmap cannot be used, the whole volume is read",
                extra={"volume": self.name, "context": self._context, "reason": str(error)},
            )
            return None
        return ChangedExtents(found, self._since, None, self.size_bytes)

    def _find_dirty(self, connection: Connection) -> Extents:
        if self._context not in connection.export.contexts.values():
            raise RequestFailed(
                f"{self.name}: the server does not grant {self._context}: the bitmap is missing, "
                "inconsistent or not exported"
            )
        gathering = Gathering(1)
        for start, table in walk_status(connection, self._context, 0, self.size_bytes):
            gathering.add(select_extents(start, table, table[:, 1] != 0))
        return clip_extents(gathering.extents(), 0, self.size_bytes)

    def current_size_bytes(self) -> int:
        """Return the size the export has now, as far as the server tells new connections."""
        return self._pool.current_size_bytes()

    def close(self) -> None:
        """Take leave of the server."""
        self._pool.close()

    def _widen(self, offset: int, length: int) -> tuple[int, int]:
        """Return the extent made to fit the server's block size; size_bytes fits it."""
        block = self._block_size_bytes
        start = offset // block * block
        return start, -(-(offset + length) // block) * block - start


def _find_data(connection: Connection, offset: int, length: int) -> Extents:
    if ALLOCATION not in connection.export.contexts.values():
        return single_extent(offset, length)
    gathering = Gathering(HOLE_LENGTH_MIN)
    try:
        for start, table in walk_status(connection, ALLOCATION, offset, length):
            gathering.add(select_extents(start, table, table[:, 1] & STATE_ZERO == 0))
    except Incomplete as error:
        log.info("holes are unknown from here on", extra={"reason": str(error)})
        gathering.add(single_extent(error.offset, offset + length - error.offset))
    return gathering.extents()


def _bitmap(url: Url, options: Mapping[str, str]) -> str:
    bitmap = options.get("bitmap", "")
    if len((BITMAP + bitmap).encode("utf-8", "surrogateescape")) > STRING_LENGTH_MAX:
        raise Refused(f"{url}: bitmap: the name is too long")
    if "since" in options and not bitmap:
        raise Refused(f"{url}: since: it says when a bitmap began: name it with bitmap=NAME")
    return bitmap


def _timeout_s(url: Url, options: Mapping[str, str]) -> float:
    text = options.get("timeout_s", str(TIMEOUT_S))
    try:
        timeout_s = float(text)
    except ValueError:
        timeout_s = math.nan
    if not 0.001 <= timeout_s <= TIMEOUT_S_MAX:
        raise Refused(f"{url}: timeout_s={text}: give seconds, from 0.001 to {TIMEOUT_S_MAX:g}")
    return timeout_s


def _connection_count(url: Url, options: Mapping[str, str]) -> int:
    text = options.get("connections", str(CONNECTION_COUNT))
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= CONNECTION_COUNT_MAX):
        raise Refused(f"{url}: connections={text}: give a number from 1 to {CONNECTION_COUNT_MAX}")
    return int(text)
