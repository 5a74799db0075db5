"""The promises of every driver on a real Swift, and a whole backup in it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backupcore import Access, backup, create_repository, open_repository, open_volume, restore
from backupcore.driver import Driver
from backupcore.driver.layer import Retrying
from backupcore.testing.driver import DriverConformance
from tests.drivers.swift.place import Place

IMAGE_BYTES = 12_345_678
CHANGED_BYTES = 50_000


class TestSwift(DriverConformance):
    """Also what is said of listings: with all servers up Swift keeps that too.

    Behind the layer that repeats, as in every repository: a single replica that is just being
    replaced answers 503.
    """

    list_count = 201

    @pytest.fixture
    def driver(self, place: Place) -> Iterator[Driver]:
        with claiming_strong_lists(place.open()) as driver:
            yield driver

    @pytest.fixture
    def second_driver(self, place: Place) -> Iterator[Driver]:
        with claiming_strong_lists(place.open()) as driver:
            yield driver


def claiming_strong_lists(driver: Driver) -> Driver:
    layer = Retrying(driver)
    layer.capabilities = replace(driver.capabilities, list_lag_s_max=0)
    return layer


def test_what_is_claimed_is_what_swift_promises_when_servers_fail(place: Place) -> None:
    with place.open() as driver:
        claimed = driver.capabilities
    assert not claimed.conditional_put
    assert claimed.list_lag_s_max == 86_400
    assert claimed.object_size_bytes_max == 5 << 30
    assert claimed.range_get


def test_an_image_comes_back_from_a_full_and_an_incremental_backup(
    place: Place, tmp_path: Path
) -> None:
    image = tmp_path / "image"
    noise = random.Random(7)
    content = bytearray(noise.randbytes(IMAGE_BYTES // 2)) + bytearray(IMAGE_BYTES // 2)
    create_repository(place.url).close()
    for number, base in enumerate((None, "latest")):
        content[number : number + CHANGED_BYTES] = noise.randbytes(CHANGED_BYTES)
        image.write_bytes(content)
        with open_repository(place.url) as repository, open_volume(str(image)) as volume:
            done = backup(volume, repository, base=base)
        copy = tmp_path / f"copy-{number}"
        with (
            open_repository(place.url) as repository,
            open_volume(str(copy), access=Access.CREATE, size_bytes=done.size_bytes) as target,
        ):
            restore(repository, done.id, target)
        assert copy.read_bytes() == content
        assert done.new_bytes < (IMAGE_BYTES if base is None else IMAGE_BYTES // 4)
