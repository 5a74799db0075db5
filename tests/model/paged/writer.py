"""What the writer does: a session whose listing of tombs sees one name a step."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from tests.model.explore import lowest, replaced
from tests.model.paged.state import (
    ABSENT,
    COMMITTED,
    PACK_A,
    PACK_W,
    TOMB_COUNT,
    Renewal,
    Rules,
    State,
    Writer,
    live_packs,
)

__all__ = ["renewal_steps", "writer_steps"]

Steps: TypeAlias = list[tuple[str, State]]


def writer_steps(rules: Rules, state: State) -> Steps:
    """Return what the writer may do next, its renewals aside."""
    step = STEPS.get(state.writer.at)
    return step(rules, state) if step else []


def _put_lease(rules: Rules, state: State) -> Steps:
    del rules
    return [("W put lease /0", state._replace(leases=1, writer=Writer("list")))]


def _list_tombs(rules: Rules, state: State) -> Steps:
    _, position, names, seen, _ = state.writer
    if position == TOMB_COUNT:
        listed = [f"T.{number}" for number in range(TOMB_COUNT) if names >> number & 1]
        after = state._replace(writer=Writer("get", 0, names, seen))
        return [(f"W tombs listed: {listed}", after)]
    generation = rules.tomb_order[position]
    is_there = state.tombs[generation] != ABSENT
    after = state._replace(
        writer=Writer("list", position + 1, names | is_there << generation, seen)
    )
    return [(f"W LIST passes T.{generation}: {'there' if is_there else 'absent'}", after)]


def _get_tombs(rules: Rules, state: State) -> Steps:
    _, _, names, seen, _ = state.writer
    if not names:
        return [(f"W has read tombs {seen:b}", state._replace(writer=Writer("base", seen=seen)))]
    name = lowest(names)
    generation = name.bit_length() - 1
    tomb = state.tombs[generation]
    if tomb != ABSENT:
        label, writer = f"W GET T.{generation}", Writer("get", 0, names & ~name, seen | tomb)
    elif rules.lists_again_when_gone:
        label, writer = f"W GET T.{generation}: 404, lists again", Writer("list", seen=seen)
    else:
        label = f"W GET T.{generation}: 404, ignored"
        writer = Writer("get", 0, names & ~name, seen)
    return [(label, state._replace(writer=writer))]


def _plan(rules: Rules, state: State) -> Steps:
    del rules
    allowed = live_packs(state) & ~state.writer.seen
    return [
        (f"W inherits packs {packs:b}", state._replace(writer=Writer("upload", known=packs)))
        for packs in sorted({0, allowed, PACK_A & allowed})
    ]


def _upload(rules: Rules, state: State) -> Steps:
    del rules
    writer = Writer("commit", known=state.writer.known | PACK_W)
    after = state._replace(packs=state.packs | PACK_W, writer=writer)
    return [(f"W upload pack {PACK_W:b}", after)]


def _commit(rules: Rules, state: State) -> Steps:
    del rules
    known = state.writer.known
    after = state._replace(
        decisions=replaced(state.decisions, 2, COMMITTED),
        writer_references=known,
        writer=Writer("unlease"),
    )
    return [(f"W commit refs={known:b}", after)]


def _remove_lease(rules: Rules, state: State) -> Steps:
    del rules
    return [("W delete lease", state._replace(leases=0, writer=Writer("done")))]


def renewal_steps(rules: Rules, state: State) -> Steps:
    """Return the next half of a renewal: the new counter put, or the old one removed."""
    if state.writer.at in ("lease", "unlease", "done"):
        return []
    counter, is_half_done = state.renewal
    if not is_half_done and counter == rules.renewal_count:
        return []
    after = Renewal(counter + 1, 0) if is_half_done else Renewal(counter, 1)
    if bool(is_half_done) != rules.new_lease_first:
        leases = state.leases | 2 << counter
        return [(f"W put lease /{counter + 1}", state._replace(leases=leases, renewal=after))]
    leases = state.leases & ~(1 << counter)
    return [(f"W removes lease /{counter}", state._replace(leases=leases, renewal=after))]


STEPS: dict[str, Callable[[Rules, State], Steps]] = {
    "lease": _put_lease,
    "list": _list_tombs,
    "get": _get_tombs,
    "base": _plan,
    "upload": _upload,
    "commit": _commit,
    "unlease": _remove_lease,
}
