"""What a `swift:` URL says, read and checked."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote

from backupcore.driver import KEY_LENGTH_MAX, Url
from backupcore.errors import Refused

__all__ = ["Settings", "read_settings"]

CONTAINER_BYTES_MAX = 256
NAME_BYTES_MAX = 1024  # Swift's max_object_name_length unless its operator changed it
INTERFACES = ("public", "internal", "admin")
_KNOWN = ("cloud", "create_container", "interface", "region", "storage_policy")
_EXPIRY = ("delete_after", "delete_at")


@dataclass(frozen=True, slots=True)
class Settings:
    """One place in Swift and how to get there.

    prefix: before every key, empty or ending in a slash. cloud, region, interface: empty when
    the environment decides. storage_policy: of a container that is made, empty for the store's own.
    """

    container: str
    prefix: str = ""
    may_create_container: bool = False
    storage_policy: str = ""
    cloud: str = ""
    region: str = ""
    interface: str = ""

    @property
    def place(self) -> str:
        """What messages call it; a key follows."""
        return f"swift://{self.container}/{self.prefix}"


def read_settings(url: Url) -> Settings:
    """Return what a URL says. Raises: Refused."""
    for name in _EXPIRY:
        if name in url.options:
            raise Refused(
                f"{url}: {name} is refused: Swift would remove objects that later backups still "
                "refer to: let retention rules and prune remove them"
            )
    options = url.take_options(*_KNOWN)
    for name in sorted(set(options) - {"create_container"}):
        if not options[name]:
            raise Refused(f"{url}: {name} is empty: give it a value or leave it out")
    may_create_container = url.wants("create_container")
    if "storage_policy" in options and not may_create_container:
        raise Refused(
            f"{url}: storage_policy is for a container that is made: add create_container=yes"
        )
    interface = options.get("interface", "")
    if interface and interface not in INTERFACES:
        raise Refused(f"{url}: interface is {interface!r}: write {', '.join(INTERFACES)}")
    return Settings(
        container=_container(url),
        prefix=_prefix(url),
        may_create_container=may_create_container,
        storage_policy=options.get("storage_policy", ""),
        cloud=options.get("cloud", ""),
        region=options.get("region", ""),
        interface=interface,
    )


def _container(url: Url) -> str:
    if "@" in url.host:
        raise Refused(
            f"{url}: has a user: credentials come from the environment or clouds.yaml, and an @ in "
            "the name of a container is written %40"
        )
    name = unquote(url.host)
    if name in ("", ".", "..") or "/" in name or len(name.encode()) > CONTAINER_BYTES_MAX:
        raise Refused(
            f"{url}: names no container: write swift://container/prefix, the name without a slash "
            f"and at most {CONTAINER_BYTES_MAX} bytes long"
        )
    return name


def _prefix(url: Url) -> str:
    """Return what stands before every key. Raises: Refused when Swift or HTTP would change it."""
    path = url.path.removeprefix("/").removesuffix("/")
    if not path:
        return ""
    if any(part in ("", ".", "..") for part in path.split("/")):
        raise Refused(f"{url}: a part of the prefix is empty, . or ..: leave it out")
    try:
        size_bytes = len(f"{path}/".encode())
    except UnicodeEncodeError as error:
        raise Refused(f"{url}: the prefix is no UTF-8: Swift takes no other names") from error
    if size_bytes + KEY_LENGTH_MAX > NAME_BYTES_MAX:
        room = NAME_BYTES_MAX - KEY_LENGTH_MAX - 1
        raise Refused(f"{url}: the prefix is too long: {room} bytes leave room for keys")
    return f"{path}/"
