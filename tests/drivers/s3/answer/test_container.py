"""A bucket is made when that is asked for, and where."""

from __future__ import annotations

import pytest

from backupcore.driver.registry import open_driver
from backupcore.errors import AccessDenied, StoreError
from tests.drivers.s3.stage.scripted import Reply, Script, error_reply


def make(script: Script, options: str = "") -> None:
    open_driver(f"s3://bucket?endpoint_url={script.url}&create_container=yes{options}").close()


def test_a_bucket_that_is_there_is_not_made_again(script: Script) -> None:
    make(script)
    assert [asked.method for asked in script.asked] == ["HEAD"]


@pytest.mark.parametrize(("region", "is_told"), [("eu-central-1", True), ("us-east-1", False)])
def test_a_bucket_is_made_in_the_region(script: Script, region: str, is_told: bool) -> None:
    script.answer(Reply(404), Reply())
    make(script, f"&region={region}")
    asked = script.asked[1]
    assert (asked.method, asked.path) == ("PUT", "/bucket")
    assert (region.encode() in asked.body) == is_told


def test_a_bucket_for_locked_objects_is_made_for_them(script: Script) -> None:
    script.answer(Reply(404), Reply())
    make(script, "&object_lock=governance&object_lock_days=3")
    assert script.asked[1].headers["x-amz-bucket-object-lock-enabled"] == "true"


def test_a_bucket_that_was_made_meanwhile_is_ours(script: Script) -> None:
    script.answer(Reply(404), error_reply(409, "BucketAlreadyOwnedByYou"))
    make(script)


def test_a_bucket_of_somebody_else_is_not(script: Script) -> None:
    script.answer(Reply(404), error_reply(409, "BucketAlreadyExists"))
    with pytest.raises(StoreError, match="another name"):
        make(script)


@pytest.mark.parametrize("replies", [(Reply(403),), (Reply(404), error_reply(403, "AccessDenied"))])
def test_a_bucket_that_may_not_be_made_is_told(script: Script, replies: tuple[Reply, ...]) -> None:
    script.answer(*replies)
    with pytest.raises(AccessDenied):
        make(script)
