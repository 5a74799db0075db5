"""Which login is meant, what is refused before anybody is asked, and whom TLS trusts."""

from __future__ import annotations

import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from backupcore.driver.registry import open_driver
from backupcore.errors import Refused, StoreError, Unavailable
from backupcore_swift.environment import choose_way
from backupcore_swift.login import AuthV1, ExistingToken
from backupcore_swift.option import Settings
from tests.drivers.swift.place import Place
from tests.servers.fault_proxy import Fault, FaultProxy, Rule
from tests.servers.process import free_port

URL = "swift://backups/nightly"
V1 = {"ST_AUTH": "http://127.0.0.1/auth", "ST_USER": "u", "ST_KEY": "k"}
TOKEN = {"OS_STORAGE_URL": "http://127.0.0.1/v1/AUTH_x/", "OS_AUTH_TOKEN": "t"}
SETTINGS = Settings("backups")


def test_a_given_token_comes_before_a_login_of_swift_and_that_before_keystone() -> None:
    keystone = {"OS_AUTH_URL": "http://127.0.0.1/v3"}
    assert isinstance(choose_way(SETTINGS, V1 | TOKEN | keystone), ExistingToken)
    assert isinstance(choose_way(SETTINGS, V1 | keystone), AuthV1)


def test_a_login_without_keystone_imports_nothing_of_it() -> None:
    code = (
        "import sys, backupcore_swift.environment as e, backupcore_swift.option as o\n"
        f"e.choose_way(o.Settings('backups'), {V1!r})\n"
        "print([name for name in sys.modules if name.startswith('openstack')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_without_credentials_all_logins_are_named() -> None:
    with pytest.raises(Refused, match=r"no credentials: .*OS_CLOUD.*OS_AUTH_URL.*ST_AUTH.*TOKEN"):
        open_driver(URL)


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        (V1 | {"ST_KEY": ""}, "ST_AUTH is set, ST_KEY is not"),
        (TOKEN | {"OS_AUTH_TOKEN": ""}, "OS_STORAGE_URL is set, OS_AUTH_TOKEN is not"),
        (V1 | {"ST_KEY": "k\n"}, "ST_KEY holds a space or a line break"),
        (V1 | {"OS_CACERT": "no/such/file"}, "OS_CACERT names no file"),
    ],
)
def test_a_login_that_is_not_whole_is_refused(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], words: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Refused, match=words):
        open_driver(URL)


@pytest.mark.parametrize("option", ["region", "interface"])
def test_what_chooses_from_a_catalogue_is_refused_without_one(
    monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    for name, value in V1.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Refused, match=f"{option} chooses from Keystone's catalogue"):
        open_driver(f"{URL}?{option}=public")


def test_without_openstacksdk_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "backupcore_swift.keystone", None)
    with pytest.raises(Refused, match=r"pip install 'backupcore\[swift\]'"):
        open_driver(URL, cloud="archive")


def test_without_swiftclient_the_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['swiftclient'] = None\n"
        "from backupcore.driver.registry import open_driver\n"
        "from backupcore.errors import UnknownScheme\n"
        "try: open_driver('swift://backups')\n"
        "except UnknownScheme as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'backupcore[swift]'" in done.stdout


def test_a_login_answered_by_something_else_is_an_error(place: Place, proxy: FaultProxy) -> None:
    proxy.rules = [Rule(Fault.ANSWER, "GET", "/auth/*", status=200)]
    with place.open() as driver, pytest.raises(StoreError, match="check ST_AUTH"):
        driver.get("config")


def test_a_login_server_that_is_away_is_unavailable(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ST_AUTH", f"http://127.0.0.1:{free_port()}/auth/v1.0")
    with place.open() as driver, pytest.raises(Unavailable, match=r"login .*Connection refused"):
        driver.get("config")


@pytest.mark.parametrize("name", ["ST_AUTH", "OS_STORAGE_URL"])
def test_an_address_that_is_no_url_is_an_error_at_once(
    place: Place, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("OS_AUTH_TOKEN", "t")
    monkeypatch.setenv(name, "127.0.0.1:1")
    with place.open() as driver, pytest.raises(StoreError) as found:
        driver.get("config")
    assert not isinstance(found.value, Unavailable)


class Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(401)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *given: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def tls_server(tmp_path: Path) -> Iterator[str]:
    """A server whose certificate nobody vouches for but itself; it denies everything."""
    path = tmp_path / "certificate.pem"
    path.write_bytes(self_signed())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"https://127.0.0.1:{server.server_address[1]}/auth/v1.0"
        server.shutdown()
        thread.join()


def self_signed() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), True)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    return made.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@pytest.mark.parametrize("login", [V1, TOKEN], ids=["v1", "token"])
def test_a_certificate_that_nobody_vouches_for_is_an_error_until_it_is_named(
    tls_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, login: dict[str, str]
) -> None:
    for name, value in login.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ST_AUTH" if login is V1 else "OS_STORAGE_URL", tls_server)
    with (
        open_driver(URL) as driver,
        pytest.raises(StoreError, match=r"certificate is not trusted: self-signed.*OS_CACERT"),
    ):
        driver.get("config")
    monkeypatch.setenv("OS_CACERT", str(tmp_path / "certificate.pem"))
    with open_driver(URL) as driver, pytest.raises(StoreError, match="401"):
        driver.get("config")
