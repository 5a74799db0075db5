"""Every fault of the table, in whole backups and restores.

Each ends well after retries, or in one clear error. Then nothing half done is listed, what was
there before restores byte by byte, and the next backup works.
"""

from __future__ import annotations

import logging
import re

import pytest

from backupcore import BackupError, MemoryVolume
from backupcore.errors import Unavailable
from tests.drivers.fault.case import BACKUPS, RESTORES, Case, each
from tests.drivers.fault.stage import CHUNK, Stage, be_hasty, noise
from tests.servers.fault_proxy import Fault

SIZE_BYTES = 16 * CHUNK
PATIENCE = 8  # requests of an operation that is refused
SLOW = (Fault.STALL, Fault.TRICKLE)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "backupcore")


def fresh_volume(stage: Stage, case: Case, kind: str) -> MemoryVolume:
    """Return a volume of its own for a case."""
    name = f"{stage.scheme} {kind} {case.promise}"
    return MemoryVolume(noise(name, SIZE_BYTES), name=name)


def change(volume: MemoryVolume) -> bytes:
    """Write new bytes over half of a volume; return all of it."""
    start = SIZE_BYTES // 4
    volume.write(start, noise(volume.content[start : start + 9].hex(), SIZE_BYTES // 2))
    return bytes(volume.content)


def check_clear(error: BackupError, stage: Stage) -> None:
    """Check that an error names what it is about, and no secret."""
    assert re.search(r"faults/|data/|map/|backups/", str(error))
    assert stage.server.key not in str(error)


@each(BACKUPS)
def test_in_a_backup(stage: Stage, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    if case.rule.fault in SLOW:
        be_hasty(stage, monkeypatch)
    volume = fresh_volume(stage, case, "backup")
    before = bytes(volume.content)
    first = stage.back_up(volume)
    after = change(volume)
    expected = {first.id: before}
    seen = len(stage.proxy.exchanges)
    with stage.spoiled(case.rule):
        if case.fails:
            with pytest.raises(case.fails) as caught:
                stage.back_up(volume)
            check_clear(caught.value, stage)
        else:
            expected[stage.back_up(volume).id] = after
        waited_s = sum(stage.clock.sleeps)
    check_hit(stage, case, seen, waited_s)
    assert stage.listed(volume) == list(expected)
    for backup_id, content in expected.items():
        assert stage.restored(backup_id, SIZE_BYTES) == content
    if case.fails:
        change(volume)
        again = stage.back_up(volume)
        assert stage.restored(again.id, SIZE_BYTES) == bytes(volume.content)


@each(RESTORES)
def test_in_a_restore(stage: Stage, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    if case.rule.fault in SLOW:
        be_hasty(stage, monkeypatch)
    volume = fresh_volume(stage, case, "restore")
    content = bytes(volume.content)
    done = stage.back_up(volume)
    seen = len(stage.proxy.exchanges)
    with stage.spoiled(case.rule):
        if case.fails:
            with pytest.raises(case.fails) as caught:
                stage.restored(done.id, SIZE_BYTES)
            check_clear(caught.value, stage)
        else:
            assert stage.restored(done.id, SIZE_BYTES) == content
        waited_s = sum(stage.clock.sleeps)
    check_hit(stage, case, seen, waited_s)
    assert stage.listed(volume) == [done.id]
    assert stage.restored(done.id, SIZE_BYTES) == content


def check_hit(stage: Stage, case: Case, seen: int, waited_s: float) -> None:
    """Check that the fault was really met, and what was waited for."""
    hits = [each.fault for each in stage.proxy.exchanges[seen:] if each.fault]
    assert set(hits) == {case.rule.fault}
    assert waited_s >= case.waited_s
    if case.rule.count is not None:
        assert len(hits) == case.rule.count
    if case.fails not in (None, Unavailable):
        assert (waited_s, len(hits) <= PATIENCE) == (0, True)
