"""The policy of the guide is enough, and none of its actions can be left out."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backupcore.driver import Driver
from backupcore.driver.registry import open_driver
from backupcore.errors import AccessDenied, ObjectMissing
from tests.drivers.s3.stage.place import Place

pytestmark = pytest.mark.xdist_group("radosgw")

GUIDE = Path(__file__).parents[3] / "docs/guide/s3.md"
ACTIONS = ("s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject")
BUCKET, PREFIX = "shared", "nightly"


def policy(without: str = "") -> str:
    """Return the policy of the guide for the guest, but for one action."""
    found = re.search(r"```json\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    text = found[1].replace("BUCKET", BUCKET).replace("PREFIX", PREFIX)
    document: dict[str, Any] = json.loads(text)
    for statement in document["Statement"]:
        actions = statement["Action"]
        given = [actions] if isinstance(actions, str) else actions
        statement["Action"] = [action for action in given if action != without] or [
            "s3:GetBucketAcl"
        ]
        statement["Principal"] = {"AWS": ["arn:aws:iam:::user/guest"]}
    return json.dumps(document)


@pytest.fixture
def shared(gateway: Place) -> Iterator[Any]:
    with gateway.client() as client:
        client.create_bucket(Bucket=BUCKET)
        client.put_object(Bucket=BUCKET, Key=f"{PREFIX}/of-others", Body=b"x")
        yield client
        for entry in client.list_objects_v2(Bucket=BUCKET).get("Contents", ()):
            client.delete_object(Bucket=BUCKET, Key=entry["Key"])


@pytest.fixture
def guest(shared: Any, guest_place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[Driver]:
    guest_place.log_in(monkeypatch)
    with open_driver(guest_place.url(BUCKET, PREFIX)) as driver:
        yield driver


def use(driver: Driver) -> None:
    """Do everything that a driver can."""
    driver.put("key", [b"0123456789"])
    driver.put("once", [b"x"], if_absent=True)
    assert driver.get("key", 2, 3) == b"234"
    assert driver.get("of-others") == b"x"  # who has put an object may read it in any case
    assert driver.stat("key").size_bytes == 10
    assert sorted(info.key for info in driver.list()) == ["key", "of-others", "once"]
    driver.delete(["key", "once"])
    for call in (driver.get, driver.stat):
        with pytest.raises(ObjectMissing):
            call("key")


def test_the_policy_of_the_guide_is_enough(shared: Any, guest: Driver) -> None:
    shared.put_bucket_policy(Bucket=BUCKET, Policy=policy())
    use(guest)


@pytest.mark.parametrize("action", ACTIONS)
def test_no_action_of_the_policy_can_be_left_out(shared: Any, guest: Driver, action: str) -> None:
    shared.put_bucket_policy(Bucket=BUCKET, Policy=policy(without=action))
    with pytest.raises(AccessDenied):
        use(guest)


def test_the_policy_ends_at_the_prefix(shared: Any, guest: Driver, guest_place: Place) -> None:
    shared.put_bucket_policy(Bucket=BUCKET, Policy=policy())
    with (
        open_driver(guest_place.url(BUCKET, "other")) as driver,
        pytest.raises(AccessDenied),
    ):
        driver.put("key", [b"x"])
