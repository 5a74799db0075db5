"""What a prune does: condemn what nobody refers to, then sweep what is condemned."""

from __future__ import annotations

from typing import TypeAlias

from tests.model.explore import lowest, replaced, union
from tests.model.one_register.state import (
    ABORTED,
    COMMITTED,
    UNDECIDED,
    Pruner,
    Rules,
    State,
    StepsOf,
    listed_references,
    listed_tombs,
)

__all__ = ["prune_steps"]

Steps: TypeAlias = list[tuple[str, State]]


def prune_steps(rules: Rules, state: State, index: int) -> Steps:
    """Return what the prune of an index may do next."""
    step = STEPS.get(state.pruners[index].at)
    return step(rules, state, index) if step else []


def _with_pruner(state: State, index: int, pruner: Pruner) -> State:
    return state._replace(pruners=replaced(state.pruners, index, pruner))


def _list_packs(rules: Rules, state: State, index: int) -> Steps:
    del rules
    return [(f"P{index} list packs", _with_pruner(state, index, Pruner("scan", state.packs)))]


def _scan(rules: Rules, state: State, index: int) -> Steps:
    listed = state.pruners[index].packs
    garbage = listed & ~listed_references(state)
    label = f"P{index} scan manifests, garbage={garbage:b}"
    if rules.has_tombs:
        after = Pruner("condemn", garbage) if garbage else Pruner("read tombs")
        return [(label, _with_pruner(state, index, after))]
    if not rules.spares_undecided_packs:
        after = Pruner("scan again", listed, state.listed_leases)
        return [(f"P{index} list leases", _with_pruner(state, index, after))]
    for session in range(1, rules.session_count):
        if state.decisions[session] == UNDECIDED:
            garbage &= ~(1 << session)
    label = f"P{index} scan manifests, garbage={garbage:b}"
    return [(label, _with_pruner(state, index, Pruner("delete", garbage)))]


def _scan_again(rules: Rules, state: State, index: int) -> Steps:
    del rules
    _, listed, leases, _ = state.pruners[index]
    garbage = 0 if leases else listed & ~listed_references(state)
    label = f"P{index} scan manifests, garbage={garbage:b}"
    return [(label, _with_pruner(state, index, Pruner("delete", garbage)))]


def _condemn(rules: Rules, state: State, index: int) -> Steps:
    packs = state.pruners[index].packs
    unsettled = state.unsettled
    if rules.listings_lag:
        unsettled = unsettled._replace(tombs=unsettled.tombs | 1 << index)
    changed = state._replace(tombs=replaced(state.tombs, index, packs), unsettled=unsettled)
    return [(f"P{index} put tomb {packs:b}", _with_pruner(changed, index, Pruner("read tombs")))]


def _read_tombs(rules: Rules, state: State, index: int) -> Steps:
    condemned = listed_tombs(state) | state.tombs[index]
    if not condemned:
        return [(f"P{index} nothing condemned", _with_pruner(state, index, Pruner("done")))]
    if rules.listings_lag and rules.settle_wait_count >= 1:
        after = Pruner("wait for tombs", condemned, 0, state.unsettled)
    else:
        after = Pruner("leases", condemned)
    return [(f"P{index} read tombs {condemned:b}", _with_pruner(state, index, after))]


def _is_pending(state: State, index: int) -> bool:
    pending = state.pruners[index].pending
    assert pending is not None
    return any(before & now for before, now in zip(pending, state.unsettled, strict=True))


def _wait_for_tombs(rules: Rules, state: State, index: int) -> Steps:
    if _is_pending(state, index):
        return []
    _, packs, noted, _ = state.pruners[index]
    if rules.settle_wait_count >= 2:
        after = Pruner("wait for old leases", packs, noted, state.unsettled)
        return [(f"P{index} grace #1 over", _with_pruner(state, index, after))]
    return _wait_for_old_leases(rules, state, index)


def _wait_for_old_leases(rules: Rules, state: State, index: int) -> Steps:
    del rules
    if _is_pending(state, index):
        return []
    _, packs, noted, _ = state.pruners[index]
    after = Pruner("leases", packs, noted)
    return [(f"P{index} grace over", _with_pruner(state, index, after))]


def _wait_for_manifests(rules: Rules, state: State, index: int) -> Steps:
    del rules
    if _is_pending(state, index):
        return []
    _, packs, noted, _ = state.pruners[index]
    after = Pruner("rescan", packs, noted)
    return [(f"P{index} grace #3 over", _with_pruner(state, index, after))]


def _list_leases(rules: Rules, state: State, index: int) -> Steps:
    packs = state.pruners[index].packs
    if not rules.waits_for_leases:
        after = Pruner("rescan", packs)
        return [(f"P{index} (no lease check)", _with_pruner(state, index, after))]
    if not rules.leases_before_manifests:
        after = Pruner("leases too late", packs & ~listed_references(state))
        return [(f"P{index} scans manifests first", _with_pruner(state, index, after))]
    after = Pruner("wait", packs, state.listed_leases)
    return [(f"P{index} list leases {state.listed_leases:b}", _with_pruner(state, index, after))]


def _list_leases_too_late(rules: Rules, state: State, index: int) -> Steps:
    del rules
    after = Pruner("wait too late", state.pruners[index].packs, state.listed_leases)
    return [(f"P{index} list leases {state.listed_leases:b}", _with_pruner(state, index, after))]


def _wait(rules: Rules, state: State, index: int) -> Steps:
    at, packs, leases, _ = state.pruners[index]
    undecided = [
        session
        for session in range(1, rules.session_count)
        if leases >> session & 1 and state.decisions[session] == UNDECIDED
    ]
    if not undecided:
        after = Pruner("rescan", packs, leases)
        if at == "wait too late":
            after = Pruner("delete", packs, leases)
        elif rules.listings_lag and rules.settle_wait_count >= 1:
            after = Pruner("wait for manifests", packs, leases, state.unsettled)
        return [(f"P{index} blockers decided", _with_pruner(state, index, after))]
    if not state.give_ups_left:
        return []
    return [
        (
            f"P{index} aborts session {session}",
            state._replace(
                decisions=replaced(state.decisions, session, ABORTED),
                give_ups_left=state.give_ups_left - 1,
            ),
        )
        for session in undecided
    ]


def _list_manifests(rules: Rules, state: State, index: int) -> Steps:
    _, packs, names, _ = state.pruners[index]
    for session in range(rules.session_count):
        if state.lists_manifest(session):
            names |= 1 << session
    after = _with_pruner(state, index, Pruner("get", packs, names))
    return [(f"P{index} LIST manifests {names:b}", after)]


def _get_manifests(rules: Rules, state: State, index: int) -> Steps:
    del rules
    _, packs, names, _ = state.pruners[index]
    dead = packs & ~union(
        referenced
        for session, referenced in enumerate(state.references)
        if names >> session & 1 and state.decisions[session] == COMMITTED
    )
    after = _with_pruner(state, index, Pruner("delete", dead, packs))
    return [(f"P{index} GET manifests, deletes {dead:b}", after)]


def _delete(rules: Rules, state: State, index: int) -> Steps:
    del rules
    _, packs, examined, _ = state.pruners[index]
    if not packs:
        return [(f"P{index} sweep done", _with_pruner(state, index, Pruner("tidy", 0, examined)))]
    pack = lowest(packs)
    changed = state._replace(packs=state.packs & ~pack)
    after = Pruner("delete", packs & ~pack, examined)
    return [(f"P{index} delete pack {pack:b}", _with_pruner(changed, index, after))]


def _tidy(rules: Rules, state: State, index: int) -> Steps:
    examined = state.pruners[index].noted
    if not rules.condemned_for_ever:
        kept = ~examined
    elif rules.has_unique_names:
        kept = state.packs
    else:
        kept = state.packs & ~examined
    changed = state._replace(tombs=tuple(tomb & kept for tomb in state.tombs))
    return [(f"P{index} tidy tombs", _with_pruner(changed, index, Pruner("done")))]


STEPS: dict[str, StepsOf] = {
    "list": _list_packs,
    "scan": _scan,
    "scan again": _scan_again,
    "condemn": _condemn,
    "read tombs": _read_tombs,
    "wait for tombs": _wait_for_tombs,
    "wait for old leases": _wait_for_old_leases,
    "leases": _list_leases,
    "leases too late": _list_leases_too_late,
    "wait": _wait,
    "wait too late": _wait,
    "wait for manifests": _wait_for_manifests,
    "rescan": _list_manifests,
    "get": _get_manifests,
    "delete": _delete,
    "tidy": _tidy,
}
