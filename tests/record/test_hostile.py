"""Whoever writes a record reaches nothing but the backup that a trusted exporter signed."""

from __future__ import annotations

import pytest

from backupcore.record import Facts, Reason
from tests.record.case import OTHER_PROJECT, Case
from tests.record.world import OTHER_ID, closed, opened, read

UUID = "40a1f0fc-6258-4b8d-b84f-6a1b7d9e05ec"
HOSTILE: dict[str, dict[str, object]] = {
    "container as a path": {"container": "../../../etc"},
    "container of somebody else": {"container": "glance"},
    "an empty prefix": {"service_metadata": ""},
    "a prefix of everything": {"service_metadata": "volume_"},
    "a prefix of ours": {"service_metadata": "backups/"},
    "a temporary volume": {"temp_volume_id": UUID},
    "a temporary snapshot": {"temp_snapshot_id": UUID},
    "another's encryption key": {"encryption_key_id": UUID},
    "another's backup as parent": {"parent_id": OTHER_ID},
    "dependents that never were": {"num_dependent_backups": 1000},
    "another's volume": {"volume_id": UUID},
    "another's snapshot": {"snapshot_id": UUID},
    "another's restore": {"restore_volume_id": UUID},
    "a size of nothing": {"size": 0},
    "a size of everything": {"size": 1 << 40},
    "an id that somebody has": {"id": OTHER_ID},
    "another's project": {"project_id": OTHER_PROJECT, "user_id": OTHER_PROJECT},
    "a state": {"status": "error", "fail_reason": "x", "deleted": True},
    "a service and a host": {"service": "cinder.backup.drivers.posix", "host": "evil@x"},
    "a list of objects": {"objects": [{"..": {"offset": -1, "length": 1}}], "version": "1.0.0"},
    "counts": {"object_count": 1 << 60},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_anybody_writes_around_a_claim_has_no_effect(case: Case, name: str) -> None:
    changed = {**opened(case.text), **HOSTILE[name]}
    facts = case.accept(closed(changed))
    assert facts == Facts(case.backup, case.record.claim.register)
    assert read(closed(changed), now=case.scene.clock.now()).claim == case.record.claim


@pytest.mark.parametrize("name", HOSTILE)
def test_the_same_within_a_claim_is_refused_even_from_a_trusted_exporter(
    case: Case, name: str
) -> None:
    assert case.refused(case.forge(**HOSTILE[name])) is Reason.MALFORMED


POINTERS: dict[str, tuple[dict[str, object], Reason]] = {
    "another repository": ({"repository_id": "f" * 32}, Reason.OTHER_REPOSITORY),
    "another volume": ({"volume_tag": "f" * 32}, Reason.MISSING),
    "another register": ({"register": 999_999_999}, Reason.MISSING),
    "another backup": ({"backup_id": OTHER_ID}, Reason.MISSING),
    "a volume as a path": ({"volume_tag": "../../" + "f" * 26}, Reason.MALFORMED),
    "a backup as a path": ({"backup_id": "../../config"}, Reason.MALFORMED),
    "a backup as nothing": ({"backup_id": ""}, Reason.MALFORMED),
    "a backup as a prefix": ({"backup_id": UUID[:8]}, Reason.MALFORMED),
    "a register as a path": ({"register": "0/../../config"}, Reason.MALFORMED),
}


@pytest.mark.parametrize("name", POINTERS)
def test_a_trusted_exporters_claim_leads_nowhere_else(case: Case, name: str) -> None:
    changes, reason = POINTERS[name]
    register = case.record.claim.register
    tag = changes.get("volume_tag", register.volume_tag)
    backup_id = changes.get("backup_id", register.backup_id)
    prefixes = [f"backups/{tag}/{backup_id}/"] if reason is Reason.MISSING else []
    assert case.refused(case.forge(**changes), prefixes=prefixes) is reason
