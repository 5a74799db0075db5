from __future__ import annotations

import pytest

from backupcore.config import Tuning
from backupcore.errors import Refused
from backupcore.units import MIB


@pytest.mark.parametrize(
    "wrong",
    [
        {"workers": -1},
        {"readers": 257},
        {"pack_size_bytes": 64 * MIB},
        {"slab_size_bytes": 0},
        {"memory_bytes": -1},
    ],
)
def test_a_tuning_beyond_its_limits_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(Refused, match=next(iter(wrong))):
        Tuning(**wrong)  # type: ignore[arg-type]
