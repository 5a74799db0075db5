from __future__ import annotations

import pytest

from backupcore.errors import Refused
from backupcore_nfs.option import VERSIONS, mount_options

DEFAULT = "vers=4.2,hard,lookupcache=positive,retry=0,nosuid,nodev,noexec"


def test_a_mount_waits_for_its_server_and_asks_for_what_is_missing() -> None:
    assert mount_options("4.2", "") == DEFAULT


def test_a_port_is_passed_on() -> None:
    assert mount_options("4.2", "", 20049) == f"{DEFAULT},port=20049"


def test_options_of_the_user_follow_ours() -> None:
    chosen = "nconnect=4,sec=krb5p,noac"
    assert mount_options("4.2", chosen) == f"{DEFAULT},{chosen}"


@pytest.mark.parametrize("kind", ["soft", "softerr"])
def test_a_mount_that_gives_up_is_not_hard(kind: str) -> None:
    words = mount_options("4.1", f"{kind},timeo=100").split(",")
    assert "hard" not in words
    assert words[-2:] == [kind, "timeo=100"]


def test_an_option_of_ours_is_replaced_not_repeated() -> None:
    words = mount_options("3", "lookupcache=none,retry=1").split(",")
    assert [word for word in words if word.startswith(("look", "retry"))] == [
        "lookupcache=none",
        "retry=1",
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_known_versions_are_taken(version: str) -> None:
    assert mount_options(version, "").startswith(f"vers={version},")


@pytest.mark.parametrize("version", ["", "2", "5", "4.2,ro"])
def test_an_unknown_version_is_refused(version: str) -> None:
    with pytest.raises(Refused, match=r"known are 4\.2"):
        mount_options(version, "")


@pytest.mark.parametrize(
    "chosen",
    [
        "nolock",
        "local_lock=all",
        "ro",
        "bg",
        "nocto",
        "softreval",
        "nosharecache",
        "lookupcache=all",
        "vers=3",
        "nfsvers=3",
        "bind",
        "remount",
        "timeo=5 0",
        "sec='krb5'",
        "timeo=5,timeo=6",
        "soft,hard",
        "-o",
    ],
)
def test_an_option_that_breaks_a_promise_or_is_unknown_is_refused(chosen: str) -> None:
    with pytest.raises(Refused, match="nfs:"):
        mount_options("4.2", chosen)


def test_a_port_given_twice_is_refused() -> None:
    with pytest.raises(Refused, match="twice"):
        mount_options("4.2", "port=2049", 2049)
