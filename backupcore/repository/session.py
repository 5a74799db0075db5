"""Sessions: one attempt at work, from its lease to the register it decides.

Order is everything (docs/design/prune-protocol.md): lease, then tombs, then manifests; packs,
then the register; the register, then the lease goes. No clock and no lock is trusted; time only
says when to renew.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from backupcore.driver import Driver, Role
from backupcore.errors import (
    AccessDenied,
    BackupError,
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
from backupcore.repository.control import NOBODY, Lease, SessionKind, Tomb
from backupcore.repository.key import LeaseName, RegisterName, TombName
from backupcore.repository.manifest import Register, State
from backupcore.repository.reading import get_opened
from backupcore.repository.register import Registers
from backupcore.runtime import Clock, Process, Runtime

__all__ = ["Session", "condemn", "find_leases", "find_undecided", "read_tombs"]

log = logging.getLogger(__name__)

RENEW_EVERY_S = 60.0
_LISTINGS_MAX = 60
_ATTEMPTS = 5  # of one put of a lease while the store comes and goes
_PAUSE_S = 1.0
_TAKES_NO_LEASE = (ReadOnly, AccessDenied, StoreFull)


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
            session._read_tombs()
        return session

    @classmethod
    def resume(
        cls, driver: Driver, registers: Registers, runtime: Runtime, abandoned: Lease
    ) -> Session | None:
        """Go on with a session whose register is empty, under a writer id of one's own.

        Returns None when another process was faster to take it up.
        """
        session = cls(driver, registers, runtime, abandoned)
        try:
            session._renew(runtime.process)
        except SessionFenced:
            return None
        session._read_tombs()
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

        Raises: SessionFenced when somebody has decided the register or taken the session over.
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

        Raises: SessionFenced when somebody else decided the register; Unavailable when the store
        stays away: the manifest may stand all the same.
        """
        is_mine, found = self._registers.put(self.register, State.MANIFEST, self.id, facts)
        self._drop_lease()
        if not is_mine:
            raise SessionFenced(_fenced(found))
        return found

    def pause(self) -> None:
        """Leave the session to whoever will resume it; nothing is deleted."""
        if not self._is_leased:
            return
        if self._lease.register is None:
            self._drop_lease()
            return
        try:
            self._renew(NOBODY, is_patient=False)
        except BackupError as error:
            log.warning("session not handed over", extra={"session": self.id, "error": str(error)})

    def close(self) -> None:
        """End a session that decides no register."""
        if self._lease.register is not None:
            raise AssertionError("a session that decides a register ends by commit or pause")
        self._drop_lease()

    def _read_tombs(self) -> None:
        """Learn what is condemned; a session that cannot is left to whoever resumes it."""
        try:
            self.condemned = read_tombs(self._driver, self._runtime.clock)
        except BaseException:
            self.pause()
            raise

    def _put_lease(self, lease: Lease, *, is_patient: bool = True) -> None:
        """Put a lease's name. Raises: SessionFenced when another process of the session has."""
        parts, key = lease.seal(), lease.name.key
        attempts = _ATTEMPTS if is_patient else 2
        for attempt in range(attempts):
            try:
                self._driver.put(key, parts, if_absent=True, role=Role.CONTROL)
            except ObjectExists as error:
                if self._holds(key, b"".join(parts)):
                    return  # our own first try, whose reply was lost
                self._is_leased = False  # it is the other's now
                raise SessionFenced(
                    f"session {self.id} was taken over by another process: start again"
                ) from error
            except Unavailable:
                if attempt == attempts - 1:
                    raise
                if is_patient:
                    self._await_store()
            else:
                return

    def _holds(self, key: str, data: bytes) -> bool:
        """Return whether an object is there and has these bytes."""
        try:
            return self._driver.get(key) == data
        except ObjectMissing:
            return False

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


def read_tombs(driver: Driver, clock: Clock) -> frozenset[PackId]:
    """Return the keys of all condemned packs; a tomb gone between LIST and GET: list again.

    Raises: Unavailable when listings go on naming tombs that are gone.
    """
    for _ in range(_LISTINGS_MAX):
        names = [info.key for info in driver.list("tombs/") if TombName.parse(info.key)]
        try:
            tombs = [get_opened(driver, key, partial(Tomb.open, key=key)) for key in names]
        except ObjectMissing:
            clock.sleep(_PAUSE_S)
            continue
        return frozenset[PackId]().union(*(tomb.packs for tomb in tombs))
    raise Unavailable("tombs are listed and cannot be read: the store's listings lag: try later")


def condemn(driver: Driver, runtime: Runtime, packs: Iterable[PackId]) -> Tomb:
    """Put a tomb that names packs: from now on no session references them anew."""
    tomb = Tomb(runtime.new_id(), 0, frozenset(packs))
    driver.put(tomb.name.key, tomb.seal(), role=Role.CONTROL)
    return tomb


def find_undecided(
    driver: Driver, registers: Registers, kind: SessionKind, volume_tag: str
) -> list[Lease]:
    """Return the newest lease of each session of a volume whose register is empty, newest first.

    Leases whose register is decided are removed on the way.
    """
    found = []
    for lease in find_leases(driver):
        if lease.register is None or lease.register.volume_tag != volume_tag:
            continue
        try:
            is_decided = registers.read(lease.register) is not None
        except (Damaged, Unsupported) as error:
            facts = {"lease": lease.name.key, "error": str(error)}
            log.warning("lease left, its register cannot be read", extra=facts)
            continue
        if is_decided:
            remove_lease(driver, lease.session_id)
        elif lease.kind is kind:
            found.append(lease)
    return sorted(found, key=lambda lease: lease.at, reverse=True)


def find_leases(driver: Driver) -> Iterator[Lease]:
    """Yield the newest lease of every session; one that cannot be read is passed over."""
    newest: dict[str, LeaseName] = {}
    for info in driver.list("sessions/"):
        name = LeaseName.parse(info.key)
        if name is not None:
            known = newest.setdefault(name.session_id, name)
            newest[name.session_id] = max(known, name, key=lambda either: either.counter)
    for name in newest.values():
        try:
            yield get_opened(driver, name.key, partial(Lease.open, key=name.key))
        except ObjectMissing:
            continue  # renewed meanwhile: somebody works at it
        except (Damaged, Unsupported) as error:
            log.warning("lease passed over", extra={"lease": name.key, "error": str(error)})


def _fenced(found: Register) -> str:
    name = found.decision.name
    return (
        f"backup {name.backup_id}: register {name.number} was decided as {found.state.value} by "
        f"another session while this one ran: start it again"
    )
