"""What bounds an operation: a stop flag, memory, and the room in the store."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest

from backupcore.config import Tuning
from backupcore.errors import Stopped, StoreFull
from backupcore.model import Progress
from backupcore.operation.backup import backup
from backupcore.operation.delete import delete
from backupcore.operation.info import describe
from backupcore.operation.restore import restore
from backupcore.operation.verify import verify
from backupcore.testing.fault import FaultyDriver
from backupcore.units import MIB
from backupcore.volume.memory import MemoryVolume
from tests.operation.scene import (
    CHUNK,
    INLINE,
    THREADS,
    Scene,
    TickingClock,
    back_up,
    chunks,
    noise,
    restored,
    same,
)
from tests.operation.volumes import WatchedVolume

TOP = Path(__file__).resolve().parents[2]
SLAB = INLINE.slab_size_bytes
SLAB_COUNT = 600


class SlowVolume(WatchedVolume):
    """Takes a moment for each read and sets a flag in the tenth."""

    def __init__(self, content: bytearray) -> None:
        super().__init__(content, self._note)
        self.stop = threading.Event()
        self.read_count = 0

    def _note(self, offset: int, length: int) -> None:
        self.read_count += 1
        if self.read_count == 10:
            self.stop.set()
        time.sleep(0.005)


def test_a_stop_ends_a_backup_long_before_its_end() -> None:
    scene, volume = Scene(), SlowVolume(bytearray(noise(1, SLAB)) * SLAB_COUNT)
    with scene.open() as repository, pytest.raises(Stopped):
        backup(volume, repository, tuning=THREADS, stop=volume.stop)
    assert volume.read_count < SLAB_COUNT // 2
    scene.check({})


def test_no_thread_is_left_after_a_stop() -> None:
    scene, volume = Scene(), SlowVolume(bytearray(noise(1, SLAB)) * SLAB_COUNT)
    before = threading.active_count()
    with scene.open() as repository, pytest.raises(Stopped):
        backup(volume, repository, tuning=THREADS, stop=volume.stop)
    assert threading.active_count() == before


def test_a_stopped_backup_by_threads_is_taken_up_at_once() -> None:
    scene, content = Scene(), bytearray(noise(1, 100 * SLAB))
    volume = SlowVolume(content)
    with scene.open() as repository:
        with pytest.raises(Stopped):
            backup(volume, repository, tuning=THREADS, stop=volume.stop)
        (session,) = {key.split("/")[1] for key in scene.listed("sessions/")}
        sent = len(scene.listed(f"data/{session}/"))
        done = back_up(repository, MemoryVolume(content), tuning=THREADS)
        assert same(restored(repository, done.id), content)
    assert len(scene.listed(f"data/{session}/")) == sent + done.sums.object_count
    assert scene.listed("sessions/") == []


@pytest.mark.parametrize("tuning", [INLINE, THREADS], ids=["inline", "threads"])
def test_a_stop_ends_a_restore(tuning: Tuning) -> None:
    scene, stop, target = Scene(), threading.Event(), MemoryVolume(3 * CHUNK)
    stop.set()
    with scene.open() as repository:
        done = back_up(repository, MemoryVolume(chunks(1, 2, 3)))
        with pytest.raises(Stopped):
            restore(repository, done.id, target, tuning=tuning, stop=stop)
    assert scene.listed("sessions/") == []


@pytest.mark.parametrize("tuning", [INLINE, THREADS], ids=["inline", "threads"])
def test_a_stop_ends_a_verification(tuning: Tuning) -> None:
    scene, stop = Scene(), threading.Event()
    stop.set()
    with scene.open() as repository:
        back_up(repository, MemoryVolume(chunks(1, 2, 3)))
        with pytest.raises(Stopped):
            verify(repository, tuning=tuning, stop=stop)
    assert scene.listed("sessions/") == []


def grows(told: list[Progress], total_bytes: int) -> bool:
    """Return whether every count only grew and all was done in the end."""
    rows = [(one.done_bytes, one.read_bytes, one.new_bytes, one.stored_bytes) for one in told]
    has_grown = all(
        all(before <= after for before, after in zip(*pair, strict=True)) for pair in pairwise(rows)
    )
    return has_grown and told[-1].done_bytes == told[-1].total_bytes == total_bytes


class HurriedClock(TickingClock):
    """Moves a second with every look, so that every report is due."""

    def monotonic(self) -> float:
        self.time_s += 1.0
        return self.time_s


def test_progress_only_grows_and_ends_with_everything() -> None:
    scene, content = Scene(), chunks(*range(60), None)
    scene.clock = HurriedClock()
    target = MemoryVolume(len(content))
    told: dict[str, list[Progress]] = {"backup": [], "restore": []}
    with scene.open() as repository:
        volume = MemoryVolume(content)
        done = backup(volume, repository, tuning=INLINE, progress=told["backup"].append)
        restore(repository, done.id, target, tuning=INLINE, progress=told["restore"].append)
    assert grows(told["backup"], len(content))
    assert grows(told["restore"], len(content))
    assert len(told["backup"]) > 3


def test_a_repository_is_described_by_what_lies_in_it() -> None:
    scene = Scene()
    with scene.open() as repository:
        back_up(repository, MemoryVolume(chunks(1, 2, None)))
        back_up(repository, MemoryVolume(chunks(1, 2, None)))
        found = describe(repository)
    assert (found.backup_count, found.volume_count) == (2, 1)
    assert (found.data_bytes, found.volume_bytes) == (4 * CHUNK, 6 * CHUNK)
    assert (found.data_pack_count, found.map_pack_count, found.session_count) == (1, 1, 0)
    assert found.dedup_ratio is not None
    assert 1.5 < found.dedup_ratio < 2.0


MEASURE = """
import io, re, sys
from pathlib import Path
from backupcore import *
from backupcore.units import GIB, MIB

def peak_mib():
    status = Path("/proc/self/status").read_text()  # ru_maxrss counts the parent before exec
    return int(re.search("VmHWM:[^0-9]*([0-9]+)", status)[1]) // 1024
"""
SPARSE = """
import os
folder = sys.argv[1]
path, size = folder + "/volume", 1 << 40
with open(path, "wb") as file:
    file.truncate(size)
    for number in range(64):
        file.seek(number * (size // 64) + number * 4096)
        file.write(os.urandom(MIB))
with create_repository(folder + "/store") as repository, open_volume(path) as volume:
    backup(volume, repository)
    done = backup(volume, repository)
    assert (done.new_bytes, done.data_bytes) == (0, done.sums.read_bytes)
    at = 63 * (size // 64) + 63 * 4096
    found, wanted = io.BytesIO(), bytearray(3 * MIB)
    restore_to_stream(repository, done.id, found, extents=[(at - MIB, 3 * MIB)])
    volume.read_into(at - MIB, wanted)
    assert found.getvalue() == wanted
    print(peak_mib())
"""
SYNTHETIC = """
folder = sys.argv[1]
url = "synthetic:?size=100TiB&seed=7&data=32MiB&extents=200&changed=0.05&generation="
with create_repository(folder + "/store") as repository:
    for generation in "01":
        with open_volume(url + generation) as volume:
            request = BackupRequest(volume_id="huge")
            done = backup(volume, repository, request=request)
            rows = [tuple(row) for row in volume.extents(50 * 2**40, 2 * 2**40).tolist()]
            found = io.BytesIO()
            restore_to_stream(repository, done.id, found, extents=rows)
            for offset, length in rows:
                wanted = bytearray(length)
                volume.read_into(offset, wanted)
                assert found.getvalue()[:length] == wanted
                found = io.BytesIO(found.getvalue()[length:])
    assert done.is_incremental and 0 < done.new_bytes < 8 * MIB
    print(peak_mib())
"""
LARGE = """
folder = sys.argv[1]
tuning = Tuning(memory_bytes=48 * MIB, pack_size_bytes=16 * MIB)
with create_repository(folder + "/store") as repository:
    with open_volume("synthetic:?size=640MiB&data=640MiB&extents=1") as volume:
        done = backup(volume, repository, tuning=tuning)
    print(peak_mib())
"""


@pytest.mark.parametrize(
    ("program", "limit_mib"),
    [(SPARSE, 400), (SYNTHETIC, 400), (LARGE, 250)],
    ids=["a sparse file of 1 TiB", "100 TiB", "a small budget"],
)
def test_memory_does_not_grow_with_the_volume(program: str, limit_mib: int, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", MEASURE + program, str(tmp_path)],
        capture_output=True, text=True, check=False, cwd=TOP,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < limit_mib


def test_a_store_that_fills_up_commits_nothing_and_keeps_what_was_sent() -> None:
    scene, content = Scene(), noise(1, 100 * CHUNK)
    faulty = FaultyDriver(scene.driver, full_after_bytes=200_000)
    with scene.open(driver=faulty) as repository:
        with pytest.raises(StoreFull):
            back_up(repository, MemoryVolume(content))
        sent = len(scene.listed("data/"))
        scene.check({})
        faulty.full_after_bytes = None
        done = back_up(repository, MemoryVolume(content))
    assert done.sums.object_count == len(scene.listed("data/")) - sent
    assert 0 < done.new_bytes < len(content)
    scene.check({done.id: content})


def test_a_full_store_is_deleted_from_as_long_as_a_register_fits() -> None:
    scene = Scene()
    with scene.open() as repository:
        done = back_up(repository, MemoryVolume(chunks(1, 2)))
    with scene.open(driver=FaultyDriver(scene.driver, full_after_bytes=4096)) as repository:
        with pytest.raises(StoreFull):
            back_up(repository, MemoryVolume(noise(5, MIB)))
        delete(repository, done.id)
    scene.check({})


FULL_DISK = """
import os, sys
from dataclasses import replace
from backupcore import *
from backupcore.units import MIB
root = sys.argv[1]
tuning = replace(Tuning(), pack_size_bytes=256 * 1024, slab_size_bytes=64 * 1024)
first = os.urandom(MIB)
with create_repository(root + "/store") as repository:
    kept = backup(MemoryVolume(first), repository, tuning=tuning)
    try:
        backup(MemoryVolume(os.urandom(8 * MIB)), repository, tuning=tuning)
    except StoreFull as error:
        print("full")
    assert os.listdir(root + "/store/.temporary") == []
    assert [done.id for done in repository.backups()] == [kept.id]
    target = MemoryVolume(MIB)
    restore(repository, kept.id, target)
    assert target.content == first
    assert verify(repository).is_sound
    delete(repository, kept.id)
    print(list(repository.backups()))
"""


def test_a_full_disk_commits_nothing_and_leaves_what_is_there(tmp_path: Path) -> None:
    mounted = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    mount = 'mount -t tmpfs -o size=4m none "$0"'
    try:
        probe = subprocess.run([*mounted, mount, str(tmp_path)], capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("install it: apt-get install util-linux (unshare)")
    if probe.returncode:
        pytest.skip("mounting in a user namespace is not allowed here")
    program = "from backupcore.errors import StoreFull\n" + FULL_DISK
    done = subprocess.run(
        [*mounted, f'{mount} && "$1" -c "$2" "$0"', str(tmp_path), sys.executable, program],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "full\n[]\n", done.stderr


def test_a_file_that_may_not_grow_commits_nothing(tmp_path: Path) -> None:
    program = """
import os, resource, sys
from backupcore import *
from backupcore.errors import StoreFull
with create_repository(sys.argv[1] + "/store") as repository:
    kept = backup(MemoryVolume(b"first"), repository)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        backup(MemoryVolume(os.urandom(1 << 20)), repository)
    except StoreFull:
        print(os.listdir(sys.argv[1] + "/store/.temporary"))
    print([done.id == kept.id for done in repository.backups()])
    delete(repository, kept.id)
    print(list(repository.backups()))
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "[]\n[True]\n[]\n", done.stderr
