"""A prune written from the ten rules of docs/design/prune-protocol.md, to run beside sessions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from backupcore.driver import Driver, Role
from backupcore.errors import MapDamaged, ObjectExists, ObjectMissing
from backupcore.model import PackId
from backupcore.operation.retrieve.survey import Survey
from backupcore.repository import Repository
from backupcore.repository.control import Lease, Tomb
from backupcore.repository.key import DATA, MAP, LeaseName, TombName, pack_id
from backupcore.repository.manifest import State
from backupcore.repository.session import condemn, remove_lease


@dataclass(frozen=True)
class Habits:
    """Which rules a prune keeps; a broken one leaves something out.

    patience: how many times it looks at an undecided register before it gives up on a session.
    """

    waits_for_sessions: bool = True
    looks_again: bool = True
    decides_registers: bool = True
    patience: int = 30


def condemn_unreferenced(repository: Repository) -> set[PackId]:
    """Put what no backup refers to into a tomb: first packs are listed, then registers read."""
    packs = _packs(repository.driver)
    dead = packs - referenced_packs(repository)
    if dead:
        condemn(repository.driver, repository.runtime, dead)
    return dead


def sweep(repository: Repository, swept: Callable[[], None], habits: Habits) -> None:
    """Delete what tombs name and nothing refers to; delete nothing when anything is unreadable."""
    for tomb in _tombs(repository.driver):
        if habits.waits_for_sessions:
            _wait_for_sessions(repository, habits)
        used = referenced_packs(repository) if habits.looks_again else set[PackId]()
        repository.driver.delete(sorted(tomb.packs - used))
        swept()
        left = tomb.packs & _packs(repository.driver)
        if left and left != tomb.packs:
            _replace(repository.driver, tomb, left)
        if left != tomb.packs:
            repository.driver.delete([tomb.name.key])


def referenced_packs(repository: Repository) -> set[PackId]:
    """Return every pack that a backup refers to. Raises: Damaged."""
    found = set[PackId]()

    def lost(error: MapDamaged, offset: int, length: int) -> None:
        raise error

    for history in repository.registers.histories():
        manifest = repository.registers.manifest(history)
        if manifest is None:
            continue
        done = manifest.backup
        tree = repository.tree(manifest)
        survey = Survey(tree, done.grid.chunk_size_bytes, done.size_bytes, lost)
        for item in survey.items(wants_leaf=lambda row: True):
            found.add(pack_id(MAP, bytes(item.row["pack"])))
            packs = item.leaf.live().packs.tolist() if item.leaf else []
            found.update(pack_id(DATA, pack) for pack in packs)
    return found


def _wait_for_sessions(repository: Repository, habits: Habits) -> None:
    """Return once the register of every session that there is now is decided."""
    names = [LeaseName.parse(info.key) for info in repository.driver.list("sessions/")]
    for session_id in sorted({name.session_id for name in names if name}):
        looks = 0
        while not _is_over(repository, session_id, habits, is_last=looks >= habits.patience):
            looks += 1


def _is_over(repository: Repository, session_id: str, habits: Habits, *, is_last: bool) -> bool:
    """Return whether a session can commit nothing any more; at the last look, see to it."""
    driver = repository.driver
    lease = _lease(driver, session_id)
    if lease is None:
        return True
    if lease.register is not None:
        if is_last and habits.decides_registers:
            repository.registers.put(lease.register, State.ABORTED, "f" * 32, {})
        is_last = is_last or repository.registers.read(lease.register) is not None
    if is_last:
        remove_lease(driver, session_id)
    return is_last


def _lease(driver: Driver, session_id: str) -> Lease | None:
    """Return the newest lease of a session, None when it has none any more."""
    while True:
        keys = sorted(info.key for info in driver.list(f"sessions/{session_id}/"))
        if not keys:
            return None
        try:
            return Lease.open(driver.get(keys[-1]), keys[-1])
        except ObjectMissing:
            continue


def _tombs(driver: Driver) -> list[Tomb]:
    found = []
    for info in driver.list("tombs/"):
        try:
            if TombName.parse(info.key):
                found.append(Tomb.open(driver.get(info.key), info.key))
        except ObjectMissing:
            continue  # somebody else is done with it
    return found


def _replace(driver: Driver, tomb: Tomb, left: frozenset[PackId]) -> None:
    """Put a smaller tomb; whoever was first with it is as good."""
    smaller = Tomb(tomb.tomb_id, tomb.generation + 1, left)
    try:
        driver.put(smaller.name.key, smaller.seal(), if_absent=True, role=Role.CONTROL)
    except ObjectExists:
        return


def _packs(driver: Driver) -> set[PackId]:
    folders = (DATA.folder, MAP.folder)
    return {PackId(info.key) for folder in folders for info in driver.list(f"{folder}/")}
