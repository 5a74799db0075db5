"""The kit on memory and on every layer over it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from backupcore.driver import Driver
from backupcore.driver.layer import Checked, Counted, Layer, Retrying, Throttled
from backupcore.driver.memory import MemoryDriver, MemoryStore
from backupcore.testing.driver import DriverConformance
from backupcore.testing.fault import FaultyDriver


class TestMemory(DriverConformance):
    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()

    @pytest.fixture
    def driver(self, store: MemoryStore) -> Driver:
        return MemoryDriver(store)

    @pytest.fixture
    def second_driver(self, store: MemoryStore) -> Driver:
        return MemoryDriver(store)


class Plain(MemoryDriver):
    """Reads into buffers and tells sizes as the contract does by default."""

    get_into = Driver.get_into
    stat = Driver.stat


class TestPlain(DriverConformance):
    list_count = 100

    @pytest.fixture
    def driver(self) -> Driver:
        return Plain()


LAYERS: dict[str, Callable[[Driver], Driver]] = {
    "layer": Layer,
    "checked": Checked,
    "counted": Counted,
    "retrying": Retrying,
    "throttled": lambda below: Throttled(below, up_bytes_s=1e12, down_bytes_s=1e12),
    "faulty": FaultyDriver,
}


@pytest.mark.parametrize("layer", LAYERS)
class TestLayer(DriverConformance):
    list_count = 1_000

    @pytest.fixture
    def store(self) -> MemoryStore:
        return MemoryStore()

    @pytest.fixture
    def driver(self, layer: str, store: MemoryStore) -> Driver:
        return LAYERS[layer](MemoryDriver(store))

    @pytest.fixture
    def second_driver(self, layer: str, store: MemoryStore) -> Driver:
        return LAYERS[layer](MemoryDriver(store))
