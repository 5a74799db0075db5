"""Records: a backup's description in transportable form (`backup_service`, `backup_url`).

error    why a record is refused
parser   base64 and JSON of strangers, each limit before the work it bounds
claim    `driver_info`, what the signature covers: which bytes of which repository
cover    everything around it: wishes of the importer and what is shown, never trusted
key      who signs, and whom one trusts
record   encode, decode, verify
store    the record of a stored backup, and what the store says of a record

A record carries no authority and no location. What it names is looked up in a repository that the
importer has; only what is stored there counts.
"""

from __future__ import annotations

from backupcore.record.claim import Claim
from backupcore.record.cover import Cover, Wishes, check_service_name, service_name
from backupcore.record.error import Reason, RecordRefused
from backupcore.record.key import SigningKey, TrustedKeys
from backupcore.record.parser import DOCUMENT_LENGTH_MAX, parse_json
from backupcore.record.record import (
    CLOCK_SKEW_MAX,
    Record,
    UnverifiedRecord,
    decode,
    encode,
    verify,
)
from backupcore.record.store import (
    LIFETIME,
    Facts,
    belongs_to,
    check_against_store,
    check_is_current,
    make_record,
    tenant_tag,
)

__all__ = [
    "CLOCK_SKEW_MAX",
    "DOCUMENT_LENGTH_MAX",
    "LIFETIME",
    "Claim",
    "Cover",
    "Facts",
    "Reason",
    "Record",
    "RecordRefused",
    "SigningKey",
    "TrustedKeys",
    "UnverifiedRecord",
    "Wishes",
    "belongs_to",
    "check_against_store",
    "check_is_current",
    "check_service_name",
    "decode",
    "encode",
    "make_record",
    "parse_json",
    "service_name",
    "tenant_tag",
    "verify",
]
