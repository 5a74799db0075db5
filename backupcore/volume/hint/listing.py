"""Changed extents as JSON: our own format, `rbd diff` and `nbdinfo --map`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import cast

from backupcore.extents import empty_extents
from backupcore.model import SIZE_BYTES_MAX
from backupcore.volume.hint.row import (
    AGAIN,
    ChangedExtents,
    Pair,
    Wrong,
    checked_pair,
    gather,
    number_of,
    shown,
)
from backupcore.volume.hint.text import JsonText

__all__ = ["read_list", "read_own"]

FORMAT = 1

_KEYS = ("format", "volume_id", "since", "size_bytes", "extents")


def read_own(text: JsonText) -> ChangedExtents:
    """Read an object of our own format. Raises: Wrong."""
    fields: dict[str, object] = {}
    extents, end = empty_extents(), 0
    for key in text.members():
        if key in fields:
            raise Wrong(f"has {key!r} twice: {AGAIN}")
        if key not in _KEYS:
            raise Wrong(f"has the unknown key {shown(key)}: known are {', '.join(_KEYS)}")
        fields[key] = None
        if key == "extents":
            extents, end = gather(_rows(text.items(), _own_pair))
        else:
            fields[key] = text.value()
        if key == "format" and (type(fields[key]) is not int or fields[key] != FORMAT):
            raise Wrong(f"is of format {shown(fields[key])}: this version reads {FORMAT}")
    text.take("")
    if missing := {"format", "extents"} - fields.keys():
        raise Wrong(f"has no {' and no '.join(sorted(missing))}: {AGAIN}")
    size_bytes = _size(fields.get("size_bytes"))
    if size_bytes is not None and end > size_bytes:
        raise Wrong(f"has an extent that ends at {end}, beyond size_bytes {size_bytes}: {AGAIN}")
    return ChangedExtents(extents, _label(fields, "since"), _label(fields, "volume_id"), size_bytes)


def _size(value: object) -> int | None:
    if value is None:
        return None
    if type(value) is not int or not 0 <= value <= SIZE_BYTES_MAX:
        raise Wrong(f"has size_bytes {shown(value)}: it must be a whole number up to 2^62")
    return value


def _label(fields: Mapping[str, object], key: str) -> str | None:
    value = fields.get(key)
    # A lone surrogate is JSON, but nothing that can be stored or printed.
    if value is None or (isinstance(value, str) and value and value.isprintable()):
        return value
    raise Wrong(f"has {key} {shown(value)}: it must be null or a text of printable characters")


def _own_pair(row: object) -> Pair:
    pair = cast(list[object], row)
    if not isinstance(row, list) or len(pair) != 2:
        raise Wrong(f"is {shown(row)}: it must be [offset, length]")
    return checked_pair(pair[0], pair[1])


def read_list(text: JsonText) -> ChangedExtents:
    """Read an array that `rbd diff` or `nbdinfo --map` wrote. Raises: Wrong."""
    extents, _ = gather(_rows(text.items(), _listed_pair))
    text.take("")
    return ChangedExtents(extents)


def _rows(items: Iterator[object], pair_of: Callable[[object], Pair | None]) -> Iterator[Pair]:
    """Yield the extents of items; a complaint about one of them gets its index."""
    for index, item in enumerate(items):
        try:
            pair = pair_of(item)
        except Wrong as error:
            raise Wrong(f"extent {index}: {error}") from error
        if pair is not None:
            yield pair


def _listed_pair(row: object) -> Pair | None:
    """Return the changed extent of one row of `rbd diff` or `nbdinfo --map`."""
    if not isinstance(row, dict):
        raise Wrong(f'is {shown(row)}, no object: pairs belong in {{"format": 1, "extents": …}}')
    fields = cast(dict[str, object], row)
    if (
        "offset" not in fields
        or "length" not in fields
        or ("exists" in fields) == ("type" in fields)
    ):
        raise Wrong(
            f"has the keys {shown(sorted(fields))}: rbd diff --format json gives offset, length "
            "and exists, nbdinfo --map --json offset, length and type"
        )
    if "type" in fields:
        return _mapped_pair(fields)
    if fields["exists"] not in ("true", "false", True, False):
        raise Wrong(f"has exists {shown(fields['exists'])}: it must be true or false")
    # A discarded extent, exists false, has changed too: it reads as zeros now.
    return checked_pair(number_of(fields["offset"]), number_of(fields["length"]))


def _mapped_pair(row: Mapping[str, object]) -> Pair | None:
    """Return a row of a dirty bitmap's map, None when it is clean.

    Bit 0 means something else in other maps, such as a hole in base:allocation; only the
    description tells which map it is.
    """
    flags, said = row["type"], row.get("description")
    if type(flags) is not int or flags not in (0, 1) or said != ("clean", "dirty")[flags]:
        raise Wrong(
            f"has type {shown(flags)}, description {shown(said)}: a dirty bitmap has 0, clean "
            "and 1, dirty: give nbdinfo --map=qemu:dirty-bitmap:NAME --json"
        )
    pair = checked_pair(row["offset"], row["length"])
    return pair if flags else None
