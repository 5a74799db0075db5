from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupcore.errors import Refused
from backupcore.url import Url


def parse(text: str) -> Url:
    return Url.parse(text, default_scheme="file")


def test_parts_of_a_url_are_told_apart() -> None:
    url = parse("s3://bucket/some%20prefix?region=eu&empty=")
    assert (url.scheme, url.host, url.path) == ("s3", "bucket", "/some prefix")
    assert url.options == {"region": "eu", "empty": ""}


def test_url_without_slashes_has_a_path_only() -> None:
    url = parse("posix:var/backups")
    assert (url.scheme, url.host, url.path) == ("posix", "", "var/backups")


@pytest.mark.parametrize("text", ["disk.img", "/dev/sda", "a?b#c%20", "./x:y", "c:disk", ""])
def test_text_without_a_scheme_is_a_path_as_it_stands(text: str) -> None:
    url = parse(text)
    assert (url.scheme, url.host, url.path, url.options) == ("file", "", text, {})


def test_scheme_is_the_same_in_capitals() -> None:
    assert parse("S3://bucket").scheme == "s3"


def test_bytes_that_are_no_utf8_stay_in_the_path() -> None:
    assert parse("file:/a%ff").path == "/a\udcff"
    assert str(parse("file:/a%ff")) == r"file:/a\udcff"


@pytest.mark.parametrize(
    "text",
    [
        "s3://key:secret@bucket/prefix",
        "S3://key:secret@bucket",
        "s3:key:secret@bucket",
        "s3://:secret@bucket",
    ],
)
def test_passwords_are_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(Refused, match="password") as caught:
        parse(text)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "file:/a?x=1&x=2",
        "file:/a#b",
        "file:/a\nb",
        "file:/a%00b",
        "/a\0b",
        "s3://[half/x",
    ],
)
def test_ambiguous_urls_are_refused(text: str) -> None:
    with pytest.raises(Refused):
        parse(text)


@pytest.mark.parametrize("show", [str, repr, lambda url: url.redacted])
def test_what_is_shown_has_no_user_and_no_options(show: Callable[[Url], str]) -> None:
    text = show(parse("swift://user@host:80/box?token=secret"))
    assert "host:80/box" in text
    assert "user" not in text
    assert "secret" not in text


@pytest.mark.parametrize("text", ["posix:///var/b", "posix:b", "synthetic:", "nfs://host/x"])
def test_url_without_secrets_is_shown_as_written(text: str) -> None:
    assert str(parse(text)) == text


@given(st.text(st.characters(categories=["L", "N"]), min_size=5), st.text(min_size=1))
def test_nothing_of_a_query_is_ever_shown(secret: str, path: str) -> None:
    try:
        url = Url.parse(f"ab:/?{secret}=q{secret}q", default_scheme="file")
    except Refused:
        return
    assert secret not in f"{url} {url!r}"


def test_known_options_are_handed_out() -> None:
    assert parse("file:/a?x=1").take_options("x", "y") == {"x": "1"}


def test_unknown_option_is_refused_with_the_known_ones() -> None:
    with pytest.raises(Refused, match=r"unknown option 'z': known are x, y"):
        parse("file:/a?z=1").take_options("y", "x")


def test_option_is_refused_where_there_are_none() -> None:
    with pytest.raises(Refused, match="takes none"):
        parse("file:/a?z=1").take_options()


def test_an_option_is_wanted_by_yes_refused_by_no_and_else_as_usual() -> None:
    url = parse("file:/a?x=yes&y=no")
    assert (url.wants("x"), url.wants("y", default=True)) == (True, False)
    assert (url.wants("z"), url.wants("z", default=True)) == (False, True)


def test_an_option_that_is_neither_yes_nor_no_is_refused() -> None:
    with pytest.raises(Refused, match=r"file:/a: x is 'maybe': write yes or no"):
        parse("file:/a?x=maybe").wants("x")
