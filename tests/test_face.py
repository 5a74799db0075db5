"""The library's face: its names are sorted, complete and told in the guide."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

import backupcore

GUIDE = Path(__file__).resolve().parents[1] / "docs" / "guide" / "library.md"


def test_the_public_names_are_sorted() -> None:
    assert backupcore.__all__ == sorted(backupcore.__all__)


def test_what_the_face_imports_is_public() -> None:
    found = {
        name
        for name, thing in vars(backupcore).items()
        if not (name.startswith("_") or isinstance(thing, ModuleType) or name == "annotations")
    }
    assert found == set(backupcore.__all__)


def test_the_guide_tells_every_public_name() -> None:
    told = set(re.findall(r"`(\w+)`", GUIDE.read_text(encoding="utf-8")))
    assert sorted(set(backupcore.__all__) - told) == []
