"""A whole Swift on this machine: proxy, account, container and object server, each a process.

One device, one replica, no daemons. Logins by TempAuth; containers and objects also by S3 (s3api).
When asked, tokens of a Keystone are good too, for an account of each of its projects.
"""

from __future__ import annotations

import getpass
import importlib.util
import os
import secrets
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.servers import swift_process
from tests.servers.process import Server, free_port, wait_for_port

USER = "test:tester"
READER = "test:reader"
OTHER_POLICY = "cold"
S3_REGION = "us-east-1"

_SWIFT_CONF = """\
[swift-hash]
swift_hash_path_prefix = prefix
swift_hash_path_suffix = suffix
[storage-policy:0]
name = gold
default = yes
[storage-policy:1]
name = cold
[swift-constraints]
max_file_size = {max_file_size_bytes}
container_listing_limit = {page_count}
"""

_DEFAULT = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {folder}
devices = {folder}/devices
mount_check = false
disable_fallocate = true
fallocate_reserve = 0
conn_timeout = 10
node_timeout = 30
"""

_STORE = """\
[pipeline:main]
pipeline = healthcheck {name}-server
[filter:healthcheck]
use = egg:swift#healthcheck
[app:{name}-server]
use = egg:swift#{name}
conn_timeout = 10
node_timeout = 30
container_update_timeout = 30
"""

# a server that was killed and is back must be asked again at once
_PROXY = """\
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck cache listing_formats bulk s3api {keystone} \
tempauth copy \
container-quotas account-quotas slo dlo versioned_writes symlink proxy-server
[app:proxy-server]
use = egg:swift#proxy
conn_timeout = 10
node_timeout = 30
allow_account_management = true
account_autocreate = true
error_suppression_limit = 1000000
error_suppression_interval = 0
[filter:cache]
paste.filter_factory = swift_process:cache_filter
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
s3_acl = false
allow_multipart_uploads = true
min_segment_size = 5242880
[filter:tempauth]
use = egg:swift#tempauth
token_life = {token_life_s}
user_test_tester = {key} .admin
user_test_reader = {reader_key}
[filter:versioned_writes]
use = egg:swift#versioned_writes
allow_versioned_writes = true
allow_object_versioning = true
"""
# a token that was revoked is refused at once; another reseller prefix leaves TempAuth its account
_KEYSTONE = """\
[filter:authtoken]
paste.filter_factory = keystonemiddleware.auth_token:filter_factory
delay_auth_decision = true
include_service_catalog = false
token_cache_time = -1
{options}
[filter:keystoneauth]
use = egg:swift#keystoneauth
reseller_prefix = KEY
operator_roles = admin, member
"""
_PLAIN_FILTERS = {
    "catch_errors": "catch_errors",
    "gatekeeper": "gatekeeper",
    "healthcheck": "healthcheck",
    "listing_formats": "listing_formats",
    "bulk": "bulk",
    "copy": "copy",
    "container-quotas": "container_quotas",
    "account-quotas": "account_quotas",
    "slo": "slo",
    "dlo": "dlo",
    "symlink": "symlink",
}


@dataclass(frozen=True, slots=True)
class SwiftServer:
    """A running Swift.

    user, key: an administrator of its account; reader_key: of READER, who may do nothing there.
    The S3 access key is `user`, the secret key is `key`. catalogue_url: the entry in the
    catalogue of a Keystone whose tokens are good.
    """

    auth_url: str
    storage_url: str
    s3_endpoint: str
    user: str
    key: str = field(repr=False)
    reader_key: str = field(repr=False)
    catalogue_url: str = field(repr=False)
    servers: Mapping[str, Server] = field(repr=False)
    ports: Mapping[str, int] = field(repr=False)

    @property
    def access_key(self) -> str:
        """The access key of S3."""
        return self.user

    @property
    def secret_key(self) -> str:
        """The secret key of S3."""
        return self.key

    def kill(self, name: str) -> None:
        """End the proxy, account, container or object server at once."""
        self.servers[name].kill()

    def restart(self, name: str) -> None:
        """Start a killed server again, on its port and with its data."""
        self.servers[name].restart()
        wait_for_port(self.ports[name], self.servers[name])


@contextmanager
def swift_server(
    folder: Path,
    *,
    token_life_s: int = 86_400,
    max_file_size_bytes: int = 5_368_709_122,
    page_count: int = 10_000,
    keystone: Mapping[str, str] | None = None,
) -> Iterator[SwiftServer]:
    """Run a Swift in an empty or new folder, such as one of `storage_folder`.

    token_life_s: how long a token of TempAuth is good. page_count: the most objects that one
    answer lists; S3 needs 1001 or more. keystone: options of keystonemiddleware; with them
    tokens of that Keystone are good.
    """
    if importlib.util.find_spec("swift") is None:
        pytest.skip("no Swift server: pip install swift")
    folder.mkdir(parents=True, exist_ok=True)
    _need_attributes(folder)
    ports = {name: free_port() for name in swift_process.MODULES}
    keys = {"key": secrets.token_hex(16), "reader_key": secrets.token_hex(16)}
    limits = {
        "token_life_s": token_life_s,
        "max_file_size_bytes": max_file_size_bytes,
        "page_count": page_count,
    }
    _write_rings(folder, ports)
    _write_configuration(folder, ports, {**keys, **limits}, keystone or {})
    servers: dict[str, Server] = {}
    try:
        for name in ports:
            servers[name] = Server(_command(folder, name), folder / f"{name}.log")
        for name, port in ports.items():
            wait_for_port(port, servers[name])
        place = f"http://127.0.0.1:{ports['proxy']}"
        yield SwiftServer(
            auth_url=f"{place}/auth/v1.0",
            storage_url=f"{place}/v1/AUTH_test",
            s3_endpoint=place,
            user=USER,
            catalogue_url=f"{place}/v1/KEY_%(project_id)s",
            servers=servers,
            ports=ports,
            **keys,
        )
    finally:
        for server in servers.values():
            server.kill()


@contextmanager
def storage_folder() -> Iterator[Path]:
    """Make a temporary folder fit for Swift, in memory where that is possible."""
    memory = Path("/dev/shm")
    is_fit = os.access(memory, os.W_OK)
    with tempfile.TemporaryDirectory(dir=memory if is_fit else None) as name:
        is_fit = _has_attributes(Path(name))
        if is_fit:
            yield Path(name)
    if not is_fit:
        with tempfile.TemporaryDirectory() as name:
            yield Path(name)


def _has_attributes(folder: Path) -> bool:
    try:
        os.setxattr(folder, "user.probe", b"1")
        os.removexattr(folder, "user.probe")
    except OSError:
        return False
    return True


def _need_attributes(folder: Path) -> None:
    if not _has_attributes(folder):
        pytest.skip(
            "Swift needs user extended attributes, which the file system of temporary folders "
            "lacks: pytest --basetemp=<folder on ext4, xfs or btrfs>"
        )


def _write_rings(folder: Path, ports: Mapping[str, int]) -> None:
    """Write where everything is: on the one device."""
    from swift.common.ring import RingBuilder  # noqa: PLC0415  # from `pip install swift`

    for ring in ("account", "container", "object", "object-1"):
        port = ports[ring.removesuffix("-1")]
        builder = RingBuilder(4, 1, 0)
        builder.add_dev(
            {"id": 0, "region": 1, "zone": 1, "weight": 1.0, "device": "d1", "meta": ""}
            | {"ip": "127.0.0.1", "port": port}
            | {"replication_ip": "127.0.0.1", "replication_port": port}
        )
        builder.rebalance()
        builder.get_ring().save(str(folder / f"{ring}.ring.gz"))


def _write_configuration(
    folder: Path,
    ports: Mapping[str, int],
    settings: Mapping[str, object],
    keystone: Mapping[str, str],
) -> None:
    (folder / "devices/d1").mkdir(parents=True, exist_ok=True)
    (folder / "swift.conf").write_text(_SWIFT_CONF.format_map(settings))
    user = getpass.getuser()
    for name, port in ports.items():
        text = _DEFAULT.format(port=port, user=user, folder=folder)
        if name == "proxy":
            words = "authtoken keystoneauth" if keystone else ""
            text += _PROXY.format(keystone=words, **settings)
            if keystone:
                options = "\n".join(f"{key} = {value}" for key, value in keystone.items())
                text += _KEYSTONE.format(options=options)
            for section, egg in _PLAIN_FILTERS.items():
                text += f"[filter:{section}]\nuse = egg:swift#{egg}\n"
        else:
            text += _STORE.format(name=name)
        (folder / f"{name}.conf").write_text(text)


def _command(folder: Path, name: str) -> list[str]:
    script = swift_process.__file__
    return [sys.executable, script, str(folder / "swift.conf"), name, str(folder / f"{name}.conf")]
