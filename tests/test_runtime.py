from __future__ import annotations

import os
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backupcore import runtime
from backupcore.runtime import Process, Runtime, SystemClock, open_pool


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give this machine an id, which small containers lack."""
    monkeypatch.setattr(runtime, "_scope", lambda: "machine/pid:[1]")


def test_running_process_is_not_gone() -> None:
    assert not Process.current().is_gone()


def test_ended_process_is_gone() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        named = replace(Process.current(), pid=child.pid, started=runtime._start_time(child.pid))
        assert not named.is_gone()
        child.communicate(b"\n")
    assert named.is_gone()


def test_process_whose_number_was_given_again_is_gone() -> None:
    assert replace(Process.current(), started="1").is_gone()


def test_process_of_an_earlier_boot_is_gone() -> None:
    assert replace(Process.current(), boot_id="earlier").is_gone()


@pytest.mark.parametrize("change", [{"host": "other"}, {"scope": "machine/pid:[2]"}, {"scope": ""}])
def test_process_elsewhere_is_never_known_to_be_gone(change: dict[str, str]) -> None:
    elsewhere = replace(Process.current(), boot_id="earlier", started="1", pid=1)
    assert not replace(elsewhere, **change).is_gone()  # type: ignore[arg-type]


def test_nothing_is_known_to_be_gone_without_a_machine_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_scope", lambda: "")
    assert not replace(Process.current(), boot_id="earlier").is_gone()


def test_process_that_proc_hides_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    named = Process.current()
    monkeypatch.setattr(runtime, "_start_time", lambda pid: "")
    assert not named.is_gone()


def test_process_of_another_user_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    named = Process.current()

    def refuse(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(runtime, "_start_time", lambda pid: "")
    monkeypatch.setattr(os, "kill", refuse)
    assert not named.is_gone()


def test_scope_tells_machine_and_process_namespace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    scope = runtime._scope()
    assert scope == "" or scope.endswith(os.readlink("/proc/self/ns/pid"))


@pytest.mark.parametrize("name", ["_scope", "_boot_id"])
def test_system_without_proc_gives_no_names(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()

    def fail(*_: object, **__: object) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", fail)
    assert getattr(runtime, name)() == ""


def test_ids_are_128_random_bits() -> None:
    assert Runtime(random_bytes=lambda length: b"\xab" * length).new_id() == "ab" * 16


def test_two_ids_differ() -> None:
    assert Runtime().new_id() != Runtime().new_id()


def test_system_clock_tells_universal_time() -> None:
    now = SystemClock().now()
    assert now.tzinfo is UTC
    assert abs(now - datetime.now(UTC)) < timedelta(minutes=1)


def test_system_clock_waits_as_long_as_asked() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    clock.sleep(0.01)
    assert clock.monotonic() - before >= 0.01


def test_pool_without_threads_runs_in_the_caller_at_once() -> None:
    ran = []
    with open_pool(0, "x") as pool:
        future = pool.submit(lambda: ran.append(threading.current_thread()))
        assert ran == [threading.current_thread()]
    assert future.done()


def test_pool_without_threads_hands_errors_to_who_asks() -> None:
    with open_pool(0, "x") as pool:
        future = pool.submit(int, "no number")
    with pytest.raises(ValueError, match="no number"):
        future.result()


def test_pool_with_threads_names_them() -> None:
    with open_pool(2, "reader") as pool:
        name = pool.submit(lambda: threading.current_thread().name).result()
    assert name.startswith("reader")
