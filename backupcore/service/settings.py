"""The service's configuration: one TOML file, every option checked before anything starts."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import msgspec
from msgspec import Meta, Struct, field

from backupcore.errors import Refused

__all__ = [
    "ANY_CONTAINER",
    "Api",
    "Auth",
    "Catalog",
    "Container",
    "Jobs",
    "Provider",
    "Quotas",
    "Records",
    "Settings",
    "read_settings",
]

ANY_CONTAINER = "*"
PORT_MAX = 65535
_CONTAINER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,254}")

Count: TypeAlias = Annotated[int, Meta(ge=1, le=256)]
Limit: TypeAlias = Annotated[int, Meta(ge=-1, le=2**31 - 1)]


class Auth(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who may come in.

    kind: `none` (loopback only), `tokens` (a file of hashed tokens) or `keystone`. file: of the
    tokens. keystone: options of keystonemiddleware's `[keystone_authtoken]`. policy_file: rules
    that replace the defaults, as OpenStack's services read them.
    """

    kind: Annotated[str, Meta(pattern="^(none|tokens|keystone)$")] = "tokens"
    file: str = "tokens.toml"
    keystone: dict[str, str] = {}
    policy_file: str | None = None


class Api(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The door. public_url: what links begin with when a proxy stands before it.

    metrics: whether /metrics is open to all who reach the port; else to this machine only, and to
    nobody when there is a public_url, for then everybody comes by the proxy.
    """

    listen: Annotated[str, Meta(pattern=r"^(\[[0-9a-fA-F:]+\]|[^:\s]+):\d{1,5}$")] = (
        "127.0.0.1:8776"
    )
    public_url: str | None = None
    threads: Count = 16
    page_limit_max: Annotated[int, Meta(ge=1, le=100_000)] = 1000
    metrics: bool = False
    body_bytes_max: Annotated[int, Meta(ge=1024, le=1 << 24)] = 114_688
    auth: Auth = field(default_factory=Auth)


class Catalog(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where rows live: a URL as SQLAlchemy knows it; SQLite in the data folder unless given.

    upgrade: whether a start brings older tables, or none, to this release's.
    """

    url: str | None = None
    upgrade: bool = True


class Jobs(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many backups and restores run at once, in this process."""

    threads: Count = 4
    memory_bytes: Annotated[int, Meta(ge=16 << 20)] = 192 << 20  # of each


class Container(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A repository that projects may name; jobs: how many may use it at once."""

    url: str
    jobs: Count | None = None
    create: bool = True  # make the repository when there is none


class Provider(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where volumes come from.

    options: the provider's own. project: whom volumes that are found there belong to; without one
    only volumes made by the service are shown. allow_crash_inconsistent: whether a volume in use
    may be read without a snapshot.
    """

    kind: str
    options: dict[str, Any] = {}
    project: str | None = None
    allow_crash_inconsistent: bool = False


class Quotas(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a project may have unless it was given more; -1 is without limit."""

    backups: Limit = 10
    backup_gigabytes: Limit = 1000
    volumes: Limit = 10
    snapshots: Limit = 10
    gigabytes: Limit = 1000
    per_volume_gigabytes: Limit = -1


class Records(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Exported records. trusted_folder: one public key for each exporter that is believed."""

    key_file: str = "record-key.pem"
    trusted_folder: str = "trusted"
    expiry_days: Annotated[int, Meta(ge=1, le=36_500)] | None = 90


class Settings(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything. Paths that are not absolute lie below the data folder.

    audit_file: who changed what; empty for none.
    """

    data_folder: str
    availability_zone: str = "nova"
    host: str | None = None
    default_container: str = "volumebackups"
    default_provider: str | None = None
    audit_file: str = "audit.log"
    containers: dict[str, Container]
    providers: dict[str, Provider] = {}
    api: Api = field(default_factory=Api)
    catalog: Catalog = field(default_factory=Catalog)
    jobs: Jobs = field(default_factory=Jobs)
    quotas: Quotas = field(default_factory=Quotas)
    records: Records = field(default_factory=Records)

    def path(self, name: str) -> Path:
        """Return a path below the data folder, or as it stands when it is absolute."""
        return Path(self.data_folder) / name

    @property
    def catalog_url(self) -> str:
        """Return the URL of the catalog."""
        return self.catalog.url or f"sqlite:///{self.path('catalog.db')}"

    def container_of(self, name: str) -> str | None:
        """Return the configured container that a name leads to; None when there is none."""
        if name in self.containers and name != ANY_CONTAINER:
            return name
        if ANY_CONTAINER in self.containers and is_container_name(name):
            return ANY_CONTAINER
        return None


def is_container_name(name: str) -> bool:
    """Return whether a name may be a label: no path leads out of anywhere by it."""
    return bool(_CONTAINER.fullmatch(name)) and ".." not in name


def read_settings(path: Path) -> Settings:
    """Read and check a file. Raises: Refused, naming the option and what is expected."""
    try:
        with path.open("rb") as file:
            document = tomllib.load(file)
    except OSError as error:
        raise Refused(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Refused(f"{path}: is not TOML: {error}") from error
    _check_entries(document, path)
    try:
        settings = msgspec.convert(document, Settings)
    except msgspec.ValidationError as error:
        raise Refused(f"{path}: {error}") from error
    _check(settings, path)
    return settings


def _check_entries(document: dict[str, Any], path: Path) -> None:
    """Check each container and provider by itself, to name it. Raises: Refused."""
    for section, kind in (("containers", Container), ("providers", Provider)):
        entries = document.get(section)
        for name, entry in entries.items() if isinstance(entries, dict) else ():
            try:
                msgspec.convert(entry, kind)
            except msgspec.ValidationError as error:
                raise Refused(f"{path}: {section}.{name}: {error}") from error


def _check(settings: Settings, path: Path) -> None:
    """Check what one option alone cannot say. Raises: Refused."""
    if not Path(settings.data_folder).is_absolute():
        raise Refused(f"{path}: data_folder {settings.data_folder!r}: write an absolute path")
    if not settings.containers:
        raise Refused(f"{path}: containers: name one at least: [containers.volumebackups]")
    for name in settings.containers:
        if name != ANY_CONTAINER and not is_container_name(name):
            raise Refused(f"{path}: containers.{name}: letters, digits and . _ / - only")
    if settings.container_of(settings.default_container) is None:
        known = ", ".join(settings.containers)
        raise Refused(
            f"{path}: default_container {settings.default_container!r} is none of: {known}"
        )
    provider = settings.default_provider
    if provider is not None and provider not in settings.providers:
        known = ", ".join(settings.providers) or "none"
        raise Refused(f"{path}: default_provider {provider!r} is none of: {known}")
    host, _, port = settings.api.listen.rpartition(":")
    host = host.strip("[]")
    if int(port) > PORT_MAX:
        raise Refused(f"{path}: api.listen {settings.api.listen!r}: ports end at {PORT_MAX}")
    if settings.api.auth.kind == "none" and host not in ("127.0.0.1", "::1", "localhost"):
        raise Refused(
            f"{path}: api.auth.kind none: everybody would be admin: listen on 127.0.0.1 only"
        )
