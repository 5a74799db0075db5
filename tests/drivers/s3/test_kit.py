"""The promises of every driver, on two servers that share no code."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from backupcore.driver import Driver
from backupcore.driver.layer import Retrying
from backupcore.driver.registry import open_driver
from backupcore.testing.driver import DriverConformance
from tests.drivers.s3.stage.place import Place

# Swift decides If-None-Match at each replica by itself, so two writers can win.
SWIFT = {"conditional_put": "no", "checksums": "when_required"}


@pytest.mark.xdist_group("radosgw")
class TestGateway(DriverConformance):
    list_count = 1_001
    prefix = "kit"

    @pytest.fixture
    def driver(self, gateway: Place) -> Iterator[Driver]:
        with open_driver(gateway.url()) as driver:
            yield driver

    @pytest.fixture
    def second_driver(self, gateway: Place) -> Iterator[Driver]:
        with open_driver(gateway.url()) as driver:
            yield driver


@pytest.mark.xdist_group("swift")
class TestSwift(DriverConformance):
    """Behind the layer that repeats: a single replica that is just being replaced answers 503."""

    list_count = 60  # one page either way: S3 has pages of 1000

    @pytest.fixture
    def driver(self, swift: Place) -> Iterator[Driver]:
        with Retrying(open_driver(swift.url(prefix="below/ä b+c", **SWIFT))) as driver:
            yield driver

    @pytest.fixture
    def second_driver(self, swift: Place) -> Iterator[Driver]:
        with Retrying(open_driver(swift.url(prefix="below/ä b+c", **SWIFT))) as driver:
            yield driver
