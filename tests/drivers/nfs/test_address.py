from __future__ import annotations

import pytest

from backupcore.driver import Url
from backupcore.errors import Refused
from backupcore_nfs.address import Address


def address(text: str) -> Address:
    return Address.parse(Url.parse(text, default_scheme="nfs"))


@pytest.mark.parametrize(
    ("url", "source"),
    [
        ("nfs://nas/export", "nas:/export"),
        ("nfs://nas.example.org/export/a//b/", "nas.example.org:/export/a/b"),
        ("nfs://192.0.2.7/", "192.0.2.7:/"),
        ("nfs://[2001:db8::7]/export", "[2001:db8::7]:/export"),
        ("nfs://[fe80::1%25eth0]/export", "[fe80::1%25eth0]:/export"),
        ("nfs://nas/my%20backups,old", "nas:/my backups,old"),
    ],
)
def test_a_url_becomes_what_mount_takes(url: str, source: str) -> None:
    assert address(url).source == source


def test_a_port_is_kept_apart_from_the_source() -> None:
    found = address("nfs://[::1]:20049/export")
    assert (found.port, found.source) == (20049, "[::1]:/export")


@pytest.mark.parametrize("url", ["nfs://nas/export", "nfs://[::1]:20049/a/b"])
def test_an_address_is_shown_as_its_url(url: str) -> None:
    assert str(address(url)) == url


@pytest.mark.parametrize(
    "url",
    [
        "nfs:/export",
        "nfs:export",
        "nfs:///export",
        "nfs://nas",
        "nfs://user@nas/export",
        "nfs://nas:65536/export",
        "nfs://nas:port/export",
        "nfs://-o/export",
        "nfs://[nas]/export",
        "nfs://nas/export/../etc",
        "nfs://nas/export/%0a",
        "nfs://na%20s/export",
        "nfs://2001:db8::7/export",
    ],
)
def test_a_url_that_does_not_name_an_export_is_refused(url: str) -> None:
    with pytest.raises(Refused, match=r"nfs://|nfs:"):
        address(url)


@pytest.mark.parametrize(
    ("url", "source"),
    [
        ("nfs://nas/export", "nas:/export/"),
        ("nfs://NAS.example.org/export", "nas.example.org.:/export"),
        ("nfs://[2001:db8:0::7]/export", "[2001:db8::7]:/export"),
        ("nfs://[::1]/export", "::1:/export"),
        ("nfs://nas/", "nas:/"),
    ],
)
def test_spellings_of_one_source_are_the_same(url: str, source: str) -> None:
    assert address(url).is_source(source)


@pytest.mark.parametrize("source", ["nas2:/export", "nas:/export/a", "nas:/Export", "none", ""])
def test_another_source_is_not_the_same(source: str) -> None:
    assert not address("nfs://nas/export").is_source(source)
