from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from backupcore.errors import (
    AccessDenied,
    BackupError,
    ObjectExists,
    StoreError,
    StoreFull,
    Unavailable,
)
from backupcore_posix import PosixDriver
from tests.drivers.failing_call import raising


def temporaries(root: Path) -> list[str]:
    return os.listdir(root / ".temporary")


def run_child(program: str, root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program, str(root)], capture_output=True, text=True, check=False
    )


KILLED = """
import os, signal, sys
from backupcore_posix import PosixDriver
os.{call} = lambda *given, **named: os.kill(os.getpid(), signal.SIGKILL)
PosixDriver(sys.argv[1]).put("data/1", [bytes(1000000)], if_absent={if_absent})
"""


@pytest.mark.parametrize(
    ("call", "if_absent"), [("writev", True), ("fsync", True), ("link", True), ("rename", False)]
)
def test_a_writer_killed_in_mid_put_leaves_nothing_listed(
    root: Path, call: str, if_absent: bool
) -> None:
    with PosixDriver(str(root)) as driver:
        driver.put("config", [b"x"])
    done = run_child(KILLED.format(call=call, if_absent=if_absent), root)
    assert done.returncode == -signal.SIGKILL
    with PosixDriver(str(root)) as driver:
        assert [info.key for info in driver.list()] == ["config"]
        driver.put("data/1", [b"again"], if_absent=True)
        assert driver.get("data/1") == b"again"
    assert temporaries(root) == []


def test_temporary_files_of_living_writers_are_kept(driver: PosixDriver, root: Path) -> None:
    (root / ".temporary").mkdir(parents=True)
    (root / ".temporary/dead").write_text("x")
    (root / ".temporary/directory").mkdir()
    with open(root / ".temporary/alive", "w", encoding="ascii") as alive:
        fcntl.flock(alive, fcntl.LOCK_EX)
        driver.put("k", [b"x"])
        assert sorted(temporaries(root)) == ["alive", "directory"]


def test_a_writer_whose_new_file_was_swept_makes_another(
    driver: PosixDriver, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.put("first", [b"x"])
    swept: list[str] = []

    def sweep_first(descriptor: int, operation: int) -> None:
        if not swept:
            swept.extend(temporaries(root))
            os.unlink(root / ".temporary" / swept[0])

    monkeypatch.setattr(fcntl, "flock", sweep_first)
    driver.put("k", [b"x"], if_absent=True)
    assert driver.get("k") == b"x"
    assert swept


def test_a_temporary_file_that_cannot_be_set_up_is_closed(
    driver: PosixDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.put("config", [b"x"])
    before = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "fchmod", raising(errno.EPERM))
    with pytest.raises(AccessDenied):
        driver.put("k", [b"x"])
    assert len(os.listdir("/proc/self/fd")) == before


def test_an_object_deleted_before_it_was_durable_is_no_error(
    driver: PosixDriver, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.rename

    def rename_and_lose(*given: Any, **named: Any) -> None:
        real(*given, **named)
        (root / "data/1").unlink()
        (root / "data").rmdir()

    monkeypatch.setattr(os, "rename", rename_and_lose)
    driver.put("data/1", [b"x"])
    assert list(driver.list()) == []


def test_where_locks_are_unknown_puts_work(
    driver: PosixDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", raising(errno.ENOLCK))
    driver.put("k", [b"x"], if_absent=True)
    assert driver.get("k") == b"x"


def is_directory(descriptor: int) -> bool:
    return os.path.isdir(f"/proc/self/fd/{descriptor}")


FULL = """
import resource, signal, sys
from backupcore.errors import StoreFull
from backupcore_posix import PosixDriver
driver = PosixDriver(sys.argv[1])
driver.put("config", [b"x"])
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    driver.put("data/1", [bytes(70_000)] * 3)
except StoreFull as error:
    print("full:", [info.key for info in driver.list()])
driver.delete(["config"])
print("left:", [info.key for info in driver.list()])
"""


def test_a_file_beyond_the_limit_is_a_full_store_and_leaves_nothing(root: Path) -> None:
    done = run_child(FULL, root)
    assert done.stdout.splitlines() == ["full: ['config']", "left: []"], done.stderr
    assert temporaries(root) == []


def test_a_full_disk_is_a_full_store_and_deleting_frees_it(root: Path) -> None:
    program = """
import os, sys
from backupcore.errors import StoreFull
from backupcore_posix import PosixDriver
driver = PosixDriver(sys.argv[1])
count = 0
try:
    while True:
        driver.put(f"data/{count}", [os.urandom(300_000)])
        count += 1
except StoreFull:
    names = {info.key for info in driver.list()}
    assert names == {f"data/{index}" for index in range(count)}, names
    assert os.listdir(sys.argv[1] + "/.temporary") == []
filler = os.open(sys.argv[1] + "/.filler", os.O_WRONLY | os.O_CREAT)
try:
    while os.write(filler, bytes(4096)): pass
except OSError: pass
driver.delete([f"data/{index}" for index in range(count)])
assert not list(driver.list())
driver.put("data/again", [bytes(300_000)])
print("done", count)
"""
    root.mkdir()
    mounted = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    mount = 'mount -t tmpfs -o size=1m none "$0"'
    try:
        probe = subprocess.run([*mounted, mount, str(root)], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("install it: apt-get install util-linux (unshare)")
    if probe.returncode:
        pytest.skip("mounting in a user namespace is not allowed here")
    done = subprocess.run(
        [*mounted, f'{mount} && "$1" -c "$2" "$0"', str(root), sys.executable, program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout == "done 3\n", done.stderr


ERRORS: list[tuple[int, type[BackupError]]] = [
    (errno.ENOSPC, StoreFull),
    (errno.EDQUOT, StoreFull),
    (errno.EACCES, AccessDenied),
    (errno.EROFS, AccessDenied),
    (errno.ESTALE, Unavailable),
    (errno.ETIMEDOUT, Unavailable),
    (errno.EIO, StoreError),
]


@pytest.mark.parametrize(("number", "kind"), ERRORS)
@pytest.mark.parametrize("call", ["writev", "fsync", "link", "rename"])
def test_a_failed_put_raises_what_it_means_and_leaves_nothing(
    driver: PosixDriver,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    kind: type[BackupError],
    call: str,
) -> None:
    driver.put("config", [b"x"])
    with monkeypatch.context() as patch:
        patch.setattr(os, call, raising(number))
        with pytest.raises(StoreError, match=os.strerror(number)) as caught:
            driver.put("data/1", [b"x"], if_absent=call == "link")
    assert caught.type is kind
    assert str(root / "data/1") in str(caught.value)
    assert temporaries(root) == []
    assert [info.key for info in driver.list()] == ["config"]


def test_a_failed_sync_is_not_repeated_on_the_same_file(
    driver: PosixDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.put("config", [b"x"])
    synced: list[int] = []

    def fail(descriptor: int) -> None:
        synced.append(descriptor)
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(StoreError):
            driver.put("data/1", [b"x"])
    assert len(synced) == 1


def test_a_directory_that_cannot_be_synced_is_fine_one_that_fails_is_not(
    driver: PosixDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync
    number = errno.EINVAL

    def fail(descriptor: int) -> None:
        if is_directory(descriptor):
            raise OSError(number, "cannot be synced")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    driver.put("a", [b"x"])
    number = errno.EIO
    with pytest.raises(StoreError):
        driver.put("b", [b"x"])


def test_all_names_on_the_way_are_synced_after_the_object_has_its_own(
    driver: PosixDriver, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.put("config", [b"x"])
    events: list[str] = []
    real_sync, real_link = os.fsync, os.link

    def sync(descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        events.append("file" if ".temporary" in path else os.path.relpath(path, root))
        real_sync(descriptor)

    def link(*given: Any, **named: Any) -> None:
        events.append("link")
        real_link(*given, **named)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "link", link)
    driver.put("data/one/1", [b"x"], if_absent=True)
    assert events == ["file", "link", "data/one", "data", "."]


def test_a_link_whose_reply_was_lost_has_won(
    driver: PosixDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.link
    for number in (errno.ETIMEDOUT, errno.EEXIST):

        def link(*given: Any, number: int = number, **named: Any) -> None:
            real(*given, **named)
            raise OSError(number, "reply lost")

        monkeypatch.setattr(os, "link", link)
        driver.put(f"register-{number}", [b"mine"], if_absent=True)
        assert driver.get(f"register-{number}") == b"mine"


def test_a_link_that_met_another_object_has_lost(driver: PosixDriver, root: Path) -> None:
    driver.put("register", [b"first"])
    with pytest.raises(ObjectExists):
        driver.put("register", [b"second"], if_absent=True)
    assert temporaries(root) == []


def test_a_put_whose_temporary_file_vanishes_may_be_tried_again(
    driver: PosixDriver, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.put("config", [b"x"])
    real = os.fsync

    def sync_and_lose(descriptor: int) -> None:
        real(descriptor)
        for name in temporaries(root):
            os.unlink(root / ".temporary" / name)

    monkeypatch.setattr(os, "fsync", sync_and_lose)
    with pytest.raises(Unavailable, match="vanishing"):
        driver.put("k", [b"x"])


@pytest.mark.parametrize(("if_absent", "kind"), [(True, StoreError), (False, Unavailable)])
def test_a_name_that_is_not_durable_is_no_win(
    driver: PosixDriver,
    monkeypatch: pytest.MonkeyPatch,
    if_absent: bool,
    kind: type[StoreError],
) -> None:
    driver.put("registers/first", [b"makes the directories"])
    real = os.fsync

    def fail(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(StoreError) as failed:
        driver.put("registers/second", [b"content"], if_absent=if_absent)
    assert type(failed.value) is kind


def test_an_object_that_exists_is_told_once_its_name_is_durable(
    driver: PosixDriver, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.put("registers/first", [b"content"])
    synced: list[str] = []
    real = os.fsync

    def sync(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", sync)
    with pytest.raises(ObjectExists):
        driver.put("registers/first", [b"other"], if_absent=True)
    assert synced[1:] == [str(root / "registers"), str(root)]


def test_the_names_of_directories_made_above_the_root_are_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: synced.append(os.readlink(f"/proc/self/fd/{descriptor}"))
    )
    PosixDriver(str(tmp_path / "a" / "b")).create_root()
    assert sorted(synced) == [str(tmp_path), str(tmp_path / "a")]


def test_a_directory_above_the_root_that_may_not_be_read_is_no_hindrance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.open

    def refuse(path: str, flags: int, *rest: Any, **named: Any) -> int:
        if path == str(tmp_path):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, flags, *rest, **named)

    monkeypatch.setattr(os, "open", refuse)
    PosixDriver(str(tmp_path / "a" / "b")).create_root()
    assert (tmp_path / "a" / "b").is_dir()
