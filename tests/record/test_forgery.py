"""Nobody but a trusted exporter says what is in a claim, and not for ever."""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from backupcore.record import (
    CLOCK_SKEW_MAX,
    Reason,
    RecordRefused,
    TrustedKeys,
    decode,
    encode,
)
from backupcore.record.claim import signed_bytes
from tests.record.world import (
    CLAIM,
    KEY,
    NOW,
    OTHER_KEY,
    RECORD,
    TRUSTED,
    closed,
    parts,
    read,
    signed,
)

TEXT = encode(RECORD, KEY)
DOCUMENT = base64.b64decode(TEXT)
CLAIM_END = DOCUMENT.index(b"}") + 1
INFO, OUTER = parts()


def refused(text: str, trusted: TrustedKeys = TRUSTED) -> Reason:
    with pytest.raises(RecordRefused) as found:
        read(text, trusted=trusted)
    return found.value.reason


def flips(octets: bytes, begin: int, end: int) -> Iterator[bytes]:
    """Yield the bytes with each bit from begin to end flipped."""
    for position in range(8 * begin, 8 * end):
        flipped = bytearray(octets)
        flipped[position // 8] ^= 1 << position % 8
        yield bytes(flipped)


def accepted(text: str) -> bool:
    try:
        read(text)
    except RecordRefused:
        return False
    return True


def test_every_flipped_bit_of_a_claim_is_refused() -> None:
    begin = DOCUMENT.index(b'"driver_info"')
    survivors = [
        flipped
        for flipped in flips(DOCUMENT, begin, CLAIM_END)
        if accepted(base64.b64encode(flipped).decode())
    ]
    assert survivors == []


def test_every_flipped_bit_of_a_claims_base64_is_refused() -> None:
    survivors = [
        flipped
        for flipped in flips(TEXT.encode(), 0, 4 * (CLAIM_END // 3))
        if accepted(flipped.decode("latin-1"))
    ]
    assert survivors == []


def test_no_flipped_bit_around_a_claim_changes_it() -> None:
    for flipped in flips(DOCUMENT, CLAIM_END, len(DOCUMENT)):
        text = base64.b64encode(flipped).decode()
        assert not accepted(text) or read(text).claim == CLAIM


@pytest.mark.parametrize("name", INFO)
def test_a_claim_without_one_of_its_fields_is_refused(name: str) -> None:
    less = {key: value for key, value in INFO.items() if key != name}
    assert refused(closed({"driver_info": less, **OUTER})) in (Reason.MALFORMED, Reason.FOREIGN)


@pytest.mark.parametrize("name", INFO)
def test_a_claim_without_one_of_its_fields_is_refused_even_when_it_is_signed(name: str) -> None:
    less = {key: value for key, value in INFO.items() if key != name}
    text = closed({"driver_info": less, **OUTER}) if name == "signature" else signed(less, OUTER)
    assert refused(text) in (Reason.MALFORMED, Reason.FOREIGN)


ADDED = ("alg", "sig", "url", "container", "prefix", "jti", "", "Kid", "size")


@pytest.mark.parametrize("name", ADDED)
def test_a_claim_with_a_field_more_is_refused_even_when_it_is_signed(name: str) -> None:
    more = {**INFO, name: INFO["kid"]}
    assert refused(closed({"driver_info": more, **OUTER})) is Reason.MALFORMED
    assert refused(signed(more, OUTER)) is Reason.MALFORMED


OTHER_TYPES: list[object] = [None, True, 1.5, -1, 1 << 60, "", "0", [], {}, ["0" * 32]]


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name in INFO for value in OTHER_TYPES]
)
def test_a_claim_with_a_field_of_another_type_is_refused(name: str, value: object) -> None:
    text = closed({"driver_info": {**INFO, name: value}, **OUTER})
    assert refused(text) in (Reason.MALFORMED, Reason.FOREIGN, Reason.FORGED)


FORMS: dict[str, list[object]] = {
    "repository_id": ["0" * 31, "0" * 33, "G" * 32, "A" * 32, "0" * 32 + "\n", "../" + "0" * 29],
    "volume_tag": ["0" * 31, "../../../../../../../../etc/passwd", "٠" * 32],
    "backup_id": ["..", "7a6a7cb43a324918bded2f4bcb8e005f", "7A6A7CB4-3A32-4918-BDED-2F4BCB8E005F"],
    "register": [-1, 10**9, "0", True],
    "manifest_digest": ["0" * 63, "0" * 66],
    "manifest_length": [0, 4096, -5],
    "tenant_tag": ["", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 0],
    "issued_at_s": [-1, 253_402_300_800],
    "expires_at_s": [-1, 253_402_300_800, "never"],
    "kind": ["backupcore record ", None],
    "format": [0, 2, True, "1"],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in FORMS.items() for value in values]
)
def test_a_field_of_another_form_is_refused_even_when_it_is_signed(
    name: str, value: object
) -> None:
    assert refused(signed({**INFO, name: value}, OUTER)) in (Reason.MALFORMED, Reason.FOREIGN)


def test_a_signature_over_other_bytes_is_refused() -> None:
    other = {**INFO, "manifest_length": INFO["manifest_length"] - 1}
    assert refused(closed({"driver_info": other, **OUTER})) is Reason.FORGED


def test_a_signature_without_the_context_is_refused() -> None:
    unsigned = {name: value for name, value in INFO.items() if name != "signature"}
    plain = json.dumps(unsigned, sort_keys=True, separators=(",", ":")).encode()
    info = {**unsigned, "signature": KEY.sign(plain).hex()}
    assert refused(closed({"driver_info": info, **OUTER})) is Reason.FORGED


@pytest.mark.parametrize("signature", ["0" * 128, "f" * 128])
def test_a_made_up_signature_is_refused(signature: str) -> None:
    info = {**INFO, "signature": signature}
    assert refused(closed({"driver_info": info, **OUTER})) is Reason.FORGED


def test_a_stranger_who_uses_a_trusted_kid_is_refused() -> None:
    assert refused(signed(INFO, OUTER, key=OTHER_KEY)) is Reason.FORGED


def test_a_key_that_nobody_trusts_is_refused() -> None:
    text = encode(RECORD, OTHER_KEY)
    assert refused(text) is Reason.UNTRUSTED
    assert read(text, trusted=TRUSTED.including(OTHER_KEY)) == RECORD


def test_a_record_of_a_revoked_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "site-a.pem").write_text(KEY.public_pem)
    (tmp_path / "site-b.pem").write_text(OTHER_KEY.public_pem)
    assert read(TEXT, trusted=TrustedKeys.load(tmp_path)) == RECORD
    (tmp_path / "site-a.pem").unlink()
    assert refused(TEXT, TrustedKeys.load(tmp_path)) is Reason.UNTRUSTED


@pytest.mark.parametrize("algorithm", ["none", "HS256", "Ed25519", "RS256"])
def test_an_algorithm_cannot_be_chosen(algorithm: str) -> None:
    for name in ("alg", "algorithm"):
        assert refused(signed({**INFO, name: algorithm}, OUTER)) is Reason.MALFORMED


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_the_public_key_used_as_a_shared_secret_makes_no_signature(algorithm: str) -> None:
    raw = KEY.public.public_bytes(Encoding.Raw, PublicFormat.Raw)
    keyed = hmac.digest(raw, signed_bytes(INFO), algorithm)
    info = {**INFO, "signature": keyed.hex().ljust(128, "0")}
    assert refused(closed({"driver_info": info, **OUTER})) is Reason.FORGED


KIDS = [
    "../../etc/passwd", "../site-a", "site-a.pem", "/etc/passwd", "", "*", "0" * 15, "0" * 17,
    "0123456789ABCDEF", "0123456789abcde\0", ".", "..",
]  # fmt: skip


@pytest.mark.parametrize("kid", KIDS)
def test_a_kid_is_never_a_path(kid: str, tmp_path: Path) -> None:
    (tmp_path / "site-a.pem").write_text(KEY.public_pem)
    (tmp_path / "trusted").mkdir()
    text = signed({**INFO, "kid": kid}, OUTER)
    assert refused(text, TrustedKeys.load(tmp_path / "trusted")) is Reason.MALFORMED


def test_a_kid_is_told_before_anything_is_verified() -> None:
    assert decode(encode(RECORD, OTHER_KEY)).kid == OTHER_KEY.kid


def test_an_expired_record_is_refused() -> None:
    end = NOW + timedelta(days=90)
    assert read(TEXT, now=end) == RECORD
    assert read(TEXT, now=end + CLOCK_SKEW_MAX - timedelta(seconds=1)) == RECORD
    with pytest.raises(RecordRefused, match="expired at 2027-02-21") as found:
        read(TEXT, now=end + CLOCK_SKEW_MAX)
    assert found.value.reason is Reason.EXPIRED


def test_a_record_of_the_future_is_refused_but_for_clocks_that_differ_a_little() -> None:
    assert read(TEXT, now=NOW - CLOCK_SKEW_MAX) == RECORD
    with pytest.raises(RecordRefused, match="set the clocks") as found:
        read(TEXT, now=NOW - CLOCK_SKEW_MAX - timedelta(seconds=1))
    assert found.value.reason is Reason.EARLY


def test_an_expiry_cannot_be_put_off() -> None:
    later = {**INFO, "expires_at_s": None}
    assert refused(closed({"driver_info": later, **OUTER})) is Reason.FORGED


def test_a_record_that_ends_before_it_begins_is_refused() -> None:
    ended = replace(RECORD, claim=replace(CLAIM, expires_at=CLAIM.issued_at))
    assert refused(encode(ended, KEY)) is Reason.MALFORMED


def test_a_claim_under_another_cover_is_the_same_claim() -> None:
    text = closed({"id": OUTER["id"], "size": 0, "driver_info": INFO})
    assert read(text).claim == CLAIM


def test_a_message_tells_no_more_than_a_little_of_what_was_sent() -> None:
    text = closed({"driver_info": {**INFO, "x" * 3000: 1}, **OUTER})
    with pytest.raises(RecordRefused) as found:
        read(text)
    assert len(str(found.value)) < 250
