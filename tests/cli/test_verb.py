"""Every command does what it says, and its document has the fields that are documented."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from backupcore.cli.tree import commands
from tests.cli.conftest import Place

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"
UUID_FORM = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def documented_fields(heading: str) -> set[str]:
    """Return the names in the first column of the table below a heading of json.md."""
    text = (REFERENCE / "json.md").read_text(encoding="utf-8")
    section = re.split(r"^## ", text, flags=re.MULTILINE)
    [body] = [part for part in section if part.startswith(f"{heading}\n")]
    return set(re.findall(r"^\| `(\w+)` \|", body, re.MULTILINE))


def test_a_backup_tells_what_it_cost(place: Place) -> None:
    done = place.json("backup", "disk.img", "--name", "n", "--label", "tier=gold")
    assert set(done) == documented_fields("A backup")
    assert (done["size_bytes"], done["read_bytes"]) == (4 << 20, 1 << 20)
    assert (done["volume_id"], done["labels"]) == (str(place.disk), {"tier": "gold"})


def test_a_second_backup_stores_nothing_anew(place: Place) -> None:
    first = place.json("backup", "disk.img")
    second = place.json("backup", "disk.img")
    assert (second["base_id"], second["new_bytes"]) == (first["id"], 0)


def test_a_full_backup_has_no_base(place: Place) -> None:
    place.json("backup", "disk.img")
    assert place.json("backup", "disk.img", "--full")["is_incremental"] is False


def test_a_base_can_be_named_by_the_beginning_of_its_id(place: Place) -> None:
    first = place.json("backup", "disk.img")
    place.json("backup", "disk.img")
    assert place.json("backup", "disk.img", "--base", first["id"][:8])["base_id"] == first["id"]


def test_a_quiet_backup_writes_its_id_only(place: Place) -> None:
    assert UUID_FORM.fullmatch(place.run("backup", "disk.img", "-q").stdout.strip())


def test_a_list_has_every_backup_oldest_first(place: Place) -> None:
    made = [place.json("backup", "disk.img")["id"] for _ in range(2)]
    listed = place.json("list")
    assert set(listed) == documented_fields("list")
    assert [backup["id"] for backup in listed["backups"]] == made


def test_a_list_can_be_of_one_volume(place: Place) -> None:
    place.json("backup", "disk.img", "--volume-id", "one")
    place.json("backup", "disk.img", "--volume-id", "two")
    listed = place.json("list", "--volume-id", "two")["backups"]
    assert [backup["volume_id"] for backup in listed] == ["two"]


def test_a_list_for_people_is_not_cut_off_in_a_pipe(place: Place) -> None:
    done = place.json("backup", "disk.img", "--name", "x" * 300)
    shown = place.run("list").stdout
    assert done["id"] in shown
    assert "x" * 300 in shown


def test_names_cannot_steer_the_terminal(place: Place) -> None:
    place.json("backup", "disk.img", "--name", "a\x1b[2Jb")
    shown = place.run("list").stdout
    assert "\x1b" not in shown
    assert "a\\x1b[2Jb" in shown


def test_a_backup_is_shown_by_the_beginning_of_its_id(place: Place) -> None:
    done = place.json("backup", "disk.img")
    assert place.json("show", done["id"][:6]) == done
    assert done["id"] in place.run("show", "latest").stdout


def test_latest_needs_a_volume_id_when_there_are_two_volumes(place: Place) -> None:
    place.json("backup", "disk.img", "--volume-id", "one")
    two = place.json("backup", "disk.img", "--volume-id", "two")
    assert place.run("show", "latest").exit_code == 2
    assert place.json("show", "latest", "--volume-id", "two")["id"] == two["id"]


def test_a_restore_creates_the_target(place: Place) -> None:
    place.json("backup", "disk.img")
    done = place.json("restore", "latest", "new.img")
    assert set(done) == documented_fields("restore")
    assert Path("new.img").read_bytes() == place.disk.read_bytes()


def test_a_restore_overwrites_the_volume_it_came_from(place: Place) -> None:
    before = place.disk.read_bytes()
    place.json("backup", "disk.img")
    place.disk.write_bytes(b"\xff" * len(before))
    place.json("restore", "latest", "disk.img")
    assert place.disk.read_bytes() == before


def test_an_extent_goes_where_it_was_and_the_rest_is_a_hole(place: Place) -> None:
    place.json("backup", "disk.img")
    extents = ("--extent", "64KiB:4KiB", "--extent", "1000:24")
    assert place.json("restore", "latest", "part.img", *extents)["restored_bytes"] == 4120
    wanted, source = bytearray(4 << 20), place.disk.read_bytes()
    for start, end in ((1000, 1024), (65536, 69632)):
        wanted[start:end] = source[start:end]
    assert Path("part.img").read_bytes() == wanted


def test_a_restore_to_standard_output_keeps_the_report_off_it(place: Place) -> None:
    place.json("backup", "disk.img")
    result = place.run("restore", "latest", "-", "--json")
    assert result.stdout_bytes == place.disk.read_bytes()
    assert json.loads(result.stderr.splitlines()[-1])["target"] == "-"


@pytest.mark.parametrize("kind", ["directory", "link", "dangling", "pipe", "small"])
def test_what_is_no_target_is_refused(place: Place, kind: str) -> None:
    target = place.folder / "target"
    match kind:
        case "directory":
            target.mkdir()
        case "link":
            target.symlink_to(place.disk)
        case "dangling":
            target.symlink_to("nowhere")
        case "pipe":
            os.mkfifo(target)
        case _:
            target.write_bytes(b"short")
    place.json("backup", "disk.img")
    result = place.run("restore", "latest", str(target))
    assert result.exit_code == 7
    assert "target" in result.stderr


def test_a_deleted_backup_is_gone_and_others_are_whole(place: Place) -> None:
    first, second = (place.json("backup", "disk.img")["id"] for _ in range(2))
    assert place.json("delete", first[:8]) == {"deleted": [first]}
    assert place.run("list", "-q").stdout.split() == [second]
    assert place.json("verify", "--depth", "data")["is_sound"] is True


def test_nothing_is_deleted_when_one_cannot_be_found(place: Place) -> None:
    first = place.json("backup", "disk.img")["id"]
    assert place.run("delete", first, "00000000").exit_code == 3
    assert place.run("list", "-q").stdout.split() == [first]


def test_a_verification_tells_what_is_lost_and_heals_what_comes_later(place: Place) -> None:
    done = place.json("backup", "disk.img")
    [pack] = (path for path in (place.folder / "store/data").rglob("*") if path.is_file())
    pack.chmod(0o600)
    pack.write_bytes(b"x" * pack.stat().st_size)
    result = place.run("verify", "--condemn", "--json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["is_sound"]) == (4, False)
    assert set(found) | set(found["losses"][0]) == documented_fields("verify")
    assert found["losses"][0]["backup_id"] == done["id"]
    assert found["losses"][0]["extents"] == [{"offset": 0, "length": 1 << 20}]
    place.json("backup", "disk.img")
    assert place.json("verify", "latest", "--depth", "data")["is_sound"] is True


def test_a_damaged_backup_is_not_restored(place: Place) -> None:
    place.json("backup", "disk.img")
    for pack in (path for path in (place.folder / "store/data").rglob("*") if path.is_file()):
        pack.chmod(0o600)
        pack.write_bytes(b"x" * pack.stat().st_size)
    assert place.run("restore", "latest", "new.img").exit_code == 4
    assert not Path("new.img").exists()


def test_info_has_sizes_and_ratios(place: Place) -> None:
    place.json("backup", "disk.img")
    found = place.json("info")
    assert set(found) == documented_fields("info")
    assert (found["backup_count"], found["volume_bytes"]) == (1, 4 << 20)


def test_init_tells_the_grid_it_was_given(place: Place) -> None:
    sizes = ("--chunk-size", "32KiB", "--frame-size", "512KiB", "--level", "3")
    made = place.json("init", "-r", str(place.folder / "other"), *sizes)
    assert set(made) == documented_fields("init")
    assert (made["chunk_size_bytes"], made["frame_size_bytes"]) == (32 << 10, 512 << 10)
    assert made["level"] == 3


def test_drivers_names_what_is_installed(place: Place) -> None:
    found = place.json("drivers")
    by_scheme = {entry["scheme"]: entry for entry in found["drivers"]}
    assert set(found) | set(by_scheme["posix"]) == documented_fields("drivers")
    assert by_scheme["posix"]["capabilities"]["conditional_put"] is True
    assert by_scheme["memory"]["capabilities"] is None
    assert {entry["scheme"] for entry in found["volumes"]} >= {"file", "synthetic"}


def test_a_driver_that_keeps_its_promises_leaves_nothing_behind(place: Place) -> None:
    store = place.folder / "kit"
    found = place.json("driver", "test", str(store), "--list-count", "20")
    fields = set(found) | set(found["promises"][0]) | set(found["calls"][0])
    assert fields == documented_fields("driver test")
    assert found["broken_count"] == 0
    assert [path for path in store.rglob("*") if path.is_file()] == []


def test_a_driver_that_breaks_a_promise_ends_with_the_code_of_the_store(place: Place) -> None:
    # Two openings of a nameless memory store share nothing.
    result = place.run("driver", "test", "memory:", "--list-count", "20")
    assert result.exit_code == 5
    assert "broken" in result.stdout


def test_a_broken_promise_is_shown_with_what_was_seen_and_why_it_matters(place: Place) -> None:
    shown = place.run("driver", "test", "memory:", "--list-count", "20").stdout
    [told] = re.findall(r"^broken: lists at once what .*\n(.*\n.*)\n", shown, re.MULTILINE)
    seen, why = told.splitlines()
    assert seen == "  what was seen: Broken: objects seen by the other: 0 instead of 1"
    assert why.startswith("  why it matters: Prune looks for leases right after it wrote its tomb")


def test_a_tested_driver_is_timed_call_by_call(place: Place) -> None:
    words = ("driver", "test", "fsspec+memory://timed", "--list-count", "20")
    found, shown = place.json(*words)["calls"], place.run(*words).stdout
    assert [call["operation"] for call in found] == ["put", "get", "stat", "list", "delete"]
    for call in found:
        assert 0 < call["latency_median_s"] <= call["latency_max_s"]
    rates = {call["operation"] for call in found if call["rate_bytes_s"]}
    assert rates == {"put", "get"}
    assert re.search(r"^put +\d+ +[\d.]+ ms +[\d.]+ ms +[\d.]+ [KMG]iB/s$", shown, re.MULTILINE)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_what_a_shell_reads(place: Place, shell: str) -> None:
    assert "_BACKUPCORE_COMPLETE" in place.json("completion", shell)["script"]


def test_the_reference_tells_every_command_and_option() -> None:
    text = (REFERENCE / "cli.md").read_text(encoding="utf-8")
    groups = {"": commands.commands, "driver ": commands.commands["driver"].commands}  # type: ignore[attr-defined]
    missing = [
        f"{prefix}{name} {option}"
        for prefix, group in groups.items()
        for name, command in group.items()
        for parameter in command.params
        for option in parameter.opts
        if option.startswith("--") and f"`{option}" not in text
    ]
    missing += [name for name in commands.commands if f"backupcore {name}" not in text]
    assert missing == []
