"""A real Keystone on this machine: SQLite, Fernet tokens, some users; for tests that need one.

Its many dependencies live in a virtual environment of their own, which `need_keystone` names.

users       projects and roles        password
admin       demo, other: admin        NAME-secret, of everybody
member      demo: member
reader      demo: reader
stranger    other: member
nobody      demo: visitor, a role that means nothing
backupcore  service: service          whom services are, to ask about tokens
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.servers.process import Server, free_port

REGION = "north"
CALL_S_MAX = 60.0
START_S_MAX = 60.0
VENV = Path("build/venvs/keystone")
INSTALL = f"python3 -m venv {VENV} && {VENV}/bin/pip install keystone waitress"
USERS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "admin": {"demo": ["admin"], "other": ["admin"]},
    "member": {"demo": ["member"]},
    "reader": {"demo": ["reader"]},
    "stranger": {"other": ["member"]},
    "nobody": {"demo": ["visitor"]},
    "backupcore": {"service": ["service"]},
}

_SETTINGS = """\
[DEFAULT]
use_stderr = true
[database]
connection = sqlite:///{folder}/keystone.db
[token]
provider = fernet
expiration = {token_life_s}
[fernet_tokens]
key_repository = {folder}/fernet
[fernet_receipts]
key_repository = {folder}/fernet
[credential]
key_repository = {folder}/credential
[cache]
enabled = false
[identity]
password_hash_algorithm = bcrypt
password_hash_rounds = 4
"""
_PROGRAM = """\
import sys
from waitress import serve
port = sys.argv.pop()
from keystone.server.wsgi import initialize_public_application
serve(initialize_public_application(), listen=f"127.0.0.1:{port}", threads=4)
"""


def need_keystone() -> pytest.MarkDecorator:
    """Return the mark of tests that need a Keystone."""
    is_missing = shutil.which(str(VENV / "bin/keystone-manage")) is None
    return pytest.mark.skipif(is_missing, reason=f"no Keystone: {INSTALL}")


def password(user: str) -> str:
    """Return a user's password."""
    return f"{user}-secret"


@dataclass(slots=True)
class Keystone:
    """A running Keystone; `url` ends with the version. projects: ids by name."""

    folder: Path
    url: str
    server: Server = field(repr=False)
    projects: dict[str, str] = field(default_factory=dict)
    _token: str = field(default="", repr=False)
    _roles: dict[str, str] = field(default_factory=dict, repr=False)
    _users: dict[str, str] = field(default_factory=dict, repr=False)

    def variables(self, user: str, project: str = "demo") -> dict[str, str]:
        """Return the environment of a user's login by password."""
        return {
            "OS_AUTH_URL": self.url,
            "OS_IDENTITY_API_VERSION": "3",
            "OS_REGION_NAME": REGION,
            "OS_USERNAME": user,
            "OS_PASSWORD": password(user),
            "OS_PROJECT_NAME": project,
            "OS_USER_DOMAIN_ID": "default",
            "OS_PROJECT_DOMAIN_ID": "default",
        }

    def application(
        self, user: str, name: str, *, rules: Sequence[Mapping[str, str]] | None = None
    ) -> dict[str, str]:
        """Make an application credential of a user's and return the environment of its login.

        rules: the requests it may be used for, as service, method and path; all unless given.
        """
        wanted: dict[str, Any] = {"name": name, "unrestricted": False}
        if rules is not None:
            wanted["access_rules"] = list(rules)
        made = self.ask(
            "POST",
            f"/users/{self._users[user]}/application_credentials",
            {"application_credential": wanted},
            token=self.token(user),
        )["application_credential"]
        return {
            "OS_AUTH_URL": self.url,
            "OS_IDENTITY_API_VERSION": "3",
            "OS_REGION_NAME": REGION,
            "OS_AUTH_TYPE": "v3applicationcredential",
            "OS_APPLICATION_CREDENTIAL_ID": made["id"],
            "OS_APPLICATION_CREDENTIAL_SECRET": made["secret"],
        }

    def forget_application(self, user: str, variables: Mapping[str, str]) -> None:
        """Delete an application credential."""
        place = f"/users/{self._users[user]}/application_credentials"
        name = variables["OS_APPLICATION_CREDENTIAL_ID"]
        self.ask("DELETE", f"{place}/{name}", token=self.token(user))

    def authtoken(self) -> dict[str, str]:
        """Return options of keystonemiddleware, for a service that checks tokens here."""
        return {
            "www_authenticate_uri": self.url,
            "auth_url": self.url,
            "auth_type": "password",
            "username": "backupcore",
            "password": password("backupcore"),
            "project_name": "service",
            "user_domain_id": "default",
            "project_domain_id": "default",
        }

    def token(self, user: str, project: str | None = "demo", *, url: str = "") -> str:
        """Log in by password; without a project the token is of none."""
        scope = {"project": {"name": project, "domain": {"id": "default"}}} if project else None
        return self._log_in(_by_password(user), scope, url)

    def application_token(self, variables: Mapping[str, str]) -> str:
        """Log in by an application credential."""
        given = {
            "id": variables["OS_APPLICATION_CREDENTIAL_ID"],
            "secret": variables["OS_APPLICATION_CREDENTIAL_SECRET"],
        }
        identity = {"methods": ["application_credential"], "application_credential": given}
        return self._log_in(identity, None, "")

    def revoke(self, token: str) -> None:
        """Make a token void."""
        self.ask("DELETE", "/auth/tokens", token=token, headers={"X-Subject-Token": token})

    def offer(self, kind: str, url: str) -> None:
        """Add a service to the catalogue."""
        wanted = {"service": {"type": kind, "name": kind}}
        service = self.ask("POST", "/services", wanted)["service"]["id"]
        for interface in ("public", "internal"):
            endpoint = {"service_id": service, "url": url, "interface": interface}
            self.ask("POST", "/endpoints", {"endpoint": {**endpoint, "region_id": REGION}})

    def restart(self) -> None:
        """Start it again after `server.kill`."""
        self.server.restart()
        self._wait()

    @contextmanager
    def issuing_for(self, token_life_s: int) -> Iterator[str]:
        """Run a second process on the same data; its tokens live that long. Yields its URL."""
        server, url = _run(self.folder, token_life_s)
        try:
            Keystone(self.folder, url, server)._wait()
            yield url
        finally:
            server.kill()

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> Any:
        """Call the API as its administrator, or with a token, and return the document."""
        given = {"X-Auth-Token": token or self._administrator(), **(headers or {})}
        return self._call(method, path, body, given)[1]

    def _administrator(self) -> str:
        if not self._token:
            self._token = self._log_in(_by_password("admin"), {"system": {"all": True}}, "")
        return self._token

    def _log_in(self, identity: object, scope: object, url: str) -> str:
        wanted = {"identity": identity, **({"scope": scope} if scope else {})}
        place = url or self.url
        headers, _ = self._call("POST", "/auth/tokens", {"auth": wanted}, {}, place)
        return headers["X-Subject-Token"]

    def _call(
        self, method: str, path: str, body: object, headers: Mapping[str, str], url: str = ""
    ) -> tuple[Mapping[str, str], Any]:
        request = urllib.request.Request(
            (url or self.url) + path,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", **headers},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=CALL_S_MAX) as answer:
            content = answer.read()
            return answer.headers, json.loads(content) if content else None

    def _wait(self) -> None:
        end_s = time.monotonic() + START_S_MAX
        while True:
            try:
                self._call("GET", "", None, {})
                return
            except (OSError, urllib.error.URLError):
                if self.server.has_failed() or time.monotonic() > end_s:
                    pytest.fail(f"keystone did not start: {self.server.log.read_text()}")
                time.sleep(0.05)

    def _populate(self) -> None:
        """Make what the table at the top shows."""
        for name in ("service", "visitor"):
            if not self.ask("GET", f"/roles?name={name}")["roles"]:
                self.ask("POST", "/roles", {"role": {"name": name}})
        self._roles = {role["name"]: role["id"] for role in self.ask("GET", "/roles")["roles"]}
        for name in ("demo", "other", "service"):
            wanted = {"project": {"name": name, "domain_id": "default"}}
            self.projects[name] = self.ask("POST", "/projects", wanted)["project"]["id"]
        self._users["admin"] = self.ask("GET", "/users?name=admin")["users"][0]["id"]
        for user, granted in USERS.items():
            if user not in self._users:
                wanted = {"user": {"name": user, "domain_id": "default"}}
                wanted["user"]["password"] = password(user)
                self._users[user] = self.ask("POST", "/users", wanted)["user"]["id"]
            for project, roles in granted.items():
                for role in roles:
                    self.grant(user, project, role)

    def grant(self, user: str, project: str, role: str) -> None:
        """Give a user a role in a project."""
        self.ask(
            "PUT",
            f"/projects/{self.projects[project]}/users/{self._users[user]}"
            f"/roles/{self._roles[role]}",
        )


@contextmanager
def keystone() -> Iterator[Keystone]:
    """Run a Keystone in a folder of its own, in memory where that is possible; it takes a while."""
    memory = Path("/dev/shm")
    place = memory if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=place, prefix="keystone") as name:
        server, url = _run(Path(name), 86_400, is_new=True)
        try:
            running = Keystone(Path(name), url, server)
            running._wait()
            running._populate()
            yield running
        finally:
            server.kill()


def _run(folder: Path, token_life_s: int, *, is_new: bool = False) -> tuple[Server, str]:
    """Start a process over a folder; returns it and the URL of its API."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/v3"
    settings = folder / f"keystone-{port}.conf"
    settings.write_text(_SETTINGS.format(folder=folder, token_life_s=token_life_s))
    if is_new:
        _make(settings, url)
    python = str((VENV / "bin/python").absolute())
    files = f"OS_KEYSTONE_CONFIG_FILES={settings}"
    command = ["env", files, python, "-W", "ignore", "-c", _PROGRAM, str(port)]
    return Server(command, folder / f"keystone-{port}.log"), url


def _make(settings: Path, url: str) -> None:
    """Make tables, keys and the administrator."""
    for name in ("fernet", "credential"):
        keys = settings.parent / name
        keys.mkdir(mode=0o700)
        # what fernet_setup and credential_setup write, without starting two programs
        for number in range(2):
            (keys / str(number)).write_bytes(base64.urlsafe_b64encode(secrets.token_bytes(32)))
    places = [
        word
        for kind in ("public", "internal", "admin")
        for word in (f"--bootstrap-{kind}-url", url)
    ]
    first = ["--bootstrap-password", password("admin"), "--bootstrap-region-id", REGION, *places]
    for words in (["db_sync"], ["bootstrap", *first]):
        done = subprocess.run(
            [str(VENV / "bin/keystone-manage"), "--config-file", str(settings), *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=CALL_S_MAX,
        )
        if done.returncode:
            pytest.fail(f"keystone-manage {words[0]}: {done.stdout}{done.stderr}")


def _by_password(user: str) -> dict[str, Any]:
    given = {"name": user, "domain": {"id": "default"}, "password": password(user)}
    return {"methods": ["password"], "password": {"user": given}}
