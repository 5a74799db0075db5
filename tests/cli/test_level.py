from __future__ import annotations

import pytest

from backupcore.cli.exit_code import ExitCode
from tests.cli.conftest import Place


def stored_bytes(place: Place, level: str) -> int:
    done = place.json("backup", str(place.disk), "--full", f"--level={level}")
    return int(done["stored_bytes"])


def test_a_higher_level_stores_less_and_auto_is_one_too(place: Place) -> None:
    place.disk.write_bytes(b"".join(b"%d," % (n * n % 9973) for n in range(200_000)))
    assert stored_bytes(place, "9") < stored_bytes(place, "-7")
    assert stored_bytes(place, "auto") > 0


@pytest.mark.parametrize("level", ["fast", "23", "-8", "1.5", ""])
def test_what_is_no_level_is_wrong_use(place: Place, level: str) -> None:
    result = place.run("backup", str(place.disk), f"--level={level}")
    assert result.exit_code == ExitCode.WRONG_USE
