"""Search of every interleaving of a protocol, breadth first, so that a trace is a shortest one.

A model says how processes start and which steps each may take next. A crash is a process that is
never scheduled again, so a crash at every point is covered without steps of its own. Sets of
packs, leases and names are bit masks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, TypeAlias, TypeVar

__all__ = [
    "Model",
    "Outcome",
    "Parents",
    "Variant",
    "Verdict",
    "explore",
    "lowest",
    "replaced",
    "union",
]

S = TypeVar("S", bound=Hashable)
Parents: TypeAlias = dict[S, tuple[S, str] | None]
T = TypeVar("T")

STATE_COUNT_MAX = 3_000_000


class Verdict(StrEnum):
    """What a search found."""

    SAFE = "safe"
    UNSAFE = "unsafe"
    LEAK = "leak"  # at rest, garbage stays for ever
    LIMIT = "limit"  # nothing bad within the bound, the search is unfinished


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdict, how much was searched and the steps that lead to what is bad."""

    verdict: Verdict
    state_count: int
    transition_count: int
    trace: list[str] = field(default_factory=list)
    why: str = ""

    def __str__(self) -> str:
        head = f"{self.verdict}: {self.state_count} states, {self.transition_count} transitions"
        steps = [f"{number:3d}. {label}" for number, label in enumerate(self.trace, 1)]
        return "\n".join([head, *steps, *([f"  -> {self.why}"] if self.why else [])])


class Model(ABC, Generic[S]):
    """A protocol: its start, its steps and what must never be."""

    @abstractmethod
    def start(self) -> S:
        """Return the state before anybody has done anything."""

    @abstractmethod
    def successors(self, state: S) -> Iterable[tuple[str, S]]:
        """Yield each possible next step: what happens and the state after it."""

    @abstractmethod
    def violation(self, state: S) -> str | None:
        """Return the safety property that a state breaks, None when it keeps all."""

    def has_leak(self, state: S) -> bool:
        """Return whether a state is at rest and one more undisturbed prune would leave garbage."""
        del state
        return False


@dataclass(frozen=True, slots=True)
class Variant:
    """A model under some rules, and the verdict, trace length and states a search must find.

    A search that finds another number of states searches another protocol.
    """

    model: Model[Any] = field(repr=False)
    verdict: Verdict
    step_count: int
    state_count: int


def explore(model: Model[S], state_count_max: int = STATE_COUNT_MAX) -> Outcome:
    """Search all states reachable from the start until one is bad or none is left."""
    start = model.start()
    parents: Parents[S] = {start: None}
    queue = deque([start])
    transition_count = 0
    while queue:
        state = queue.popleft()
        if model.has_leak(state):
            return Outcome(Verdict.LEAK, len(parents), transition_count, _trace(parents, state))
        for label, after in model.successors(state):
            transition_count += 1
            if after in parents:
                continue
            parents[after] = (state, label)
            why = model.violation(after)
            if why is not None:
                trace = _trace(parents, after)
                return Outcome(Verdict.UNSAFE, len(parents), transition_count, trace, why)
            queue.append(after)
            if len(parents) > state_count_max:
                return Outcome(Verdict.LIMIT, len(parents), transition_count)
    return Outcome(Verdict.SAFE, len(parents), transition_count)


def _trace(parents: Parents[S], state: S) -> list[str]:
    labels: list[str] = []
    step = parents[state]
    while step is not None:
        state, label = step
        labels.append(label)
        step = parents[state]
    return labels[::-1]


def replaced(items: tuple[T, ...], index: int, item: T) -> tuple[T, ...]:
    """Return a tuple with the item at an index replaced."""
    return (*items[:index], item, *items[index + 1 :])


def union(masks: Iterable[int]) -> int:
    """Return the bits set in any of the masks."""
    joined = 0
    for mask in masks:
        joined |= mask
    return joined


def lowest(mask: int) -> int:
    """Return the lowest set bit of a mask as a mask, 0 when there is none."""
    return mask & -mask
