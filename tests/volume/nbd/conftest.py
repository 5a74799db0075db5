from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from backupcore.volume.nbd import NbdVolume
from backupcore.volume.nbd.address import Address
from tests.servers.nbd_fake import FakeServer, Peer, QuickClock

Opening = Callable[..., NbdVolume]


@pytest.fixture
def clock() -> QuickClock:
    return QuickClock()


@pytest.fixture
def told(tmp_path: Path, clock: QuickClock) -> Iterator[Opening]:
    """Open the volume of a server that follows a script; both are closed afterwards."""
    with ExitStack() as stack:

        def opened(script: Callable[[Peer], None], **options: object) -> NbdVolume:
            path = tmp_path / "fake.sock"
            path.unlink(missing_ok=True)
            stack.enter_context(FakeServer(path, script))
            address = Address("disk", socket_path=str(path))
            known: dict[str, object] = {"timeout_s": 5.0, "clock": clock, **options}
            return stack.enter_context(NbdVolume(address, **known))  # type: ignore[arg-type]

        yield opened
