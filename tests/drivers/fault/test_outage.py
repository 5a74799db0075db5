"""A server that is killed while something is on its way, and is back when it is asked again."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import pytest

from backupcore import MemoryVolume, open_repository
from backupcore.errors import Unavailable
from tests.drivers.fault.case import DATA, MIDDLE, REGISTER
from tests.drivers.fault.stage import CHUNK, URLS, Stage, noise
from tests.servers.fault_proxy import Fault, Rule, Way

SIZE_BYTES = 16 * CHUNK
PARTS = ("object", "proxy")  # the one that holds the bytes, the one that is spoken to
USUAL = (("swift", "object"), ("s3", "proxy"))
each_part = pytest.mark.parametrize(
    ("stage", "part"),
    [
        pytest.param(*pair, marks=[pytest.mark.long] * (pair not in USUAL))
        for pair in product(URLS, PARTS)
    ],
    indirect=["stage"],
)


@pytest.fixture(autouse=True)
def _whole(stage: Stage) -> Iterator[None]:
    yield
    for name, part in stage.server.servers.items():
        if part.has_failed():
            stage.server.restart(name)


def volume_of(stage: Stage, part: str, verb: str) -> MemoryVolume:
    name = f"{stage.scheme} {part} killed in a {verb}"
    return MemoryVolume(noise(name, SIZE_BYTES), name=name)


def killing(stage: Stage, part: str, path: str, way: Way) -> Rule:
    """Return the rule that kills a part of the store; the first wait has it started again."""
    stage.clock.at_first_wait = lambda: stage.server.restart(part)
    return Rule(
        Fault.CALL,
        {Way.UP: "PUT", Way.DOWN: "GET"}[way],
        path,
        way=way,
        at_bytes=MIDDLE if path is DATA else 64,
        callback=lambda: stage.server.kill(part),
    )


@each_part
@pytest.mark.parametrize("path", [DATA, REGISTER], ids=["pack", "manifest"])
def test_a_backup_outlives_a_server_killed_in_the_middle_of_a_put(
    stage: Stage, part: str, path: str
) -> None:
    volume = volume_of(stage, part, f"put of {path}")
    with stage.spoiled(killing(stage, part, path, Way.UP)):
        done = stage.back_up(volume)
        assert stage.clock.at_first_wait is None
    assert stage.listed(volume) == [done.id]
    assert stage.restored(done.id, SIZE_BYTES) == bytes(volume.content)


@each_part
def test_a_restore_outlives_a_server_killed_in_the_middle_of_a_get(stage: Stage, part: str) -> None:
    volume = volume_of(stage, part, "get")
    done = stage.back_up(volume)
    with stage.spoiled(killing(stage, part, DATA, Way.DOWN)):
        assert stage.restored(done.id, SIZE_BYTES) == bytes(volume.content)
    assert stage.restored(done.id, SIZE_BYTES) == bytes(volume.content)


def test_a_store_that_refuses_connections_is_waited_for_and_then_named(stage: Stage) -> None:
    stage.clock.sleeps.clear()
    with stage.proxy.refusing(), pytest.raises(Unavailable, match=str(stage.proxy.port)):
        open_repository(stage.url, runtime=stage.runtime)
    assert 200 < sum(stage.clock.sleeps) <= 300
    stage.open().close()
