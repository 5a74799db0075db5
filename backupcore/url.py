"""Where something is: `scheme://host/path?option=value`, with credentials kept out of sight."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

from backupcore.errors import Refused

__all__ = ["Url"]

_SCHEME = re.compile(r"^[a-z][a-z0-9+.-]+:")


@dataclass(frozen=True, slots=True)
class Url:
    """A parsed URL; `text` is what the user wrote and is never shown."""

    text: str = field(repr=False)
    scheme: str
    host: str
    path: str
    options: dict[str, str] = field(repr=False)

    @classmethod
    def parse(cls, text: str, *, default_scheme: str) -> Url:
        """Split a URL; a text without a scheme is a path of the default scheme.

        Raises: Refused when an option is given twice or the URL carries a password.
        """
        if not _SCHEME.match(text):
            return cls(text, default_scheme, "", text, {})
        parts = urlsplit(text)
        if parts.password is not None:
            raise Refused(
                f"{parts.scheme}: URL carries a password: credentials come from the environment "
                "or the service's own configuration files"
            )
        pairs = parse_qsl(parts.query, keep_blank_values=True)
        options = dict(pairs)
        if len(options) != len(pairs):
            raise Refused(f"{parts.scheme}: URL names an option twice")
        return cls(text, parts.scheme, parts.netloc, unquote(parts.path), options)

    @property
    def redacted(self) -> str:
        """The URL without user, query or fragment, fit for logs and messages."""
        host = self.host.rpartition("@")[2]
        slashes = "//" if host or self.text.startswith(f"{self.scheme}://") else ""
        return f"{self.scheme}:{slashes}{host}{self.path}"

    def __str__(self) -> str:
        return self.redacted

    def take_options(self, *known: str) -> dict[str, str]:
        """Return the options; raises Refused naming the first that is not among `known`."""
        for name in self.options:
            if name not in known:
                hint = f"known are {', '.join(sorted(known))}" if known else "it takes none"
                raise Refused(f"{self.redacted}: unknown option {name!r}: {hint}")
        return dict(self.options)
