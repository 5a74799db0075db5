"""Replaced tombs and renewed leases: the protocol, and each rule left out in turn."""

from __future__ import annotations

from tests.model.explore import Variant, Verdict
from tests.model.paged import Paged, Rules

__all__ = ["PAGED"]

SAFE, UNSAFE = Verdict.SAFE, Verdict.UNSAFE

PAGED: dict[str, Variant] = {
    "tomb-replaced": Variant(Paged(Rules(sweep_count=2)), SAFE, 0, 218_578),
    "tomb-replaced-3-runs-slow": Variant(Paged(Rules()), SAFE, 0, 731_350),
    "tomb-gap": Variant(Paged(Rules(new_tomb_first=False)), UNSAFE, 21, 59_423),
    "tomb-sorts-before": Variant(Paged(Rules(new_tomb_sorts_later=False)), UNSAFE, 23, 85_876),
    "tomb-404-ignored": Variant(Paged(Rules(lists_again_when_gone=False)), UNSAFE, 24, 105_681),
    "lease-renewed": Variant(
        Paged(Rules(starts_with_tomb=False, pruner_count=1, sweep_count=2, renewal_count=2)),
        SAFE,
        0,
        33_773,
    ),
    "lease-gap": Variant(
        Paged(
            Rules(
                starts_with_tomb=False,
                pruner_count=1,
                sweep_count=1,
                renewal_count=1,
                new_lease_first=False,
            )
        ),
        UNSAFE,
        18,
        8_020,
    ),
    "lease-sorts-before": Variant(
        Paged(
            Rules(
                starts_with_tomb=False,
                pruner_count=1,
                sweep_count=1,
                renewal_count=1,
                new_lease_sorts_later=False,
            )
        ),
        UNSAFE,
        19,
        7_997,
    ),
}
