"""One register per session: the protocol, and each rule left out in turn."""

from __future__ import annotations

from tests.model.explore import Variant, Verdict
from tests.model.one_register import OneRegister, Restore, Rules

__all__ = ["ONE_REGISTER"]

SAFE, UNSAFE = Verdict.SAFE, Verdict.UNSAFE

ONE_REGISTER: dict[str, Variant] = {
    "protocol-2w1g": Variant(
        OneRegister(Rules(pruner_count=1, delete_count=3, give_up_count=2)), SAFE, 0, 51_221
    ),
    "protocol-1w2g": Variant(OneRegister(Rules(writer_count=1)), SAFE, 0, 53_410),
    "protocol-2w2g-slow": Variant(OneRegister(Rules(give_up_count=0)), SAFE, 0, 2_098_617),
    "compaction": Variant(OneRegister(Rules(pruner_count=1, compacts=True)), SAFE, 0, 37_330),
    "compaction-2gc": Variant(
        OneRegister(Rules(writer_count=1, delete_count=1, compacts=True)), SAFE, 0, 49_011
    ),
    "compaction-keeps-condemned": Variant(
        OneRegister(
            Rules(pruner_count=1, give_up_count=0, compacts=True, compaction_obeys_tombs=False)
        ),
        UNSAFE,
        19,
        13_142,
    ),
    "restore-any": Variant(
        OneRegister(Rules(pruner_count=1, restore=Restore.FINDS_ALL)), UNSAFE, 18, 7_516
    ),
    "restore-not-condemned": Variant(
        OneRegister(Rules(pruner_count=1, restore=Restore.FINDS_UNCONDEMNED)), SAFE, 0, 11_770
    ),
    "naive-age-only": Variant(
        OneRegister(
            Rules(
                writer_count=1,
                pruner_count=1,
                delete_count=1,
                give_up_count=0,
                has_leases=False,
                has_tombs=False,
                reads_tombs=False,
                waits_for_leases=False,
                spares_undecided_packs=True,
            )
        ),
        UNSAFE,
        8,
        116,
    ),
    "lease-one-phase": Variant(
        OneRegister(
            Rules(
                writer_count=1,
                pruner_count=1,
                delete_count=1,
                give_up_count=0,
                has_tombs=False,
                reads_tombs=False,
            )
        ),
        UNSAFE,
        10,
        219,
    ),
    "no-wait-for-leases": Variant(
        OneRegister(
            Rules(
                writer_count=1,
                pruner_count=1,
                delete_count=1,
                give_up_count=0,
                waits_for_leases=False,
            )
        ),
        UNSAFE,
        13,
        333,
    ),
    "writers-ignore-tombs": Variant(
        OneRegister(Rules(pruner_count=1, give_up_count=0, reads_tombs=False)), UNSAFE, 20, 17_190
    ),
    "manifests-before-leases": Variant(
        OneRegister(
            Rules(
                writer_count=1,
                pruner_count=1,
                delete_count=1,
                give_up_count=0,
                leases_before_manifests=False,
            )
        ),
        UNSAFE,
        13,
        342,
    ),
    "lease-after-read": Variant(
        OneRegister(
            Rules(
                writer_count=1,
                pruner_count=1,
                delete_count=1,
                give_up_count=0,
                lease_before_base=False,
            )
        ),
        UNSAFE,
        15,
        407,
    ),
    "lease-dropped-before-commit": Variant(
        OneRegister(
            Rules(
                writer_count=1,
                pruner_count=1,
                delete_count=1,
                give_up_count=0,
                lease_until_commit=False,
            )
        ),
        UNSAFE,
        15,
        360,
    ),
    "kill-unfenced": Variant(
        OneRegister(Rules(writer_count=1, pruner_count=1, delete_count=1, is_fenced=False)),
        UNSAFE,
        15,
        573,
    ),
    "kill-check-then-put": Variant(
        OneRegister(Rules(writer_count=1, pruner_count=1, delete_count=1, checks_then_puts=True)),
        UNSAFE,
        16,
        767,
    ),
    "resurrect-2gc-slow": Variant(
        OneRegister(Rules(give_up_count=0, condemned_for_ever=False)), UNSAFE, 29, 1_795_298
    ),
    "resurrect-1gc": Variant(
        OneRegister(Rules(pruner_count=1, condemned_for_ever=False)), SAFE, 0, 39_859
    ),
    "content-addressed-names": Variant(
        OneRegister(Rules(writer_count=1, delete_count=1, give_up_count=0, has_unique_names=False)),
        UNSAFE,
        15,
        1_492,
    ),
    "abort-marker-removed": Variant(
        OneRegister(Rules(writer_count=1, pruner_count=1, delete_count=1, keeps_aborted=False)),
        UNSAFE,
        16,
        745,
    ),
    "lag-0-waits": Variant(
        OneRegister(
            Rules(
                writer_count=1,
                pruner_count=1,
                delete_count=1,
                give_up_count=0,
                listings_lag=True,
                settle_wait_count=0,
            )
        ),
        UNSAFE,
        14,
        1_213,
    ),
    "lag-1-wait": Variant(
        OneRegister(Rules(pruner_count=1, give_up_count=0, listings_lag=True, settle_wait_count=1)),
        UNSAFE,
        26,
        255_479,
    ),
    "lag-2-waits": Variant(OneRegister(Rules(pruner_count=1, listings_lag=True)), SAFE, 0, 312_350),
    "inherit-unread": Variant(
        OneRegister(Rules(pruner_count=1, give_up_count=0, inherits_condemned=True)),
        UNSAFE,
        20,
        17_462,
    ),
    "base-before-tombs": Variant(
        OneRegister(Rules(pruner_count=1, give_up_count=0, tombs_before_base=False)),
        UNSAFE,
        22,
        20_283,
    ),
    "tombs-before-lease": Variant(
        OneRegister(Rules(pruner_count=1, give_up_count=0, tombs_before_lease=True)),
        UNSAFE,
        20,
        18_768,
    ),
}
