"""Changed extents as XML: `thin_delta`, brief or verbose."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from xml.parsers import expat

from backupcore.volume.hint.row import (
    AGAIN,
    VALUE_LENGTH_MAX,
    Pair,
    Wrong,
    checked_pair,
    number_of,
    shown,
)

__all__ = ["ThinDelta"]

_SECTOR_SIZE_BYTES = 512  # data_block_size of thin pools is told in these
_INSIDE = {
    "": ("superblock",),
    "superblock": ("diff",),
    "diff": ("different", "left_only", "right_only", "same"),
    **dict.fromkeys(("different", "left_only", "right_only", "same"), ("range",)),
}


class ThinDelta:
    """The XML of thin_delta, brief or verbose."""

    def __init__(self) -> None:
        self._parser = parser = expat.ParserCreate("utf-8")
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.StartDoctypeDeclHandler = self._refuse_declaration
        self._path = [""]
        self._pairs: list[Pair] = []
        self._block_size_bytes = 0
        self._diff_count = 0
        self._is_told = True  # whether the element at hand said which extent it means

    def rows(self, head: bytes, read: Callable[[], bytes]) -> Iterator[Pair]:
        """Yield the extents of everything but <same>."""
        piece, done_bytes = head, 0
        while True:
            done_bytes += len(piece)
            try:
                self._parser.Parse(piece, not piece)
            except expat.ExpatError as error:
                raise Wrong(f"is no XML: {error}: {AGAIN}") from error
            yield from self._pairs
            self._pairs.clear()
            if not piece:
                break
            if done_bytes - self._parser.CurrentByteIndex > VALUE_LENGTH_MAX:
                raise self._wrong("has an element of more than 64 KiB")
            piece = read()
        if not self._diff_count:
            raise Wrong(f"has no <diff>: give the output of thin_delta; {AGAIN}")

    def _wrong(self, fact: str) -> Wrong:
        return Wrong(f"line {self._parser.CurrentLineNumber}: {fact}: give what thin_delta wrote")

    def _refuse_declaration(self, *_: object) -> None:
        raise self._wrong("declares a document type")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        parent = self._path[-1]
        if name not in _INSIDE.get(parent, ()):
            inside = f"in <{parent}>" if parent else "as the root"
            raise self._wrong(f"has <{shown(name)[1:-1]}> {inside}")
        self._path.append(name)
        if name == "superblock":
            self._block_size_bytes = _SECTOR_SIZE_BYTES * self._natural(
                attributes, "data_block_size", 1
            )
        elif name == "diff":
            self._diff_count += 1
            if self._diff_count > 1:
                raise self._wrong("has a second <diff>")
        elif attributes or name == "range":
            self._tell(attributes)
        else:
            self._is_told = False

    def _end(self, name: str) -> None:
        self._path.pop()
        if not self._is_told:
            raise self._wrong(f"has <{name}> without begin and length")

    def _tell(self, attributes: Mapping[str, str]) -> None:
        begin = self._natural(attributes, "begin") * self._block_size_bytes
        length = self._natural(attributes, "length") * self._block_size_bytes
        self._is_told = True
        try:
            pair = checked_pair(begin, length)
        except Wrong as error:
            raise self._wrong(str(error)) from error
        if "same" not in self._path:
            self._pairs.append(pair)

    def _natural(self, attributes: Mapping[str, str], key: str, least: int = 0) -> int:
        number = number_of(attributes.get(key))
        if not isinstance(number, int) or number < least:
            raise self._wrong(f"has {key} {shown(attributes.get(key))}, no number from {least}")
        return number
