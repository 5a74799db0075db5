"""Where an NBD export is: the URL's parts, checked, and how messages call it.

    nbd://host[:port]/EXPORT            nbd+unix:///EXPORT?socket=/path

Source: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/uri.md
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from backupcore.errors import Refused
from backupcore.url import Url

__all__ = ["Address", "parse_address"]

PORT = 10809
STRING_LENGTH_MAX = 4096  # "Strings" in proto.md: servers need not take longer ones


@dataclass(frozen=True, slots=True)
class Address:
    """One export of one server; `socket_path` is empty when the server is reached by TCP."""

    export: str
    host: str = ""
    port: int = PORT
    socket_path: str = ""

    @property
    def identity(self) -> str:
        """The URL that names the export, the same for every spelling of it."""
        name = quote(self.export, errors="surrogateescape")
        if self.socket_path:
            path = os.path.realpath(self.socket_path)
            return f"nbd+unix:///{name}?socket={quote(path, errors='surrogateescape')}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"nbd://{host}:{self.port}/{name}"


def parse_address(url: Url) -> Address:
    """Return the address in a URL of scheme `nbd` or `nbd+unix`. Raises: Refused."""
    export = url.path.removeprefix("/")
    if len(export.encode("utf-8", "surrogateescape")) > STRING_LENGTH_MAX:
        raise Refused(f"{url.scheme}: export name of more than {STRING_LENGTH_MAX} bytes")
    if url.scheme == "nbd+unix":
        socket_path = url.options.get("socket", "")
        if url.host or not socket_path:
            raise Refused(f"{url}: write nbd+unix:///EXPORT?socket=/path/of/the/socket")
        return Address(export, socket_path=socket_path)
    if "@" in url.host:
        raise Refused(f"{url}: names a user: NBD knows none: write nbd://host:port/EXPORT")
    try:
        parts = urlsplit(f"//{url.host}")
        host, port = parts.hostname or "localhost", parts.port
    except ValueError as error:
        raise Refused(f"{url}: host or port cannot be read: {error}") from error
    return Address(export, host=host, port=PORT if port is None else port)
