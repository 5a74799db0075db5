"""See it work: back a disk image up, change it, restore both days, compare, and what it cost.

    make demo        or        python benchmarks/demo.py [--size 1GiB] [--folder DIR]

Everything goes through the command line as a user would type it. What is made is removed again; the
exit code is not zero when anything differs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path

from backupcore.testing.image import Kind, churn, write_image
from backupcore.units import format_bytes, parse_bytes
from benchmarks.image import SEED, copy_image, is_same, work_folder
from benchmarks.measure import format_rate, print_table

__all__ = ["main"]

_EXT4_MAGIC_OFFSET, _EXT4_MAGIC = 0x438, b"\x53\xef"
_PROGRAM = Path(sysconfig.get_path("scripts")) / "backupcore"


class Demo:
    """A folder, a repository in it, and a table of what every command did."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._environment = {**os.environ, "BACKUPCORE_REPOSITORY": "repository"}
        self.rows: list[dict[str, str]] = []
        self.differing: list[str] = []
        print("$ export BACKUPCORE_REPOSITORY=repository")

    def type(self, *words: str) -> tuple[dict[str, object], float]:
        """Run a command; return its result and how long it took, in seconds."""
        print(f"$ backupcore {' '.join(words)} --json", flush=True)
        command = [str(_PROGRAM), *words, "--json"]
        started_s = time.perf_counter()
        done = subprocess.run(
            command,
            cwd=self._folder,
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise SystemExit(f"exit code {done.returncode}: {done.stderr or done.stdout}")
        result: dict[str, object] = json.loads(done.stdout)
        return result, time.perf_counter() - started_s

    def back_up(self, title: str) -> str:
        """Back the image up and return the backup's id."""
        done, command_s = self.type("backup", "disk.img")
        facts = {
            "image": done["size_bytes"],
            "data in it": done["data_bytes"],
            "read": done["read_bytes"],
            "new": done["new_bytes"],
            "stored": done["stored_bytes"],
        }
        self._note(title, facts, command_s, "read")
        return str(done["id"])

    def restore(self, title: str, backup: str, target: str, original: str) -> None:
        """Restore a backup and compare it with what it was made of, byte for byte."""
        done, command_s = self.type("restore", backup, target)
        facts = {
            "image": done["restored_bytes"],
            "data in it": done["written_bytes"],
            "read": done["got_bytes"],
        }
        self._note(title, facts, command_s, "data in it")
        same = is_same(self._folder / target, self._folder / original)
        size = format_bytes((self._folder / original).stat().st_size)
        word = "identical" if same else "DIFFERENT"
        print(f"  {word}: {target} and {original}, {size} compared byte for byte")
        if not same:
            self.differing.append(target)
        (self._folder / target).unlink()

    def verify(self) -> None:
        """Decode and check every chunk there is; the command fails when something is lost."""
        done, command_s = self.type("verify", "--depth", "data")
        print(f"  sound: {done['backup_count']} backup in {done['pack_count']} packs")
        self._note("verify every chunk", {"read": done["read_bytes"]}, command_s, "read")

    def _note(self, title: str, facts: dict[str, object], command_s: float, rated: str) -> None:
        """Add a row; the rate is that of one of the facts."""
        sizes = {name: int(str(value)) for name, value in facts.items()}
        shown = {name: format_bytes(value) for name, value in sizes.items()}
        columns = ("image", "data in it", "read", "new", "stored")
        stored = sizes.get("stored", 0)
        self.rows.append(
            {
                "": title,
                **{name: shown.get(name, "") for name in columns},
                "new / stored": f"{sizes['new'] / stored:.2f}" if stored else "",
                "s": f"{command_s:.2f}",
                "rate": format_rate(sizes[rated], command_s),
            }
        )


def make_disk(path: Path, size_bytes: int) -> None:
    """Make an image of a file system that holds the Python installation."""
    write_image(str(path), Kind.OS, size_bytes, SEED, files=(sysconfig.get_path("stdlib"),))
    with path.open("rb") as image:
        image.seek(_EXT4_MAGIC_OFFSET)
        is_ext4 = image.read(2) == _EXT4_MAGIC
    kind = "an ext4 file system" if is_ext4 else "files laid out as on a disk (no mkfs.ext4 here)"
    print(f"{path.name}: {kind} of {format_bytes(size_bytes)} with the Python installation in it")


def show(folder: Path, size_bytes: int) -> list[str]:
    """Run through it all; return the names of restored images that differ from their source."""
    disk = folder / "disk.img"
    make_disk(disk, size_bytes)
    demo = Demo(folder)
    demo.type("init")
    first = demo.back_up("first backup")
    copy_image(disk, folder / "day1.img")
    changed = churn(str(disk), seed=SEED + 1)
    print(f"\na day later: {changed}")
    second = demo.back_up("second backup")
    demo.restore("restore the first", first, "restored1.img", "day1.img")
    demo.restore("restore the second", second, "restored2.img", "disk.img")
    print("\nno backup needs another one: delete the first and restore the second again")
    demo.type("delete", first)
    demo.restore("restore the second again", second, "restored3.img", "disk.img")
    demo.verify()
    print()
    print_table("Each command as a whole, its start included", demo.rows)
    return demo.differing


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=parse_bytes, default=parse_bytes("1GiB"))
    parser.add_argument("--folder", metavar="DIR", help="where work files go, and leave no trace")
    given = parser.parse_args(arguments)
    with work_folder(given.folder) as folder:
        differing = show(folder, given.size)
    if differing:
        sys.exit(f"DIFFERENT from their source: {', '.join(differing)}")
    print("Every restored image is identical to its source.")


if __name__ == "__main__":
    main()
