"""Any change of any stored object is found, or it changes nothing that is restored.

A pack's own header, footer and trailer are not read by a restore; a changed byte there is found by
whoever opens the object whole, as `verify` does.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np
import pytest

from backupcore import BackupRequest, Grid, Tuning, backup, open_repository, restore
from backupcore.chunk.digest import digest
from backupcore.driver.memory import MemoryDriver, MemoryStore, backupcore_open_driver
from backupcore.errors import Damaged, MapDamaged, Refused, RepositoryMissing
from backupcore.model import BackupId, PackId
from backupcore.repository import Repository
from backupcore.repository.control import Config, Domain, Lease, SessionKind
from backupcore.repository.envelope import open_envelope, read_layout
from backupcore.repository.key import (
    CONFIG,
    MAP,
    RegisterName,
    domain_key,
    pack_reference,
    volume_tag,
)
from backupcore.repository.map import Root, TreeReader, null_row
from backupcore.repository.session import condemn, read_tombs
from backupcore.units import KIB, MIB, TIB
from backupcore.url import Url
from backupcore.volume.memory import MemoryVolume
from tests.format.world import CHUNK, Chance, fixed_runtime

pytestmark = pytest.mark.no_cover  # a search of what others cover; being traced takes twice as long

TUNING = replace(Tuning.inline(), slab_size_bytes=4 * CHUNK)
ENVELOPES = {"backups": "regi", "config": "conf", "data": "data", "domains": "doma",
             "map": "maps", "sessions": "leas", "tombs": "tomb"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Small:
    """A repository with every kind of object, and what its backups hold."""

    objects: dict[str, bytes]
    contents: dict[BackupId, bytes] = field(default_factory=dict)

    def opened(self, changes: dict[str, bytes]) -> Repository:
        """Open a copy in which some objects are others."""
        store = MemoryStore()
        driver = MemoryDriver(store)
        for key, data in {**self.objects, **changes}.items():
            driver.put(key, [data])
        config = Config.open(driver.get(CONFIG))
        runtime = fixed_runtime("reader")
        return Repository(driver, config, runtime=runtime, cache=None, url="memory:")

    def restored(self, repository: Repository, backup_id: BackupId) -> bytes:
        target = MemoryVolume(len(self.contents[backup_id]))
        restore(repository, backup_id, target, tuning=TUNING)
        return bytes(target.content)

    def keys(self, folder: str) -> list[str]:
        return [key for key in sorted(self.objects) if key.split("/")[0] == folder]


@cache
def small(hole_bytes: int = 2 * CHUNK) -> Small:
    """Return a repository of two volumes: text and noise around a hole."""
    driver = MemoryDriver()
    runtime = fixed_runtime("small")
    domain = Domain(runtime.new_id(), runtime.random_bytes(32))
    now = runtime.clock.now()
    config = Config(runtime.new_id(), now, domain.domain_id, Grid(CHUNK, 2 * CHUNK), 1)
    driver.put(domain_key(domain.domain_id), domain.seal())
    driver.put(CONFIG, config.seal())
    repository = Repository(driver, config, runtime=runtime, cache=None, url="memory:")
    contents = {}
    for name in ("one", "two"):
        content = (name.encode() * CHUNK)[: 2 * CHUNK] + bytes(hole_bytes) + Chance(name)(300)
        volume = MemoryVolume(bytearray(content), name=name)
        request = BackupRequest(volume_id=name, labels={"a": name})
        contents[backup(volume, repository, request=request, tuning=TUNING).id] = content
    register = RegisterName(
        volume_tag("one", domain.id_key), BackupId("00000000-0000-4000-8000-000000000001"), 0
    )
    repository.open_session(
        SessionKind.BACKUP, register, domain_id=domain.domain_id, chunk_size_bytes=CHUNK
    )
    gone = PackId(f"data/{runtime.new_id()}/{runtime.new_id()}-0000000000")
    condemn(driver, runtime, [gone])
    return Small({info.key: driver.get(info.key) for info in driver.list()}, contents)


def use(world: Small, changes: dict[str, bytes]) -> bool:
    """Do what reads the changed objects; return whether everything was as it should be."""
    repository = world.opened(changes)
    folders = {key.split("/")[0] for key in changes}
    if "tombs" in folders:
        read_tombs(repository.driver, repository.runtime.clock)
    for key in changes:
        if key.startswith("sessions/"):
            Lease.open(repository.driver.get(key), key)
    if folders <= {"tombs", "sessions", "config"}:
        return False
    return all(world.restored(repository, name) == world.contents[name] for name in world.contents)


def assert_found(world: Small, key: str, changed: bytes) -> None:
    """Require that the change is refused where it matters, and whoever reads all finds it."""
    try:
        is_unharmed = use(world, {key: changed})
    except (Damaged, RepositoryMissing):
        return
    assert is_unharmed
    assert key.startswith(("data/", "map/"))
    with pytest.raises(Damaged):
        open_envelope(changed, ENVELOPES[key.partition("/")[0]])


def flipped(data: bytes) -> Iterator[bytes]:
    """Yield the bytes with one bit changed, for each byte another one."""
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1 << position % 8
        yield bytes(changed)


EACH_FOLDER = pytest.mark.parametrize("folder", sorted(ENVELOPES))


def test_the_repository_holds_every_kind_of_object_and_is_whole() -> None:
    world = small()
    assert {key.split("/")[0] for key in world.objects} == set(ENVELOPES)
    assert use(world, {key: world.objects[key] for key in world.keys("data")})


@EACH_FOLDER
def test_a_flipped_bit_in_any_byte_is_found(folder: str) -> None:
    world = small()
    key = world.keys(folder)[0]
    for changed in flipped(world.objects[key]):
        assert_found(world, key, changed)


@pytest.mark.parametrize("folder", ["data", "map"])
def test_a_flipped_bit_of_a_frame_is_found_by_restoring(folder: str) -> None:
    world = small()
    key = world.keys(folder)[0]
    data = world.objects[key]
    start, length = read_layout(data, len(data)).sections[0]
    for changed in list(flipped(data))[start : start + length]:
        with pytest.raises(Damaged):
            use(world, {key: changed})


def test_a_flipped_bit_in_any_byte_of_a_map_with_a_node_is_found() -> None:
    world = small(hole_bytes=4 * MIB)
    key = world.keys("map")[0]
    for changed in list(flipped(world.objects[key]))[::7]:
        assert_found(world, key, changed)


@EACH_FOLDER
def test_an_object_cut_anywhere_is_found(folder: str) -> None:
    world = small()
    key = world.keys(folder)[0]
    data = world.objects[key]
    step = 1 if len(data) < 600 else 11
    for length in [*range(0, len(data), step), *range(len(data) - 60, len(data))]:
        assert_found(world, key, data[:length])


@EACH_FOLDER
@pytest.mark.parametrize("junk", [b"\0", b"\n", bytes(4096), b"twice"])
def test_an_object_with_junk_behind_it_is_found(folder: str, junk: bytes) -> None:
    world = small()
    key = world.keys(folder)[0]
    data = world.objects[key]
    assert_found(world, key, data + (data if junk == b"twice" else junk))


@pytest.mark.parametrize("folder", ["data", "map", "backups"])
def test_two_objects_in_each_others_place_are_found(folder: str) -> None:
    world = small()
    first, second = world.keys(folder)[:2]
    swap = {first: world.objects[second], second: world.objects[first]}
    with pytest.raises(Damaged):
        use(world, swap)


def test_a_register_of_another_volume_is_found() -> None:
    world = small()
    first, second = (key.split("/") for key in world.keys("backups")[:2])
    moved = "/".join([first[0], second[1], *first[2:]])
    with pytest.raises((Damaged, Refused)):  # two volumes seem to have the backup
        use(world, {moved: world.objects["/".join(first)]})


def test_an_object_in_the_place_of_one_of_another_kind_is_found() -> None:
    world = small()
    for folder in ENVELOPES:
        for other in ENVELOPES:
            if folder != other:
                key, data = world.keys(folder)[0], world.objects[world.keys(other)[0]]
                assert_found(world, key, data)


@pytest.mark.parametrize("folder", ["data", "map", "domains"])
def test_a_missing_object_is_found(folder: str) -> None:
    world = small()
    gone = Small({k: v for k, v in world.objects.items() if k not in world.keys(folder)[:1]})
    with pytest.raises(Damaged):
        use(Small(gone.objects, world.contents), {"data/none": b""})


def open_config(data: bytes) -> None:
    """Open a repository in this process's memory whose `config` is something else."""
    url = "memory:test-flip"
    driver = backupcore_open_driver(Url.parse(url, default_scheme="memory"), {})
    driver.put(CONFIG, [data])
    open_repository(url).close()


@pytest.mark.parametrize("position", range(0, 360, 37))
def test_a_repository_with_a_changed_config_does_not_open(position: int) -> None:
    data = bytearray(small().objects[CONFIG])
    data[position] ^= 0x10
    with pytest.raises(RepositoryMissing if position < 4 else Damaged):
        open_config(bytes(data))


def lying_frame(claimed: int, plain_length: int, blocks: bytes) -> bytes:
    payload = b"\x28\xb5\x2f\xfd\xe0" + claimed.to_bytes(8, "little") + blocks
    lengths = plain_length.to_bytes(4, "little") + len(payload).to_bytes(4, "little")
    return b"\xf5BKF\x01\0\0\0" + lengths + bytes(24) + payload


@pytest.mark.parametrize("claimed", [64 * MIB, TIB])
@pytest.mark.parametrize("plain_length", [4096, 64 * MIB, 64 * MIB + 1, (1 << 32) - 1])
def test_a_map_frame_that_lies_about_its_size_takes_no_memory(
    claimed: int, plain_length: int
) -> None:
    key = f"map/{'00' * 16}/{'11' * 16}-0000000000"
    reference = pack_reference(key)
    assert reference is not None
    assert key.startswith(MAP.folder)
    stored = lying_frame(claimed, plain_length, b"\x01\0\0")
    driver, row = MemoryDriver(), null_row()
    driver.put(key, [stored])
    row["pack"], row["digest"] = np.void(reference), np.void(digest(stored))
    row["stored_length"], row["plain_length"] = len(stored), plain_length
    reader = TreeReader(driver, Root(0, row), CHUNK, CHUNK * 1024, cache=None)
    assert peak_bytes_of(lambda: _expect_map_damage(reader)) < 256 * KIB


def _expect_map_damage(reader: TreeReader) -> None:
    with pytest.raises(MapDamaged):
        reader.leaf(0)


def peak_bytes_of(call: Callable[[], None]) -> int:
    """Return the most memory that was held during a call."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
