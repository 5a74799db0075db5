from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard

from backupcore import (
    Access,
    BackupRequest,
    Grid,
    Repository,
    Tuning,
    backup,
    create_repository,
    delete,
    open_volume,
    restore,
)
from backupcore.units import GIB, KIB, MIB
from tests.format import reader
from tests.format.world import CHUNK, fixed_runtime, nonzero_pieces

LEAF = CHUNK * 1024
GRID = Grid(CHUNK, 4 * CHUNK)
Fill = Callable[[random.Random, bytearray], None]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return create_repository(f"posix:{tmp_path}/store", grid=GRID, runtime=fixed_runtime())


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    return tmp_path / "disk.img"


def back_up(repository: Repository, volume: Path, base: str | None = "latest") -> str:
    with open_volume(str(volume)) as source:
        request = BackupRequest(volume_id="disk")
        return backup(source, repository, base=base, request=request, tuning=Tuning.inline()).id


def assert_both_restore(repository: Repository, backup_id: str, volume: Path) -> None:
    """Restore with our code and with the reader's, and compare both with the volume."""
    size = volume.stat().st_size
    ours, theirs = volume.with_name("ours.img"), volume.with_name("theirs.img")
    with open_volume(str(ours), access=Access.CREATE, size_bytes=size) as target:
        restore(repository, backup_id, target, tuning=Tuning.inline())
    reader.restore(volume.with_name("store"), backup_id, theirs)
    source = nonzero_pieces(volume)
    for restored in (ours, theirs):
        assert restored.stat().st_size == size
        assert nonzero_pieces(restored) == source
        restored.unlink()


def scribble(volume: Path, seed: int, size_bytes: int) -> None:
    """Resize a file and write some runs into it: random, repeated, all alike, zero."""
    chance = random.Random(seed)
    volume.touch()
    with volume.open("r+b") as file:
        file.truncate(size_bytes)
        for _ in range(chance.randint(1, 8)):
            length = chance.randint(1, min(size_bytes, 40 * KIB))
            file.seek(chance.randint(0, size_bytes - length))
            unit = chance.randbytes(chance.choice([1, 700, CHUNK]))
            kinds = [chance.randbytes(length), bytes(length), (unit * length)[:length]]
            file.write(chance.choice(kinds))


SIZES = [
    1, 511, CHUNK - 1, CHUNK, CHUNK + 1, 5 * CHUNK + 17, LEAF - 1, LEAF, LEAF + 1, 3 * LEAF + 5000,
    66 * MIB + 1, 4 * GIB + 5 * MIB + 3,
]  # fmt: skip


@pytest.mark.parametrize("size_bytes", SIZES)
def test_a_full_backup_is_restored_alike_by_both(
    repository: Repository, volume: Path, size_bytes: int
) -> None:
    scribble(volume, size_bytes, size_bytes)
    with volume.open("r+b") as file:
        file.seek(size_bytes - 1)
        file.write(b"!")
    assert_both_restore(repository, back_up(repository, volume), volume)


@pytest.mark.parametrize("size_bytes", [1, CHUNK, LEAF + 1])
def test_a_volume_of_zeros_is_restored_alike_by_both(
    repository: Repository, volume: Path, size_bytes: int
) -> None:
    volume.write_bytes(bytes(size_bytes))
    assert_both_restore(repository, back_up(repository, volume), volume)


@pytest.mark.parametrize("seed", range(8))
def test_every_backup_of_a_chain_is_restored_alike_by_both(
    repository: Repository, volume: Path, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    made = []
    for step in range(5):
        scribble(volume, 100 * seed + step, chance.choice([*SIZES[:10], 9 * MIB]))
        made.append((back_up(repository, volume), step))
        volume.with_name(f"copy{step}.img").write_bytes(volume.read_bytes())
    for backup_id, step in made:
        assert_both_restore(repository, backup_id, volume.with_name(f"copy{step}.img"))


def test_a_tall_tree_grows_and_shrinks_alike_for_both(repository: Repository, volume: Path) -> None:
    for step, size_bytes in enumerate([5 * CHUNK, 9 * GIB, 4 * GIB + 1, 9 * GIB + 5, 2 * LEAF]):
        scribble(volume, step, size_bytes)
        assert_both_restore(repository, back_up(repository, volume), volume)


def test_chunks_stored_once_are_found_by_both_wherever_they_are(
    repository: Repository, volume: Path
) -> None:
    pieces = [random.Random(seed).randbytes(CHUNK) for seed in range(6)]
    volume.write_bytes(b"".join(random.Random(7).choices(pieces, k=2500)) + pieces[0][:99])
    backup_id = back_up(repository, volume)
    assert repository.manifest(backup_id).backup.sums.chunk_count == 7
    assert_both_restore(repository, backup_id, volume)


def test_the_reader_lists_the_backups_that_were_not_deleted(
    repository: Repository, volume: Path, tmp_path: Path
) -> None:
    scribble(volume, 1, 50 * KIB)
    first, second, third = (back_up(repository, volume) for _ in range(3))
    delete(repository, second)
    found = {manifest["backup_id"] for manifest in reader.backups(tmp_path / "store")}
    assert found == {first, third}


def run_reader(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", reader.__file__, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_the_reader_is_a_command(repository: Repository, volume: Path, tmp_path: Path) -> None:
    scribble(volume, 1, 50 * KIB)
    backup_id = back_up(repository, volume)
    store, output = str(tmp_path / "store"), tmp_path / "output.img"
    assert run_reader(store, "list").stdout.split("\t")[0] == backup_id
    assert run_reader(store, backup_id, str(output)).returncode == 0
    assert output.read_bytes() == volume.read_bytes()
    assert run_reader(store, backup_id, str(output)).returncode == 1
    assert run_reader(store).returncode == 2


def test_the_reader_imports_nothing_of_ours() -> None:
    probe = "import sys, runpy; runpy.run_path(sys.argv[1]); print([*sys.modules])"
    command = [sys.executable, "-c", probe, reader.__file__]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert "backupcore" not in done.stdout
    assert "numpy" not in done.stdout


@pytest.mark.parametrize("name", ["config", "domains", "backups", "map", "data"])
def test_the_reader_refuses_what_was_changed(
    repository: Repository, volume: Path, tmp_path: Path, name: str
) -> None:
    scribble(volume, 3, 50 * KIB)
    backup_id = back_up(repository, volume)
    place = tmp_path / "store" / name
    path = place if name == "config" else next(path for path in place.rglob("*") if path.is_file())
    data = bytearray(path.read_bytes())
    data[400 if name in ("map", "data") else 60] ^= 4
    path.write_bytes(data)
    with pytest.raises(reader.Damaged):
        reader.restore(tmp_path / "store", backup_id, tmp_path / "output.img")


def frame(payload: bytes, plain_length: int) -> bytes:
    lengths = plain_length.to_bytes(4, "little") + len(payload).to_bytes(4, "little")
    return b"\xf5BKF\x01\0\0\0" + lengths + bytes(24) + payload


@pytest.mark.parametrize("change", ["junk", "cut", "second frame", "no size", "other size"])
def test_the_reader_is_strict_about_zstd(change: str) -> None:
    plain = b"abc" * 100
    good = zstandard.compress(plain)
    payload = {
        "junk": good + b"x",
        "cut": good[:-1],
        "second frame": good + zstandard.compress(b""),
        "no size": zstandard.ZstdCompressor(write_content_size=False).compress(plain),
        "other size": zstandard.compress(plain + b"d"),
    }[change]
    assert reader.open_frame(frame(good, 300), 300, "good") == plain
    with pytest.raises(reader.Damaged):
        reader.open_frame(frame(payload, 300), 300, change)
