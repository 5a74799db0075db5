"""A record goes out and comes back the same, in the shape that clients know."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupcore.errors import Refused
from backupcore.model import BackupId
from backupcore.record import (
    DOCUMENT_LENGTH_MAX,
    Claim,
    Cover,
    Reason,
    Record,
    RecordRefused,
    check_service_name,
    decode,
    encode,
    service_name,
)
from backupcore.repository.key import RegisterName
from tests.record.world import CLAIM, COVER, KEY, NOW, RECORD, TRUSTED, closed, opened, read

GOLDEN = Path(__file__).parent / "golden"
CINDER_ORDER = [
    "driver_info", "id", "user_id", "project_id", "volume_id", "host", "availability_zone",
    "container", "parent_id", "status", "fail_reason", "size", "display_name",
    "display_description", "service_metadata", "service", "object_count", "temp_volume_id",
    "temp_snapshot_id", "num_dependent_backups", "snapshot_id", "data_timestamp",
    "restore_volume_id", "metadata", "encryption_key_id", "created_at", "updated_at",
    "deleted_at", "deleted",
]  # fmt: skip

hexes = st.integers(0, (1 << 128) - 1).map(lambda number: f"{number:032x}")
texts = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=255
)
times = st.datetimes(datetime(1970, 1, 2), datetime(9000, 1, 1)).map(
    lambda moment: moment.replace(microsecond=0, tzinfo=UTC)
)
claims = st.builds(
    Claim,
    repository_id=hexes,
    register=st.builds(
        RegisterName, hexes, st.uuids().map(str).map(BackupId), st.integers(0, 999_999_999)
    ),
    manifest_digest=st.binary(min_size=32, max_size=32),
    manifest_length=st.integers(1, 4095),
    tenant_tag=st.none() | hexes,
    issued_at=st.just(NOW),
    expires_at=st.none() | st.integers(1, 10**9).map(lambda age_s: NOW + timedelta(seconds=age_s)),
)
covers = st.builds(
    Cover,
    id=st.uuids().map(str),
    size=st.integers(0, 1 << 32),
    name=st.none() | texts,
    description=st.none() | texts,
    metadata=st.dictionaries(texts, texts, max_size=2),
    container=st.none() | texts,
    service=st.none() | texts,
    volume_id=st.none() | st.uuids().map(str),
    object_count=st.none() | st.integers(0, 1 << 40),
    data_timestamp=st.none() | times,
    created_at=st.none() | times,
    updated_at=st.none() | times,
)


@given(claims, covers)
def test_a_claim_comes_back_as_it_was_and_a_cover_as_far_as_it_fits(
    claim: Claim, cover: Cover
) -> None:
    found = read(encode(Record(claim, cover), KEY))
    assert found.claim == claim
    assert found.cover in list(cover.shortened())


def test_a_cover_that_nobody_could_read_is_not_written() -> None:
    with pytest.raises(Refused, match="shorten its name"):
        encode(Record(CLAIM, replace(COVER, name="x" * 9000)), KEY)


def test_a_record_comes_back_the_same() -> None:
    assert read(encode(RECORD, KEY)) == RECORD


def test_a_record_without_end_and_project_comes_back_the_same() -> None:
    record = replace(RECORD, claim=replace(CLAIM, expires_at=None, tenant_tag=None))
    assert read(encode(record, KEY), now=NOW + timedelta(days=365_000)) == record


def test_the_golden_record_is_what_is_written_today() -> None:
    document = json.loads((GOLDEN / "record-1.json").read_text(encoding="utf-8"))
    assert encode(RECORD, KEY) == document["backup-record"]["backup_url"]


def test_the_golden_record_is_read() -> None:
    document = json.loads((GOLDEN / "record-1.json").read_text(encoding="utf-8"))["backup-record"]
    check_service_name(document["backup_service"])
    assert read(document["backup_url"]) == RECORD


def test_fields_stand_in_the_order_and_spacing_that_cinder_has() -> None:
    text = encode(RECORD, KEY)
    assert list(opened(text)) == CINDER_ORDER
    assert encode(RECORD, KEY) == text
    assert '{"driver_info": {"kind": "backupcore record", ' in json.dumps(opened(text))


def test_service_metadata_is_the_prefix_of_no_object() -> None:
    told = opened(encode(RECORD, KEY))["service_metadata"]
    assert told == f"backupcore:{CLAIM.backup_id}"


def test_nothing_of_people_or_machines_is_told() -> None:
    found = opened(encode(RECORD, KEY))
    secrets = ("user_id", "project_id", "host", "availability_zone", "encryption_key_id")
    assert [found[name] for name in secrets] == [None] * len(secrets)


def test_a_new_id_outside_of_the_claim_is_a_wish_that_is_granted() -> None:
    changed = opened(encode(RECORD, KEY))
    changed["id"] = "11111111-2222-4333-8444-555555555555"
    found = read(closed(changed))
    assert found.claim == CLAIM
    assert found.cover == replace(COVER, id=changed["id"])


def test_metadata_and_then_the_description_are_left_out_when_they_do_not_fit() -> None:
    longest = "\U0001f600" * 255
    wide = replace(COVER, metadata={str(number): "x" * 200 for number in range(60)})
    assert read(encode(Record(CLAIM, wide), KEY)).cover == replace(COVER, metadata={})
    wider = replace(wide, name=longest, description=longest, container=longest)
    found = read(encode(Record(CLAIM, wider), KEY)).cover
    assert found == replace(wider, metadata={}, description=None)


def test_the_longest_cover_there_can_be_fits() -> None:
    longest = "\U0001f600" * 255
    cover = replace(
        COVER, name=longest, description=longest, container=longest, service=longest,
        size=1 << 32, object_count=1 << 61,
    )  # fmt: skip
    found = read(encode(Record(CLAIM, cover), KEY)).cover
    assert found == replace(cover, metadata={}, description=None, container=None)
    assert len(json.dumps(opened(encode(Record(CLAIM, cover), KEY)))) <= DOCUMENT_LENGTH_MAX


@pytest.mark.parametrize("scheme", ["posix", "s3", "nbd+unix", "my-store.v2"])
def test_a_service_of_each_scheme_is_ours(scheme: str) -> None:
    name = service_name(scheme)
    assert name.startswith("cinder.backup.drivers.")
    check_service_name(name)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cinder.backup.drivers",
        "cinder.backup.drivers.backupcore",
        "cinder.backup.drivers.backupcore.",
        "cinder.backup.drivers.backupcore.po",
    ],
)
def test_what_a_name_of_ours_begins_with_is_enough(text: str) -> None:
    check_service_name(text)


@pytest.mark.parametrize(
    "text",
    [
        "cinder.backup.drivers.backupcorex",
        " cinder.backup.drivers",
        "cinder.backup.drivers.backupcore.S3",
        "cinder.backup.drivers.backupcore.s3\n",
        "cinder.backup.drivers.backupcore.s3/../posix",
        "cinder.backup.drivers.backupcore." + "a" * 65,
        "cinder.backup.drivers.posix.PosixBackupDriver",
        "cinder.backup.drivers.swift",
        "backupcore.s3",
    ],
)
def test_a_service_of_another_name_is_refused(text: str) -> None:
    with pytest.raises(RecordRefused, match="records of another service") as refused:
        check_service_name(text)
    assert refused.value.reason is Reason.FOREIGN


def test_a_record_of_cinder_is_refused_with_words_that_say_why() -> None:
    sample = json.loads((GOLDEN / "cinder-29.json").read_text(encoding="utf-8"))["backup-record"]
    with pytest.raises(RecordRefused, match="records of another service are not read here") as no:
        decode(sample["backup_url"])
    assert no.value.reason is Reason.FOREIGN
    with pytest.raises(RecordRefused, match="records of another service are not read here"):
        check_service_name(sample["backup_service"])


def test_a_record_of_a_later_format_is_refused_with_words_that_say_why() -> None:
    found = opened(encode(RECORD, KEY))
    found["driver_info"]["format"] = 2
    with pytest.raises(RecordRefused, match="format 2, this release reads 1"):
        decode(closed(found))


def test_a_cover_says_in_its_type_what_it_does_not_hold() -> None:
    held = {field.name for field in fields(Cover)}
    never = {"temp_volume_id", "temp_snapshot_id", "encryption_key_id", "parent_id", "status"}
    assert not held & (never | {"service_metadata", "restore_volume_id", "host"})


def test_the_trusted_keys_are_known_by_their_kid() -> None:
    assert TRUSTED.kids == {KEY.kid}
