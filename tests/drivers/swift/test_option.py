from __future__ import annotations

import pytest

from backupcore.driver import Url
from backupcore.driver.registry import open_driver
from backupcore.errors import Refused
from backupcore_swift.option import Settings, read_settings


def read(text: str) -> Settings:
    return read_settings(Url.parse(text, default_scheme="posix"))


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("swift://backups", "swift://backups/"),
        ("swift://backups/", "swift://backups/"),
        ("swift://backups/nightly", "swift://backups/nightly/"),
        ("swift://backups/a/b%20c/", "swift://backups/a/b c/"),
        ("swift://Backups_2%40x", "swift://Backups_2@x/"),
    ],
)
def test_a_url_names_container_and_prefix(url: str, place: str) -> None:
    assert read(url).place == place


def test_every_option_is_read() -> None:
    assert read(
        "swift://b?cloud=archive&region=north&interface=internal"
        "&create_container=yes&storage_policy=cold"
    ) == Settings(
        "b",
        cloud="archive",
        region="north",
        interface="internal",
        may_create_container=True,
        storage_policy="cold",
    )


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("swift:backups/nightly", "write swift://container/prefix"),
        ("swift:///backups", "names no container"),
        ("swift://..", "names no container"),
        ("swift://a%2Fb", "without a slash"),
        (f"swift://{'c' * 257}", "at most 256 bytes"),
        ("swift://user@backups", "credentials come from"),
        ("swift://b/x/../y", "empty, . or .."),
        ("swift://b//x", "empty, . or .."),
        ("swift://b/x//", "empty, . or .."),
        ("swift://b/%ff", "no UTF-8"),
        (f"swift://b/{'p' * 512}", "511 bytes leave room for keys"),
        ("swift://b?create_container=maybe", "write yes or no"),
        ("swift://b?storage_policy=cold", "add create_container=yes"),
        ("swift://b?create_container=no&storage_policy=cold", "add create_container=yes"),
        ("swift://b?interface=inner", "write public, internal, admin"),
        ("swift://b?region=", "region is empty"),
        ("swift://b?delete_after=86400", "later backups still refer to"),
        ("swift://b?delete_at=1800000000", "later backups still refer to"),
        ("swift://b?password=x", "unknown option 'password'"),
    ],
)
def test_a_url_that_says_too_little_or_too_much_is_refused(url: str, words: str) -> None:
    with pytest.raises(Refused, match=words):
        open_driver(url)


def test_the_longest_prefix_leaves_room_for_the_longest_key() -> None:
    assert len(read(f"swift://b/{'p' * 511}").prefix) == 512
