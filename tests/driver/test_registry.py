from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from backupcore import errors
from backupcore.driver.registry import driver_schemes, open_driver, scheme_capabilities
from backupcore.errors import InvalidKey, ObjectMissing, Refused, UnknownScheme
from backupcore.url import Url

PLUGIN = """
from backupcore.driver import hookimpl
from backupcore.driver.memory import MemoryDriver

class Careless(MemoryDriver):
    def get(self, key, offset=0, length=None):
        raise SystemExit("the plugin saw " + key)

@hookimpl
def backupcore_open_driver(url, options):
    return None if url.path == "not-mine" else Careless()
"""


@pytest.fixture
def plugins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A distribution with two plugins: one works, one needs what is not installed."""
    metadata = tmp_path / "careless-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: careless\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[backupcore.drivers]\ncareless = careless_plugin\nbroken = broken_plugin\n"
    )
    (tmp_path / "careless_plugin.py").write_text(PLUGIN)
    (tmp_path / "broken_plugin.py").write_text("import an_sdk_that_is_not_installed\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_a_plain_path_is_a_directory(tmp_path: Path) -> None:
    with open_driver(str(tmp_path / "store")) as driver:
        driver.put("a/b", [b"x"])
    assert (tmp_path / "store/a/b").read_bytes() == b"x"


def test_a_parsed_url_is_taken_as_well(tmp_path: Path) -> None:
    with open_driver(Url.parse(f"posix://{tmp_path}", default_scheme="posix")) as driver:
        assert list(driver.list()) == []


def test_two_openings_of_a_named_memory_see_the_same() -> None:
    with open_driver("memory:shared-test") as first, open_driver("memory:shared-test") as second:
        first.put("k", [b"x"])
        assert second.get("k") == b"x"


def test_a_nameless_memory_is_private() -> None:
    with open_driver("memory:") as first, open_driver("memory:") as second:
        first.put("k", [b"x"])
        with pytest.raises(ObjectMissing):
            second.get("k")


def test_an_unknown_scheme_names_the_installed_ones() -> None:
    with pytest.raises(UnknownScheme, match=r"serves nosuch: \(installed: .*memory.*posix"):
        open_driver("nosuch:x")


@pytest.mark.parametrize("url", ["memory:x?size=1", "posix:///tmp/x?size=1"])
def test_an_unknown_option_is_refused(url: str) -> None:
    with pytest.raises(Refused, match="unknown option 'size'"):
        open_driver(url)


def test_options_can_be_given_as_arguments() -> None:
    with pytest.raises(Refused, match="unknown option 'color'"):
        open_driver("memory:x", color="red")


def test_a_store_opened_for_reading_takes_no_changes() -> None:
    with open_driver("memory:", read_only=True) as driver, pytest.raises(errors.ReadOnly):
        driver.put("k", [b"x"])


def test_no_refused_key_reaches_a_careless_plugin(plugins: Path) -> None:
    with open_driver("careless:") as driver, pytest.raises(InvalidKey):
        driver.get("../../etc/passwd")


def test_a_url_the_plugin_does_not_open_is_refused(plugins: Path) -> None:
    with pytest.raises(Refused, match="does not open this URL"):
        open_driver("careless:not-mine")


def test_a_plugin_whose_sdk_is_missing_says_so(plugins: Path) -> None:
    with pytest.raises(UnknownScheme, match="an_sdk_that_is_not_installed"):
        open_driver("broken:x")


def test_schemes_name_the_distribution_that_brings_them(plugins: Path) -> None:
    assert driver_schemes()["careless"] == "careless 1.0"


def test_only_the_plugin_of_the_scheme_is_imported(plugins: Path) -> None:
    program = (
        "import sys; from backupcore.driver.registry import open_driver; open_driver('careless:');"
        "print(sorted({'careless_plugin', 'broken_plugin', 'backupcore_posix'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(plugins)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "['careless_plugin']"


@pytest.mark.parametrize(
    ("url", "hint"), [("posix://var/backups", "posix:///var/backups"), ("posix:", "no directory")]
)
def test_a_posix_url_without_a_clear_path_is_refused(url: str, hint: str) -> None:
    with pytest.raises(Refused, match=hint):
        open_driver(url)


def test_capabilities_that_every_store_of_a_scheme_has_are_known_unopened() -> None:
    capabilities = scheme_capabilities("posix")
    assert capabilities is not None
    assert capabilities.conditional_put


def test_capabilities_that_only_an_opened_store_can_tell_are_unknown() -> None:
    assert scheme_capabilities("memory") is None


def test_capabilities_of_a_plugin_that_cannot_be_loaded_are_an_error(plugins: Path) -> None:
    with pytest.raises(UnknownScheme, match="an_sdk_that_is_not_installed"):
        scheme_capabilities("broken")
