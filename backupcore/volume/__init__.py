"""The volume contract: a run of bytes of a fixed size that can be read, and perhaps written.

Bytes are raw: no format is ever probed. A volume comes from `open_volume` (by URL, plugins in
group `backupcore.volumes`) or from a class of this package; `backupcore.testing.volume` is the kit
that proves one.
"""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from enum import StrEnum

from backupcore.closing import Closing
from backupcore.errors import ReadOnly, Refused, TargetTooSmall, VolumeMissing, VolumeShrunk
from backupcore.extents import Extents, single_extent
from backupcore.model import SIZE_BYTES_MAX, Buffer
from backupcore.plugin import hookimpl, hookspec, load_plugin
from backupcore.url import Url
from backupcore.volume.hint import ChangedExtents

__all__ = [
    "GROUP",
    "SIZE_BYTES_MAX",
    "Access",
    "Url",
    "Volume",
    "backupcore_open_volume",
    "hookimpl",
    "open_volume",
]

GROUP = "backupcore.volumes"


class Access(StrEnum):
    """What a volume is opened for."""

    READ = "read"
    WRITE = "write"  # in place; what is there is overwritten
    CREATE = "create"  # a new thing of a given size that reads as zeros


class Volume(Closing, ABC):
    """A run of bytes of a fixed size. Reads and writes may come from several threads at once.

    name: how messages call it. identity: the default volume id of its backups; two openings of
    the same volume give the same text. is_known_zero: whether every byte not written since it
    was opened reads as zero, so that a restore need not write zeros.
    """

    name: str
    identity: str
    size_bytes: int
    sector_size_bytes: int = 512
    is_known_zero: bool = False

    @abstractmethod
    def read_into(self, offset: int, buffer: Buffer) -> None:
        """Fill the whole buffer with the bytes from an offset on.

        Raises: VolumeShrunk when the volume ends before, UnreadableSector naming the offset.
        After an error the buffer's content means nothing.
        """

    def extents(self, offset: int, length: int) -> Extents:
        """Return the extents of a window that may hold anything but zeros.

        int64[n, 2], rows (offset, length), sorted, disjoint, inside the window. What is left out
        reads as zeros. By default the whole window. Raises: VolumeShrunk when the window ends
        beyond the volume.
        """
        self.check_read(offset, length)
        return single_extent(offset, length)

    def tracked_changes(self) -> ChangedExtents | None:
        """Return what the volume itself knows to have changed, None when it keeps no track.

        Asked once, before anything is read. A backup uses it when it names a base that is there.
        """
        return None

    def current_size_bytes(self) -> int:
        """Return the size the volume has now; `size_bytes` stays what it was when opened.

        A backup asks at its end: a volume that was resized meanwhile is no point in time.
        Raises: VolumeMissing when the volume is not there any more.
        """
        return self.size_bytes

    def check_identity(self) -> None:
        """Raise VolumeChanged when its name leads to another volume than the one that was opened.

        A backup asks at its end.
        """

    def write(self, offset: int, buffer: Buffer) -> None:
        """Write the whole buffer at an offset.

        Raises: TargetTooSmall when it would end beyond the volume (nothing is written then),
        TargetError, ReadOnly.
        """
        raise ReadOnly(f"{self.name}: opened for reading: open it with access 'write'")

    def zero(self, offset: int, length: int) -> None:
        """Make an extent read as zeros. Raises: TargetTooSmall, TargetError, ReadOnly."""
        raise ReadOnly(f"{self.name}: opened for reading: open it with access 'write'")

    def finish(self) -> None:
        """Make what was written durable and, when it was created, visible under its name."""

    def close(self) -> None:
        """Let go of it; a created volume that was not finished is removed."""

    def check_read(self, offset: int, length: int) -> None:
        """Raise VolumeShrunk unless the extent lies inside the volume."""
        if offset + length > self.size_bytes:
            raise VolumeShrunk(
                f"{self.name}: {length} bytes at offset {offset} end beyond the volume's "
                f"{self.size_bytes} bytes"
            )

    def check_write(self, offset: int, length: int) -> None:
        """Raise TargetTooSmall unless the extent lies inside the volume."""
        if offset + length > self.size_bytes:
            raise TargetTooSmall(
                f"{self.name}: {length} bytes at offset {offset} end beyond the target's "
                f"{self.size_bytes} bytes"
            )


@hookspec(firstresult=True)
def backupcore_open_volume(
    url: Url, options: Mapping[str, str], access: Access, size_bytes: int
) -> Volume | None:
    """Return the volume for a URL of the scheme this plugin is named after.

    options: the URL's query; refuse unknown ones with `url.take_options`. size_bytes: the size of
    a volume to be created, else 0. A plugin that only reads may leave out the last two arguments.
    The first plugin that returns a volume wins; there is one plugin a scheme.
    """
    raise AssertionError("a hook specification is never called")


def open_volume(
    url: str | Url, *, access: Access = Access.READ, size_bytes: int = 0, **options: str
) -> Volume:
    """Open a volume by URL or path; a text without a scheme is the path of a file or device.

    size_bytes: the size of a volume to be created (access CREATE only).
    options: added to the URL's query, such as `read_holes="yes"` for `file:`.
    Raises: UnknownScheme, VolumeMissing, TargetBusy, TargetError, ReadOnly, Refused.
    """
    parsed = Url.parse(url, default_scheme="file") if isinstance(url, str) else url
    parsed = replace(parsed, options={**parsed.options, **options})
    _check_size(parsed, size_bytes)
    if (access is Access.CREATE) != (size_bytes > 0):
        raise Refused(f"{parsed}: a size is needed to create a volume, and only then")
    hook = load_plugin(GROUP, parsed.scheme, sys.modules[__name__])
    volume: Volume | None = hook.backupcore_open_volume(
        url=parsed, options=parsed.options, access=access, size_bytes=size_bytes
    )
    if volume is None:
        raise VolumeMissing(f"{parsed}: the plugin of {parsed.scheme}: does not open this URL")
    try:
        _check_size(parsed, volume.size_bytes)
        if access is not Access.READ and type(volume).write is Volume.write:
            raise ReadOnly(f"{parsed}: {parsed.scheme}: volumes can only be read")
    except Refused:
        volume.close()
        raise
    return volume


def _check_size(url: Url, size_bytes: int) -> None:
    if not 0 <= size_bytes <= SIZE_BYTES_MAX:
        raise Refused(f"{url}: size of {size_bytes} bytes: volumes have 0 to 2^62 bytes")
