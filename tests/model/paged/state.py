"""State and rules of the model of replaced tombs and renewed leases under a paged listing.

A LIST looks at one name a step, in name order: the finest paging there is. Backups A and B refer
to packs a and b; pack x is garbage; the one writer makes pack w.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from tests.model.explore import replaced, union

__all__ = [
    "ABSENT",
    "COMMITTED",
    "DELETED",
    "PACK_A",
    "PACK_B",
    "PACK_W",
    "PACK_X",
    "TOMB_COUNT",
    "UNDECIDED",
    "Pruner",
    "Renewal",
    "Rules",
    "State",
    "Writer",
    "live_packs",
]

UNDECIDED, COMMITTED, _, DELETED = range(4)
PACK_A, PACK_B, PACK_X, PACK_W = 1, 2, 4, 8
ABSENT = -1
TOMB_COUNT = 3


@dataclass(frozen=True, slots=True)
class Rules:
    """Bounds of the search and the rules in force; the defaults are the protocol.

    starts_with_tomb: tomb T.0 = {a, b, x} exists, a and b condemned by mistake. sweep_count: sweeps
    of each prune. renewal_count: how often the writer's lease is renewed.
    """

    starts_with_tomb: bool = True
    pruner_count: int = 2
    sweep_count: int = 3
    delete_count: int = 2
    new_tomb_first: bool = True
    new_tomb_sorts_later: bool = True
    lists_again_when_gone: bool = True
    renewal_count: int = 0
    new_lease_first: bool = True
    new_lease_sorts_later: bool = True

    @property
    def tomb_order(self) -> tuple[int, ...]:
        """Generations of the tomb in the order of their names."""
        return _order(TOMB_COUNT, self.new_tomb_sorts_later)

    @property
    def lease_order(self) -> tuple[int, ...]:
        """Counters of the lease in the order of their names."""
        return _order(self.renewal_count + 1, self.new_lease_sorts_later)


def _order(count: int, ascends: bool) -> tuple[int, ...]:
    return tuple(range(count))[:: 1 if ascends else -1]


class Writer(NamedTuple):
    """Where the writer stands, its place in a LIST, the names listed, the packs seen and planned.

    seen: packs of the tombs it has read. known: packs its manifest will refer to.
    """

    at: str
    position: int = 0
    names: int = 0
    seen: int = 0
    known: int = 0


class Renewal(NamedTuple):
    """The lease's counter and whether its renewal is half done."""

    counter: int
    is_half_done: int


class Pruner(NamedTuple):
    """Where a prune stands, how many sweeps it has left, its tomb and the packs it works on.

    held: the packs its tomb held, while it deletes. position, has_seen_lease: its place in the
    listing of leases and what it met there.
    """

    at: str
    sweeps_left: int
    generation: int = 0
    packs: int = 0
    held: int = 0
    position: int = 0
    has_seen_lease: bool = False


class State(NamedTuple):
    """The store, the writer, its renewals, the prunes and the deletes that may still happen.

    decisions: of backups A, B and the writer's. tombs: what generation g holds, or ABSENT.
    leases: the counters present.
    """

    packs: int
    decisions: tuple[int, ...]
    writer_references: int
    tombs: tuple[int, ...]
    leases: int
    writer: Writer
    renewal: Renewal
    pruners: tuple[Pruner, ...]
    deletes_left: int

    def with_pruner(self, index: int, pruner: Pruner) -> State:
        """Return the state with a prune elsewhere."""
        return self._replace(pruners=replaced(self.pruners, index, pruner))


def live_packs(state: State) -> int:
    """Return the packs of every committed backup."""
    packs = (PACK_A, PACK_B, state.writer_references)
    return union(
        pack for pack, decision in zip(packs, state.decisions, strict=True) if decision == COMMITTED
    )
