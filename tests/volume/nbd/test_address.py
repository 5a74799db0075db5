from __future__ import annotations

from pathlib import Path

import pytest

from backupcore.errors import Refused, VolumeMissing
from backupcore.url import Url
from backupcore.volume import open_volume
from backupcore.volume.nbd.address import Address, parse_address
from tests.servers.process import free_port


def parsed(text: str) -> Address:
    return parse_address(Url.parse(text, default_scheme="file"))


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("nbd://server/disk", Address("disk", host="server", port=10809)),
        ("nbd://server:1234/a/b", Address("a/b", host="server", port=1234)),
        ("nbd://server", Address("", host="server")),
        ("nbd://[::1]:99/x%20y", Address("x y", host="::1", port=99)),
        ("nbd:///disk", Address("disk", host="localhost")),
        ("nbd+unix:///?socket=/run/s", Address("", socket_path="/run/s")),
        ("nbd+unix:///d%3Fx?socket=/run/a%26b", Address("d?x", socket_path="/run/a&b")),
        ("nbd+unix:////d?socket=/run/s", Address("/d", socket_path="/run/s")),
    ],
)
def test_an_address_is_what_the_url_says(text: str, address: Address) -> None:
    assert parsed(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "nbd+unix:///disk",
        "nbd+unix://host/disk?socket=/run/s",
        "nbd://me@server/disk",
        "nbd://server:port/disk",
        "nbd://server:99999/disk",
        f"nbd://server/{'x' * 4097}",
    ],
)
def test_a_url_that_names_no_export_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        parsed(text)


@pytest.mark.parametrize(
    "text", ["nbd://h:10809/a%20b", "nbd://[::1]:99/", "nbd+unix:///x?socket=/run/a%3Fb"]
)
def test_the_identity_is_a_url_of_the_same_export(text: str) -> None:
    assert parsed(text).identity == text


def test_the_identity_is_the_same_for_every_way_to_the_socket(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    there = parsed(f"nbd+unix:///d?socket={tmp_path}/link/s")
    assert there.identity == parsed(f"nbd+unix:///d?socket={tmp_path}/s").identity


def test_a_bitmap_does_not_change_the_identity() -> None:
    assert parsed("nbd://h/d?bitmap=b&since=a").identity == parsed("nbd://h/d").identity


@pytest.mark.parametrize(
    "option",
    [
        "timeout_s=0",
        "timeout_s=nan",
        "timeout_s=soon",
        "connections=0",
        "connections=17",
        "connections=two",
        "since=monday",
        f"bitmap={'x' * 4096}",
        "export=x",
        "socket=/run/s",
    ],
)
def test_an_option_that_cannot_be_is_refused_before_connecting(option: str) -> None:
    with pytest.raises(Refused):
        open_volume(f"nbd://127.0.0.1:1/disk?{option}")


def test_a_missing_socket_is_a_missing_volume_named_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(VolumeMissing, match=r"nowhere: cannot be reached: No such file"):
        open_volume(f"nbd+unix:///d?socket={tmp_path}/nowhere")


def test_a_port_nobody_listens_on_is_a_missing_volume() -> None:
    port = free_port()
    with pytest.raises(VolumeMissing, match=rf"127\.0\.0\.1:{port}/d: cannot be reached"):
        open_volume(f"nbd://127.0.0.1:{port}/d")


def test_a_host_that_cannot_be_is_a_missing_volume() -> None:
    with pytest.raises(VolumeMissing, match="cannot be reached"):
        open_volume(f"nbd://{'x' * 70}.invalid/d")


def test_a_socket_path_that_is_too_long_is_a_missing_volume() -> None:
    with pytest.raises(VolumeMissing, match="too long"):
        open_volume(f"nbd+unix:///d?socket=/{'x' * 200}")
