from __future__ import annotations

from typing import NoReturn, cast

from hypothesis import given
from hypothesis import strategies as st

from backupcore.errors import SourceError
from backupcore.volume.nbd.connection import _ReadReply
from backupcore.volume.nbd.wire import Wire

LENGTH = 40


class Refusing:
    """As much of a wire as a reply needs to refuse something."""

    def refuse(self, fact: str) -> NoReturn:
        raise SourceError(fact)


@given(st.lists(st.tuples(st.integers(-3, LENGTH + 3), st.integers(0, 12)), max_size=30))
def test_chunks_are_taken_once_and_inside_only(places: list[tuple[int, int]]) -> None:
    reply = _ReadReply(cast(Wire, Refusing()), 1000, memoryview(bytearray(LENGTH)))
    covered: set[int] = set()
    for start, length in places:
        wanted = set(range(start, start + length))
        is_sound = wanted and wanted <= set(range(LENGTH)) and not wanted & covered
        try:
            part = reply._part(1000 + start, length)
        except SourceError:
            assert not is_sound
            continue
        assert is_sound
        assert len(part) == length
        covered |= wanted
    try:
        reply.check_whole()
        assert len(covered) == LENGTH
    except SourceError:
        assert len(covered) < LENGTH
