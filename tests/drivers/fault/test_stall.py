"""Uploads larger than what the machine itself takes off a sender's hands."""

from __future__ import annotations

import pytest

from backupcore import MemoryVolume, Tuning
from tests.drivers.fault.case import DATA
from tests.drivers.fault.stage import Stage, be_hasty, noise
from tests.servers.fault_proxy import Fault, Rule, Way

SIZE_BYTES = 12 << 20
FAULTS = {
    "stands still": Rule(Fault.STALL, "PUT", DATA, way=Way.UP, at_bytes=1 << 20),
    "trickles": Rule(Fault.TRICKLE, "PUT", DATA, way=Way.UP, at_bytes=1 << 20, rate_bytes_s=500),
}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_a_large_pack_whose_upload_slows_down_is_sent_again(
    stage: Stage, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_hasty(stage, monkeypatch)
    volume = MemoryVolume(noise(fault, SIZE_BYTES), name=f"{stage.scheme} {fault}")
    with stage.spoiled(FAULTS[fault]):
        done = stage.back_up(volume, tuning=Tuning.inline())
    assert stage.proxy.exchanges[-1].fault is None
    assert stage.restored(done.id, SIZE_BYTES) == bytes(volume.content)
