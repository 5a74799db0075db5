"""Replaced tombs and renewed leases, seen through listings that take one name a step.

Safe: every pack of a committed backup exists.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.model.explore import Model, replaced
from tests.model.paged.prune import prune_steps
from tests.model.paged.state import (
    ABSENT,
    COMMITTED,
    DELETED,
    PACK_A,
    PACK_B,
    PACK_X,
    TOMB_COUNT,
    UNDECIDED,
    Pruner,
    Renewal,
    Rules,
    State,
    Writer,
    live_packs,
)
from tests.model.paged.writer import renewal_steps, writer_steps

__all__ = ["Paged", "Rules"]


class Paged(Model[State]):
    """The protocol's listings under given rules."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules

    def start(self) -> State:
        """Return two finished backups, a dead pack, and a tomb that names all three packs."""
        rules = self.rules
        packs = PACK_A | PACK_B | PACK_X
        first = packs if rules.starts_with_tomb else ABSENT
        return State(
            packs=packs,
            decisions=(COMMITTED, COMMITTED, UNDECIDED),
            writer_references=0,
            tombs=(first,) + (ABSENT,) * (TOMB_COUNT - 1),
            leases=0,
            writer=Writer("lease"),
            renewal=Renewal(0, 0),
            pruners=(Pruner("start", rules.sweep_count),) * rules.pruner_count,
            deletes_left=rules.delete_count,
        )

    def violation(self, state: State) -> str | None:
        """Return whether a pack of a committed backup is missing."""
        return "pack missing" if live_packs(state) & ~state.packs else None

    def successors(self, state: State) -> Iterator[tuple[str, State]]:
        """Yield every step of the writer, its renewals, the deleter and the prunes."""
        yield from writer_steps(self.rules, state)
        yield from renewal_steps(self.rules, state)
        if state.deletes_left:
            for index, decision in enumerate(state.decisions):
                if decision == COMMITTED:
                    after = state._replace(
                        decisions=replaced(state.decisions, index, DELETED),
                        deletes_left=state.deletes_left - 1,
                    )
                    yield f"D deletes backup {'ABW'[index]}", after
        for index in range(self.rules.pruner_count):
            yield from prune_steps(self.rules, state, index)
