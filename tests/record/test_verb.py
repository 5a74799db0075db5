"""`backupcore record`: what people and scripts see of it."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from backupcore.cli.tree import commands
from backupcore.record import SigningKey, TrustedKeys, decode, verify
from backupcore.runtime import SystemClock
from tests.cli.conftest import Place, place  # noqa: F401 - a fixture
from tests.cli.test_verb import documented_fields
from tests.record.world import closed, opened

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def backed(place: Place) -> Place:  # noqa: F811 - the fixture itself
    """A place with one backup, and with a home for keys."""
    place.environment.update(HOME=str(place.folder), XDG_CONFIG_HOME=str(place.folder / "config"))
    place.json("backup", "disk.img", "--name", "monday")
    return place


def export(place: Place, *options: str) -> dict[str, str]:  # noqa: F811
    """Return the two fields of a record, which is left in `record.json`."""
    result = place.run("record", "export", "latest", *options)
    assert result.exit_code == 0, result.output
    Path("record.json").write_text(result.stdout)
    found: dict[str, str] = json.loads(result.stdout)["backup-record"]
    return found


def claimed(text: str, path: Path) -> Any:
    """Return the claim of a record that a key signed."""
    trusted = TrustedKeys().including(SigningKey.load(path))
    return verify(decode(text), trusted, now=SystemClock().now()).claim


def own_key(place: Place) -> Path:  # noqa: F811
    return place.folder / "config" / "backupcore" / "record-key.pem"


def test_what_is_exported_is_imported_and_nothing_is_written(backed: Place) -> None:
    fields = export(backed)
    store = backed.folder / "store"
    before = {path: path.read_bytes() for path in store.rglob("*") if path.is_file()}
    found = backed.json("record", "import", "record.json")
    assert fields["backup_service"] == "cinder.backup.drivers.backupcore.posix"
    assert (found["id"], found["name"]) == (found["backup"]["id"], "monday")
    assert found["backup"] == backed.json("show", "latest")
    assert {path: path.read_bytes() for path in store.rglob("*") if path.is_file()} == before


def test_documents_have_the_documented_fields(backed: Place) -> None:
    assert set(export(backed)) == documented_fields("record export")
    assert set(backed.json("record", "import", "record.json")) == documented_fields("record import")
    assert set(backed.json("record", "key")) == documented_fields("record key")


def test_the_same_document_is_written_with_json_and_quiet_and_without(backed: Place) -> None:
    for option in ("--json", "-q", "-v"):
        assert list(export(backed, option)) == ["backup_service", "backup_url"]


def test_a_record_says_what_it_was_told(backed: Place) -> None:
    text = export(
        backed, "--name", "n", "--description", "d", "--container", "c", "--project", "p",
        "--expires", "12h",
    )["backup_url"]  # fmt: skip
    fields, claim = opened(text), claimed(text, own_key(backed))
    shown = [fields[name] for name in ("display_name", "display_description", "container")]
    assert shown == ["n", "d", "c"]
    assert (claim.expires_at - claim.issued_at).total_seconds() == 12 * 3600
    assert re.fullmatch("[0-9a-f]{32}", claim.tenant_tag)


def test_a_record_holds_for_90_days_or_for_ever(backed: Place) -> None:
    claim = claimed(export(backed)["backup_url"], own_key(backed))
    assert (claim.expires_at - claim.issued_at).days == 90
    assert (
        claimed(export(backed, "--expires", "never")["backup_url"], own_key(backed)).expires_at
        is None
    )
    assert "never" in backed.run("record", "import", "record.json").stdout


@pytest.mark.parametrize("wrong", ["90", "0d", "-1d", "1w", "", "1.5d", "٣d"])
def test_a_time_that_is_none_is_wrong_use(backed: Place, wrong: str) -> None:
    result = backed.run("record", "export", "latest", f"--expires={wrong}")
    assert result.exit_code == 2
    assert "write 90d, 12h or never" in result.stderr


def test_a_record_may_come_from_standard_input_and_bare(backed: Place) -> None:
    fields = export(backed)
    for document in ({"backup-record": fields}, fields):
        result = CliRunner().invoke(
            commands, ["record", "import", "-", "-q"], env=backed.environment,
            input=json.dumps(document),
        )  # fmt: skip
        assert (result.exit_code, result.stderr) == (0, "")
        assert result.stdout == backed.run("list", "-q").stdout


def test_a_record_of_another_exporter_needs_their_key(backed: Place) -> None:
    export(backed, "--key", "theirs.pem")
    result = backed.run("record", "import", "record.json")
    assert result.exit_code == 2
    assert "which is not trusted here" in result.stderr
    trusted = backed.folder / "trusted"
    trusted.mkdir()
    (trusted / "theirs.pem").write_text(
        backed.run("record", "key", "--key", "theirs.pem", "-q").stdout
    )
    backed.json("record", "import", "record.json", "--trusted", "trusted")
    (trusted / "theirs.pem").unlink()
    assert backed.run("record", "import", "record.json", "--trusted", "trusted").exit_code == 2


def test_keys_are_trusted_in_the_folder_of_the_configuration(backed: Place) -> None:
    export(backed, "--key", "theirs.pem")
    trusted = own_key(backed).parent / "trusted"
    trusted.mkdir(parents=True)
    (trusted / "theirs.pem").write_text(
        backed.run("record", "key", "--key", "theirs.pem", "-q").stdout
    )
    backed.json("record", "import", "record.json")
    assert not own_key(backed).exists()


def test_a_key_is_shown_and_never_its_private_half(backed: Place) -> None:
    text = backed.run("record", "key").stdout
    key = SigningKey.load(own_key(backed))
    assert text == f"kid {key.kid} of {own_key(backed)}\n{key.public_pem}"
    assert backed.run("record", "key", "-q").stdout == key.public_pem
    assert own_key(backed).parent.stat().st_mode & 0o777 == 0o700


def test_importing_makes_no_key_and_asks_for_the_one_that_was_named(backed: Place) -> None:
    export(backed, "--key", "theirs.pem")
    assert backed.run("record", "import", "record.json").exit_code == 2
    assert not own_key(backed).exists()
    assert backed.run("record", "import", "record.json", "--key", "gone.pem").exit_code == 3
    assert not Path("gone.pem").exists()
    backed.json("record", "import", "record.json", "--key", "theirs.pem")


def test_a_record_of_a_deleted_backup_is_refused(backed: Place) -> None:
    export(backed)
    backed.json("delete", "latest")
    result = backed.run("record", "import", "record.json")
    assert result.exit_code == 2
    assert "was deleted and cannot come back" in result.stderr


def test_a_record_for_another_repository_is_refused(backed: Place) -> None:
    export(backed)
    backed.json("init", "-r", "elsewhere")
    result = backed.run("record", "import", "record.json", "-r", "elsewhere")
    assert result.exit_code == 2
    assert "unknown repository" in result.stderr


def test_a_pack_that_is_lost_is_damage(backed: Place) -> None:
    export(backed)
    next((backed.folder / "store" / "data").rglob("*-0000000000")).unlink()
    result = backed.run("record", "import", "record.json")
    assert result.exit_code == 4
    assert "it is missing: run verify" in result.stderr


def test_a_record_of_cinder_is_refused_with_words_that_say_why(backed: Place) -> None:
    result = backed.run("record", "import", str(GOLDEN / "cinder-29.json"))
    assert result.exit_code == 2
    assert "records of another service are not read here" in result.stderr


@pytest.mark.parametrize(
    "content",
    [
        "", "[]", "{}", '{"backup-record": []}', '{"backup-record": {"backup_service": "x"}}',
        '{"backup_service": 1, "backup_url": 2}', "x" * (64 << 10), " " * (1 << 20),
    ],
    ids=["empty", "list", "object", "wrong", "half", "types", "text", "long"],
)  # fmt: skip
def test_a_file_that_holds_no_record_is_refused(backed: Place, content: str) -> None:
    Path("record.json").write_text(content)
    result = backed.run("record", "import", "record.json", "--json")
    assert result.exit_code == 2
    assert json.loads(result.stderr)["error"]["kind"] in ("Refused", "RecordRefused")


def test_a_changed_record_is_refused(backed: Place) -> None:
    fields = export(backed)
    changed = opened(fields["backup_url"])
    changed["driver_info"]["register"] = 1
    fields["backup_url"] = closed(changed)
    Path("record.json").write_text(json.dumps(fields))
    result = backed.run("record", "import", "record.json", "--json")
    assert result.exit_code == 2
    assert "does not fit: it was changed" in json.loads(result.stderr)["error"]["message"]


WITHOUT_EXTRA = (
    "import sys; sys.modules['cryptography'] = None; from backupcore.cli import main; main()"
)


@pytest.mark.parametrize(
    "arguments",
    [("export", "latest"), ("import", "disk.img"), ("key",)],
    ids=lambda words: words[0],
)
def test_without_the_extra_one_is_told_how_to_get_it(
    backed: Place, arguments: tuple[str, ...]
) -> None:
    program = (sys.executable, "-c", WITHOUT_EXTRA)
    process = backed.start("record", *arguments, program=program)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 2
    assert b"pip install 'backupcore[service]'" in stderr


def test_other_commands_do_without_the_extra(backed: Place) -> None:
    process = backed.start("list", "-q", program=(sys.executable, "-c", WITHOUT_EXTRA))
    assert process.communicate(timeout=60)[1] == b""
    assert process.returncode == 0


def test_without_a_home_one_is_told_to_name_the_key(
    backed: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def homeless() -> Path:
        raise RuntimeError("no home")

    backed.environment["XDG_CONFIG_HOME"] = "relative"
    monkeypatch.setattr(Path, "home", homeless)
    result = backed.run("record", "key")
    assert result.exit_code == 2
    assert "name it: --key" in result.stderr
    assert backed.run("record", "key", "--key", "k.pem").exit_code == 0
