"""A huge volume full of data of which little changed: a backup shall cost what changed.

    python -m benchmarks.hinted.dense [--volume-size 1TiB,100TiB] [--data 1GiB] [--extents 10000]
        [--rounds 1] [--folder DIR] [--json OUT]

The base is made up, for nobody has 100 TiB: its nodes are stored, its leaves and the volume's
content are computed when they are asked for. What is measured is a real backup, given the changed
extents, in a process of its own. Making up the base of 100 TiB takes some minutes.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt

from backupcore import (
    Backup,
    BackupRequest,
    ChangedExtents,
    Driver,
    Grid,
    Hint,
    Repository,
    Sums,
    Volume,
    backup,
    create_repository,
    open_repository,
)
from backupcore.chunk.digest import chunk_ids, digest
from backupcore.chunk.frame import FrameEncoder, FrameLabel
from backupcore.driver.relay import Layer
from backupcore.extents import Extents, melt_extents
from backupcore.model import BackupId, Buffer, ByteArray
from backupcore.repository.control import SessionKind
from backupcore.repository.key import MAP, RegisterName, pack_reference, volume_tag
from backupcore.repository.manifest import Manifest
from backupcore.repository.map import FAN_OUT, ROW, Leaf, Node, Root, null_rows, tree_level
from backupcore.repository.pack import PLACE
from backupcore.repository.writer import FullPack, PackWriter
from backupcore.units import KIB, MIB, TIB, format_bytes, parse_bytes
from benchmarks.image import work_folder
from benchmarks.measure import new_parser, print_table, write_json

__all__ = ["main"]

CHUNK = 32 * KIB
LEAF_LENGTH = CHUNK * FAN_OUT
CONTENT_COUNT = 4096  # different chunks the volume is made of
MADE_UP = bytes(range(16)) * 2  # session and writer of what is computed
LEAVES_IN_PACK = 512
LEAF_ROOM = 64 * KIB
VOLUME_ID = "dense"
BASE_ID = BackupId("00000000-0000-4000-8000-00000000d00d")
_GOLDEN = 0x9E3779B97F4A7C15
_SEED = 9
_PACK_TABLE = 32  # where a leaf's table of packs begins


class Content:
    """What the volume holds: one of some thousand chunks in each cell, another where it changed."""

    def __init__(self) -> None:
        raw = np.random.PCG64(_SEED).random_raw(CHUNK // 8)
        self._noise: npt.NDArray[np.uint64] = raw.astype("<u8")

    def kinds(self, cells: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return int64[n]: which chunk is in each cell of the base."""
        mixed = (cells.astype(np.uint64) * np.uint64(_GOLDEN)) >> np.uint64(40)
        return (mixed % np.uint64(CONTENT_COUNT)).astype(np.int64)

    def fill(self, kind: int, place: ByteArray) -> None:
        """Write the chunk of a kind; half of it is compressible."""
        words = place.view("<u8")
        words[:] = self._noise ^ np.uint64(kind * 0x10001)
        words[1::2] = kind

    def ids(self, id_key: bytes) -> ByteArray:
        """Return uint8[4096, 32]: the id of each kind."""
        run = np.zeros(CHUNK, np.uint8)
        rows = np.zeros((CONTENT_COUNT, 32), np.uint8)
        for kind in range(CONTENT_COUNT):
            self.fill(kind, run)
            rows[kind] = chunk_ids(run.data, CHUNK, id_key)
        return rows


class DenseVolume(Volume):
    """The volume on the second day."""

    name = identity = VOLUME_ID

    def __init__(self, size_bytes: int, changed: Extents) -> None:
        self.size_bytes = size_bytes
        self._content = Content()
        self._starts, self._ends = changed[:, 0], changed[:, 0] + changed[:, 1]

    def read_into(self, offset: int, buffer: Buffer) -> None:
        """Compute whole chunks."""
        run = np.frombuffer(memoryview(buffer).cast("B"), np.uint8)
        cells = np.arange(offset // CHUNK, (offset + len(run)) // CHUNK)
        kinds = self._content.kinds(cells)
        at = np.searchsorted(self._starts, cells * CHUNK, "right") - 1
        is_new = (at >= 0) & (cells * CHUNK < self._ends[at])
        kinds = np.where(is_new, CONTENT_COUNT + cells, kinds)
        for position, kind in enumerate(kinds.tolist()):
            self._content.fill(kind, run[position * CHUNK : (position + 1) * CHUNK])


class Leaves:
    """Computes the leaves of the base."""

    def __init__(self, id_key: bytes) -> None:
        self._content = Content()
        self._ids = self._content.ids(id_key)
        self._encoder = FrameEncoder(-7)
        places = np.zeros(32, PLACE)
        places["offset"] = np.arange(32) * 700_000 + 4096
        places["stored_length"], places["plain_length"] = 650_000, MIB
        places["checksum"] = 1
        slots = np.arange(FAN_OUT)
        self.leaf = Leaf(
            CHUNK, 0, places, np.ones(FAN_OUT, np.bool_), np.zeros((FAN_OUT, 32), np.uint8),
            (slots // 32).astype(np.uint16), (slots % 32).astype(np.uint8),
        )  # fmt: skip
        self._plain = np.frombuffer(bytearray(self.leaf.encode()), np.uint8).copy()
        self.plain_length = len(self._plain)
        self._id_start = self.plain_length - FAN_OUT * (32 + 2 + 1)

    def stored(self, index: int) -> bytes:
        """Return a leaf as it would be stored."""
        cells = np.arange(index * FAN_OUT, (index + 1) * FAN_OUT)
        plain = self._plain
        plain[8:16] = np.frombuffer((index * FAN_OUT).to_bytes(8, "little"), np.uint8)
        plain[_PACK_TABLE : _PACK_TABLE + 36] = np.frombuffer(data_pack(index), np.uint8)
        ids = self._ids[self._content.kinds(cells)]
        plain[self._id_start : self._id_start + ids.size] = ids.reshape(-1)
        frame = self._encoder.encode(plain.tobytes(), FrameLabel(MADE_UP[:16], index))
        return b"".join(frame.parts)


def data_pack(index: int) -> bytes:
    """Return the reference of the data pack that holds a leaf's chunks."""
    return MADE_UP + index.to_bytes(4, "little")


class MadeUp(Layer):
    """Computes what is asked of the base's made-up map packs."""

    def __init__(self, below: Driver, leaves: Leaves) -> None:
        super().__init__(below)
        self._leaves = leaves

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        """Return a leaf, or what is really stored."""
        if not key.startswith(f"{MAP.folder}/{MADE_UP[:16].hex()}/"):
            return self.below.get(key, offset, length)
        reference = pack_reference(key)
        if reference is None:
            raise AssertionError(f"{key} is no pack")
        number = int.from_bytes(reference[32:], "little")
        stored = self._leaves.stored(number * LEAVES_IN_PACK + offset // LEAF_ROOM)
        return stored[offset % LEAF_ROOM :][:length]


def make_base(repository: Repository, size_bytes: int) -> None:
    """Commit the base of a volume: nodes as they would be, leaves that are computed."""
    domain = repository.domain(None)
    register = RegisterName(volume_tag(VOLUME_ID, domain.id_key), BASE_ID, 0)
    session = repository.open_session(
        SessionKind.BACKUP, register, domain_id=domain.domain_id, chunk_size_bytes=CHUNK
    )
    header = {
        "repository_id": repository.config.repository_id,
        "domain_id": domain.domain_id,
        "session_id": session.id,
        "writer_id": session.writer_id,
        "volume_tag": register.volume_tag,
    }

    def put(full: FullPack) -> None:
        full.put(repository.driver)

    writer = PackWriter(header, {}, level=1, upload=put)
    leaves = Leaves(domain.id_key)
    rows = np.concatenate(
        [_lowest(writer, leaves, window) for window in range(size_bytes // LEAF_LENGTH // FAN_OUT)]
    )
    level = 1
    while len(rows) > 1 or level < tree_level(size_bytes // CHUNK):
        level += 1
        parts = [rows[start : start + FAN_OUT] for start in range(0, len(rows), FAN_OUT)]
        rows = np.array([_upper(writer, part, level, at) for at, part in enumerate(parts)], ROW)
    writer.finish()
    now = repository.runtime.clock.now()
    done = Backup(
        id=BASE_ID, volume_id=VOLUME_ID, size_bytes=size_bytes, sector_size_bytes=512, name="",
        description="", labels={}, started_at=now, committed_at=now, base_id=None,
        generation="base", domain_id=domain.domain_id, grid=Grid(), sums=Sums(),
        data_bytes=size_bytes, live_bytes=size_bytes,
    )  # fmt: skip
    manifest = Manifest(repository.config.repository_id, done, Root(level, rows[0]))
    session.commit(manifest.header(domain.id_key))


def _lowest(writer: PackWriter, leaves: Leaves, window: int) -> npt.NDArray[np.void]:
    """Store a node of 1024 computed leaves; return its row."""
    rows = null_rows()
    live = int(leaves.leaf.shares().sum())
    first = window * FAN_OUT
    for position, row in enumerate(rows):
        index = first + position
        stored = leaves.stored(index)
        number = (index // LEAVES_IN_PACK).to_bytes(4, "little")
        row["pack"] = np.void(MADE_UP + number)
        row["offset"] = index % LEAVES_IN_PACK * LEAF_ROOM
        row["stored_length"], row["digest"] = len(stored), np.void(digest(stored))
    rows["plain_length"], rows["cells"] = leaves.plain_length, FAN_OUT
    rows["logical_bytes"], rows["stored_bytes"] = LEAF_LENGTH, live
    packs = np.frombuffer(b"".join(data_pack(first + at) for at in range(FAN_OUT)), "V36")
    node = Node(
        CHUNK, 1, first * FAN_OUT, rows, packs, np.full(FAN_OUT, live),
        np.arange(FAN_OUT + 1), np.arange(FAN_OUT),
    )  # fmt: skip
    return _stored(writer, node)


def _upper(writer: PackWriter, part: npt.NDArray[np.void], level: int, index: int) -> np.void:
    node = Node.null(CHUNK, level, index * FAN_OUT ** (level + 1))
    node.rows[: len(part)] = part
    stored: np.void = _stored(writer, node)[0]
    return stored


def _stored(writer: PackWriter, node: Node) -> npt.NDArray[np.void]:
    row = writer.add_map_item(node.encode(), node.level, node.first_cell)
    for name in ("cells", "logical_bytes", "stored_bytes"):
        row[name] = node.rows[name].sum()
    return np.array([row], ROW)


def changed_extents(size_bytes: int, data_bytes: int, count: int) -> Extents:
    """Return so many extents of whole chunks, one in each of as many equal parts of a volume."""
    part, length = size_bytes // count, data_bytes // count // CHUNK * CHUNK
    random = np.random.default_rng(_SEED)
    offsets = np.arange(count) * part + random.integers(0, part - length - CHUNK, count)
    rows = np.stack((offsets // CHUNK * CHUNK, np.full(count, length)), axis=1)
    return melt_extents(rows.astype(np.int64))


@dataclass(frozen=True, slots=True)
class Cost:
    """What one backup cost, in a process of its own; map_bytes: put to the store."""

    duration_s: float
    cpu_s: float
    peak_rss_bytes: int
    read_bytes: int
    map_bytes: int


def run_one(folder: Path, size_bytes: int, data_bytes: int, count: int) -> Cost:
    """Back up the second day."""
    with open_repository(str(folder), read_only=True) as repository:
        leaves = Leaves(repository.domain(None).id_key)
    changed = changed_extents(size_bytes, data_bytes, count)
    request = BackupRequest(changed=ChangedExtents(changed, "base"), rewrite_share=0)
    with (
        open_repository(str(folder), layers=lambda driver: MadeUp(driver, leaves)) as repository,
        DenseVolume(size_bytes, changed) as volume,
    ):
        before = resource.getrusage(resource.RUSAGE_SELF)
        started_s = time.perf_counter()
        done = backup(volume, repository, request=request)
        duration_s = time.perf_counter() - started_s
        after = resource.getrusage(resource.RUSAGE_SELF)
    if done.hint is not Hint.USED:
        raise SystemExit("the changed extents were not used")
    maps = [path.stat().st_size for path in folder.glob(f"{MAP.folder}/*/*")]
    spent_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(duration_s, spent_s, after.ru_maxrss * KIB, done.sums.read_bytes, sum(maps))


def measure(given: argparse.Namespace, size_bytes: int) -> list[Cost]:
    """Make up a base and back up its second day a few times, each as if it were the first."""
    costs: list[Cost] = []
    with work_folder(given.folder) as folder:
        place = folder / "repository"
        with create_repository(str(place)) as repository:
            make_base(repository, size_bytes)
        base_bytes = sum(path.stat().st_size for path in place.glob(f"{MAP.folder}/*/*"))
        stored = set(place.rglob("*"))
        for _ in range(given.rounds):
            command = [
                sys.executable, "-m", "benchmarks.hinted.dense", "--one", str(place),
                "--volume-size", str(size_bytes), "--data", str(given.data),
                "--extents", str(given.extents),
            ]  # fmt: skip
            text = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
            cost = Cost(**json.loads(text))
            costs.append(Cost(**{**asdict(cost), "map_bytes": cost.map_bytes - base_bytes}))
            for path in sorted(set(place.rglob("*")) - stored, reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
    return costs


def _sizes(text: str) -> list[int]:
    return [parse_bytes(part) for part in text.split(",")]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = new_parser("hinted.dense", __doc__)
    parser.add_argument("--volume-size", type=_sizes, default=[TIB, 100 * TIB])
    parser.add_argument("--data", type=parse_bytes, default=parse_bytes("1GiB"))
    parser.add_argument("--extents", type=int, default=10_000)
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.one:
        cost = run_one(given.one, given.volume_size[0], given.data, given.extents)
        print(json.dumps(asdict(cost)))
        return
    results = {size: measure(given, size) for size in given.volume_size}
    rows = [
        {
            "volume": format_bytes(size),
            "median s": f"{median(cost.duration_s for cost in costs):.2f}",
            "cpu s": f"{median(cost.cpu_s for cost in costs):.2f}",
            "peak RSS": format_bytes(max(cost.peak_rss_bytes for cost in costs)),
            "read": format_bytes(costs[0].read_bytes),
            "maps put": format_bytes(costs[0].map_bytes),
        }
        for size, costs in results.items()
    ]
    print_table("Little changed in a volume full of data", rows)
    costs_by_size = {str(size): [asdict(cost) for cost in costs] for size, costs in results.items()}
    write_json(given.json, {"costs": costs_by_size})


if __name__ == "__main__":
    main()
