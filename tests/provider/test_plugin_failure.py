"""Whatever a plugin does, who asks a provider hears an error of ours."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from backupcore.errors import BackupError, SourceError, Stopped, TargetBusy, TargetError
from backupcore.provider import Access, ProvidedVolume, Provider
from backupcore.provider.layer import Checked
from backupcore.provider.registry import open_provider

CALLS: dict[str, Callable[[Checked], object]] = {
    "list": lambda provider: [*provider.list()],
    "show": lambda provider: provider.show("one"),
    "open": lambda provider: provider.open("one"),
    "open to write": lambda provider: provider.open("one", Access.WRITE),
    "create": lambda provider: provider.create("one", 1000),
    "delete": lambda provider: provider.delete("one"),
    "snapshot": lambda provider: provider.snapshot("one", "first"),
    "list snapshots": lambda provider: [*provider.list_snapshots("one")],
    "open snapshot": lambda provider: provider.open_snapshot("one"),
    "delete snapshot": lambda provider: provider.delete_snapshot("one"),
}


class Failing(Provider):
    """Fails at every call."""

    name = "failing"
    has_new_volumes = has_snapshots = True

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def list(self) -> Iterator[ProvidedVolume]:
        yield ProvidedVolume("one", 1000, "one")
        raise self.error

    def fail(self, *_: object) -> Any:
        raise self.error

    show: Any = fail
    open: Any = fail
    create: Any = fail
    delete: Any = fail
    snapshot: Any = fail
    list_snapshots: Any = fail
    open_snapshot: Any = fail
    delete_snapshot: Any = fail
    close: Any = fail


class Answering(Failing):
    """Answers with what was never promised."""

    def __init__(self) -> None:
        super().__init__(AssertionError())

    def list(self) -> Any:
        return ["one"]

    def answer(self, *_: object) -> Any:
        return 7

    show = open = create = snapshot = list_snapshots = open_snapshot = answer


@pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))
@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), ValueError("x"), SystemExit()])
def test_what_a_plugin_raises_becomes_an_error_of_ours(
    call: Callable[[Checked], object], error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises((SourceError, TargetError), match=r"provider failing: .* its plugin failed"):
        call(Checked(Failing(error)))
    assert caplog.records[0].exc_info is not None


@pytest.mark.parametrize("call", CALLS.values(), ids=list(CALLS))
def test_an_error_of_ours_stays_what_it_is(call: Callable[[Checked], object]) -> None:
    with pytest.raises(Stopped, match="the provider was closed"):
        call(Checked(Failing(Stopped("the provider was closed"))))


@pytest.mark.parametrize("name", [name for name in CALLS if not name.startswith("delete")])
def test_an_answer_that_was_never_promised_is_an_error_of_ours(name: str) -> None:
    with pytest.raises(BackupError, match="its plugin failed"):
        CALLS[name](Checked(Answering()))


def test_a_snapshot_that_lists_leave_out_keeps_its_volume() -> None:
    class Holding(Failing):
        def list_snapshots(self, _place: str) -> Iterator[ProvidedVolume]:
            yield ProvidedVolume("a\nb", 1000, "one")

    provider = Checked(Holding(AssertionError("it was deleted")))
    assert list(provider.list_snapshots("one")) == []
    with pytest.raises(TargetBusy, match="one: has snapshot"):
        provider.delete("one")


def test_a_plugin_that_cannot_be_closed_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR), Checked(Failing(OSError(5, "x"))):
        pass
    assert "provider failed" in caplog.messages


def test_a_plugin_that_cannot_be_opened_is_an_error_of_ours(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> Provider:
        raise ValueError("no such pool")

    monkeypatch.setattr("backupcore.provider.directory.DirectoryProvider", fail)
    with pytest.raises(SourceError, match="provider mine: open it: its plugin failed"):
        open_provider("directory", name="mine", options={"path": "."})
