"""State and rules of the model with one write-once register per session.

Session 0 is a finished backup with pack 0; session k is the k-th writer's and makes pack k. A
restore and a compaction are writers with other steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple, TypeAlias

from tests.model.explore import union

__all__ = [
    "ABORTED",
    "BACKUP_0_PACK",
    "COMMITTED",
    "DELETED",
    "SETTLED",
    "UNDECIDED",
    "Pruner",
    "Restore",
    "Rules",
    "State",
    "StepsOf",
    "Unsettled",
    "Writer",
    "listed_references",
    "listed_tombs",
]

UNDECIDED, COMMITTED, ABORTED, DELETED = range(4)
BACKUP_0_PACK = 1


class Restore(Enum):
    """Whether the last writer is a restore, and what it must find."""

    NONE = auto()
    FINDS_UNCONDEMNED = auto()  # packs that no tomb named when it started
    FINDS_ALL = auto()


@dataclass(frozen=True, slots=True)
class Rules:
    """Bounds of the search and the rules in force; the defaults are the protocol."""

    writer_count: int = 2
    pruner_count: int = 2
    delete_count: int = 2
    give_up_count: int = 1
    has_leases: bool = True
    has_tombs: bool = True
    reads_tombs: bool = True
    waits_for_leases: bool = True
    leases_before_manifests: bool = True
    lease_before_base: bool = True
    lease_until_commit: bool = True
    is_fenced: bool = True
    checks_then_puts: bool = False
    condemned_for_ever: bool = True
    has_unique_names: bool = True
    keeps_aborted: bool = True
    listings_lag: bool = False
    settle_wait_count: int = 2
    spares_undecided_packs: bool = False
    restore: Restore = Restore.NONE
    compacts: bool = False
    compaction_obeys_tombs: bool = True
    inherits_condemned: bool = False
    tombs_before_base: bool = True
    tombs_before_lease: bool = False

    @property
    def session_count(self) -> int:
        """The finished backup's session and one a writer."""
        return 1 + self.writer_count


class Unsettled(NamedTuple):
    """Objects that exist and that a listing does not show yet, by session or pruner."""

    leases: int
    manifests: int
    tombs: int


SETTLED = Unsettled(0, 0, 0)


class Writer(NamedTuple):
    """Where a session stands, the packs it will refer to, the condemned ones it has seen.

    A compaction that has chosen keeps the manifest it rewrites in `seen`.
    """

    at: str
    known: int = 0
    seen: int = 0


class Pruner(NamedTuple):
    """Where a prune stands, the packs it works on, and what it noted before.

    noted: sessions with a lease, while it waits for them; then names of manifests, then packs it
    has examined. pending: what was unsettled when its wait began.
    """

    at: str
    packs: int = 0
    noted: int = 0
    pending: Unsettled | None = None


class State(NamedTuple):
    """The store, the processes and what may still happen."""

    packs: int
    decisions: tuple[int, ...]
    references: tuple[int, ...]
    leases: int
    tombs: tuple[int, ...]
    writers: tuple[Writer, ...]
    pruners: tuple[Pruner, ...]
    deletes_left: int
    give_ups_left: int
    unsettled: Unsettled

    @property
    def listed_leases(self) -> int:
        """The sessions whose lease a LIST shows now."""
        return self.leases & ~self.unsettled.leases

    def lists_manifest(self, session: int) -> bool:
        """Return whether a LIST shows a session's committed manifest now."""
        return self.decisions[session] == COMMITTED and not self.unsettled.manifests >> session & 1


StepsOf: TypeAlias = Callable[[Rules, State, int], list[tuple[str, State]]]


def listed_references(state: State) -> int:
    """Return the packs of all manifests that a LIST shows now."""
    return union(
        packs for session, packs in enumerate(state.references) if state.lists_manifest(session)
    )


def listed_tombs(state: State) -> int:
    """Return the packs of all tombs that a LIST shows now."""
    return union(
        packs for index, packs in enumerate(state.tombs) if not state.unsettled.tombs >> index & 1
    )
