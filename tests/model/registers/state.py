"""State and rules of the model with several write-once registers per backup.

Backup 0 is finished and holds pack 1; backup 1 is being made. Process i writes pack 2 << i. A
*place* is a register's number over all backups: backup × REGISTER_COUNT + n. A register above 0
holds MANIFEST: the set of packs it refers to.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import NamedTuple, TypeAlias

from tests.model.explore import replaced, union

__all__ = [
    "ABORTED",
    "DELETED",
    "EMPTY",
    "REGISTER_COUNT",
    "Adopt",
    "Clean",
    "Process",
    "Pruner",
    "Registers",
    "Rules",
    "State",
    "Vacate",
    "content",
    "describe",
    "live_packs",
    "put",
    "state_of",
    "top_of",
]

EMPTY, ABORTED, DELETED = 0, -1, -2
REGISTER_COUNT = 4

Registers: TypeAlias = tuple[int, ...]


class Vacate(Enum):
    """Which registers a janitor removes."""

    NONE = auto()
    SUPERSEDED = auto()
    ALL = auto()


class Adopt(Enum):
    """Whether a retry reuses packs of an aborted session that it finds by listing."""

    NONE = auto()
    UNCONDEMNED = auto()
    ALL = auto()


class Clean(Enum):
    """What a process that stops does with its packs."""

    NOTHING = auto()
    DELETES = auto()
    ABORTS_FIRST = auto()


@dataclass(frozen=True, slots=True)
class Rules:
    """Bounds of the search and the rules in force; the defaults are the protocol.

    roles: W first attempt, T resumer of W's session, R retry, C compaction, D deleter.
    late_commit_count: register PUTs that the network delays or repeats. late_pack_count: pack PUTs
    that it repeats after everything else.
    """

    roles: str = "WD"
    pruner_count: int = 1
    delete_count: int = 2
    give_up_count: int = 1
    late_commit_count: int = 0
    late_pack_count: int = 0
    aborted_is_void: bool = True
    decides_first: bool = True
    vacate: Vacate = Vacate.NONE
    adopt: Adopt = Adopt.NONE
    resume_looks: bool = True
    clean: Clean = Clean.NOTHING
    won_stays: bool = True

    def session_of(self, process: int) -> int:
        """Return the session a process works for; a resumer works for the first one."""
        return 0 if self.roles[process] == "T" else process

    def packs_of(self, session: int) -> int:
        """Return every pack that the processes of a session may write."""
        return union(
            2 << process
            for process, role in enumerate(self.roles)
            if role != "D" and self.session_of(process) == session
        )


class Process(NamedTuple):
    """Where a process stands, the place it will decide, what it will refer to, what it has seen.

    A deleter keeps what it will put in `known`.
    """

    at: str
    place: int = 0
    known: int = 0
    seen: int = 0


class Pruner(NamedTuple):
    """Where a prune stands, the packs it works on, and the places or tops it has noted."""

    at: str
    packs: int = 0
    noted: tuple[int, ...] = ()


class State(NamedTuple):
    """The store, the processes and what may still happen.

    leases: 0 or 1 + the place a session's lease names. in_flight: the place and packs of a commit
    still under way. wrong: the property that the last step broke.
    """

    packs: int
    backups: tuple[Registers, ...]
    leases: tuple[int, ...]
    tombs: tuple[int, ...]
    processes: tuple[Process, ...]
    pruners: tuple[Pruner, ...]
    deletes_left: int
    give_ups_left: int
    late_commits_left: int
    late_packs_left: int
    in_flight: tuple[int, int] | None
    wrong: str = ""

    def with_process(self, index: int, process: Process) -> State:
        """Return the state with a process elsewhere."""
        return self._replace(processes=replaced(self.processes, index, process))


def top_of(registers: Registers) -> int:
    """Return the number of the highest register that is decided, -1 when none is."""
    for number in range(REGISTER_COUNT - 1, -1, -1):
        if registers[number] != EMPTY:
            return number
    return -1


def state_of(rules: Rules, registers: Registers) -> int:
    """Return what a backup is: its highest register that is not ABORTED."""
    for value in reversed(registers):
        if value != EMPTY and not (value == ABORTED and rules.aborted_is_void):
            return value
    return ABORTED if registers[0] == ABORTED else EMPTY


def live_packs(rules: Rules, state: State) -> int:
    """Return the packs of every backup whose state is MANIFEST."""
    return union(max(0, state_of(rules, registers)) for registers in state.backups)


def content(state: State, place: int) -> int:
    """Return what the register at a place holds."""
    return state.backups[place // REGISTER_COUNT][place % REGISTER_COUNT]


def put(
    rules: Rules,
    state: State,
    place: int,
    value: int,
    *,
    compacts: bool = False,
    late: bool = False,
) -> State:
    """Put a value into a register if it is empty, noting the property this breaks."""
    backup, number = divmod(place, REGISTER_COUNT)
    registers = state.backups[backup]
    if registers[number] != EMPTY:
        return state._replace(wrong="")
    changed = replaced(registers, number, value)
    before, after = state_of(rules, registers), state_of(rules, changed)
    wrong = ""
    if before == DELETED != after:
        wrong = "a DELETED backup came back"
    elif value > 0 and after != value and not late:
        wrong = "WON, but is not the state of the backup"
    elif before > 0 and after != before and not (value == DELETED or compacts):
        wrong = "a committed backup is lost"
    return state._replace(backups=replaced(state.backups, backup, changed), wrong=wrong)


def describe(value: int) -> str:
    """Return a register's content in words."""
    words = {EMPTY: "empty", ABORTED: "ABORTED", DELETED: "DELETED"}
    return words.get(value) or f"MANIFEST {value:b}"
