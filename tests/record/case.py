"""A store with a backup whose record is looked at, and others that nobody may touch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from backupcore.driver import Driver
from backupcore.model import Backup
from backupcore.record import (
    Facts,
    Reason,
    Record,
    RecordRefused,
    Wishes,
    check_against_store,
    encode,
    make_record,
)
from backupcore.volume import Volume
from backupcore.volume.memory import MemoryVolume
from tests.operation.scene import CHUNK, INLINE, Scene, back_up, noise, packs_of
from tests.record.world import KEY, TRUSTED, Tripwire, parts, read, signed

PROJECT = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
OTHER_PROJECT = "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"


@dataclass
class Case:
    """A store of three backups, two of one volume; the record is of the second of that volume."""

    scene: Scene
    backup: Backup
    record: Record
    keys: set[str]  # its packs

    @property
    def text(self) -> str:
        return encode(self.record, KEY)

    @property
    def prefixes(self) -> list[str]:
        """Keys of the packs, and the folder of the registers."""
        return [self.record.claim.register.key.rpartition("/")[0] + "/", *self.keys]

    def accept(
        self,
        text: str | None = None,
        *,
        below: Driver | None = None,
        prefixes: Sequence[str] | None = None,
    ) -> Facts:
        """Look at a record behind a tripwire; the store stays as it is.

        prefixes: of the keys that may be touched, those of the backup unless given.
        """
        record = read(
            self.text if text is None else text, now=self.scene.clock.now(), trusted=TRUSTED
        )
        before = dict(self.scene.store.objects)
        wire = Tripwire(below or self.scene.driver, self.prefixes if prefixes is None else prefixes)
        try:
            with self.scene.open(driver=wire) as repository:
                return check_against_store(record, repository, tuning=INLINE)
        finally:
            assert dict(self.scene.store.objects) == before

    def refused(self, text: str | None = None, *, prefixes: Sequence[str] | None = None) -> Reason:
        """Return why a record is refused, which it must be."""
        with pytest.raises(RecordRefused) as found:
            self.accept(text, prefixes=prefixes)
        return found.value.reason

    def forge(self, **changes: Any) -> str:
        """Return the record with other fields in its claim, signed by the trusted exporter."""
        info, outer = parts(self.record)
        return signed({**info, **changes}, outer)


def make_case(volume: Volume, *, again: Volume | None = None) -> Case:
    """Back a volume up twice, the second time as another one that has its name."""
    scene = Scene(seed=7)
    with scene.open() as repository:
        bystander = MemoryVolume(bytearray(noise(5, 9 * CHUNK)))
        bystander.identity = "bystander"
        back_up(repository, bystander)
        back_up(repository, volume)
        backup = back_up(repository, again or volume)
        record = make_record(repository, backup, project_id=PROJECT, wishes=Wishes(name="tuesday"))
        return Case(scene, backup, record, packs_of(repository, backup.id))
