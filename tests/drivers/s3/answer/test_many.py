"""Listings and deletions of many objects, as servers may answer them."""

from __future__ import annotations

import pytest

from backupcore.driver import Driver
from backupcore.errors import AccessDenied, StoreError, Unavailable
from tests.drivers.s3.stage.scripted import Reply, Script, error_reply, listing_reply


@pytest.mark.parametrize(
    "page",
    [Reply(), listing_reply("place/a", tail=""), Reply(body=b"<ListBucketResult><Cont")],
    ids=["nothing", "no last word", "half"],
)
def test_a_page_that_is_not_whole_is_no_short_listing(
    script: Script, driver: Driver, page: Reply
) -> None:
    script.answer(page)
    with pytest.raises(Unavailable):
        list(driver.list())


def test_a_page_that_leads_nowhere_is_no_short_listing(script: Script, driver: Driver) -> None:
    script.answer(listing_reply("place/a", tail="<IsTruncated>true</IsTruncated>"))
    with pytest.raises(StoreError, match="what follows"):
        list(driver.list())


def test_a_page_that_leads_to_itself_does_not_last_for_ever(script: Script, driver: Driver) -> None:
    tail = "<IsTruncated>true</IsTruncated><NextContinuationToken>n</NextContinuationToken>"
    script.answer(listing_reply("place/a", tail=tail))
    with pytest.raises(StoreError, match="what follows"):
        list(driver.list())


def test_objects_outside_the_prefix_are_not_taken_for_ours(script: Script, driver: Driver) -> None:
    script.answer(listing_reply("elsewhere/a"))
    with pytest.raises(StoreError, match="elsewhere/a"):
        list(driver.list())


def test_a_store_without_batches_is_asked_for_one_deletion_after_the_other(
    script: Script, driver: Driver
) -> None:
    script.answer(error_reply(501, "NotImplemented"), Reply(204))
    driver.delete(["a", "b"])
    driver.delete(["c", "d"])
    assert [asked.method for asked in script.asked] == ["POST", *["DELETE"] * 4]


def test_objects_of_which_a_deletion_says_nothing_are_deleted_again(
    script: Script, driver: Driver
) -> None:
    told = b"<DeleteResult><Deleted><Key>place/a</Key></Deleted></DeleteResult>"
    script.answer(Reply(body=told), Reply(204))
    driver.delete(["a", "b"])
    assert [asked.path for asked in script.asked[1:]] == ["/bucket/place/b"]


@pytest.mark.parametrize(
    ("codes", "kind"),
    [
        (("AccessDenied",), AccessDenied),
        (("InternalError",), Unavailable),
        (("InternalError", "AccessDenied"), AccessDenied),
        (("NoSuchKey", "SlowDown"), Unavailable),
    ],
)
def test_objects_that_were_not_deleted_raise(
    script: Script, driver: Driver, codes: tuple[str, ...], kind: type[StoreError]
) -> None:
    errors = "".join(f"<Error><Key>place/a</Key><Code>{code}</Code></Error>" for code in codes)
    script.answer(Reply(body=f"<DeleteResult>{errors}</DeleteResult>".encode()))
    with pytest.raises(kind, match="s3://bucket/place/a"):
        driver.delete(["a", "b"])


def test_objects_that_were_not_there_are_deleted(script: Script, driver: Driver) -> None:
    told = "".join(
        f"<Error><Key>place/{key}</Key><Code>NoSuchKey</Code></Error>" for key in ("a", "b")
    )
    script.answer(Reply(body=f"<DeleteResult>{told}</DeleteResult>".encode()))
    driver.delete(["a", "b"])
    script.answer(error_reply(404, "NoSuchKey"))
    driver.delete(["c"])
    assert [asked.method for asked in script.asked] == ["DELETE"]


def test_who_may_not_delete_many_at_once_deletes_one_after_the_other(
    script: Script, driver: Driver
) -> None:
    script.answer(error_reply(403, "AccessDenied"), Reply(204))
    driver.delete(["a", "b"])
    assert [asked.method for asked in script.asked] == ["POST", "DELETE", "DELETE"]
