"""A whole record: a claim that is signed, and a cover that is not.

    backup_url = base64(JSON {"driver_info": claim, kid and signature, …cover})

Reading goes in two steps, so that nobody can leave one out: `decode` gives what may not be
believed, `verify` turns that into a `Record`. Neither touches a store.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from backupcore.errors import Refused
from backupcore.record.claim import SIGNATURE, Claim, check_shape, signed_bytes
from backupcore.record.cover import Cover
from backupcore.record.error import Reason, RecordRefused
from backupcore.record.key import SigningKey, TrustedKeys
from backupcore.record.parser import DOCUMENT_LENGTH_MAX, decode_base64, parse_json

__all__ = ["CLOCK_SKEW_MAX", "Record", "UnverifiedRecord", "decode", "encode", "verify"]

log = logging.getLogger(__name__)

CLOCK_SKEW_MAX = timedelta(minutes=5)  # by which exporter's and importer's clocks may differ
_DRIVER_INFO = "driver_info"


@dataclass(frozen=True, slots=True)
class Record:
    """What a trusted exporter says of a backup; the cover is not theirs and proves nothing."""

    claim: Claim
    cover: Cover


@dataclass(frozen=True, slots=True)
class UnverifiedRecord:
    """A record of the right form that anybody may have written.

    kid: whom it says to be of, fit for a log. Everything else is for `verify` alone.
    """

    kid: str
    info: Mapping[str, object]
    outer: Mapping[str, object]


def encode(record: Record, key: SigningKey) -> str:
    """Return a signed `backup_url`.

    When it would be longer than 8 KiB, metadata is left out of it, then the description, then the
    container, and the log tells of it. Raises: Refused when the name alone is too long.
    """
    info = record.claim.fields(key.kid)
    info[SIGNATURE] = key.sign(signed_bytes(info)).hex()
    octets = b""
    for cover in record.cover.shortened():
        fields = {_DRIVER_INFO: info, **cover.fields(record.claim.backup_id)}
        octets = json.dumps(fields, allow_nan=False).encode("ascii")
        if len(octets) <= DOCUMENT_LENGTH_MAX:
            if cover != record.cover:
                log.warning("record has no room for all", extra={"backup": record.cover.id})
            return base64.b64encode(octets).decode("ascii")
    raise Refused(f"a record would have {len(octets)} bytes: shorten its name")


def decode(text: str) -> UnverifiedRecord:
    """Return what a `backup_url` says, of which nothing is proven yet.

    Raises: RecordRefused, after work that the limit of 8 KiB bounds whatever the text is.
    """
    outer = parse_json(decode_base64(text))
    info = check_shape(outer.pop(_DRIVER_INFO, None))
    return UnverifiedRecord(str(info["kid"]), info, outer)


def verify(unverified: UnverifiedRecord, trusted: TrustedKeys, *, now: datetime) -> Record:
    """Return the record when a trusted key signed its claim and it holds at this time.

    Raises: RecordRefused.
    """
    info = unverified.info
    trusted.check(unverified.kid, bytes.fromhex(str(info[SIGNATURE])), signed_bytes(info))
    claim = Claim.parse(info)
    if claim.issued_at > now + CLOCK_SKEW_MAX:
        raise RecordRefused(
            f"record: it was made at {claim.issued_at.isoformat()}, which is yet to come: "
            "set the clocks",
            reason=Reason.EARLY,
        )
    if claim.expires_at is not None and claim.expires_at <= now - CLOCK_SKEW_MAX:
        raise RecordRefused(
            f"record: it expired at {claim.expires_at.isoformat()}: export it again",
            reason=Reason.EXPIRED,
        )
    return Record(claim, Cover.parse(unverified.outer))
