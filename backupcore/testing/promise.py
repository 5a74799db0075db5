"""What a conformance kit is made of: promises, the scene each is tried on, what became of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from enum import StrEnum
from types import ModuleType
from typing import Any, Generic, Protocol, TypeVar

from backupcore.errors import BackupError
from backupcore.runtime import SystemClock

__all__ = [
    "Broken",
    "Outcome",
    "Promise",
    "PromiseResult",
    "Scene",
    "check_promise",
    "make_promise",
    "promises_of",
    "try_promises",
]


class Broken(AssertionError):
    """A promise was not kept; the message says what was seen."""


class Scene(Protocol):
    """Where a promise is tried."""

    def remove_all(self) -> None:
        """Remove what the promise left."""


S = TypeVar("S", bound=Scene)


@dataclass(frozen=True, slots=True)
class Promise(Generic[S]):
    """One promise: its name, why it matters, and how to try it.

    unclaimed: returns what is not claimed, or nothing when the promise is to be tried.
    """

    name: str
    why: str
    check: Callable[[S], None] = field(repr=False)
    unclaimed: Callable[[S], str] = field(repr=False)

    def prove(self, scene: S) -> None:
        """Try it and clean up. Raises: Broken, or what the plugin raised."""
        try:
            self.check(scene)
        except BaseException:
            with suppress(BackupError):  # what went wrong first is to be seen
                scene.remove_all()
            raise
        scene.remove_all()


class Outcome(StrEnum):
    """What became of a promise."""

    KEPT = "kept"
    BROKEN = "broken"
    NOT_CLAIMED = "not claimed"


@dataclass(frozen=True, slots=True)
class PromiseResult:
    """One promise tried: why it matters to a backup, and what was seen."""

    name: str
    why: str
    outcome: Outcome
    detail: str
    duration_s: float


def make_promise(check: Callable[[S], None], *needs: Callable[[S], str]) -> Promise[S]:
    """Make a promise of a function; its docstring says why, `needs` what has to be claimed."""

    def unclaimed(scene: S) -> str:
        return next((text for need in needs if (text := need(scene))), "")

    return Promise(check.__name__, " ".join((check.__doc__ or "").split()), check, unclaimed)


def promises_of(*modules: ModuleType) -> Iterator[Promise[Any]]:
    """Yield the promises of modules in the order they are written."""
    for module in modules:
        for thing in vars(module).values():
            if isinstance(thing, Promise):
                yield thing


def try_promises(
    promises: Sequence[Promise[S]], open_scene: Callable[[str], AbstractContextManager[S]]
) -> Iterator[PromiseResult]:
    """Try one promise after the other and yield what became of each.

    open_scene: returns the scene for a promise of that name.
    """
    clock = SystemClock()
    for promise in promises:
        started = clock.monotonic()
        outcome, detail = _try(promise, open_scene)
        duration_s = clock.monotonic() - started
        yield PromiseResult(promise.name, promise.why, outcome, detail, duration_s)


def _try(
    promise: Promise[S], open_scene: Callable[[str], AbstractContextManager[S]]
) -> tuple[Outcome, str]:
    try:
        with open_scene(promise.name) as scene:
            unclaimed = promise.unclaimed(scene)
            if unclaimed:
                return Outcome.NOT_CLAIMED, unclaimed
            promise.prove(scene)
    except Exception as error:  # noqa: BLE001 - a promise breaks in any way a plugin can fail
        return Outcome.BROKEN, f"{type(error).__name__}: {error}"
    return Outcome.KEPT, ""


def check_promise(promise: Promise[S], scene: S) -> None:
    """Try a promise within a test: it passes, fails and says why that matters, or is skipped."""
    import pytest  # noqa: PLC0415 - extra `test`; operators run the promises without it

    unclaimed = promise.unclaimed(scene)
    if unclaimed:
        pytest.skip(f"not claimed: {unclaimed}")
    try:
        promise.prove(scene)
    except Exception as error:
        error.add_note(f"why it matters: {promise.why}")
        raise
