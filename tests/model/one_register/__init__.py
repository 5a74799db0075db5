"""One write-once register per session: sessions, deletes and prunes side by side.

Safe: every pack of a committed, not deleted manifest exists; a restore that is not given up on
finds its packs. At rest one more prune leaves no garbage.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.model.explore import Model, replaced, union
from tests.model.one_register.prune import prune_steps
from tests.model.one_register.session import first_writer, session_steps
from tests.model.one_register.state import (
    ABORTED,
    BACKUP_0_PACK,
    COMMITTED,
    DELETED,
    SETTLED,
    UNDECIDED,
    Pruner,
    Restore,
    Rules,
    State,
)

__all__ = ["OneRegister", "Restore", "Rules"]


class OneRegister(Model[State]):
    """The protocol with one register per session under given rules."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules

    def start(self) -> State:
        """Return one finished backup, and sessions and prunes about to start."""
        rules = self.rules
        return State(
            packs=BACKUP_0_PACK,
            decisions=(COMMITTED,) + (UNDECIDED,) * rules.writer_count,
            references=(BACKUP_0_PACK,) + (0,) * rules.writer_count,
            leases=0,
            tombs=(0,) * rules.pruner_count,
            writers=(first_writer(rules),) * rules.writer_count,
            pruners=(Pruner("list"),) * rules.pruner_count,
            deletes_left=rules.delete_count,
            give_ups_left=rules.give_up_count,
            unsettled=SETTLED,
        )

    def violation(self, state: State) -> str | None:
        """Return which backup or restore misses a pack."""
        for session, packs in enumerate(state.references):
            if state.decisions[session] == COMMITTED and packs & ~state.packs:
                return f"backup {session} misses a pack"
        if self.rules.restore is Restore.NONE:
            return None
        at, known, seen = state.writers[-1]
        if at != "read" or state.decisions[-1] != UNDECIDED:
            return None
        excused = seen if self.rules.restore is Restore.FINDS_UNCONDEMNED else 0
        return "the restore misses a pack" if known & ~state.packs & ~excused else None

    def has_leak(self, state: State) -> bool:
        """Return whether everything is decided and done and one more prune would leave garbage."""
        if not self.rules.has_tombs or not _is_at_rest(state):
            return False
        live = union(
            packs
            for session, packs in enumerate(state.references)
            if state.decisions[session] == COMMITTED
        )
        condemned = state.packs & ~live | union(state.tombs)
        left = state.packs & ~(condemned & ~live)
        return bool(left & ~live)

    def successors(self, state: State) -> Iterator[tuple[str, State]]:
        """Yield every step of the network, the sessions, the deleter and the prunes."""
        rules = self.rules
        if rules.listings_lag:
            yield from _settle(rules, state)
        yield from _tidy_leases(rules, state)
        for index in range(rules.writer_count):
            yield from session_steps(rules, state, index)
        yield from _deletes(rules, state)
        if not rules.keeps_aborted:
            yield from _lost_aborts(rules, state)
        for index in range(rules.pruner_count):
            yield from prune_steps(rules, state, index)


def _is_at_rest(state: State) -> bool:
    return (
        not state.leases
        and UNDECIDED not in state.decisions[1:]
        and all(pruner.at == "done" for pruner in state.pruners)
        and state.unsettled == SETTLED
    )


def _settle(rules: Rules, state: State) -> Iterator[tuple[str, State]]:
    unsettled = state.unsettled
    for session in range(1, rules.session_count):
        bit = 1 << session
        if unsettled.leases & bit:
            after = unsettled._replace(leases=unsettled.leases & ~bit)
            yield f"settle lease{session}", state._replace(unsettled=after)
        if unsettled.manifests & bit:
            after = unsettled._replace(manifests=unsettled.manifests & ~bit)
            yield f"settle manifest{session}", state._replace(unsettled=after)
    for index in range(rules.pruner_count):
        bit = 1 << index
        if unsettled.tombs & bit:
            after = unsettled._replace(tombs=unsettled.tombs & ~bit)
            yield f"settle tomb{index}", state._replace(unsettled=after)


def _tidy_leases(rules: Rules, state: State) -> Iterator[tuple[str, State]]:
    for session in range(1, rules.session_count):
        bit = 1 << session
        if state.decisions[session] == ABORTED and state.leases & bit:
            unsettled = state.unsettled._replace(leases=state.unsettled.leases & ~bit)
            after = state._replace(leases=state.leases & ~bit, unsettled=unsettled)
            yield f"lease of aborted session {session} removed", after


def _deletes(rules: Rules, state: State) -> Iterator[tuple[str, State]]:
    if not state.deletes_left:
        return
    for session in range(rules.session_count):
        if state.decisions[session] != COMMITTED:
            continue
        shown = state.unsettled.manifests & ~(1 << session)
        yield (
            f"D deletes backup {session}",
            state._replace(
                decisions=replaced(state.decisions, session, DELETED),
                references=replaced(state.references, session, 0),
                deletes_left=state.deletes_left - 1,
                unsettled=state.unsettled._replace(manifests=shown),
            ),
        )


def _lost_aborts(rules: Rules, state: State) -> Iterator[tuple[str, State]]:
    for session in range(1, rules.session_count):
        if state.decisions[session] == ABORTED:
            after = state._replace(
                decisions=replaced(state.decisions, session, UNDECIDED),
                leases=state.leases & ~(1 << session),
            )
            yield f"ABORTED marker of {session} is cleaned up", after
