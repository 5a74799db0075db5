"""A listing of more than one page: it is whole or it is an error."""

from __future__ import annotations

import hashlib
import http.client
import json
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from backupcore import MemoryVolume
from backupcore.errors import Unavailable
from tests.drivers.fault.case import ASKING_LONG
from tests.drivers.fault.conftest import PAGE_COUNT
from tests.drivers.fault.stage import CHUNK, Stage, noise
from tests.servers.fault_proxy import Fault, Rule

PART_SHIFT = 32 - 4  # of the rings of the server
SECOND_PAGE = {"swift": "*marker=*tombs/*", "s3": "*prefix=*tombs/*continuation-token=*"}


def list_besides(stage: Stage, container: str, folder: str, count: int) -> None:
    """Have a container list objects that nobody put, by one request to its own server."""
    name = f"prefix/AUTH_test/{container}suffix"
    digest = hashlib.md5(name.encode(), usedforsecurity=False).digest()
    part = int.from_bytes(digest[:4]) >> PART_SHIFT
    now = f"{time.time():.5f}"
    rows = [
        {
            "name": f"{folder}x{index:04d}",
            "created_at": now,
            "size": 0,
            "content_type": "text/plain",
            "etag": hashlib.md5(usedforsecurity=False).hexdigest(),
            "deleted": 0,
            "storage_policy_index": 0,
        }
        for index in range(count)
    ]
    link = http.client.HTTPConnection("127.0.0.1", stage.server.ports["container"], timeout=30)
    fields = {"X-Timestamp": now, "X-Backend-Storage-Policy-Index": "0"}
    link.request("UPDATE", f"/d1/{part}/AUTH_test/{container}", json.dumps(rows), fields)
    assert link.getresponse().status == 202
    link.close()


@pytest.fixture
def paged(stage: Stage) -> Iterator[Stage]:
    """A repository whose listing of tombs has a second page, of names that are no tombs'."""
    container = f"paged-{stage.scheme}"
    with closing(Stage(stage.scheme, stage.server, stage.proxy, container=container)) as found:
        list_besides(found, container, f"{found.folder}/tombs/", PAGE_COUNT + 1)
        yield found


def test_a_listing_that_fails_in_its_second_page_is_repeated_or_ends_the_backup(
    paged: Stage,
) -> None:
    volume = MemoryVolume(noise("paged", 8 * CHUNK), name="paged")
    second_page = SECOND_PAGE[paged.scheme]
    with paged.spoiled(Rule(Fault.ANSWER, "GET", second_page)):
        first = paged.back_up(volume)
        assert paged.proxy.count("GET", second_page, fault=Fault.ANSWER) > 0
    with paged.spoiled(Rule(Fault.CUT, "GET", second_page, at_bytes=1)):
        second = paged.back_up(volume)
    with (
        paged.spoiled(Rule(Fault.ANSWER, "GET", second_page, headers=ASKING_LONG, count=None)),
        pytest.raises(Unavailable),
    ):
        paged.back_up(volume)
    assert paged.listed(volume) == [first.id, second.id]
