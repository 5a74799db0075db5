from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from datetime import UTC
from pathlib import Path
from typing import Any

import pytest

from backupcore.driver import Driver
from backupcore.driver.registry import open_driver
from backupcore.errors import AccessDenied, InvalidKey, ObjectMissing, Refused, StoreError
from backupcore.testing.driver import DriverConformance
from backupcore_posix import PosixDriver


class TestPosix(DriverConformance):
    list_count = 2_000

    @pytest.fixture
    def root(self) -> Iterator[str]:
        # memory where there is some: syncing thousands of small files to a disk takes long
        place = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        with tempfile.TemporaryDirectory(dir=place) as directory:
            yield f"{directory}/root"

    @pytest.fixture
    def driver(self, root: str) -> Iterator[Driver]:
        with open_driver(root) as driver:
            yield driver

    @pytest.fixture
    def second_driver(self, root: str) -> Iterator[Driver]:
        with open_driver(root) as driver:
            yield driver


def modes_below(root: Path) -> set[tuple[bool, int]]:
    paths = [root, *root.rglob("*")]
    return {(path.is_dir(), stat.S_IMODE(path.stat().st_mode)) for path in paths}


@pytest.mark.parametrize("umask", [0, 0o077, 0o277])
def test_modes_are_private_whatever_the_umask(driver: PosixDriver, root: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        driver.put("data/session/1", [b"x"])
        driver.put("data/session/2", [b"x"], if_absent=True)
    finally:
        os.umask(before)
    assert modes_below(root) == {(True, 0o700), (False, 0o600)}


def test_opening_and_reading_create_nothing(driver: PosixDriver, root: Path) -> None:
    assert list(driver.list()) == []
    with pytest.raises(ObjectMissing):
        driver.get("config")
    driver.delete(["config"])
    assert not root.exists()


def test_the_first_put_creates_the_root_but_not_its_parent(tmp_path: Path) -> None:
    with PosixDriver(str(tmp_path / "no/root")) as driver:
        with pytest.raises(StoreError, match="parent directory is missing"):
            driver.put("config", [b"x"])
        (tmp_path / "no").mkdir()
        driver.put("config", [b"x"])
    assert (tmp_path / "no/root/config").read_bytes() == b"x"


def test_a_root_that_another_writer_makes_meanwhile_is_used(
    driver: PosixDriver, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.mkdir

    def make_first(path: str, mode: int, *, dir_fd: int | None = None) -> None:
        real(path, mode, dir_fd=dir_fd)
        raise FileExistsError(path)

    monkeypatch.setattr(os, "mkdir", make_first)
    driver.put("data/1", [b"x"])
    assert driver.get("data/1") == b"x"


def test_an_object_is_a_file_of_its_name(driver: PosixDriver, root: Path) -> None:
    driver.put("data/a/b", [b"one", b"two"])
    assert (root / "data/a/b").read_bytes() == b"onetwo"


def test_a_relative_directory_stays_where_it_was_when_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with open_driver("posix:store") as driver:
        monkeypatch.chdir("/")
        driver.put("k", [b"x"])
    assert (tmp_path / "store/k").exists()


def test_the_root_may_be_a_symbolic_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with PosixDriver(str(tmp_path / "link")) as driver:
        driver.put("k", [b"x"])
    assert (tmp_path / "real/k").exists()


@pytest.fixture
def outside(tmp_path: Path, driver: PosixDriver, root: Path) -> Path:
    """A directory with a secret, and links to it planted inside the root."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    driver.put("config", [b"x"])
    (root / "planted").symlink_to(outside)
    (root / "file").symlink_to(outside / "secret")
    return outside


def test_a_planted_directory_link_is_not_read_through(driver: PosixDriver, outside: Path) -> None:
    for key in ("planted/secret", "file"):
        for call in (driver.get, driver.stat):
            with pytest.raises(AccessDenied, match="symbolic link"):
                call(key)


def test_a_planted_directory_link_is_not_written_through(
    driver: PosixDriver, outside: Path
) -> None:
    for if_absent in (False, True):
        with pytest.raises(AccessDenied):
            driver.put("planted/new", [b"x"], if_absent=if_absent)
    assert os.listdir(outside) == ["secret"]


def test_a_planted_directory_link_is_not_deleted_through(
    driver: PosixDriver, outside: Path
) -> None:
    with pytest.raises(AccessDenied):
        driver.delete(["planted/secret"])
    assert os.listdir(outside) == ["secret"]


def test_a_planted_file_link_is_replaced_not_followed(
    driver: PosixDriver, outside: Path, root: Path
) -> None:
    driver.put("file", [b"mine"])
    assert (outside / "secret").read_text() == "secret"
    assert (root / "file").read_text() == "mine"


def test_a_listing_with_a_planted_link_is_refused_not_short(
    driver: PosixDriver, outside: Path
) -> None:
    with pytest.raises(AccessDenied):
        list(driver.list())
    assert [info.key for info in driver.list("conf")] == ["config"]


def test_a_planted_link_for_temporary_files_is_refused(root: Path, tmp_path: Path) -> None:
    root.mkdir()
    (root / ".temporary").symlink_to(tmp_path)
    with PosixDriver(str(root)) as driver, pytest.raises(AccessDenied):
        driver.put("k", [b"x"])


def test_names_never_leave_the_root(driver: PosixDriver) -> None:
    for key in ("../x", "/etc/passwd", ".temporary/x"):
        with pytest.raises(InvalidKey):
            driver.get(key)
    with pytest.raises(InvalidKey):
        list(driver.list("../"))


def test_what_is_no_file_is_no_object(driver: PosixDriver, root: Path) -> None:
    driver.put("data/1", [b"x"])
    os.mkfifo(root / "pipe")
    for key in ("data", "pipe", "data/1/below"):
        with pytest.raises(ObjectMissing):
            driver.get(key)
    assert [info.key for info in driver.list()] == ["data/1"]


def test_a_socket_is_no_object(driver: PosixDriver, root: Path) -> None:
    driver.put("k", [b"x"])
    os.mknod(root / "socket", 0o600 | stat.S_IFSOCK)
    with pytest.raises(ObjectMissing):
        driver.get("socket")


def test_a_name_below_an_object_is_refused(driver: PosixDriver) -> None:
    driver.put("a", [b"x"])
    with pytest.raises(StoreError, match="Not a directory"):
        driver.put("a/b", [b"x"])


def test_what_others_keep_in_the_directory_is_not_listed(driver: PosixDriver, root: Path) -> None:
    driver.put("k", [b"x"])
    (root / "lost+found").mkdir(mode=0)
    (root / ".snapshot").mkdir()
    (root / ".snapshot/k").write_text("x")
    (root / "NOTES").write_text("x")
    assert [info.key for info in driver.list()] == ["k"]


def test_only_directories_that_the_prefix_can_match_are_walked(
    driver: PosixDriver, root: Path, tmp_path: Path
) -> None:
    driver.put("data/one/1", [b"x"])
    (root / "data/two").symlink_to(tmp_path)  # meeting it would be an error
    (root / "elsewhere").symlink_to(tmp_path)
    assert [info.key for info in driver.list("data/on")] == ["data/one/1"]


def test_a_file_that_vanishes_while_listing_is_passed_over(driver: PosixDriver, root: Path) -> None:
    for index in range(4):
        driver.put(f"{index}", [b"x"])
        driver.put(f"d{index}/x", [b"x"])
    infos = driver.list()
    seen = {next(infos).key}
    for path in root.glob("d*/*"):
        path.unlink()
        path.parent.rmdir()
    for path in root.glob("[0-9]"):
        path.unlink()
    assert len(seen | {info.key for info in infos}) < 8


def test_deleting_removes_directories_left_empty(driver: PosixDriver, root: Path) -> None:
    driver.put("data/one/deep/1", [b"x"])
    driver.put("data/two/1", [b"x"])
    driver.delete(["data/one/deep/1"])
    assert sorted(os.listdir(root / "data")) == ["two"]
    driver.delete(["data/two/1", "data/two"])
    assert os.listdir(root) == [".temporary"]


@pytest.mark.parametrize("call", ["mkdir", "link"])
def test_a_put_wins_against_deletions_of_its_directory(
    driver: PosixDriver, root: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    driver.put("first", [b"x"])
    real_call, losses = getattr(os, call), 5

    def lose_the_directory(*given: Any, **named: Any) -> None:
        nonlocal losses
        if call == "mkdir":
            real_call(*given, **named)
        if losses:
            losses -= 1
            for name in ("a/b", "a"):
                with contextlib.suppress(FileNotFoundError):
                    os.rmdir(root / name)
        if call == "link":
            real_call(*given, **named)

    monkeypatch.setattr(os, call, lose_the_directory)
    driver.put("a/b/c", [b"x"], if_absent=True)
    assert (driver.get("a/b/c"), losses) == (b"x", 0)


def test_the_time_of_the_last_change_is_in_utc(driver: PosixDriver, root: Path) -> None:
    driver.put("k", [b"x"])
    os.utime(root / "k", (1_000_000_000, 1_000_000_000))
    modified = driver.stat("k").modified
    assert modified is not None
    assert (modified.timestamp(), modified.tzinfo) == (1_000_000_000, UTC)


def test_a_driver_lets_go_of_its_root_when_closed(root: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    driver = PosixDriver(str(root))
    driver.put("k", [b"x"])
    driver.get("k")
    list(driver.list())
    assert len(os.listdir("/proc/self/fd")) == before + 1
    driver.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_forgotten_driver_lets_go_of_its_root(root: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    driver = PosixDriver(str(root))
    driver.put("k", [b"x"])
    del driver
    assert len(os.listdir("/proc/self/fd")) == before


def test_calls_stay_on_the_directory_that_was_opened(driver: PosixDriver, root: Path) -> None:
    driver.put("k", [b"old"])
    root.rename(root.with_name("moved"))
    root.mkdir()  # as a mount point looks when its file system is gone
    driver.put("manifest", [b"x"])
    assert os.listdir(root) == []
    assert driver.get("k") == b"old"


def test_asked_to_it_creates_the_root_and_what_is_missing_above(tmp_path: Path) -> None:
    with open_driver(f"posix:{tmp_path}/a/b/c?create_container=yes") as driver:
        driver.put("key", [b"object"])
        assert driver.get("key") == b"object"


def test_an_option_that_is_neither_yes_nor_no_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="yes or no"):
        open_driver(f"posix:{tmp_path}?create_container=perhaps")
