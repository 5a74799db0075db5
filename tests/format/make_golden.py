"""Writes the golden repository of a format version; run once a version, never again.

    python -m tests.format.make_golden tests/format/golden/v1

The folder gets `repository/`, `expected.json` (size and BLAKE3 of each backup's volume) and
`checksums` (BLAKE3 and path of each file). The same code writes the same bytes in every run. While
a format has not been released its folder may be removed and written again; `test_golden.py` then
needs the BLAKE3 of the new list.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

from blake3 import blake3

from backupcore import BackupRequest, Grid, Repository, Tuning, backup, create_repository, delete
from backupcore.model import BackupId
from backupcore.repository.control import SessionKind
from backupcore.repository.key import DATA, MAP, RegisterName, pack_id, volume_tag
from backupcore.repository.manifest import State
from backupcore.repository.session import condemn
from backupcore.units import KIB, MIB
from backupcore.volume.memory import MemoryVolume
from tests.format.world import CHUNK, Chance, fixed_runtime

GRID = Grid(CHUNK, 4 * CHUNK)
TUNING = replace(Tuning.inline(), slab_size_bytes=16 * CHUNK, pack_size_bytes=24 * KIB)
RETRIED = "00000000-0000-4000-8000-00000000cafe"
FOX = b"The quick brown fox jumps over the lazy dog. "


def main(folder: Path) -> None:
    """Write everything below a folder that must not exist yet."""
    folder.mkdir(parents=True)
    store = folder / "repository"
    with create_repository(f"posix:{store.resolve()}", grid=GRID, runtime=fixed_runtime()) as made:
        expected = write_backups(made)
        write_others(made)
    (store / ".temporary").rmdir()
    (folder / "expected.json").write_text(json.dumps(expected, indent=1, sort_keys=True) + "\n")
    (folder / "checksums").write_text("".join(checksums(folder)))


def write_backups(repository: Repository) -> dict[str, dict[str, str | int]]:
    """Back up what every kind of object needs; return what each backup restores to."""
    expected: dict[str, dict[str, str | int]] = {}

    def store(volume_id: str, content: bytes, request: BackupRequest) -> BackupId:
        request = replace(request, volume_id=volume_id)
        volume = MemoryVolume(bytearray(content), name=volume_id)
        done = backup(volume, repository, request=request, tuning=TUNING)
        expected[str(done.id)] = {
            "volume_id": volume_id,
            "size_bytes": len(content),
            "blake3": blake3(content).hexdigest(),
        }
        return done.id

    alpha = alpha_content()
    labels = {"größe": "ünïcode \U0001f600", "pool": "gold"}
    first = BackupRequest(name="first", description="full", labels=labels, generation="snapshot-1")
    store("alpha", bytes(alpha), first)
    alpha[9000:9100] = b"changed ".ljust(100, b"!")
    alpha[40 * KIB : 48 * KIB] = bytes(8 * KIB)
    doomed = store("alpha", bytes(alpha), BackupRequest(name="second", generation="snapshot-2"))
    alpha += Chance("tail")(20 * KIB + 77)
    store("alpha", bytes(alpha), BackupRequest(name="grown"))
    store("alpha", bytes(alpha[: 50 * KIB + 1]), BackupRequest(name="shrunk"))
    store("beta", beta_content(), BackupRequest())
    abort(repository, "zeros", RETRIED)
    store("zeros", bytes(30 * KIB), BackupRequest(backup_id=RETRIED))
    delete(repository, doomed)
    del expected[str(doomed)]
    return expected


def alpha_content() -> bytearray:
    """Return some 100 KiB: text, noise, zeros and chunks that occur twice."""
    text, noise = (FOX * 1000)[: 24 * KIB], Chance("noise")(32 * KIB)
    return bytearray(text + noise + bytes(16 * KIB) + noise[: 8 * KIB] + text[:4096] + b"end")


def beta_content() -> bytes:
    """Return a volume whose map has a node: data at both ends of more than 1024 cells."""
    return FOX * 300 + bytes(4 * MIB) + Chance("beta")(6 * KIB)


def write_others(repository: Repository) -> None:
    """Put an aborted register, leases and a tomb."""
    abort(repository, "alpha", "00000000-0000-4000-8000-00000000dead")
    domain = repository.domain()
    tag = volume_tag("alpha", domain.id_key)
    waiting = RegisterName(tag, BackupId("00000000-0000-4000-8000-00000000beef"), 0)
    for kind, register in ((SessionKind.BACKUP, waiting), (SessionKind.RESTORE, None)):
        repository.open_session(
            kind, register, domain_id=domain.domain_id, chunk_size_bytes=CHUNK if register else 0
        )
    gone = bytes.fromhex(repository.runtime.new_id() + repository.runtime.new_id()) + bytes(4)
    condemn(repository.driver, repository.runtime, [pack_id(DATA, gone), pack_id(MAP, gone)])


def abort(repository: Repository, volume_id: str, backup_id: str) -> None:
    """Say of the first attempt at a backup that it will never be."""
    tag = volume_tag(volume_id, repository.domain().id_key)
    name = RegisterName(tag, BackupId(backup_id), 0)
    repository.registers.put(name, State.ABORTED, repository.runtime.new_id(), {})


def checksums(folder: Path) -> list[str]:
    """Return a line for each file below a folder but the list itself: BLAKE3 and path."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [
        f"{blake3(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n"
        for path in paths
        if path != folder / "checksums"
    ]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
