from __future__ import annotations

import re
from pathlib import Path

import pytest

from backupcore.errors import Refused
from backupcore.service import Settings, read_settings

LEAST = 'data_folder = "/var/lib/x"\n[containers.volumebackups]\nurl = "memory:x"\n'
SECTIONS = ("api", "api.auth", "catalog", "jobs", "quotas", "records")


def read(tmp_path: Path, text: str) -> Settings:
    file = tmp_path / "settings.toml"
    file.write_text(text)
    return read_settings(file)


def refusal(tmp_path: Path, text: str) -> str:
    with pytest.raises(Refused) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'settings.toml'}: ")
    return str(caught.value)


def test_the_least_that_must_be_said_is_enough(tmp_path: Path) -> None:
    settings = read(tmp_path, LEAST)
    assert settings.catalog_url == "sqlite:////var/lib/x/catalog.db"
    assert settings.path("a/b") == Path("/var/lib/x/a/b")
    assert settings.path("/a/b") == Path("/a/b")
    assert (settings.api.listen, settings.api.auth.kind) == ("127.0.0.1:8776", "tokens")


def test_a_file_that_is_missing_or_no_toml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match=r"none\.toml: cannot be read: No such file"):
        read_settings(tmp_path / "none.toml")
    assert "is not TOML" in refusal(tmp_path, "a = ")
    (tmp_path / "settings.toml").write_bytes(b"\xff")
    with pytest.raises(Refused, match="is not TOML"):
        read_settings(tmp_path / "settings.toml")


def test_what_must_be_said_is_missed_by_name(tmp_path: Path) -> None:
    assert "`data_folder`" in refusal(tmp_path, LEAST.partition("\n")[2])
    assert "`containers`" in refusal(tmp_path, LEAST.partition("\n")[0])
    assert "`url`" in refusal(
        tmp_path, LEAST.replace("url", "create").replace('"memory:x"', "true")
    )
    assert "`kind`" in refusal(tmp_path, LEAST + "[providers.images]\n")


@pytest.mark.parametrize("section", ["", *SECTIONS, "containers.gold", "providers.images"])
def test_an_unknown_option_is_refused_by_its_name(tmp_path: Path, section: str) -> None:
    needed = {"containers.gold": 'url = "memory:x"\n', "providers.images": 'kind = "directory"\n'}
    text = LEAST + f"[{section}]\n{needed.get(section, '')}speling = 1\n"
    if not section:
        text = "speling = 1\n" + LEAST
    assert "`speling`" in refusal(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        "api.threads = 0", "api.threads = 257", 'api.threads = "4"', "api.threads = 1.5",
        "api.page_limit_max = 0", "api.page_limit_max = 100001",
        "api.body_bytes_max = 1023", "api.body_bytes_max = 16777217",
        "api.listen = 8776", 'api.listen = "here"', 'api.listen = "a b:1"',
        "api.public_url = 1", 'api.auth.kind = "open"', "api.auth.kind = 1", "api.auth.file = 1",
        "api.auth.keystone = {retries = 3}", "api.auth.policy_file = false",
        "catalog.url = 5", "jobs.threads = 0", "jobs.threads = 257", "jobs.threads = true",
        "jobs.memory_bytes = 16777215", 'jobs.memory_bytes = "1G"',
        "quotas.backups = -2", "quotas.backup_gigabytes = 2147483648", "quotas.volumes = 1.5",
        'quotas.snapshots = "10"', "quotas.gigabytes = -2", "quotas.per_volume_gigabytes = true",
        "records.key_file = 1", "records.trusted_folder = 1", "records.expiry_days = 0",
        "records.expiry_days = 36501", "availability_zone = 1", "host = 1",
        "default_container = 1", "default_provider = 1", "data_folder = 1",
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_type_or_range_is_refused_by_its_option(
    tmp_path: Path, text: str
) -> None:
    base = LEAST.partition("\n")[2] if text.startswith("data_folder") else LEAST
    option = text.partition(" = ")[0]
    assert f"$.{option}" in refusal(tmp_path, f"{text}\n{base}")


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("[containers.gold]\nurl = 1", "url"),
        ('[containers.gold]\nurl = "memory:x"\njobs = 0', "jobs"),
        ('[containers.gold]\nurl = "memory:x"\njobs = 257', "jobs"),
        ('[containers.gold]\nurl = "memory:x"\ncreate = 1', "create"),
        ("[providers.images]\nkind = 1", "kind"),
        ('[providers.images]\nkind = "x"\noptions = 1', "options"),
        ('[providers.images]\nkind = "x"\nproject = 1', "project"),
        (
            '[providers.images]\nkind = "x"\nallow_crash_inconsistent = "yes"',
            "allow_crash_inconsistent",
        ),
    ],
)
def test_a_wrong_value_of_a_container_or_provider_is_refused_by_its_option(
    tmp_path: Path, text: str, option: str
) -> None:
    section = text.partition("]")[0][1:]
    assert re.search(rf": {re.escape(section)}: .*\.{option}`", refusal(tmp_path, LEAST + text))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LEAST.replace("/var", "var"), "data_folder 'var/lib/x': write an absolute path"),
        ('data_folder = "/x"\n[containers]\n', "containers: name one at least"),
        (LEAST + '[containers."../up"]\nurl = "memory:x"', "containers.../up: letters"),
        (LEAST + '[containers."a b"]\nurl = "memory:x"', "containers.a b: letters"),
        (
            'default_container = "gold"\n' + LEAST,
            "default_container 'gold' is none of: volumebackups",
        ),
        ('default_provider = "gold"\n' + LEAST, "default_provider 'gold' is none of: none"),
        (
            'api.listen = "0.0.0.0:80"\napi.auth.kind = "none"\n' + LEAST,
            "api.auth.kind none: everybody would be admin",
        ),
        ('api.listen = "127.0.0.1:65536"\n' + LEAST, "api.listen '127.0.0.1:65536': ports end at"),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    tmp_path: Path, text: str, said: str
) -> None:
    assert said in refusal(tmp_path, text)


@pytest.mark.parametrize("address", ["127.0.0.1:80", "[::1]:80", "localhost:80"])
def test_everybody_may_be_admin_on_the_own_machine(tmp_path: Path, address: str) -> None:
    text = f'api.listen = "{address}"\napi.auth.kind = "none"\n' + LEAST
    assert read(tmp_path, text).api.auth.kind == "none"


@pytest.mark.parametrize("name", ["gold", "a/b", "A.b-c_d", "x" * 255])
def test_any_container_lets_every_valid_name_be_a_label(tmp_path: Path, name: str) -> None:
    settings = read(tmp_path, LEAST + '[containers."*"]\nurl = "memory:y"')
    assert settings.container_of(name) == "*"
    assert settings.container_of("volumebackups") == "volumebackups"


@pytest.mark.parametrize("name", ["", "*", "..", "a/../b", "/a", ".a", "a b", "a\n", "x" * 256])
def test_any_container_takes_no_path(tmp_path: Path, name: str) -> None:
    settings = read(tmp_path, LEAST + '[containers."*"]\nurl = "memory:y"')
    assert settings.container_of(name) is None
