from __future__ import annotations

import fsspec
import pytest

from backupcore.driver import Url
from backupcore.driver.registry import open_driver
from backupcore.errors import ReadOnly, Refused
from backupcore_fsspec.option import Value, choose_options


def parsed(text: str) -> Url:
    return Url.parse(text, default_scheme="posix")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("8022", 8022),
        ("1.5", 1.5),
        ("true", True),
        ("null", None),
        ("%228022%22", "8022"),
        ("True", "True"),
        ("eu-west-1", "eu-west-1"),
        ("", ""),
    ],
)
def test_a_value_is_the_json_it_looks_like_and_else_a_text(text: str, value: Value) -> None:
    given = choose_options(parsed(f"fsspec+gs://bucket?name={text}"), "gs").given
    assert given == {"name": value}
    assert type(given["name"]) is type(value)


@pytest.mark.parametrize(
    "name",
    [
        *(
            "password",
            "PASSWORD",
            "passwd",
            "passphrase",
            "secret",
            "client_secret",
            "token",
            "key",
        ),
        *("account_key", "sas_token", "connection_string", "credential", "accessToken", "pkey"),
    ],
)
def test_what_looks_like_a_secret_is_refused_without_telling_it(name: str) -> None:
    with pytest.raises(Refused, match=f"'{name}' looks like a secret") as caught:
        open_driver(f"fsspec+memory://store?{name}=hunter2")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["key_filename", "host_key_policy", "account_name", "look_for_keys"]
)
def test_the_name_of_a_file_or_an_account_is_no_secret(name: str) -> None:
    assert choose_options(parsed(f"fsspec+sftp://host/x?{name}=y"), "sftp").given == {name: "y"}


@pytest.mark.parametrize(
    ("url", "fact"),
    [
        ("fsspec+memory://store?client={%22a%22:1}", "has parts"),
        ("fsspec+memory://store?use_listings_cache=true", "not to be chosen"),
        ("fsspec+memory://store?create_container=maybe", "write yes or no"),
        ("fsspec+memory://store?known_hosts=x", "sftp and ssh only"),
        ("fsspec://store", "names no protocol"),
        ("fsspec+memory:", "names no place"),
        ("fsspec+file://host/path", "names a host"),
        ("fsspec+file:///a%3Fb", "no way to write"),
        ("fsspec+file:///a::b", "no way to write"),
        ("fsspec+nothing://x/y", "no protocol 'nothing'"),
        ("fsspec+ftp://host/path", "takes a failed listing for an empty directory"),
    ],
)
def test_a_url_that_cannot_mean_what_it_says_is_refused(url: str, fact: str) -> None:
    with pytest.raises(Refused, match=fact):
        open_driver(url)


def test_a_protocol_whose_package_is_missing_says_which_to_install() -> None:
    fsspec.register_implementation("absent", "no_such_package.Files", errtxt="Install no-package")
    with pytest.raises(Refused, match="needs a package: Install no-package"):
        open_driver("fsspec+absent://x/y")


def test_an_option_that_the_file_system_does_not_take_is_refused() -> None:
    with (
        open_driver("fsspec+sftp://127.0.0.1:1/x?colour=blue") as driver,
        pytest.raises(Refused, match="options do not fit"),
    ):
        list(driver.list())


def test_a_protocol_that_is_not_known_to_store_whole_files_is_read_only() -> None:
    with open_driver("fsspec+dbfs://host/path") as driver:
        assert driver.capabilities.range_get is False
        with pytest.raises(ReadOnly, match="whole or not at all"):
            driver.put("config", [b"x"])
        with pytest.raises(ReadOnly):
            driver.delete(["config"])
