"""Loop devices and file systems on them, made for one test and gone with it."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import pytest

from backupcore.volume import device

# linux/loop.h
_LOOP_CTL_ADD = 0x4C80
_LOOP_CTL_REMOVE = 0x4C81
_FIRST_EMPTY_NUMBER = 100_000

CONTENT = os.urandom(65536) + bytes(65536) + os.urandom(128 * 1024)


@dataclass(slots=True)
class Bay:
    """Where loop devices are made of files in a folder."""

    folder: Path
    devices: list[str] = field(default_factory=list)
    empty_numbers: list[int] = field(default_factory=list)
    mounts: list[str] = field(default_factory=list)

    def image(self, content: bytes = CONTENT) -> Path:
        """Return a new file."""
        image = self.folder / f"image{len(list(self.folder.glob('image*')))}"
        image.write_bytes(content)
        return image

    def attach(self, image: Path, *options: str) -> str:
        """Return the path of a new device over a file."""
        command = ["losetup", "--find", "--show", *options, str(image)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
        self.devices.append(done.stdout.strip())
        return self.devices[-1]

    def make(self, content: bytes = CONTENT, *, sector_size: int = 512) -> str:
        """Return the path of a new device with some content."""
        return self.attach(self.image(content), "--sector-size", str(sector_size))

    def make_empty(self) -> str:
        """Return the path of a new device without a medium, numbered where no one looks for one."""
        number = _FIRST_EMPTY_NUMBER + os.getpid() % 10_000 * 10 + len(self.empty_numbers)
        _control(_LOOP_CTL_ADD, number)
        self.empty_numbers.append(number)
        if not Path(f"/dev/loop{number}").exists():
            pytest.skip("new devices do not show in /dev: mount -t devtmpfs devtmpfs /dev")
        return f"/dev/loop{number}"

    def mount(self, path: str, *options: str) -> str:
        """Return where a device is mounted; a file system is made on it when there is none."""
        if not shutil.which("mkfs.ext4"):
            pytest.skip("needs mkfs.ext4: apt-get install e2fsprogs")
        point = self.folder / f"mounted on {len(list(self.folder.iterdir()))}"
        point.mkdir()
        if "ro" not in options:
            _run("mkfs.ext4", "-q", "-F", path)
        done = subprocess.run(
            ["mount", *(f"-o{option}" for option in options), path, str(point)],
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        if done.returncode:
            pytest.skip(f"cannot mount here: {done.stderr.strip()}: run as root of the machine")
        self.mounts.append(str(point))
        return str(point)

    def detach(self, path: str) -> None:
        """Let go of a device."""
        self.devices.remove(path)
        _run("losetup", "--detach", path)

    def clear_mounts(self) -> None:
        """Unmount everything."""
        while self.mounts:
            _run("umount", self.mounts.pop())

    def clear(self) -> None:
        """Unmount and detach everything."""
        self.clear_mounts()
        for path in list(self.devices):
            self.detach(path)
        while self.empty_numbers:
            _control(_LOOP_CTL_REMOVE, self.empty_numbers.pop())


def _control(request: int, number: int) -> None:
    with open("/dev/loop-control", "rb") as control:
        fcntl.ioctl(control, request, number)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=60)


@cache
def missing(folder: str) -> str:
    """Return why there are no loop devices and what brings them, empty when there are."""
    if os.geteuid():
        return "needs root for loop devices: sudo .venv/bin/pytest tests/volume/block"
    if not shutil.which("losetup"):
        return "needs losetup: apt-get install mount"
    bay = Bay(Path(folder))
    try:
        bay.make(bytes(1 << 20))
    except subprocess.CalledProcessError as error:
        return f"no loop devices here: {error.stderr.strip()}: modprobe loop, outside a container"
    finally:
        bay.clear()
    return ""


@pytest.fixture
def bay(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bay]:
    if reason := missing(str(tmp_path_factory.getbasetemp())):
        pytest.skip(reason)
    bay = Bay(tmp_path)
    yield bay
    bay.clear()


@dataclass(frozen=True, slots=True)
class FakeSystem:
    """A sysfs and a table of mounts that tell what a test writes."""

    folder: Path

    def write(self, path: str, text: str) -> None:
        """Write a file of sysfs, below /sys/dev/block."""
        file = self.folder / "block" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text + "\n")

    def mount(self, *lines: str) -> None:
        """Write the table of mounts."""
        (self.folder / "mountinfo").write_text("".join(f"{line}\n" for line in lines))

    def swap(self, *paths: str) -> None:
        """Write the table of swap space."""
        lines = [f"{path} partition 1024 0 -2\n" for path in paths]
        (self.folder / "swaps").write_text("Filename Type Size Used Priority\n" + "".join(lines))


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSystem:
    system = FakeSystem(tmp_path / "system")
    system.folder.mkdir()
    monkeypatch.setattr(device, "_SYSFS", str(system.folder / "block"))
    monkeypatch.setattr(device, "_MOUNTS", str(system.folder / "mountinfo"))
    monkeypatch.setattr(device, "_SWAPS", str(system.folder / "swaps"))
    return system
