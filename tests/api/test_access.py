"""The file of tokens: who may read it, what stands in it, and when a change of it counts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from backupcore.api.access import TokenAccess, hash_token
from backupcore.errors import Refused
from backupcore.service import Service
from tests.api.conftest import A, B, Client


def _entry(token: str, project: str = A, roles: str = '"member"') -> str:
    return (
        f'[[token]]\nsha256 = "{hash_token(token)}"\nuser = "nightly"\nproject = "{project}"\n'
        f"roles = [{roles}]\n"
    )


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tokens.toml"
    _write(path, _entry("one") + _entry("two", B) + _entry("ann", roles='"admin"'))
    return path


@pytest.fixture
def client(shared: Service, file: Path) -> Client:
    return Client(shared, TokenAccess(file), token="one")


@pytest.mark.parametrize(("token", "project", "code"), [
    ("one", A, 200), ("two", B, 200), ("two", A, 400), ("three", A, 401), (None, A, 401),
    ("", A, 401), ("o" * 10_000, A, 401), ("é", A, 401),
])  # fmt: skip
def test_a_token_opens_its_project_only(
    client: Client, token: str | None, project: str, code: int
) -> None:
    sent = None if token is None else token.encode().decode("latin-1")
    other = Client(client.service, client.access, token=None)
    assert other.get("/backups", token=sent, prefix=f"/v3/{project}").status_code == code


def test_a_hash_is_no_token(client: Client) -> None:
    assert client.get("/backups", token=hash_token("one")).status_code == 401


@pytest.mark.parametrize(("token", "code"), [("one", 403), ("ann", 200)])
def test_roles_are_those_of_the_file(client: Client, token: str, code: int) -> None:
    assert client.get("/os-services", token=token).status_code == code


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o602, 0o644, 0o610])
def test_a_file_that_others_may_use_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    with pytest.raises(Refused, match="chmod 600"):
        TokenAccess(file)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away: run as root")
def test_a_file_of_another_user_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.chown(file, 65534, 65534)
    with pytest.raises(Refused, match="another user"):
        TokenAccess(file)


@pytest.mark.parametrize("text", [
    "token = 1", "[[token]]\nuser = 'u'\n", "{", _entry("x").replace("sha256", "md5"),
    _entry("x", project="a b"), _entry("x").replace(hash_token("x"), "short"),
    _entry("x") + "secret = 1\n",
])  # fmt: skip
def test_a_file_that_is_not_right_is_refused(file: Path, text: str) -> None:
    _write(file, text)
    with pytest.raises(Refused, match=r"tokens\.toml"):
        TokenAccess(file)


def test_a_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="backupcore token add"):
        TokenAccess(tmp_path / "none.toml")


def test_a_file_without_tokens_lets_nobody_in(shared: Service, file: Path) -> None:
    _write(file, "")
    assert Client(shared, TokenAccess(file), token="one").get("/backups").status_code == 401


def test_a_new_token_counts_at_once(client: Client, file: Path) -> None:
    with file.open("a") as more:
        more.write(_entry("four"))
    assert client.get("/backups", token="four").status_code == 200


def test_a_token_that_was_taken_away_ends_at_once(client: Client, file: Path) -> None:
    assert client.get("/backups").status_code == 200
    _write(file, _entry("two", B))
    assert client.get("/backups").status_code == 401


@pytest.mark.parametrize("harm", ["broken", "open", "gone"])
def test_while_the_file_cannot_be_believed_nobody_comes_in(
    client: Client, file: Path, harm: str
) -> None:
    text = file.read_text()
    if harm == "gone":
        file.unlink()
    else:
        _write(file, "{" if harm == "broken" else text)
        file.chmod(0o644 if harm == "open" else 0o600)
    assert [client.get("/backups").status_code for _ in range(2)] == [503, 503]
    _write(file, text)
    assert client.get("/backups").status_code == 200


def test_many_tokens_are_fine(client: Client, file: Path) -> None:
    _write(file, "".join(_entry(f"token-{value}") for value in range(2000)))
    assert client.get("/backups", token="token-1999").status_code == 200
