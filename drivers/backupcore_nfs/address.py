"""What is mounted: a directory of an NFS server, as URLs, mount(8) and the kernel write it."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from backupcore.driver import Url
from backupcore.errors import Refused

__all__ = ["Address"]

_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_NETLOC = re.compile(r"(?:\[(?P<six>[^\]]*)\]|(?P<host>[^:\[\]]*))(?::(?P<port>[0-9]+))?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PORT_MAX = 65535


@dataclass(frozen=True, slots=True)
class Address:
    """Host, port and directory of an export, or of a directory below one.

    host: a name or an IP address, without brackets. path: begins with a slash, without empty
    parts. port: None for the usual one.
    """

    host: str
    path: str
    port: int | None = None

    @classmethod
    def parse(cls, url: Url) -> Address:
        """Return what a URL names. Raises: Refused."""
        found = _NETLOC.fullmatch(url.host)
        host = (found["six"] or found["host"]) if found else ""
        if not host:
            raise Refused(f"{url}: names no host: write nfs://host/export/path")
        port = int(found["port"]) if found and found["port"] else None
        if not _is_host(host, is_six=bool(found and found["six"])) or (port or 0) > _PORT_MAX:
            raise Refused(f"{url}: {url.host!r} is no host: write a name or an address, no user")
        if not url.path.startswith("/"):
            raise Refused(f"{url}: names no export: write nfs://{url.host}/export/path")
        if _CONTROL.search(url.path) or {".", ".."} & set(url.path.split("/")):
            raise Refused(f"{url}: the path has `.`, `..` or a control character: write it plainly")
        return cls(host, _plain(url.path), port)

    @property
    def source(self) -> str:
        """What mount(8) takes; IPv6 addresses are in brackets."""
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.path}"

    def is_source(self, text: str) -> bool:
        """Return whether the kernel's name of what is mounted means this."""
        host, _, path = text.partition(":/")
        return _same_host(host.strip("[]")) == _same_host(self.host) and _plain(path) == self.path

    def __str__(self) -> str:
        host, _, path = self.source.rpartition(":")
        port = f":{self.port}" if self.port else ""
        return f"nfs://{host}{port}{path}"


def _is_host(host: str, *, is_six: bool) -> bool:
    if not is_six:
        return _HOST.fullmatch(host) is not None
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def _same_host(host: str) -> str:
    """Return one spelling of a host's name or address."""
    try:
        return ipaddress.ip_address(host).compressed
    except ValueError:
        return host.rstrip(".").lower()


def _plain(path: str) -> str:
    """Return a path with a slash in front and none at the end or doubled."""
    return "/" + "/".join(filter(None, path.split("/")))
