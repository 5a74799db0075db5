from __future__ import annotations

import inspect

import pytest

from backupcore import errors
from backupcore.errors import BackupError, MapDamaged
from backupcore.service import BackupWish
from backupcore.service.work.reason import reason_of
from tests.service.scene import ALICE, Scene

CANARY = "s3://key:canary-secret@10.0.0.7/srv/canary?token=canary"
CLASSES = sorted(
    (
        thing
        for thing in vars(errors).values()
        if inspect.isclass(thing) and issubclass(thing, BackupError)
    ),
    key=lambda kind: kind.__name__,
)
ALL = [*CLASSES, OSError, ValueError, KeyError, RuntimeError]


def made(kind: type[Exception]) -> Exception:
    if kind is MapDamaged:
        return MapDamaged(CANARY, key=CANARY)
    error = kind(CANARY)
    error.add_note(CANARY)
    return error


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_a_reason_tells_no_name_path_or_secret(kind: type[Exception]) -> None:
    said = reason_of(made(kind))
    assert 0 < len(said) <= 255
    assert not set(said) & set("/\\@=?&")
    assert "canary" not in said


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_only_what_nobody_expects_is_called_an_internal_error(kind: type[BackupError]) -> None:
    is_internal = reason_of(made(kind)).startswith("an internal error")
    assert is_internal == (kind is BackupError)


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_no_row_shows_what_an_error_said(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    def fail(*args: object, **options: object) -> object:
        raise made(kind)

    monkeypatch.setattr("backupcore.service.work.creating.backup", fail)
    row = scene.service.backups.create(ALICE, BackupWish(volume_id=scene.volume.id))
    done = scene.settled(row.id)
    assert done.status == "error"
    assert "canary" not in repr(done)
