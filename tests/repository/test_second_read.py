from __future__ import annotations

from pathlib import Path

import pytest

from backupcore import MemoryVolume, Repository, backup, create_repository, open_repository
from backupcore.driver import Driver
from backupcore.driver.relay import Layer
from backupcore.errors import ManifestDamaged


class Flipping(Layer):
    """Flips a bit in the middle of the first answers for each key below a prefix."""

    def __init__(self, below: Driver, prefix: str, *, count: int) -> None:
        super().__init__(below)
        self._prefix = prefix
        self._count = count
        self.flipped: dict[str, int] = {}

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        data = super().get(key, offset, length)
        flipped = self.flipped.get(key, 0)
        if not key.startswith(self._prefix) or flipped >= self._count:
            return data
        self.flipped[key] = flipped + 1
        spoiled = bytearray(data)
        spoiled[len(spoiled) // 2] ^= 1
        return bytes(spoiled)


@pytest.fixture
def place(tmp_path: Path) -> str:
    url = str(tmp_path / "repository")
    with create_repository(url) as repository:
        backup(MemoryVolume(b"some bytes" * 10_000, name="disk"), repository)
    return url


def opened(place: str, prefix: str, *, count: int) -> tuple[Repository, Flipping]:
    layers: list[Flipping] = []

    def wrap(driver: Driver) -> Driver:
        layers.append(Flipping(driver, prefix, count=count))
        return layers[0]

    return open_repository(place, layers=wrap), layers[0]


@pytest.mark.parametrize("prefix", ["config", "domains/", "backups/"])
def test_a_bit_that_flips_on_the_way_is_no_damage(place: str, prefix: str) -> None:
    repository, layer = opened(place, prefix, count=1)
    with repository:
        (found,) = repository.backups("disk")
        incremental = backup(MemoryVolume(b"some bytes" * 10_000, name="disk"), repository)
    assert layer.flipped
    assert incremental.base_id == found.id


@pytest.mark.parametrize("prefix", ["config", "domains/"])
def test_a_bit_that_is_flipped_every_time_is_damage(place: str, prefix: str) -> None:
    def look() -> None:
        with opened(place, prefix, count=2)[0] as repository:
            repository.domain()

    with pytest.raises(ManifestDamaged):
        look()


def test_a_damaged_manifest_is_read_twice_and_left_out(place: str) -> None:
    repository, layer = opened(place, "backups/", count=2)
    with repository:
        assert list(repository.backups("disk")) == []
    assert set(layer.flipped.values()) == {2}
