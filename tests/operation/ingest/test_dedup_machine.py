"""Any sequence of changes, backups, deletions and restores, while two volumes share chunks."""

from __future__ import annotations

from tempfile import TemporaryDirectory

from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test

from backupcore.config import Dedup, Tuning
from backupcore.operation.backup import BackupRequest, backup
from backupcore.volume.memory import MemoryVolume
from tests.operation.ingest.test_dedup import open_cached
from tests.operation.test_machine import FEW, Backups


class SharedBackups(Backups):
    """Two volumes in turn; the index outlives every backup."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.repository.close()
        self.repository = open_cached(self.scene, self.folder.name)

    def teardown(self) -> None:
        super().teardown()
        self.folder.cleanup()

    def _back_up(self, base: str | None, tuning: Tuning, holes: bool) -> None:
        name = ("one", "two")[len(self.scene.listed("backups/")) % 2]
        volume = MemoryVolume(bytearray(self.content), name=name)
        request = BackupRequest(dedup=Dedup.DOMAIN)
        wanted = "latest" if base else None
        done = backup(volume, self.repository, base=wanted, request=request, tuning=tuning)
        assert done.new_bytes <= len(self.content)
        self.backups[done.id] = bytes(self.content)


def test_a_few_sequences_agree_with_the_model() -> None:
    run_state_machine_as_test(SharedBackups, settings=settings(FEW, max_examples=30))
