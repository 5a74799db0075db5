"""The protocol of sessions and prunes is safe, and unsafe as soon as one rule is left out.

Variants whose name ends in `-slow` take up to minutes and some GiB of memory.
"""

from __future__ import annotations

import pytest

from tests.model.explore import Variant, Verdict, explore
from tests.model.one_register.variants import ONE_REGISTER
from tests.model.paged.variants import PAGED
from tests.model.registers.variants import REGISTERS

VARIANTS = {**ONE_REGISTER, **REGISTERS, **PAGED}
WIDE = (  # more than four seconds each
    *("lag-1-wait", "lag-2-waits", "registers-2gc", "registers-retry"),
    *("resume-after-decided-obeys-tombs", "resume-twin", "tomb-replaced"),
)


def _is_long(name: str) -> bool:
    return name.endswith("-slow") or name in WIDE


@pytest.mark.no_cover  # it runs none of our code, and being traced takes twice as long
@pytest.mark.parametrize(
    "variant",
    [
        pytest.param(variant, id=name, marks=[pytest.mark.long] * _is_long(name))
        for name, variant in VARIANTS.items()
    ],
)
def test_the_search_finds_what_is_known_of_the_variant(variant: Variant) -> None:
    outcome = explore(variant.model)
    found = (outcome.verdict, len(outcome.trace), outcome.state_count)
    assert found == (variant.verdict, variant.step_count, variant.state_count), str(outcome)


def test_every_model_has_variants_that_must_fail() -> None:
    failing = {type(v.model) for v in VARIANTS.values() if v.verdict is Verdict.UNSAFE}
    assert failing == {type(v.model) for v in VARIANTS.values()}
