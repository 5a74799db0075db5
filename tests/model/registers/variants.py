"""Several registers per backup: the protocol, and each rule left out in turn."""

from __future__ import annotations

from tests.model.explore import Variant, Verdict
from tests.model.registers import Adopt, Clean, Registers, Rules, Vacate

__all__ = ["REGISTERS"]

SAFE, UNSAFE, LIMIT = Verdict.SAFE, Verdict.UNSAFE, Verdict.LIMIT

REGISTERS: dict[str, Variant] = {
    "registers-retry": Variant(
        Registers(Rules(roles="WRD", delete_count=1, late_commit_count=1)), SAFE, 0, 370_450
    ),
    "registers-retry-slow": Variant(
        Registers(Rules(roles="WRD", late_commit_count=1, late_pack_count=1)), SAFE, 0, 1_104_293
    ),
    "registers-2-retries-slow": Variant(
        Registers(Rules(roles="WRRD", delete_count=1)), LIMIT, 0, 3_000_001
    ),
    "registers-compaction": Variant(
        Registers(Rules(roles="WCD", delete_count=1, give_up_count=2)), SAFE, 0, 106_332
    ),
    "registers-compaction-slow": Variant(
        Registers(Rules(roles="WCD", give_up_count=2, late_commit_count=1)), SAFE, 0, 679_925
    ),
    "registers-2gc": Variant(Registers(Rules(pruner_count=2)), SAFE, 0, 149_634),
    "registers-2gc-slow": Variant(
        Registers(Rules(pruner_count=2, late_commit_count=1)), SAFE, 0, 466_818
    ),
    "retry-without-deciding": Variant(
        Registers(Rules(roles="WR", delete_count=0, decides_first=False)), UNSAFE, 11, 571
    ),
    "retry-without-deciding-delete": Variant(
        Registers(Rules(roles="WRD", delete_count=1, decides_first=False)), UNSAFE, 10, 4_187
    ),
    "abort-hides-manifest": Variant(
        Registers(Rules(roles="WCD", delete_count=1, aborted_is_void=False)), UNSAFE, 11, 5_362
    ),
    "register-vacated": Variant(
        Registers(Rules(give_up_count=0, late_commit_count=1, vacate=Vacate.ALL, won_stays=False)),
        UNSAFE,
        16,
        22_070,
    ),
    "register-superseded-removed": Variant(
        Registers(Rules(roles="WRD", late_commit_count=1, vacate=Vacate.SUPERSEDED)),
        UNSAFE,
        10,
        5_669,
    ),
    "resume-twin": Variant(
        Registers(Rules(roles="WTD", delete_count=1, late_commit_count=1)), SAFE, 0, 175_875
    ),
    "resume-twin-slow": Variant(
        Registers(Rules(roles="WTD", late_commit_count=1, late_pack_count=1)), SAFE, 0, 469_886
    ),
    "resume-twin-retry-slow": Variant(
        Registers(Rules(roles="WTRD", delete_count=1)), SAFE, 0, 2_139_235
    ),
    "resume-after-decided-same-register": Variant(
        Registers(Rules(roles="WTD", delete_count=1, resume_looks=False)), SAFE, 0, 43_388
    ),
    "resume-after-decided": Variant(
        Registers(Rules(roles="WRD", delete_count=1, adopt=Adopt.ALL)), UNSAFE, 20, 66_387
    ),
    "resume-after-decided-obeys-tombs": Variant(
        Registers(Rules(roles="WRD", delete_count=1, adopt=Adopt.UNCONDEMNED)), SAFE, 0, 128_853
    ),
    "resume-after-decided-late-put-slow": Variant(
        Registers(
            Rules(
                roles="WRD",
                pruner_count=2,
                delete_count=0,
                late_pack_count=1,
                adopt=Adopt.UNCONDEMNED,
            )
        ),
        UNSAFE,
        29,
        418_986,
    ),
    "twin-cleans-up": Variant(
        Registers(Rules(roles="WTD", delete_count=1, give_up_count=0, clean=Clean.DELETES)),
        UNSAFE,
        11,
        3_443,
    ),
    "twin-aborts-then-cleans": Variant(
        Registers(Rules(roles="WTD", delete_count=1, give_up_count=0, clean=Clean.ABORTS_FIRST)),
        SAFE,
        0,
        49_546,
    ),
}
