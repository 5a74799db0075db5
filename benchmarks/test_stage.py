"""How long each stage takes by itself; nothing is asserted about time.

make bench
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from backupcore import BackupRequest, SelfCheck, Tuning, backup, create_repository, restore
from backupcore.chunk.digest import checksum, chunk_ids, nonzero_chunks
from backupcore.chunk.frame import FrameDecoder, FrameEncoder, FrameLabel
from backupcore.extents import (
    Extents,
    as_extents,
    cells_of,
    intersect_extents,
    pack_extents,
    subtract_extents,
)
from backupcore.model import ByteArray, Grid
from backupcore.operation.ingest.claim import Claims, Slots
from backupcore.repository.envelope import open_envelope, seal_envelope, start_envelope
from backupcore.repository.map import FAN_OUT, Leaf
from backupcore.repository.pack import PLACE
from backupcore.testing.filling import database_pages, mixed_file, random_bytes
from backupcore.units import KIB, MIB
from backupcore.volume.memory import MemoryVolume
from backupcore.volume.synthetic import SyntheticSpec, SyntheticVolume
from backupcore_posix import PosixDriver
from benchmarks.image import work_folder

CHUNK = Grid().chunk_size_bytes
FRAME = MIB
SLAB = 8 * MIB
PACK = 32 * MIB
ID_KEY = bytes(range(32))
LABEL = FrameLabel(bytes(16), 7)


def _mixed(random: np.random.Generator, length: int) -> bytes:
    return b"".join(mixed_file(random, CHUNK) for _ in range(length // CHUNK))


FILLS = {"random": random_bytes, "database": database_pages, "mixed": _mixed}


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(1))


@pytest.fixture
def slab(random: np.random.Generator) -> ByteArray:
    return np.frombuffer(random.bytes(SLAB), np.uint8)


@pytest.fixture(params=FILLS)
def frame(request: pytest.FixtureRequest, random: np.random.Generator) -> bytes:
    return FILLS[request.param](random, FRAME)


@pytest.fixture
def pack(random: np.random.Generator) -> list[bytes]:
    return [random.bytes(FRAME) for _ in range(PACK // FRAME)]


@pytest.fixture
def leaf(random: np.random.Generator) -> Leaf:
    """Return a full leaf whose frames lie in eight packs."""
    places = np.zeros(FAN_OUT // 16, PLACE)
    places["pack"] = [np.void(bytes([number % 8]) * 36) for number in range(len(places))]
    places["offset"] = np.arange(len(places)) * 500_000
    places["stored_length"], places["plain_length"] = 500_000, FRAME
    cells = np.arange(FAN_OUT)
    ids = np.frombuffer(random.bytes(FAN_OUT * 32), np.uint8).reshape(-1, 32)
    present = np.ones(FAN_OUT, np.bool_)
    frames, slots = (cells // 16).astype(np.uint16), (cells % 16).astype(np.uint8)
    return Leaf(CHUNK, 0, places, present, ids, frames, slots)


@pytest.fixture
def extents(random: np.random.Generator) -> tuple[Extents, Extents]:
    """Return two times 100 000 extents in a volume of 16 TiB."""
    rows = random.integers(0, 1 << 32, (2, 100_000, 2)) * 4 * KIB % (1 << 44)
    rows[:, :, 1] = rows[:, :, 1] % (4 * MIB) + 1
    return as_extents(rows[0]), as_extents(rows[1])


@pytest.fixture
def driver() -> Iterator[PosixDriver]:
    with work_folder(None) as folder, PosixDriver(str(folder / "store")) as driver:
        yield driver


def test_chunk_ids_of_a_slab(benchmark: BenchmarkFixture, slab: ByteArray) -> None:
    ids = benchmark(chunk_ids, slab.data, CHUNK, ID_KEY)
    assert ids.shape == (SLAB // CHUNK, 32)


def test_zero_test_of_a_slab(benchmark: BenchmarkFixture, slab: ByteArray) -> None:
    assert benchmark(nonzero_chunks, slab, CHUNK).all()


def test_zero_test_of_a_slab_of_zeros(benchmark: BenchmarkFixture) -> None:
    assert not benchmark(nonzero_chunks, np.zeros(SLAB, np.uint8), CHUNK).any()


def test_frame_is_encoded(benchmark: BenchmarkFixture, frame: bytes) -> None:
    assert benchmark(FrameEncoder(1).encode, frame, LABEL).plain_length == FRAME


def test_frame_is_decoded(benchmark: BenchmarkFixture, frame: bytes) -> None:
    stored, plain = FrameEncoder(1).encode(frame, LABEL), memoryview(bytearray(FRAME))
    benchmark(FrameDecoder().decode_parts, stored.header, stored.payload, plain)
    assert plain == frame


def test_checksum_of_a_frame(benchmark: BenchmarkFixture, frame: bytes) -> None:
    stored = FrameEncoder(1).encode(frame, LABEL)
    assert benchmark(checksum, stored.parts) == checksum(stored.parts)


def test_envelope_of_a_pack_is_sealed(benchmark: BenchmarkFixture, pack: list[bytes]) -> None:
    parts = [start_envelope("data", {}), *pack]
    assert benchmark(seal_envelope, parts, [PACK])


def test_envelope_of_a_pack_is_opened(benchmark: BenchmarkFixture, pack: list[bytes]) -> None:
    parts = [start_envelope("data", {}), *pack]
    stored = b"".join([*parts, seal_envelope(parts, [PACK])])
    assert len(benchmark(open_envelope, stored, "data").sections[0]) == PACK


def test_leaf_is_encoded(benchmark: BenchmarkFixture, leaf: Leaf) -> None:
    assert benchmark(leaf.encode)


def test_leaf_is_decoded(benchmark: BenchmarkFixture, leaf: Leaf) -> None:
    assert benchmark(Leaf.decode, leaf.encode(), CHUNK, 0).present.all()


def test_claims_of_a_slab(benchmark: BenchmarkFixture, random: np.random.Generator) -> None:
    claims, count = Claims(), SLAB // CHUNK
    ids = np.frombuffer(random.bytes(32 * count), np.uint8).reshape(-1, 32)

    def claim() -> Slots:
        first = claims.take_serials(count // 16)
        positions = claims.first_of_each(ids)
        slots = Slots(first + positions // 16, (positions % 16).astype(np.uint8))
        claims.remember(ids, slots)
        return claims.find(ids)

    assert (benchmark(claim).serial >= 0).all()


def test_extents_are_packed(benchmark: BenchmarkFixture, extents: tuple[Extents, Extents]) -> None:
    assert len(benchmark(pack_extents, extents[0], CHUNK))


def test_extents_are_intersected(
    benchmark: BenchmarkFixture, extents: tuple[Extents, Extents]
) -> None:
    assert len(benchmark(intersect_extents, *extents))


def test_extents_are_subtracted(
    benchmark: BenchmarkFixture, extents: tuple[Extents, Extents]
) -> None:
    assert len(benchmark(subtract_extents, *extents))


def test_cells_of_a_window_are_marked(
    benchmark: BenchmarkFixture, extents: tuple[Extents, Extents]
) -> None:
    assert benchmark(cells_of, extents[0], CHUNK, 0, FAN_OUT * FAN_OUT).any()


def test_posix_driver_puts_a_pack(
    benchmark: BenchmarkFixture, driver: PosixDriver, pack: list[bytes]
) -> None:
    benchmark(driver.put, "data/pack", pack)
    assert driver.stat("data/pack").size_bytes == PACK


def test_posix_driver_gets_a_pack(
    benchmark: BenchmarkFixture, driver: PosixDriver, pack: list[bytes]
) -> None:
    driver.put("data/pack", pack)
    assert benchmark(driver.get_into, "data/pack", 0, bytearray(PACK)) == PACK


@pytest.mark.parametrize("self_check", list(SelfCheck))
def test_small_volume_is_backed_up_inline(
    benchmark: BenchmarkFixture, self_check: SelfCheck
) -> None:
    volume = SyntheticVolume(SyntheticSpec(64 * MIB, data_bytes=64 * MIB))
    tuning = Tuning(workers=0, readers=0, uploaders=0, fetchers=0, self_check=self_check)
    with create_repository("memory:") as repository:

        def full() -> int:
            return backup(volume, repository, base=None, tuning=tuning).new_bytes

        assert benchmark(full) == 64 * MIB


def test_small_volume_is_backed_up_again_inline(benchmark: BenchmarkFixture) -> None:
    volume = SyntheticVolume(SyntheticSpec(64 * MIB, data_bytes=64 * MIB))
    with create_repository("memory:") as repository:
        backup(volume, repository)

        def again() -> int:
            return backup(volume, repository, tuning=Tuning.inline()).new_bytes

        assert benchmark(again) == 0


def test_small_volume_is_restored_inline(benchmark: BenchmarkFixture) -> None:
    volume = SyntheticVolume(SyntheticSpec(64 * MIB, data_bytes=64 * MIB))
    target = MemoryVolume(bytes(64 * MIB))
    with create_repository("memory:") as repository:
        done = backup(volume, repository, request=BackupRequest(name="small"))

        def back() -> int:
            return restore(repository, done.id, target, tuning=Tuning.inline()).restored_bytes

        assert benchmark(back) == 64 * MIB
