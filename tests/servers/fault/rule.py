"""What a fault proxy spoils, as data, and what it saw."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase
from urllib.parse import unquote

__all__ = ["Exchange", "Fault", "Rule", "Rulebook", "Way"]


class Way(StrEnum):
    """Which body a rule spoils: the request's or the answer's."""

    UP = "up"
    DOWN = "down"


class Fault(StrEnum):
    """What happens to a request that a rule chooses."""

    ANSWER = "answer"  # with a status and headers; the server is not asked
    RESET_BEFORE = "reset before"  # the server never hears of it
    RESET_AFTER = "reset after"  # the server has done it, its reply is lost
    CUT = "cut"  # hang up after some bytes; the length that was promised stays
    SHORTEN = "shorten"  # fewer bytes, and the length says so too (down only)
    STALL = "stall"  # after some bytes nothing more; down at 0: not even a head
    TRICKLE = "trickle"  # after some bytes so many a second
    FLIP = "flip"  # one bit of one byte
    CALL = "call"  # only the rule's callback; down at 0: before the head
    MOVE_RANGE = "move range"  # the server is asked for a range some bytes further
    CLAIM_RANGE = "claim range"  # Content-Range says some bytes further


@dataclass(frozen=True, slots=True)
class Rule:
    """Which requests are spoiled, and how.

    path: a glob over path and query, percent-decoded. after: how many matching requests are let
    through first. count: how many are spoiled then, None for all. at_bytes: of the body's
    payload passed before the fault, or by how much a range is off. headers: lines of an answer,
    body: its body. callback: called in the connection's thread.
    """

    fault: Fault
    method: str = "*"
    path: str = "*"
    after: int = 0
    count: int | None = 1
    way: Way = Way.DOWN
    at_bytes: int = 0
    status: int = 503
    headers: str = ""
    body: bytes = b""
    rate_bytes_s: float = 0.0
    callback: Callable[[], object] | None = None


@dataclass(slots=True)
class Exchange:
    """One request: what was asked and what became of it.

    status: 0 when no answer was passed on. fault: None unless one really hit.
    """

    method: str
    path: str
    status: int = 0
    up_bytes: int = 0
    down_bytes: int = 0
    fault: Fault | None = None


class Rulebook:
    """The rules in force and the requests seen; for many threads."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self.rules: Sequence[Rule] = ()
        self._matches: Counter[int] = Counter()
        self._lock = threading.Lock()

    def replace(self, rules: Sequence[Rule]) -> None:
        """Put other rules in force; they count from anew."""
        with self._lock:
            self.rules, self._matches = tuple(rules), Counter()

    def begin(self, method: str, target: str) -> tuple[Exchange, Rule | None]:
        """Note a request; return the first rule that hits it."""
        seen = Exchange(method, unquote(target))
        found: list[Rule] = []
        with self._lock:
            self.exchanges.append(seen)
            for index, rule in enumerate(self.rules):
                if not fnmatchcase(method, rule.method) or not fnmatchcase(seen.path, rule.path):
                    continue
                self._matches[index] += 1
                number = self._matches[index] - rule.after
                if number > 0 and (rule.count is None or number <= rule.count):
                    found.append(rule)
        return seen, found[0] if found else None

    def count(self, method: str = "*", path: str = "*", *, fault: Fault | None = None) -> int:
        """Return how many requests there were, or how many a kind of fault has hit."""
        with self._lock:
            exchanges = list(self.exchanges)
        return sum(
            fnmatchcase(seen.method, method)
            and fnmatchcase(seen.path, path)
            and fault in (None, seen.fault)
            for seen in exchanges
        )
