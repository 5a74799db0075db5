"""What a prune does: several sweeps of any tomb there is, each replaced by a smaller one."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from tests.model.explore import lowest, replaced
from tests.model.paged.state import (
    ABSENT,
    PACK_W,
    TOMB_COUNT,
    UNDECIDED,
    Pruner,
    Rules,
    State,
    live_packs,
)

__all__ = ["prune_steps"]

Steps: TypeAlias = list[tuple[str, State]]


def prune_steps(rules: Rules, state: State, index: int) -> Steps:
    """Return what the prune of an index may do next."""
    return STEPS[state.pruners[index].at](rules, state, index)


def _start(rules: Rules, state: State, index: int) -> Steps:
    """Read any of the tombs there, also one that is stale; or condemn, when none was given."""
    left = state.pruners[index].sweeps_left
    if not left:
        return []
    steps = [
        (
            f"P{index} reads T.{generation} = {packs:b}",
            state.with_pruner(index, Pruner("leases", left - 1, generation, packs)),
        )
        for generation, packs in enumerate(state.tombs)
        if packs != ABSENT
    ]
    garbage = state.packs & ~live_packs(state)
    if not steps and not rules.starts_with_tomb and index == 0 and garbage:
        condemned = garbage & ~PACK_W
        changed = state._replace(tombs=replaced(state.tombs, 0, condemned))
        steps.append((f"P{index} put T.0 = {condemned:b}", changed))
    return steps


def _list_leases(rules: Rules, state: State, index: int) -> Steps:
    pruner = state.pruners[index]
    if pruner.position == len(rules.lease_order):
        after = pruner._replace(
            at="wait" if pruner.has_seen_lease else "rescan", position=0, has_seen_lease=False
        )
        label = f"P{index} leases listed: {'W' if pruner.has_seen_lease else 'none'}"
        return [(label, state.with_pruner(index, after))]
    counter = rules.lease_order[pruner.position]
    is_there = bool(state.leases >> counter & 1)
    after = pruner._replace(
        position=pruner.position + 1, has_seen_lease=pruner.has_seen_lease or is_there
    )
    label = f"P{index} LIST passes lease /{counter}: {'there' if is_there else 'absent'}"
    return [(label, state.with_pruner(index, after))]


def _wait(rules: Rules, state: State, index: int) -> Steps:
    del rules
    if state.decisions[2] == UNDECIDED:
        return []
    after = state.pruners[index]._replace(at="rescan")
    return [(f"P{index} W is decided", state.with_pruner(index, after))]


def _read_manifests(rules: Rules, state: State, index: int) -> Steps:
    del rules
    pruner = state.pruners[index]
    dead = pruner.packs & ~live_packs(state)
    after = pruner._replace(at="delete", packs=dead, held=pruner.packs)
    return [(f"P{index} reads manifests, deletes {dead:b}", state.with_pruner(index, after))]


def _delete(rules: Rules, state: State, index: int) -> Steps:
    pruner = state.pruners[index]
    if not pruner.packs:
        return _tidy(rules, state, index)
    pack = lowest(pruner.packs)
    changed = state._replace(packs=state.packs & ~pack)
    after = changed.with_pruner(index, pruner._replace(packs=pruner.packs & ~pack))
    return [(f"P{index} delete pack {pack:b}", after)]


def _tidy(rules: Rules, state: State, index: int) -> Steps:
    """Remove a tomb whose packs are gone, replace one of which some are, leave it otherwise."""
    _, sweeps_left, generation, _, held, _, _ = state.pruners[index]
    left = held & state.packs
    is_last = generation + 1 == TOMB_COUNT
    write = Pruner("write", sweeps_left, generation, left)
    start = Pruner("start", sweeps_left)
    if left == held or (left and is_last):
        return [(f"P{index} leaves T.{generation} alone", state.with_pruner(index, start))]
    if left and rules.new_tomb_first:
        label = f"P{index} will write T.{generation + 1} = {left:b}"
        return [(label, state.with_pruner(index, write))]
    removed = _without_tomb(state, generation).with_pruner(index, write if left else start)
    return [(f"P{index} removes T.{generation}", removed)]


def _without_tomb(state: State, generation: int) -> State:
    return state._replace(tombs=replaced(state.tombs, generation, ABSENT))


def _write(rules: Rules, state: State, index: int) -> Steps:
    """Put the smaller tomb if it is absent; whoever won wrote all that still exists."""
    _, sweeps_left, generation, packs, _, _, _ = state.pruners[index]
    tombs = state.tombs
    if tombs[generation + 1] == ABSENT:
        tombs = replaced(tombs, generation + 1, packs)
    after = Pruner("start", sweeps_left)
    if rules.new_tomb_first:
        after = Pruner("remove", sweeps_left, generation)
    label = f"P{index} put T.{generation + 1} = {tombs[generation + 1]:b}"
    return [(label, state._replace(tombs=tombs).with_pruner(index, after))]


def _remove(rules: Rules, state: State, index: int) -> Steps:
    del rules
    _, sweeps_left, generation, _, _, _, _ = state.pruners[index]
    after = _without_tomb(state, generation).with_pruner(index, Pruner("start", sweeps_left))
    return [(f"P{index} removes T.{generation}", after)]


STEPS: dict[str, Callable[[Rules, State, int], Steps]] = {
    "start": _start,
    "leases": _list_leases,
    "wait": _wait,
    "rescan": _read_manifests,
    "delete": _delete,
    "write": _write,
    "remove": _remove,
}
