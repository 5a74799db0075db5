"""The faults of a network store, as a table: what is done to which request, what comes of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pytest

from backupcore import BackupError
from backupcore.errors import AccessDenied, Damaged, StoreError, StoreFull, Unavailable
from tests.drivers.fault.stage import CHUNK, URLS
from tests.servers.fault_proxy import Fault, Rule, Way

__all__ = ["BACKUPS", "RESTORES", "Case", "each"]

DATA = "*faults/*-store/data/*"
MAP = "*faults/*-store/map/*"
REGISTER = "*faults/*-store/backups/*"
LEASE = "*faults/*-store/sessions/*"
LISTING = "*faults[?]*prefix=*"
MIDDLE = 2 * CHUNK
MANIFEST_MIDDLE = 150
EVERY = None
ONLY_SWIFT = ("swift",)
ONLY_S3 = ("s3",)


@dataclass(frozen=True)
class Case:
    """One fault.

    promise: what holds all the same. fails: how the operation ends, None when it completes.
    waited_s: how long the retries waited at least. stores: where it is played.
    """

    promise: str
    rule: Rule
    fails: type[BackupError] | None = None
    waited_s: float = 0.0
    stores: tuple[str, ...] = tuple(URLS)


def each(cases: Iterable[Case]) -> pytest.MarkDecorator:
    """Return the mark that runs a test for every case and store, named after the promise.

    What is played on every store is played on one of them, by turns, unless long tests are run.
    """
    names = list(URLS)
    pairs = [
        pytest.param(
            store,
            case,
            id=f"{store}: {case.promise}",
            marks=[pytest.mark.long] * (store != names[index % 2] and len(case.stores) > 1),
        )
        for index, case in enumerate(cases)
        for store in case.stores
    ]
    return pytest.mark.parametrize(("stage", "case"), pairs, indirect=["stage"])


def _s3(code: str) -> bytes:
    return f"<Error><Code>{code}</Code><Message>as the test wants it</Message></Error>".encode()


NO_BUCKET = _s3("NoSuchBucket")
ASKING = "Retry-After: 20"
ASKING_LONG = "Retry-After: 100"  # patience ends after 300 s

BACKUPS = [
    *(
        Case(
            f"a pack answered {status} is sent again after the wait the store asked for",
            Rule(Fault.ANSWER, "PUT", DATA, status=status, headers=ASKING, count=2),
            waited_s=40,
        )
        for status in (429, 498, 500, 503)
    ),
    Case(
        "a login answered 503 is repeated",
        Rule(Fault.ANSWER, "GET", "/auth/*", headers=ASKING),
        waited_s=20,
        stores=ONLY_SWIFT,
    ),
    Case(
        "a store that says SlowDown is waited for",
        Rule(Fault.ANSWER, "PUT", DATA, body=_s3("SlowDown"), headers=ASKING),
        waited_s=20,
        stores=ONLY_S3,
    ),
    Case(
        "a store that stays unavailable is named so",
        Rule(Fault.ANSWER, "PUT", DATA, headers=ASKING_LONG, count=EVERY),
        Unavailable,
        waited_s=200,
    ),
    Case(
        "a pack that was reset on its way is sent again",
        Rule(Fault.RESET_BEFORE, "PUT", DATA),
    ),
    Case(
        "a pack whose reply was lost is sent again",
        Rule(Fault.RESET_AFTER, "PUT", DATA),
    ),
    Case(
        "a lease whose reply was lost is known to be mine",
        Rule(Fault.RESET_AFTER, "PUT", LEASE),
    ),
    Case(
        "a manifest whose reply was lost is known to be mine",
        Rule(Fault.RESET_AFTER, "PUT", REGISTER),
    ),
    Case(
        "a manifest that never arrived is put again",
        Rule(Fault.RESET_BEFORE, "PUT", REGISTER),
    ),
    Case(
        "a manifest answered 503 is put again",
        Rule(Fault.ANSWER, "PUT", REGISTER),
    ),
    Case(
        "a pack cut off in its middle is sent again",
        Rule(Fault.CUT, "PUT", DATA, way=Way.UP, at_bytes=MIDDLE),
    ),
    Case(
        "a manifest cut off in its middle is put again",
        Rule(Fault.CUT, "PUT", REGISTER, way=Way.UP, at_bytes=MANIFEST_MIDDLE),
    ),
    Case(
        "a pack with a flipped bit is refused by the store and sent again",
        Rule(Fault.FLIP, "PUT", DATA, way=Way.UP, at_bytes=MIDDLE),
    ),
    Case(
        "a manifest with a flipped bit is refused by the store and put again",
        Rule(Fault.FLIP, "PUT", REGISTER, way=Way.UP, at_bytes=MANIFEST_MIDDLE),
    ),
    Case(
        "a manifest that is read back with a flipped bit is read again",
        Rule(Fault.FLIP, "GET", REGISTER, after=1, at_bytes=MANIFEST_MIDDLE),
        stores=ONLY_SWIFT,  # nothing is read back where a put tells who won
    ),
    Case(
        "a pack that nobody answers is sent again",
        Rule(Fault.STALL, "PUT", DATA),
    ),
    Case(
        "a pack that the store takes too slowly is sent again",
        Rule(Fault.TRICKLE, "PUT", DATA, way=Way.UP, at_bytes=MIDDLE, rate_bytes_s=500),
    ),
    Case(
        "a manifest that nobody answers is known to be mine",
        Rule(Fault.STALL, "PUT", REGISTER),
    ),
    Case(
        "a listing that nobody answers is asked for again",
        Rule(Fault.STALL, "GET", LISTING),
    ),
    Case(
        "a listing cut off in its middle is asked for again",
        Rule(Fault.CUT, "GET", LISTING, at_bytes=1),
    ),
    Case(
        "a listing that stays unavailable is never taken for an empty one",
        Rule(Fault.ANSWER, "GET", LISTING, status=500, headers=ASKING_LONG, count=EVERY),
        Unavailable,
        waited_s=200,
    ),
    Case(
        "a token that expired is renewed",
        Rule(Fault.ANSWER, "PUT", DATA, status=401),
        stores=ONLY_SWIFT,
    ),
    Case(
        "a store that no longer takes the credentials is not asked again and again",
        Rule(Fault.ANSWER, "PUT", DATA, status=403, body=_s3("AccessDenied"), count=EVERY),
        AccessDenied,
    ),
    Case(
        "an expired token that nobody can renew denies access",
        Rule(Fault.ANSWER, "PUT", DATA, status=400, body=_s3("ExpiredToken"), count=EVERY),
        AccessDenied,
        stores=ONLY_S3,
    ),
    Case(
        "a full disk is named so",
        Rule(Fault.ANSWER, "PUT", DATA, status=507, count=EVERY),
        StoreFull,
    ),
    Case(
        "a quota that is used up is named so",
        Rule(Fault.ANSWER, "PUT", DATA, status=413, count=EVERY),
        StoreFull,
        stores=ONLY_SWIFT,
    ),
    Case(
        "a quota that is used up is named so",
        Rule(Fault.ANSWER, "PUT", DATA, status=403, body=_s3("QuotaExceeded"), count=EVERY),
        StoreFull,
        stores=ONLY_S3,
    ),
    Case(
        "a container that vanishes in the middle is not waited for",
        Rule(Fault.ANSWER, path="*/faults*", after=8, status=404, body=NO_BUCKET, count=EVERY),
        StoreError,
    ),
]

RESTORES = [
    Case(
        "a range answered 503 is read again after the wait the store asked for",
        Rule(Fault.ANSWER, "GET", DATA, headers=ASKING, count=2),
        waited_s=40,
    ),
    Case(
        "a range that was reset is read again",
        Rule(Fault.RESET_BEFORE, "GET", DATA),
    ),
    Case(
        "a range whose bytes were lost is read again",
        Rule(Fault.RESET_AFTER, "GET", DATA),
    ),
    Case(
        "a range cut off in its middle is read again",
        Rule(Fault.CUT, "GET", DATA, at_bytes=MIDDLE),
    ),
    Case(
        "a range that is shorter than asked is read again",
        Rule(Fault.SHORTEN, "GET", DATA, at_bytes=MIDDLE),
    ),
    Case(
        "a range with a flipped bit is noticed and read again",
        Rule(Fault.FLIP, "GET", DATA, at_bytes=MIDDLE),
    ),
    Case(
        "a range whose bits always flip is never written",
        Rule(Fault.FLIP, "GET", DATA, at_bytes=MIDDLE, count=EVERY),
        Damaged,
    ),
    Case(
        "another range than asked is read again",
        Rule(Fault.MOVE_RANGE, "GET", DATA, at_bytes=7),
        stores=ONLY_SWIFT,  # S3 signs what is asked for
    ),
    Case(
        "a range that is said to be another is read again",
        Rule(Fault.CLAIM_RANGE, "GET", DATA, at_bytes=7),
    ),
    Case(
        "another range than asked for ever is an error",
        Rule(Fault.CLAIM_RANGE, "GET", DATA, at_bytes=7, count=EVERY),
        Unavailable,
    ),
    Case(
        "a range that nobody answers is read again",
        Rule(Fault.STALL, "GET", DATA),
    ),
    Case(
        "a range that stands still in its middle is read again",
        Rule(Fault.STALL, "GET", DATA, at_bytes=MIDDLE),
    ),
    Case(
        "a range that trickles is read again",
        Rule(Fault.TRICKLE, "GET", DATA, at_bytes=MIDDLE, rate_bytes_s=200),
    ),
    Case(
        "a manifest with a flipped bit is noticed and read again",
        Rule(Fault.FLIP, "GET", REGISTER, at_bytes=MANIFEST_MIDDLE),
    ),
    Case(
        "a manifest whose bits always flip is never believed",
        Rule(Fault.FLIP, "GET", REGISTER, at_bytes=MANIFEST_MIDDLE, count=EVERY),
        Unavailable,
        stores=ONLY_SWIFT,  # its driver compares with the ETag: not what the store holds
    ),
    Case(
        "a manifest whose bits always flip is never believed",
        Rule(Fault.FLIP, "GET", REGISTER, at_bytes=MANIFEST_MIDDLE, count=EVERY),
        Damaged,
        stores=ONLY_S3,
    ),
    Case(
        "a map with a flipped bit is noticed and read again",
        Rule(Fault.FLIP, "GET", MAP, at_bytes=MANIFEST_MIDDLE),
    ),
    Case(
        "a map whose bits always flip is never believed",
        Rule(Fault.FLIP, "GET", MAP, at_bytes=MANIFEST_MIDDLE, count=EVERY),
        Damaged,
    ),
    Case(
        "a pack that the store says it has not is damage",
        Rule(Fault.ANSWER, "GET", DATA, status=404, body=_s3("NoSuchKey"), count=EVERY),
        Damaged,
    ),
    Case(
        "a token that expired is renewed",
        Rule(Fault.ANSWER, "GET", DATA, status=401),
        stores=ONLY_SWIFT,
    ),
    Case(
        "a store that no longer takes the credentials is not asked again and again",
        Rule(Fault.ANSWER, "GET", DATA, status=403, body=_s3("AccessDenied"), count=EVERY),
        AccessDenied,
    ),
]
