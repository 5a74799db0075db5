"""JSON that is read value by value, whatever its length."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable, Iterator
from typing import cast

from backupcore.volume.hint.row import AGAIN, VALUE_LENGTH_MAX, Wrong, shown

__all__ = ["JsonText"]

_SPACE = re.compile(r"[ \t\n\r]*")


class JsonText:
    """JSON that is read value by value; at least one whole value is at hand at any time."""

    def __init__(self, head: bytes, read: Callable[[], bytes]) -> None:
        self._read = read
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._passed = 0  # characters let go of
        self._position = 0
        self._doubtful = 0  # up to which character values are taken one by one
        self._has_ended = False
        self._text = self._decode(head)

    def _decode(self, piece: bytes) -> str:
        try:
            return self._decoder.decode(piece, not piece)
        except UnicodeDecodeError as error:
            raise Wrong(f"is no UTF-8 text: {error.reason}: {AGAIN}") from error

    def _fill(self) -> None:
        while len(self._text) - self._position < VALUE_LENGTH_MAX and not self._has_ended:
            piece = self._read()
            self._has_ended = not piece
            self._text = self._text[self._position :] + self._decode(piece)
            self._passed += self._position
            self._position = 0

    def token(self) -> str:
        """Return the next character that is no space, empty at the end."""
        while True:
            self._fill()
            self._position = cast(re.Match[str], _SPACE.match(self._text, self._position)).end()
            if self._position < len(self._text) or self._has_ended:
                return self._text[self._position : self._position + 1]

    def take(self, wanted: str) -> str:
        """Pass over one of the wanted characters and return it; the end, when none is wanted."""
        token = self.token()
        if token == wanted or (token and token in wanted):
            self._position += 1
            return token
        here = self._passed + self._position
        if not token:
            raise Wrong(f"is cut off at character {here}: {AGAIN}")
        what = " or ".join(wanted) or "the end"
        raise Wrong(f"has {token!r} at character {here}, where {what} must be: {AGAIN}")

    def value(self) -> object:
        """Return the next value."""
        self.token()
        self._fill()
        try:
            value, self._position = _DECODER.raw_decode(self._text, self._position)
        except json.JSONDecodeError as error:
            here = self._passed + error.pos
            raise Wrong(f"is no JSON at character {here}: {error.msg}: {AGAIN}") from error
        except (ValueError, RecursionError) as error:  # a number too long, a nesting too deep
            here = self._passed + self._position
            raise Wrong(f"has no usable value at character {here}: {error}") from error
        return cast(object, value)

    def items(self) -> Iterator[object]:
        """Yield the values of the array that begins here."""
        self.take("[")
        if self.token() == "]":
            self.take("]")
            return
        yield from self._values()
        while self.take(",]") == ",":
            yield from self._values()

    def _values(self) -> list[object]:
        """Return the next values of an array: all that are at hand when they are well formed."""
        self.token()
        self._fill()
        if self._passed + self._position < self._doubtful:
            return [self.value()]
        end = 1 + max(self._text.rfind(mark, self._position) for mark in ("},", "],"))
        if end <= self._position:
            self._doubtful = self._passed + len(self._text)
            return [self.value()]
        try:
            values: object = _DECODER.decode(f"[{self._text[self._position : end]}]")
        except (ValueError, RecursionError):
            # One by one up to there: whatever is wrong is then told with its place.
            self._doubtful = self._passed + end
            return [self.value()]
        self._position = end
        return cast(list[object], values)

    def members(self) -> Iterator[str]:
        """Yield the keys of the object that begins here; whoever asks takes the values."""
        self.take("{")
        if self.token() == "}":
            self.take("}")
            return
        separator = ","
        while separator == ",":
            key = self.value()
            if not isinstance(key, str):
                raise Wrong(f"has the key {shown(key)}, no text: {AGAIN}")
            self.take(":")
            yield key
            separator = self.take(",}")


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is no number")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)
