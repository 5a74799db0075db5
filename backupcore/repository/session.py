"""Sessions: one attempt at work, from its lease to the register it decides.

Order is everything (docs/design/prune-protocol.md): lease, then tombs, then manifests; packs,
then the register; the register, then the lease goes. No clock and no lock is trusted; time only
says when to renew.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Mapping
from typing import Any

from backupcore.driver import Driver, Role
from backupcore.errors import (
    AccessDenied,
    Damaged,
    ObjectExists,
    ObjectMissing,
    ReadOnly,
    SessionFenced,
    StoreError,
    StoreFull,
    Unavailable,
    Unsupported,
)
from backupcore.model import PackId
from backupcore.repository.control import Lease, SessionKind, Tomb
from backupcore.repository.key import LeaseName, RegisterName, TombName
from backupcore.repository.manifest import Register, State
from backupcore.repository.register import Registers
from backupcore.runtime import Process, Runtime

__all__ = ["Session", "condemn", "find_abandoned", "read_tombs"]

log = logging.getLogger(__name__)

RENEW_EVERY_S = 60.0
_ATTEMPTS = 5  # of one put of a lease while the store comes and goes
_PAUSE_S = 1.0
_TAKES_NO_LEASE = (ReadOnly, AccessDenied, StoreFull)
_NOBODY = Process("", "", 0, "")


class Session:
    """A running session; owned by one thread.

    condemned: keys of packs that must not be referenced anew, as the tombs read after the lease
    name them. writer_id: names the packs of this process's part in it.
    """

    def __init__(
        self, driver: Driver, registers: Registers, runtime: Runtime, lease: Lease
    ) -> None:
        self._driver = driver
        self._registers = registers
        self._runtime = runtime
        self._lease = lease
        self._renewed_s = runtime.clock.monotonic()
        self._is_leased = True
        self.writer_id = runtime.new_id()
        self.condemned: frozenset[PackId] = frozenset()

    @classmethod
    def open(
        cls,
        driver: Driver,
        registers: Registers,
        runtime: Runtime,
        *,
        kind: SessionKind,
        register: RegisterName | None,
        domain_id: str,
        chunk_size_bytes: int = 0,
    ) -> Session:
        """Put the lease of a new session, then read the tombs.

        A session that decides no register (a restore) works without a lease on a store that takes
        none. It references nothing anew, so tombs are nothing to it, damaged ones neither.
        """
        lease = Lease(
            runtime.new_id(), 0, kind, register, domain_id, chunk_size_bytes, runtime.process,
            runtime.clock.now(),
        )  # fmt: skip
        session = cls(driver, registers, runtime, lease)
        try:
            session._put_lease(lease)
        except _TAKES_NO_LEASE:
            if register is not None:
                raise
            session._is_leased = False
        if register is not None:
            session.condemned = read_tombs(driver)
        return session

    @classmethod
    def resume(
        cls, driver: Driver, registers: Registers, runtime: Runtime, abandoned: Lease
    ) -> Session:
        """Go on with a session whose register is empty, under a writer id of one's own."""
        session = cls(driver, registers, runtime, abandoned)
        session._renew(runtime.process)
        session.condemned = read_tombs(driver)
        return session

    @property
    def id(self) -> str:
        """The session id, in the names of all its packs."""
        return self._lease.session_id

    @property
    def register(self) -> RegisterName:
        """The register it will decide."""
        if self._lease.register is None:
            raise AssertionError("this session decides no register")
        return self._lease.register

    def keep_alive(self) -> None:
        """Renew the lease when it is time; call it whenever there is progress.

        Raises: SessionFenced when somebody has decided the register.
        """
        if self._runtime.clock.monotonic() - self._renewed_s < RENEW_EVERY_S or not self._is_leased:
            return
        if self._lease.register is not None:
            found = self._registers.read(self._lease.register)
            if found is not None:
                self._drop_lease()
                raise SessionFenced(_fenced(found))
        try:
            self._renew(self._runtime.process)
        except _TAKES_NO_LEASE as error:
            if self._lease.register is not None:
                raise
            self._renewed_s = self._runtime.clock.monotonic()
            log.warning("lease not renewed", extra={"session": self.id, "error": str(error)})

    def commit(self, facts: Mapping[str, Any]) -> Register:
        """Put the manifest; return it once it stands. All packs are durable by now.

        When another process of this same session was first, its manifest is returned.
        Raises: SessionFenced when the register was decided otherwise.
        """
        _, found = self._registers.put(self.register, State.MANIFEST, self.id, facts)
        self._drop_lease()
        if found.state is State.MANIFEST and found.decision.session_id == self.id:
            return found
        raise SessionFenced(_fenced(found))

    def pause(self) -> None:
        """Leave the session to whoever will resume it; nothing is deleted."""
        if not self._is_leased:
            return
        if self._lease.register is None:
            self._drop_lease()
            return
        try:
            self._renew(_NOBODY, is_patient=False)
        except StoreError as error:
            log.warning("session not handed over", extra={"session": self.id, "error": str(error)})

    def close(self) -> None:
        """End a session that decides no register."""
        if self._lease.register is not None:
            raise AssertionError("a session that decides a register ends by commit or pause")
        self._drop_lease()

    def _put_lease(self, lease: Lease, *, is_patient: bool = True) -> None:
        """Put a lease's name; one that is there already is our own first try or a twin's."""
        attempts = _ATTEMPTS if is_patient else 2
        for attempt in range(attempts):
            try:
                self._driver.put(lease.name.key, lease.seal(), if_absent=True, role=Role.CONTROL)
            except ObjectExists:
                return
            except Unavailable:
                if attempt == attempts - 1:
                    raise
                if is_patient:
                    self._await_store()
                continue
            return

    def _await_store(self) -> None:
        """Wait for the store to answer, as long as the driver is patient with other calls."""
        self._runtime.clock.sleep(_PAUSE_S)
        next(iter(self._driver.list(f"sessions/{self.id}/")), None)

    def _renew(self, process: Process, *, is_patient: bool = True) -> None:
        """Put the next counter, then remove lower ones; the new name is visible before."""
        old = self._lease
        lease = Lease(
            old.session_id, old.counter + 1, old.kind, old.register, old.domain_id,
            old.chunk_size_bytes, process, self._runtime.clock.now(),
        )  # fmt: skip
        self._put_lease(lease, is_patient=is_patient)
        self._lease = lease
        self._renewed_s = self._runtime.clock.monotonic()
        self._driver.delete([old.name.key])

    def _drop_lease(self) -> None:
        """Remove the lease; its register is decided, or it names none."""
        if not self._is_leased:
            return
        self._is_leased = False
        with contextlib.suppress(StoreError):  # anybody may remove it later
            remove_lease(self._driver, self.id)


def remove_lease(driver: Driver, session_id: str) -> None:
    """Remove every counter of a session whose register is decided."""
    driver.delete([info.key for info in driver.list(f"sessions/{session_id}/")])


def read_tombs(driver: Driver) -> frozenset[PackId]:
    """Return the keys of all condemned packs; a tomb gone between LIST and GET: list again."""
    while True:
        names = [info.key for info in driver.list("tombs/") if TombName.parse(info.key)]
        try:
            tombs = [Tomb.open(driver.get(key), key) for key in names]
        except ObjectMissing:
            continue
        return frozenset[PackId]().union(*(tomb.packs for tomb in tombs))


def condemn(driver: Driver, runtime: Runtime, packs: Iterable[PackId]) -> Tomb:
    """Put a tomb that names packs: from now on no session references them anew."""
    tomb = Tomb(runtime.new_id(), 0, frozenset(packs))
    driver.put(tomb.name.key, tomb.seal(), role=Role.CONTROL)
    return tomb


def find_abandoned(
    driver: Driver, registers: Registers, kind: SessionKind, volume_tag: str
) -> list[Lease]:
    """Return sessions of a volume that nobody works at and whose register is empty, newest first.

    Leases whose register is decided are removed on the way.
    """
    newest: dict[str, LeaseName] = {}
    for info in driver.list("sessions/"):
        name = LeaseName.parse(info.key)
        if name and (
            name.session_id not in newest or name.counter > newest[name.session_id].counter
        ):
            newest[name.session_id] = name
    found = []
    for name in newest.values():
        try:
            lease = Lease.open(driver.get(name.key), name.key)
            if lease.register is None or lease.register.volume_tag != volume_tag:
                continue
            if registers.read(lease.register) is not None:
                remove_lease(driver, lease.session_id)
            elif lease.kind is kind and (lease.process == _NOBODY or lease.process.is_gone()):
                found.append(lease)
        except ObjectMissing:
            continue  # renewed meanwhile: somebody works at it
        except (Damaged, Unsupported) as error:
            log.warning("session not resumed", extra={"lease": name.key, "error": str(error)})
    return sorted(found, key=lambda lease: lease.at, reverse=True)


def _fenced(found: Register) -> str:
    name = found.decision.name
    return (
        f"backup {name.backup_id}: register {name.number} was decided as {found.state.value} by "
        f"another session while this one ran: start it again"
    )
