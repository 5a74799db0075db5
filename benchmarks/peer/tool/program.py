"""Tools that a distribution packages: restic, borg, casync, bup, qemu-img, zstd."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from benchmarks.peer.tool import Command, Settings, Source, Tool, first_line

__all__ = ["PROGRAMS", "Borg", "Bup", "Casync", "QemuImg", "Restic", "Zstd"]


class Restic(Tool):
    """Reads the image again although its time stamp did not change, as of a block device."""

    name = "restic"
    program = "restic"
    install = "apt-get install restic"
    settings: ClassVar[Settings] = {"auto": (), "max": ("--compression=max",)}

    def prepare(self) -> list[Command]:
        return [self._restic("init")]

    def backup(self, source: Source) -> Command:
        words = ("backup", "--force", f"--tag={source.label}", source.path.name)
        return replace(self._restic(*words), cwd=source.path.parent)

    def restore(self, source: Source, target: Path) -> Command:
        return self._restic(
            "restore", "latest", f"--tag={source.label}", f"--target={target.parent}"
        )

    def version(self) -> str:
        return first_line([self.program_path, "version"])

    def _restic(self, *words: str) -> Command:
        common = ("--quiet", f"--repo={self.state}", *self.options)
        return self.command(*common, *words, RESTIC_PASSWORD="benchmark")


class Borg(Tool):
    """Reads the image again although its time stamp did not change, as of a block device."""

    name = "borg"
    program = "borg"
    install = "apt-get install borgbackup"
    settings: ClassVar[Settings] = {
        "lz4": ("--compression=lz4",),
        "zstd,3": ("--compression=zstd,3",),
        "zstd,3 fixed": ("--compression=zstd,3", "--chunker-params=fixed,4194304", "--sparse"),
    }

    def prepare(self) -> list[Command]:
        return [self._borg("init", "--encryption=none", str(self.state))]

    def backup(self, source: Source) -> Command:
        archive = f"{self.state}::{source.label}"
        options = ("--files-cache=disabled", *self.options)
        command = self._borg("create", *options, archive, source.path.name)
        return replace(command, cwd=source.path.parent)

    def restore(self, source: Source, target: Path) -> Command:
        command = self._borg("extract", "--sparse", f"{self.state}::{source.label}")
        return replace(command, cwd=target.parent)

    def _borg(self, *words: str) -> Command:
        return self.command(*words, BORG_BASE_DIR=str(self.state.with_name("home")))


class Casync(Tool):
    """Keeps an index of each image beside one store of chunks."""

    name = "casync"
    program = "casync"
    install = "apt-get install casync"
    settings: ClassVar[Settings] = {"zstd": ()}

    def prepare(self) -> list[Command]:
        return [self.make_state()]

    def backup(self, source: Source) -> Command:
        return self.command("make", *self._index(source), source.path)

    def restore(self, source: Source, target: Path) -> Command:
        return self.command("extract", *self._index(source), target)

    def _index(self, source: Source) -> tuple[str, ...]:
        index = self.state / f"{source.label}.caibx"
        return (*self.options, f"--store={self.state / 'default.castr'}", str(index))


class Bup(Tool):
    """Keeps a branch of its repository for each backup."""

    name = "bup"
    program = "bup"
    install = "apt-get install bup"
    settings: ClassVar[Settings] = {"level 1": ("-1",), "level 6": ("-6",)}

    def prepare(self) -> list[Command]:
        return [self._bup("init")]

    def backup(self, source: Source) -> Command:
        return self._bup("split", "-q", *self.options, "-n", source.label, str(source.path))

    def restore(self, source: Source, target: Path) -> Command:
        return replace(self._bup("join", source.label), stdout=target)

    def _bup(self, *words: str) -> Command:
        return self.command(*words, BUP_DIR=str(self.state))


class QemuImg(Tool):
    """Writes the whole image each time."""

    name = "qemu-img"
    program = "qemu-img"
    install = "apt-get install qemu-utils"
    settings: ClassVar[Settings] = {
        "zlib": (),
        "zstd": ("-o", "compression_type=zstd", "-m", "8", "-W"),
    }

    def prepare(self) -> list[Command]:
        return [self.make_state()]

    def backup(self, source: Source) -> Command:
        kinds = ("-f", "raw", "-O", "qcow2", "-c", *self.options)
        return self.command("convert", *kinds, source.path, self._stored(source))

    def restore(self, source: Source, target: Path) -> Command:
        return self.command("convert", "-f", "qcow2", "-O", "raw", self._stored(source), target)

    def _stored(self, source: Source) -> Path:
        return self.state / f"{source.label}.qcow2"


class Zstd(Tool):
    """Writes the whole image each time."""

    name = "zstd"
    program = "zstd"
    install = "apt-get install zstd"
    settings: ClassVar[Settings] = {"-1 -T0": ("-1", "-T0"), "-3 -T0": ("-3", "-T0")}

    def prepare(self) -> list[Command]:
        return [self.make_state()]

    def backup(self, source: Source) -> Command:
        return self.command("-q", *self.options, source.path, "-o", self._stored(source))

    def restore(self, source: Source, target: Path) -> Command:
        return self.command("-q", "-d", self._stored(source), "-o", target)

    def _stored(self, source: Source) -> Path:
        return self.state / f"{source.label}.zst"


PROGRAMS: tuple[type[Tool], ...] = (Restic, Borg, Casync, Bup, QemuImg, Zstd)
