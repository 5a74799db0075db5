"""Several services may share a folder of images."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from backupcore.catalog.status import BackupStatus
from backupcore.provider.directory import DirectoryProvider
from backupcore.service import Service
from backupcore.volume import Volume
from tests.service.scene import settings, started


def test_a_snapshot_that_another_service_needs_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = DirectoryProvider.open_snapshot
    seen: list[Any] = []
    store = {"volumebackups": {"url": f"posix:{tmp_path / 'store of the other'}"}}
    theirs = settings(tmp_path, data_folder=str(tmp_path / "other"), containers=store)

    def open_late(self: DirectoryProvider, place: str) -> Volume:
        with Service(theirs) as other:
            other.start()
            time.sleep(0.3)  # its sweep runs beside it
        seen.append(place)
        return opened(self, place)

    with started(tmp_path) as scene:
        scene.attach()
        monkeypatch.setattr(DirectoryProvider, "open_snapshot", open_late)
        row = scene.create(is_forced=True)
        assert row.status is BackupStatus.AVAILABLE, row.fail_reason
    assert len(seen) == 1
