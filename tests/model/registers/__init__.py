"""Several write-once registers per backup: retries, resumed sessions, compaction, late PUTs.

Safe: the packs of every backup whose state is MANIFEST exist; a commit that won is the state of
its backup and stays it until a compaction of it or DELETED wins; DELETED is final. At rest no
empty register lies below a decided one.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.model.explore import Model, replaced
from tests.model.registers.process import START, process_steps
from tests.model.registers.prune import prune_steps
from tests.model.registers.state import (
    EMPTY,
    REGISTER_COUNT,
    Adopt,
    Clean,
    Pruner,
    Rules,
    State,
    Vacate,
    content,
    live_packs,
    put,
    top_of,
)

__all__ = ["Adopt", "Clean", "Registers", "Rules", "Vacate"]


class Registers(Model[State]):
    """The protocol with several registers per backup under given rules."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules

    def start(self) -> State:
        """Return one finished backup, one with no register yet, and everybody about to start."""
        rules = self.rules
        empty = (EMPTY,) * REGISTER_COUNT
        return State(
            packs=1,
            backups=(replaced(empty, 0, 1), empty),
            leases=(0,) * len(rules.roles),
            tombs=(0,) * rules.pruner_count,
            processes=tuple(START[role] for role in rules.roles),
            pruners=(Pruner("list"),) * rules.pruner_count,
            deletes_left=rules.delete_count,
            give_ups_left=rules.give_up_count,
            late_commits_left=rules.late_commit_count,
            late_packs_left=rules.late_pack_count,
            in_flight=None,
        )

    def violation(self, state: State) -> str | None:
        """Return the property that the last step broke, or that a pack is missing."""
        wrong = state.wrong
        if wrong and (self.rules.won_stays or not wrong.startswith("WON")):
            return wrong
        return "pack missing" if live_packs(self.rules, state) & ~state.packs else None

    def has_leak(self, state: State) -> bool:
        """Return whether all is done and an empty register lies below a decided one."""
        rules = self.rules
        if rules.vacate is not Vacate.NONE or not rules.decides_first or not self._is_idle(state):
            return False
        return any(
            registers[number] == EMPTY and any(registers[number:])
            for registers in state.backups
            for number in range(REGISTER_COUNT)
        )

    def _is_idle(self, state: State) -> bool:
        if any(state.leases) or state.in_flight or any(p.at != "done" for p in state.pruners):
            return False
        return all(
            process.at in ("done", START[role].at)
            for process, role in zip(state.processes, self.rules.roles, strict=True)
        )

    def successors(self, state: State) -> Iterator[tuple[str, State]]:
        """Yield every step of the network, the janitors, the processes and the prunes."""
        rules = self.rules
        state = state._replace(wrong="") if state.wrong else state
        yield from _network(rules, state)
        yield from _tidy_leases(state)
        if rules.vacate is not Vacate.NONE:
            yield from _vacate(rules, state)
        for index in range(len(rules.roles)):
            yield from process_steps(rules, state, index)
        for index in range(rules.pruner_count):
            yield from prune_steps(rules, state, index)


def _network(rules: Rules, state: State) -> Iterator[tuple[str, State]]:
    """Yield the arrival of a delayed or repeated PUT."""
    if state.in_flight is not None:
        place, packs = state.in_flight
        backup, number = divmod(place, REGISTER_COUNT)
        arrived = put(rules, state, place, packs, late=True)._replace(in_flight=None)
        yield f"late PUT of backup {backup} /{number} refs={packs:b} arrives", arrived
    if not state.late_packs_left:
        return
    for index, process in enumerate(state.processes):
        pack = 2 << index
        has_written = process.at in ("commit", "done") and process.place
        if rules.roles[index] != "D" and has_written and not state.packs & pack:
            left = state.late_packs_left - 1
            after = state._replace(packs=state.packs | pack, late_packs_left=left)
            yield f"repeated PUT of pack {pack:b} arrives", after


def _tidy_leases(state: State) -> Iterator[tuple[str, State]]:
    """Yield the removal of leases whose register is decided, by the owner or anybody else."""
    for session, lease in enumerate(state.leases):
        if lease and content(state, lease - 1) != EMPTY:
            after = state._replace(leases=replaced(state.leases, session, 0))
            yield f"lease of decided session {session} removed", after


def _vacate(rules: Rules, state: State) -> Iterator[tuple[str, State]]:
    """Yield the removal of registers, which the protocol forbids."""
    for backup, registers in enumerate(state.backups):
        top = top_of(registers)
        for number, value in enumerate(registers):
            is_lone_marker = value < 0 and not any(registers[:number])
            if value != EMPTY and (number < top or (rules.vacate is Vacate.ALL and is_lone_marker)):
                left = replaced(registers, number, EMPTY)
                after = state._replace(backups=replaced(state.backups, backup, left))
                yield f"janitor removes backup {backup} /{number}", after
