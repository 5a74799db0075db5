from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from backupcore.errors import ReadOnly, Refused, UnknownScheme, VolumeMissing
from backupcore.volume import GROUP, Access, Url, Volume, backupcore_open_volume, open_volume
from backupcore.volume.memory import MemoryVolume

NUMBERS = itertools.count()
SOURCE = """
from backupcore.volume import Volume, hookimpl
opened = []

class Tiny(Volume):
    name = identity = "tiny"
    is_closed = False
    def __init__(self, size_bytes):
        self.size_bytes = size_bytes
        opened.append(self)
    def read_into(self, offset, buffer):
        pass
    def close(self):
        self.is_closed = True

@hookimpl
def backupcore_open_volume(url, options):
    return Tiny(int(options["size"])) if "size" in options else None
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Install a plugin that reads only and opens volumes of any size, and return its module."""
    module = f"volume_plugin_under_test_{next(NUMBERS)}"
    (tmp_path / f"{module}.py").write_text(SOURCE)
    folder = tmp_path / f"{module}-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1\n")
    (folder / "entry_points.txt").write_text(f"[{GROUP}]\ntiny = {module}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return module


@pytest.fixture
def scheme(module: str) -> str:
    return "tiny"


def test_plugin_of_the_scheme_opens_the_volume(scheme: str) -> None:
    assert open_volume(f"{scheme}:x?size=7").size_bytes == 7


def test_options_of_the_call_are_added_to_those_of_the_url(scheme: str) -> None:
    url = Url.parse(f"{scheme}:x?size=7", default_scheme="file")
    assert open_volume(url, size="9").size_bytes == 9


def test_volume_of_two_to_the_62_bytes_is_opened(scheme: str) -> None:
    assert open_volume(f"{scheme}:x", size=str(1 << 62)).size_bytes == 1 << 62


@pytest.mark.parametrize("size_bytes", [-1, (1 << 62) + 1])
def test_volume_of_an_impossible_size_is_refused_and_closed(
    scheme: str, module: str, size_bytes: int
) -> None:
    with pytest.raises(Refused, match=r"2\^62"):
        open_volume(f"{scheme}:x?size={size_bytes}")
    assert sys.modules[module].opened[0].is_closed


@pytest.mark.parametrize("size_bytes", [-1, 0, (1 << 62) + 1])
def test_creating_an_impossible_size_is_refused(tmp_path: Path, size_bytes: int) -> None:
    with pytest.raises(Refused):
        open_volume(str(tmp_path / "new"), access=Access.CREATE, size_bytes=size_bytes)
    assert not list(tmp_path.iterdir())


def test_size_of_an_existing_volume_cannot_be_chosen(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="only then"):
        open_volume(str(tmp_path / "x"), size_bytes=4096)


def test_opening_a_read_only_kind_for_writing_is_refused(scheme: str) -> None:
    with pytest.raises(ReadOnly, match="can only be read"):
        open_volume(f"{scheme}:x?size=7", access=Access.WRITE)


def test_url_that_the_plugin_does_not_open_is_missing(scheme: str) -> None:
    with pytest.raises(VolumeMissing, match="does not open"):
        open_volume(f"{scheme}:x")


def test_unknown_scheme_lists_what_is_installed() -> None:
    with pytest.raises(UnknownScheme, match="installed: file"):
        open_volume("nope:x")


def test_hook_specification_is_never_called() -> None:
    with pytest.raises(AssertionError):
        backupcore_open_volume(Url.parse("x:", default_scheme="x"), {}, Access.READ, 0)


class Least(Volume):
    name = identity = "least"
    size_bytes = 100

    def read_into(self, offset: int, buffer: object) -> None:
        """Read nothing."""


def test_volume_that_only_reads_is_all_data() -> None:
    assert Least().extents(5, 10).tolist() == [[5, 10]]


def test_volume_that_only_reads_keeps_its_size() -> None:
    assert Least().current_size_bytes() == 100


@pytest.mark.parametrize(
    "change", [lambda volume: volume.write(0, b""), lambda volume: volume.zero(0, 1)]
)
def test_volume_that_only_reads_refuses_changes(change: Callable[[Volume], None]) -> None:
    with pytest.raises(ReadOnly):
        change(Least())


def test_volume_closes_with_its_block() -> None:
    with Least() as volume:
        volume.finish()


def test_memory_volume_is_cut_off_with_its_content() -> None:
    volume = MemoryVolume(b"0123456789")
    del volume.content[5:]
    assert volume.current_size_bytes() == 5
