"""What a prune does when a backup has several registers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from tests.model.explore import lowest, replaced, union
from tests.model.registers.state import (
    ABORTED,
    EMPTY,
    REGISTER_COUNT,
    Pruner,
    Rules,
    State,
    content,
    live_packs,
    put,
    state_of,
    top_of,
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
    garbage = state.pruners[index].packs & ~live_packs(rules, state)
    after = Pruner("condemn" if garbage else "read tombs", garbage)
    label = f"P{index} scan manifests, garbage={garbage:b}"
    return [(label, _with_pruner(state, index, after))]


def _condemn(rules: Rules, state: State, index: int) -> Steps:
    del rules
    packs = state.pruners[index].packs
    changed = state._replace(tombs=replaced(state.tombs, index, packs))
    return [(f"P{index} put tomb {packs:b}", _with_pruner(changed, index, Pruner("read tombs")))]


def _read_tombs(rules: Rules, state: State, index: int) -> Steps:
    del rules
    condemned = union(state.tombs)
    after = Pruner("leases", condemned) if condemned else Pruner("done")
    return [(f"P{index} read tombs {condemned:b}", _with_pruner(state, index, after))]


def _list_leases(rules: Rules, state: State, index: int) -> Steps:
    del rules
    places = tuple(sorted({lease - 1 for lease in state.leases if lease}))
    names = [_name(place) for place in places]
    after = Pruner("wait", state.pruners[index].packs, places)
    return [(f"P{index} list leases {names}", _with_pruner(state, index, after))]


def _wait(rules: Rules, state: State, index: int) -> Steps:
    _, packs, places = state.pruners[index]
    undecided = [place for place in places if content(state, place) == EMPTY]
    if not undecided:
        tops = tuple(top_of(registers) for registers in state.backups)
        after = _with_pruner(state, index, Pruner("get", packs, tops))
        return [(f"P{index} blockers decided; LIST registers, tops {tops}", after)]
    if not state.give_ups_left:
        return []
    left = state.give_ups_left - 1
    return [
        (
            f"P{index} puts ABORTED at backup {_name(place, ' /')}",
            put(rules, state, place, ABORTED)._replace(give_ups_left=left),
        )
        for place in undecided
    ]


def _name(place: int, between: str = "/") -> str:
    return f"{place // REGISTER_COUNT}{between}{place % REGISTER_COUNT}"


def _get_manifests(rules: Rules, state: State, index: int) -> Steps:
    """GET from the listed top of each backup down; a listed register that is gone: LIST again."""
    _, packs, tops = state.pruners[index]
    referenced = 0
    for registers, top in zip(state.backups, tops, strict=True):
        if top >= 0 and registers[top] == EMPTY:
            after = _with_pruner(state, index, Pruner("wait", packs))
            return [(f"P{index} GET 404, lists again", after)]
        listed = registers[: top + 1] + (EMPTY,) * (REGISTER_COUNT - top - 1)
        referenced |= max(0, state_of(rules, listed))
    dead = packs & ~referenced
    after = _with_pruner(state, index, Pruner("delete", dead))
    return [(f"P{index} GET manifests, deletes {dead:b}", after)]


def _delete(rules: Rules, state: State, index: int) -> Steps:
    del rules
    packs = state.pruners[index].packs
    if not packs:
        kept = state._replace(tombs=tuple(tomb & state.packs for tomb in state.tombs))
        return [(f"P{index} tidy tombs", _with_pruner(kept, index, Pruner("done")))]
    pack = lowest(packs)
    changed = state._replace(packs=state.packs & ~pack)
    after = _with_pruner(changed, index, Pruner("delete", packs & ~pack))
    return [(f"P{index} delete pack {pack:b}", after)]


STEPS: dict[str, Callable[[Rules, State, int], Steps]] = {
    "list": _list_packs,
    "scan": _scan,
    "condemn": _condemn,
    "read tombs": _read_tombs,
    "leases": _list_leases,
    "wait": _wait,
    "get": _get_manifests,
    "delete": _delete,
}
