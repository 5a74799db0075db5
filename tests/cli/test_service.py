"""The service's verbs: what an operator sees of them, and what stands in their way."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest

pytest.importorskip("waitress", reason="no service: pip install 'backupcore[service]'")

import msgspec

from backupcore.api.access import TokenAccess
from backupcore.catalog import Catalog, Listing, Scope
from backupcore.service import Settings
from tests.cli.conftest import Place

TOP = Path(__file__).resolve().parents[2]
START_S_MAX = 60.0
STOP_S_MAX = 15.0


def write_config(place: Place, **changes: str) -> str:
    """Write settings of about ten lines and return their path."""
    (place.folder / "images").mkdir(exist_ok=True)
    lines = {
        "data": f'data_folder = "{place.folder}/data"',
        "api": '[api]\nlisten = "127.0.0.1:0"\nauth = { kind = "none" }',
        "store": f'[containers.volumebackups]\nurl = "{place.folder}/service-store"',
        "volumes": "[providers.images]\n"
        'kind = "directory"\nproject = "demo"\n'
        f'options = {{ path = "{place.folder}/images" }}',
        **changes,
    }
    path = place.folder / "backupcore.toml"
    path.write_text("\n\n".join(lines.values()) + "\n")
    return str(path)


def start(place: Place, config: str) -> tuple[subprocess.Popen[bytes], str]:
    """Start a service and return it with its address, once it is open."""
    log = place.folder / "log"
    log.touch()
    with log.open("ab") as stderr:
        process = place.start("serve", "--config", config, "--json", stderr=stderr)
    seen, end = log.stat().st_size, time.monotonic() + START_S_MAX
    while True:
        for line in log.read_text()[seen:].splitlines():
            if line.startswith('{"serving"'):
                return process, str(json.loads(line)["serving"])
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < end
        time.sleep(0.02)


def ask(address: str, path: str, body: Any = None) -> Any:
    """Ask the API as the admin of a project."""
    request = urllib.request.Request(
        f"{address}/v3/demo/{path}",
        data=None if body is None else json.dumps(body).encode(),
        headers={"X-Auth-Token": "anna:demo", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.loads(answer.read() or "null")


def refusal(place: Place, *arguments: str) -> str:
    """Return the message of a command that is wrong use."""
    result = place.run(*arguments, "--json")
    assert result.exit_code == 2, result.output
    return str(json.loads(result.stderr.splitlines()[-1])["error"]["message"])


def test_a_service_starts_with_nothing_but_a_folder_and_ten_lines(place: Place) -> None:
    config = write_config(place)
    assert sum(1 for line in Path(config).read_text().splitlines() if line) <= 11
    process, address = start(place, config)
    with urllib.request.urlopen(f"{address}/healthcheck", timeout=30) as answer:
        assert answer.status == 200
    process.send_signal(signal.SIGTERM)
    assert process.wait(STOP_S_MAX) == 0


def test_a_service_that_is_ended_stops_its_jobs_and_the_next_one_settles_them(
    place: Place,
) -> None:
    config = write_config(place)
    with (place.folder / "images/big.img").open("wb") as image:
        for _ in range(96):
            image.write(os.urandom(1 << 20))
    process, address = start(place, config)
    volume = ask(address, "volumes")["volumes"][0]["id"]
    ids = [
        ask(address, "backups", {"backup": {"volume_id": volume}})["backup"]["id"],
    ]
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    assert process.wait(STOP_S_MAX) == 0
    assert time.monotonic() - began < 10
    process, address = start(place, config)
    shown = ask(address, f"backups/{ids[0]}")["backup"]
    assert shown["status"] in ("error", "available")
    assert ask(address, f"volumes/{volume}")["volume"]["status"] == "available"
    process.send_signal(signal.SIGINT)
    assert process.wait(STOP_S_MAX) == 0


def test_every_line_of_a_service_is_a_document(place: Place) -> None:
    process, address = start(place, write_config(place))
    ask(address, "backups")
    process.send_signal(signal.SIGTERM)
    process.wait(STOP_S_MAX)
    lines = [json.loads(line) for line in (place.folder / "log").read_text().splitlines()]
    messages = [line["log"]["message"] for line in lines if "log" in line]
    assert "request answered" in messages
    assert messages[-1] == "stopping"


def test_a_taken_port_is_told_and_nothing_is_settled(place: Place) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        api = f'[api]\nlisten = "{listen}"\nauth = {{ kind = "none" }}'
        process = place.start("serve", "--config", write_config(place, api=api), "--json")
        _, stderr = process.communicate(timeout=START_S_MAX)
    message = json.loads(stderr.splitlines()[-1])["error"]["message"]
    assert process.returncode == 2
    assert message == f"{listen}: cannot listen: Address already in use"
    assert not (place.folder / "service-store").exists()


def test_a_second_service_on_the_same_folder_is_refused(place: Place) -> None:
    config = write_config(place)
    start(place, config)
    assert "another service uses it" in refusal(place, "serve", "--config", config)


def test_a_folder_that_cannot_be_written_is_told(place: Place) -> None:
    data = f'data_folder = "{place.disk}/data"'
    message = refusal(place, "serve", "--config", write_config(place, data=data))
    assert message.startswith(f"data_folder {place.disk}/data: cannot be written: ")


def test_a_repository_that_is_away_ends_with_the_code_of_the_store(place: Place) -> None:
    store = f'[containers.volumebackups]\nurl = "{place.folder}/gone"\ncreate = false'
    result = place.run("serve", "--config", write_config(place, store=store), "--json")
    assert result.exit_code == 3
    assert "gone" in json.loads(result.stderr.splitlines()[-1])["error"]["message"]


def test_a_catalog_that_may_not_be_upgraded_is_told(place: Place) -> None:
    catalog = "[catalog]\nupgrade = false"
    config = write_config(place, catalog=catalog)
    assert "run `backupcore catalog upgrade`" in refusal(place, "serve", "--config", config)
    made = place.json("catalog", "upgrade", "--config", config)
    assert made["version"]
    start(place, config)


def test_missing_libraries_are_told_with_what_installs_them(place: Place) -> None:
    code = (
        "import sys; sys.modules['waitress'] = None\n"
        "from backupcore.cli.tree import commands\n"
        f"commands(['serve', '--config', {write_config(place)!r}])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'backupcore[service]'" in done.stderr


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("api", "[api]\nlistn = 1", "unknown field `listn`"),
        ("api", '[api]\nlisten = "0.0.0.0:1"\nauth = { kind = "none" }', "listen on 127.0.0.1"),
        ("api", '[api]\nauth = { kind = "tokens" }', "backupcore token add"),
        ("store", '[containers.a]\nurl = "b"', "default_container"),
        ("store", '[containers.volumebackups]\nurl = "ftp:b"', "no driver for ftp"),
        ("providers", '[providers.a]\nkind = "dir"', "providers.a: no provider of kind dir"),
    ],
)
def test_settings_that_cannot_work_are_told(place: Place, name: str, text: str, told: str) -> None:
    config = write_config(place, **{name: text})
    assert told in refusal(place, "config", "check", "--config", config)


def test_settings_that_work_are_good_and_nothing_is_started(place: Place) -> None:
    found = place.json("config", "check", "--config", write_config(place))
    assert found["containers"] == ["volumebackups"]
    assert not (place.folder / "data").exists()


def test_a_token_is_shown_once_and_only_its_hash_is_kept(place: Place) -> None:
    file = place.folder / "tokens.toml"
    arguments = ("token", "add", "--file", str(file), "--user", "anna", "--project", "demo")
    made = place.json(*arguments)
    place.json(*arguments, "--role", "admin")
    kept = tomllib.loads(file.read_text())["token"]
    assert made["token"] not in file.read_text()
    assert [entry["roles"] for entry in kept] == [["member"], ["admin"]]
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("user", "project"), [("anna", "a b"), ("anna\n", "a"), ("", "a"), ("\udcff", "a")]
)
def test_a_token_that_would_lock_everybody_out_is_not_written(
    place: Place, user: str, project: str
) -> None:
    file = place.folder / "tokens.toml"
    arguments = ("token", "add", "--file", str(file), "--user", user, "--project", project)
    assert "letters, digits and . _ @ -" in refusal(place, *arguments)
    assert not file.exists()


def test_a_token_s_user_may_have_any_letters(place: Place) -> None:
    file = place.folder / "tokens.toml"
    place.json("token", "add", "--file", str(file), "--user", "Ann 😀 𝒜", "--project", "demo")
    TokenAccess(file)
    assert tomllib.loads(file.read_text())["token"][0]["user"] == "Ann 😀 𝒜"


def test_no_token_is_added_to_a_file_that_nobody_believes(place: Place) -> None:
    (file := place.folder / "tokens.toml").write_text("other = 1\n")
    file.chmod(0o600)
    arguments = ("token", "add", "--file", str(file), "--user", "anna", "--project", "demo")
    assert "unknown field `other`" in refusal(place, *arguments)
    assert file.read_text() == "other = 1\n"
    assert list(place.folder.glob(".tokens*")) == []


def test_an_empty_catalog_is_filled_from_the_repository(place: Place) -> None:
    config = write_config(place, store=f'[containers.volumebackups]\nurl = "{place.folder}/store"')
    backup = place.json("backup", "disk.img")["id"]
    assert "--project" in refusal(place, "catalog", "rebuild", "--config", config)
    rebuild = ("catalog", "rebuild", "--config", config, "--project", "demo")
    assert place.json(*rebuild)["containers"][0]["added"] == 1
    assert place.json(*rebuild)["containers"][0]["known"] == 1
    url = f"sqlite:///{place.folder}/data/catalog.db"
    with Catalog.open(url) as catalog, catalog.reading() as rows:
        page = rows.page_backups(Scope.of("demo"), Listing(limit=9))
    assert [row.id for row in page.rows] == [backup]


def options_of(kind: type[msgspec.Struct], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield each option of the settings with its default, as the guide writes them."""
    for field in msgspec.structs.fields(kind):
        inner = [field.type, *get_args(field.type)]
        below = [
            part for part in inner if isinstance(part, type) and issubclass(part, msgspec.Struct)
        ]
        name = f"{prefix}{field.encode_name}"
        if below:
            yield from options_of(below[0], f"{name}.NAME." if len(inner) > 1 else f"{name}.")
        else:
            yield name, default_text(field)


def default_text(field: msgspec.structs.FieldInfo) -> str:
    """Return a default as the guide writes it."""
    if field.required:
        return "needed"
    if isinstance(field.default, bool):
        return "yes" if field.default else "no"
    is_nothing = field.default is None or field.default is msgspec.NODEFAULT
    return "none" if is_nothing else f"`{field.default}`"


def test_the_guide_tells_every_option_and_its_default_and_no_other() -> None:
    text = (TOP / "docs/guide/service.md").read_text(encoding="utf-8")
    table = text.partition("\n## Options\n")[2].partition("\n### ")[0]
    told = re.findall(r"^\| `([\w.]+)` \| ([^|]+) \| [^|]+ \|$", table, re.MULTILINE)
    assert sorted(told) == sorted(options_of(Settings))
