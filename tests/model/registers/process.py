"""What attempts, resumers, retries, compactions and deleters do, one step at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from tests.model.explore import lowest, replaced, union
from tests.model.registers.state import (
    ABORTED,
    DELETED,
    EMPTY,
    REGISTER_COUNT,
    Adopt,
    Clean,
    Process,
    Rules,
    State,
    content,
    describe,
    live_packs,
    put,
    state_of,
    top_of,
)

__all__ = ["START", "process_steps"]

Steps: TypeAlias = list[tuple[str, State]]

START = {
    "W": Process("lease", REGISTER_COUNT),
    "T": Process("resume"),
    "R": Process("retry"),
    "C": Process("choose"),
    "D": Process("read to delete"),
}


def process_steps(rules: Rules, state: State, index: int) -> Steps:
    """Return what the process of an index may do next."""
    step = STEPS.get(state.processes[index].at)
    return step(rules, state, index) if step else []


def _resume(rules: Rules, state: State, index: int) -> Steps:
    session = rules.session_of(index)
    lease = state.leases[session]
    if not lease:
        return []
    is_open = content(state, lease - 1) == EMPTY
    if rules.resume_looks and not is_open:
        return []
    label = f"T{index} resumes session {session}, register {'empty' if is_open else 'DECIDED'}"
    return [(label, state.with_process(index, Process("tombs", lease - 1)))]


def _retry(rules: Rules, state: State, index: int) -> Steps:
    registers = state.backups[1]
    top, now = top_of(registers), state_of(rules, registers)
    if now > 0 or now == DELETED:
        done = state.with_process(index, Process("done"))
        return [(f"R{index} reads registers: nothing to do", done)]
    steps: Steps = []
    if 0 <= top < REGISTER_COUNT - 1:
        after = Process("lease", REGISTER_COUNT + top + 1)
        label = f"R{index} has read ABORTED at /{top}, takes /{top + 1}"
        steps.append((label, state.with_process(index, after)))
    if top + 2 < REGISTER_COUNT:
        if rules.decides_first:
            after = Process("decide", REGISTER_COUNT + top + 1)
            label = f"R{index} gives up on whoever uses /{top + 1}"
        else:
            after = Process("lease", REGISTER_COUNT + top + 2)
            label = f"R{index} takes /{top + 2} while /{top + 1} is empty"
        steps.append((label, state.with_process(index, after)))
    return steps


def _decide(rules: Rules, state: State, index: int) -> Steps:
    place = state.processes[index].place
    changed = put(rules, state, place, ABORTED)
    found = content(changed, place)
    after = Process("lease", place + 1) if found == ABORTED else Process("done")
    label = f"R{index} puts ABORTED at /{place % REGISTER_COUNT}: it is {describe(found)}"
    return [(label, changed.with_process(index, after))]


def _choose(rules: Rules, state: State, index: int) -> Steps:
    steps: Steps = []
    for backup, registers in enumerate(state.backups):
        packs, number = state_of(rules, registers), top_of(registers) + 1
        if packs > 0 and number < REGISTER_COUNT:
            after = Process("lease", backup * REGISTER_COUNT + number, packs)
            label = f"C{index} reads MANIFEST of backup {backup}, will write /{number}"
            steps.append((label, state.with_process(index, after)))
    return steps


def _read_to_delete(rules: Rules, state: State, index: int) -> Steps:
    if not state.deletes_left:
        return []
    steps: Steps = []
    for backup, registers in enumerate(state.backups):
        top = top_of(registers)
        if state_of(rules, registers) != DELETED and top + 1 < REGISTER_COUNT:
            value = ABORTED if top < 0 else DELETED
            after = Process("put to delete", backup * REGISTER_COUNT + top + 1, value)
            label = f"D{index} reads backup {backup}: top is /{top}, will put {describe(value)}"
            steps.append((label, state.with_process(index, after)))
    return steps


def _put_to_delete(rules: Rules, state: State, index: int) -> Steps:
    _, place, value, _ = state.processes[index]
    changed = put(rules, state, place, value)
    found = content(changed, place)
    changed = changed._replace(deletes_left=state.deletes_left - (found == DELETED))
    backup, number = divmod(place, REGISTER_COUNT)
    label = f"D{index} puts {describe(value)} at backup {backup} /{number}: it is {describe(found)}"
    return [(label, changed.with_process(index, Process("read to delete")))]


def _put_lease(rules: Rules, state: State, index: int) -> Steps:
    _, place, known, _ = state.processes[index]
    leases = replaced(state.leases, rules.session_of(index), place + 1)
    after = state._replace(leases=leases).with_process(index, Process("tombs", place, known))
    backup, number = divmod(place, REGISTER_COUNT)
    return [(f"{rules.roles[index]}{index} put lease for backup {backup} /{number}", after)]


def _read_tombs(rules: Rules, state: State, index: int) -> Steps:
    _, place, known, _ = state.processes[index]
    condemned = union(state.tombs)
    after = state.with_process(index, Process("base", place, known, condemned))
    return [(f"{rules.roles[index]}{index} read tombs {condemned:b}", after)]


def _plan(rules: Rules, state: State, index: int) -> Steps:
    _, place, known, seen = state.processes[index]
    role = rules.roles[index]
    if role == "C":
        kept = known & ~seen
        return [
            (
                f"C{index} keeps packs {kept & ~dropped:b}",
                state.with_process(index, Process("upload", place, kept & ~dropped)),
            )
            for dropped in sorted({0, lowest(kept)})
        ]
    lists_packs = role == "T" or (role == "R" and rules.adopt is not Adopt.NONE)
    after = Process("footers", place, 0, seen) if lists_packs else Process("upload", place)
    return [
        (
            f"{role}{index} inherits packs {packs:b}",
            state.with_process(index, after._replace(known=packs)),
        )
        for packs in sorted({0, live_packs(rules, state) & ~seen})
    ]


def _read_footers(rules: Rules, state: State, index: int) -> Steps:
    _, place, known, seen = state.processes[index]
    role = rules.roles[index]
    found = state.packs & rules.packs_of(0)
    # A resumer keeps even condemned ones: its lease is older than any tomb that can name them.
    if role == "R" and rules.adopt is Adopt.UNCONDEMNED:
        found &= ~seen
    after = state.with_process(index, Process("upload", place, known | found))
    return [(f"{role}{index} lists session 0, reuses packs {found:b}", after)]


def _upload(rules: Rules, state: State, index: int) -> Steps:
    _, place, known, _ = state.processes[index]
    pack = 2 << index
    changed = state._replace(packs=state.packs | pack)
    after = changed.with_process(index, Process("commit", place, known | pack))
    return [(f"{rules.roles[index]}{index} upload pack {pack:b}", after)]


def _commit(rules: Rules, state: State, index: int) -> Steps:
    _, place, known, _ = state.processes[index]
    role = rules.roles[index]
    backup, number = divmod(place, REGISTER_COUNT)
    steps = _stop(rules, state, index) if role in "WT" else []
    changed = put(rules, state, place, known, compacts=role == "C")
    found = content(changed, place)
    now = state_of(rules, changed.backups[backup])
    # Read back and equal to its own: it takes the commit for won.
    if found == known and now not in (known, DELETED) and "C" not in rules.roles:
        changed = changed._replace(wrong="WON, but is not the state of the backup")
    changed = changed.with_process(index, Process("done", place))
    what = f"{role}{index} commit at backup {backup} /{number} refs={known:b}"
    steps.append((f"{what}: it is {describe(found)}", changed))
    if state.late_commits_left and state.in_flight is None and role != "C":
        copied = f"{what}: it is {describe(found)}; a copy is under way"
        steps.append((copied, _in_flight(changed, place, known)))
        steps.append((f"{what} is delayed", _in_flight(state, place, known)))
    return steps


def _in_flight(state: State, place: int, known: int) -> State:
    left = state.late_commits_left - 1
    return state._replace(late_commits_left=left, in_flight=(place, known))


def _stop(rules: Rules, state: State, index: int) -> Steps:
    """Return how a process that tidies up stops before its commit."""
    place = state.processes[index].place
    role = rules.roles[index]
    done = Process("done", place)
    if rules.clean is Clean.DELETES:
        cleaned = state._replace(packs=state.packs & ~(2 << index))
        return [
            (f"{role}{index} stops and deletes its own pack", cleaned.with_process(index, done))
        ]
    if rules.clean is Clean.ABORTS_FIRST:
        has_won = content(state, place) == EMPTY
        changed = put(rules, state, place, ABORTED)
        after = Process("clean", place) if has_won else done
        number = place % REGISTER_COUNT
        label = f"{role}{index} stops: ABORTED at /{number} {'WON' if has_won else 'LOST'}"
        return [(label, changed.with_process(index, after))]
    return []


def _clean(rules: Rules, state: State, index: int) -> Steps:
    own = rules.packs_of(rules.session_of(index))
    cleaned = state._replace(packs=state.packs & ~own)
    after = cleaned.with_process(index, Process("done", state.processes[index].place))
    return [(f"{rules.roles[index]}{index} deletes the packs of its aborted session", after)]


STEPS: dict[str, Callable[[Rules, State, int], Steps]] = {
    "resume": _resume,
    "retry": _retry,
    "decide": _decide,
    "choose": _choose,
    "read to delete": _read_to_delete,
    "put to delete": _put_to_delete,
    "lease": _put_lease,
    "tombs": _read_tombs,
    "base": _plan,
    "footers": _read_footers,
    "upload": _upload,
    "commit": _commit,
    "clean": _clean,
}
