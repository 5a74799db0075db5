"""What the system tells of a block device: who uses it, what marks it, what it is called for good.

A device is known by its number, `st_rdev` of its node. Nothing here raises: what the system does
not tell (no sysfs, an older kernel) is left out.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator

__all__ = ["lasting_name", "mark_of", "mount_points", "number_text", "sector_size", "use_text"]

_SYSFS = "/sys/dev/block"
_MOUNTS = "/proc/self/mountinfo"
_SWAPS = "/proc/swaps"
_LASTING_LINKS = "/dev/disk/"
_SERIALS = ("serial", "device/serial", "wwid", "device/wwid", "dm/uuid")


def number_text(number: int) -> str:
    """Return a device's number as major:minor."""
    return f"{os.major(number)}:{os.minor(number)}"


def mount_points(number: int, *, is_written: bool = False) -> list[str]:
    """Return where file systems of exactly this device are mounted, as far as we may see.

    is_written: only those that may be written to.
    Source: proc_pid_mountinfo(5), Linux manual page.
    """
    found: dict[str, None] = {}
    for line in _read(_MOUNTS).splitlines():
        head, _, tail = line.partition(" - ")
        fields, about = head.split(" "), tail.split(" ")
        if len(fields) < 6 or len(about) < 3 or not _is_of(fields[2], about[1], number):
            continue
        if not is_written or "rw" in about[2].split(","):
            found[_unescape(fields[4])] = None
    return list(found)


def _is_of(text: str, source: str, number: int) -> bool:
    """Return whether a mount is of a device; btrfs shows a number of its own, and the device."""
    if text == number_text(number):
        return True
    is_anonymous = text.startswith("0:") and source.startswith("/dev/")
    return is_anonymous and _number_at(_unescape(source)) == number


def use_text(number: int) -> str:
    """Return who uses a device or a partition of it, such as `mounted at /srv`."""
    numbers = [number, *_partitions(number)]
    if points := [point for each in numbers for point in mount_points(each)]:
        return f"mounted at {', '.join(points)}"
    swaps = [line.split(" ")[0] for line in _read(_SWAPS).splitlines()[1:]]
    if any(_number_at(_unescape(path)) in numbers for path in swaps):
        return "swap space"
    if holders := [name for each in numbers for name in _listed(f"{_folder(each)}/holders")]:
        return f"used by {', '.join(holders)}"
    return "used by another program"


def _partitions(number: int) -> Iterator[int]:
    folder = _folder(number)
    for name in _listed(folder):
        if os.path.exists(f"{folder}/{name}/partition"):
            major, _, minor = _read(f"{folder}/{name}/dev").strip().partition(":")
            if major.isdecimal() and minor.isdecimal():  # it may be gone by now
                yield os.makedev(int(major), int(minor))


def mark_of(number: int) -> dict[str, str]:
    """Return what tells a device from another of the same number: the disk's serials.

    diskseq: the kernel's count of media that came and went, where it has one (Linux 5.15).
    """
    folder = _folder(number)
    if os.path.exists(f"{folder}/partition"):
        folder = os.path.dirname(os.path.realpath(folder))
    found = {name: _read(f"{folder}/{name}").strip() for name in ("diskseq", *_SERIALS)}
    if not found["diskseq"]:
        # The file's path changes when it is renamed, so it counts only where nothing better is.
        found["loop/backing_file"] = _read(f"{folder}/loop/backing_file").strip()
    return {name: text for name, text in found.items() if text}


def sector_size(number: int) -> int:
    """Return the logical sector size that sysfs tells, 512 when it tells none."""
    folder = os.path.realpath(_folder(number))
    for queue in (f"{folder}/queue", f"{os.path.dirname(folder)}/queue"):
        if (text := _read(f"{queue}/logical_block_size").strip()).isdigit():
            return int(text)
    return 512


def lasting_name(path: str, number: int) -> str:
    """Return a path of a device that means the same one after the next boot, as far as known.

    `dm-3` and `sdb` are given in the order devices are found; the names of device-mapper (logical
    volumes among them) and udev's links below /dev/disk are made to last.
    """
    if name := _read(f"{_folder(number)}/dm/name").strip():
        return f"/dev/mapper/{name}"
    real = os.path.realpath(path)
    at = _with_real_folder(path)
    while at != real and os.path.islink(at):
        if at.startswith(_LASTING_LINKS):
            return at
        at = _with_real_folder(os.path.join(os.path.dirname(at), os.readlink(at)))
    return real


def _with_real_folder(path: str) -> str:
    folder, name = os.path.split(os.path.abspath(path))
    return os.path.join(os.path.realpath(folder), name)


def _folder(number: int) -> str:
    return f"{_SYSFS}/{number_text(number)}"


def _number_at(path: str) -> int | None:
    """Return the number of the block device at a path, None when there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_rdev if stat.S_ISBLK(found.st_mode) else None


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def _listed(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _unescape(text: str) -> str:
    """Return a path as it is; the kernel writes blanks and backslashes in octal."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)
