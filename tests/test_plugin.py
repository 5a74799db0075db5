from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import backupcore.volume
from backupcore.errors import UnknownScheme
from backupcore.plugin import load_plugin, schemes
from backupcore.volume import GROUP

Install = Callable[[str, str], str]
NUMBERS = itertools.count()


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Return what installs a distribution whose module serves a volume scheme."""

    def install_module(scheme: str, source: str) -> str:
        module = f"plugin_under_test_{next(NUMBERS)}"
        (tmp_path / f"{module}.py").write_text(source)
        folder = tmp_path / f"{module}-1.2.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.2\n")
        (folder / "entry_points.txt").write_text(f"[{GROUP}]\n{scheme} = {module}\n")
        monkeypatch.syspath_prepend(str(tmp_path))
        return module

    return install_module


def test_unknown_scheme_is_refused_with_the_installed_ones() -> None:
    with pytest.raises(UnknownScheme, match=r"serves nope: \(installed: file.*synthetic\)"):
        load_plugin(GROUP, "nope", backupcore.volume)


def test_scheme_of_an_empty_group_is_refused() -> None:
    with pytest.raises(UnknownScheme, match="installed: none"):
        load_plugin("backupcore.no_such_group", "x", backupcore.volume)


def test_schemes_name_the_distribution_that_brings_them(install: Install) -> None:
    module = install("zz", "")
    found = schemes(GROUP)
    assert found["zz"] == f"{module} 1.2"
    assert found["file"].startswith("backupcore ")
    assert list(found) == sorted(found)


def test_only_the_plugin_that_was_asked_for_is_imported(install: Install) -> None:
    wanted = install("zz", "")
    other = install("yy", "raise ImportError('must not be imported')")
    load_plugin(GROUP, "zz", backupcore.volume)
    assert wanted in sys.modules
    assert other not in sys.modules


def test_plugin_whose_needs_are_missing_says_which(install: Install) -> None:
    install("zz", "import no_such_sdk")
    with pytest.raises(UnknownScheme, match="no_such_sdk"):
        load_plugin(GROUP, "zz", backupcore.volume)


def test_plugin_whose_hook_does_not_fit_is_refused(install: Install) -> None:
    install(
        "zz",
        "from backupcore.volume import hookimpl\n"
        "@hookimpl\n"
        "def backupcore_open_volume(no_such_argument): pass\n",
    )
    with pytest.raises(UnknownScheme, match="no_such_argument"):
        load_plugin(GROUP, "zz", backupcore.volume)


def test_a_family_of_schemes_is_served_by_the_plugin_of_its_name(install: Install) -> None:
    module = install("zz", "")
    load_plugin(GROUP, "zz+one", backupcore.volume)
    assert module in sys.modules


def test_a_plugin_of_the_whole_name_goes_before_that_of_the_family(install: Install) -> None:
    install("zz", "raise ImportError('must not be imported')")
    module = install("zz+one", "")
    load_plugin(GROUP, "zz+one", backupcore.volume)
    assert module in sys.modules
