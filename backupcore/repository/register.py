"""Registers: who decides what about a backup, once and for all (docs/design/prune-protocol.md).

Each is put if absent and never removed. The state of a backup is its highest register that is
not ABORTED; register n + 1 is only put by someone who has read a decided n.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from backupcore.driver import Driver, Role
from backupcore.errors import ManifestDamaged, ObjectExists, ObjectMissing, Unavailable
from backupcore.model import BackupId
from backupcore.repository.cache import Cache
from backupcore.repository.key import RegisterName
from backupcore.repository.manifest import Decision, Manifest, Register, State, seal_register
from backupcore.repository.reading import get_opened
from backupcore.runtime import Runtime

__all__ = ["History", "Registers"]

_ATTEMPTS = 5  # of one put whose fate stays unknown and whose name stays empty
_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class History:
    """The registers of one backup, by their numbers, lowest first; none for one never heard of."""

    volume_tag: str
    backup_id: BackupId
    numbers: tuple[int, ...]

    @property
    def next(self) -> RegisterName:
        """The name after the highest register."""
        number = self.numbers[-1] + 1 if self.numbers else 0
        return RegisterName(self.volume_tag, self.backup_id, number)


class Registers:
    """Reads and decides registers."""

    def __init__(self, driver: Driver, runtime: Runtime, cache: Cache | None) -> None:
        self._driver = driver
        self._runtime = runtime
        self._cache = cache

    def put(
        self, name: RegisterName, state: State, session_id: str, facts: Mapping[str, Any]
    ) -> tuple[bool, Register]:
        """Decide a register unless it is decided.

        facts: what a manifest adds, else empty. Returns whether this call decided it, and what
        it says now. A lost reply is settled by reading back: the nonce tells whose it is.
        Raises: Unavailable, StoreFull, AccessDenied, Refused when a manifest is too long.
        """
        decision = Decision(name, session_id, self._runtime.new_id(), self._runtime.clock.now())
        parts = seal_register(decision, state, facts)
        Register.open(b"".join(parts), name)  # what could not be read again is never put
        for attempt in range(_ATTEMPTS):
            try:
                self._driver.put(name.key, parts, if_absent=True, role=Role.MANIFEST)
            except ObjectExists:
                pass
            except Unavailable:
                if attempt == _ATTEMPTS - 1:
                    raise
            else:
                if self._driver.capabilities.conditional_put:
                    return True, Register.open(b"".join(parts), name)
            found = self.read(name)
            if found is not None:
                return found.decision.nonce == decision.nonce, found
            self._runtime.clock.sleep(_PAUSE_S)
        raise Unavailable(f"{name.key}: was put and cannot be read: try again later")

    def delete(self, history: History) -> None:
        """Make DELETED the state of a backup, whatever it was; done when it is already.

        Nothing there yet: ABORTED first, so that no attempt under way can commit any more.
        """
        session_id, name = self._runtime.new_id(), history.next
        has_decided = bool(history.numbers)
        try:
            register = self.state(history)
        except ManifestDamaged:  # decided all the same
            register = None
        while register is None or register.state is not State.DELETED:
            state = State.DELETED if has_decided else State.ABORTED
            _, found = self.put(name, state, session_id, {})
            has_decided, name = True, replace(name, number=name.number + 1)
            register = register if found.state is State.ABORTED else found

    def read(self, name: RegisterName) -> Register | None:
        """Return a register, None while it is undecided. Raises: ManifestDamaged, Unsupported."""
        try:
            return get_opened(self._driver, name.key, partial(Register.open, name=name))
        except ObjectMissing:
            return None

    def history(self, volume_tag: str, backup_id: BackupId) -> History:
        """Return which registers of a backup exist, by LIST."""
        found = list(self._histories(f"backups/{volume_tag}/{backup_id}/"))
        return found[0] if found else History(volume_tag, backup_id, ())

    def histories(self, volume_tag: str | None = None) -> Iterator[History]:
        """Yield every backup there has been, of one volume or of all, in no order."""
        yield from self._histories(f"backups/{volume_tag}/" if volume_tag else "backups/")

    def _histories(self, prefix: str) -> Iterator[History]:
        numbers: dict[tuple[str, BackupId], list[int]] = {}
        for info in self._driver.list(prefix):
            name = RegisterName.parse(info.key)
            if name is not None:
                numbers.setdefault((name.volume_tag, name.backup_id), []).append(name.number)
        for (volume_tag, backup_id), found in numbers.items():
            yield History(volume_tag, backup_id, tuple(sorted(found)))

    def state(self, history: History) -> Register | None:
        """Return the register that is a backup's state; None when all are ABORTED or none is.

        Raises: ManifestDamaged, Unsupported.
        """
        for number in reversed(history.numbers):
            name = RegisterName(history.volume_tag, history.backup_id, number)
            register = self._listed(name)
            if register.state is not State.ABORTED:
                return register
        return None

    def manifest(self, history: History) -> Manifest | None:
        """Return a backup's manifest, None when it was deleted or never committed."""
        register = self.state(history)
        return register.manifest if register else None

    def _listed(self, name: RegisterName) -> Register:
        """Return a register that a LIST has shown, from the cache when it is kept there."""
        kept = self._cache.get_register(name.key) if self._cache else None
        if kept is not None:
            try:
                return Register.open(kept, name)
            except ManifestDamaged:
                pass  # the cache is a hint; the store decides

        def opened(data: bytes) -> tuple[bytes, Register]:
            return data, Register.open(data, name)

        try:
            data, register = get_opened(self._driver, name.key, opened)
        except ObjectMissing as error:
            raise ManifestDamaged(f"{name.key} is listed and missing: list again") from error
        if self._cache:
            self._cache.put_register(name.key, data)
        return register
