"""Where something is: `scheme://host/path?option=value`, with credentials kept out of sight."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

from backupcore.errors import Refused

__all__ = ["Url"]

# Two letters at least, so that a drive letter or a one-letter file name is a path.
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HIDDEN_PASSWORD = re.compile(r"[^/@:]*:[^/]*@")


@dataclass(frozen=True, slots=True, repr=False)
class Url:
    """A parsed URL; `text` is what the user wrote and is never shown."""

    text: str
    scheme: str
    host: str
    path: str
    options: dict[str, str]

    @classmethod
    def parse(cls, text: str, *, default_scheme: str) -> Url:
        """Split a URL; a text without a scheme is a path of the default scheme, as it stands.

        Bytes of a file name that are no UTF-8 survive as they do in `os.fsdecode`.
        Raises: Refused when an option is given twice, the URL carries a password, a fragment or
        a control character, or is no URL at all.
        """
        if not _SCHEME.match(text):
            _refuse_nul(text)
            return cls(text, default_scheme, "", text, {})
        scheme = text.partition(":")[0].lower()
        if _CONTROL.search(text):
            raise Refused(f"{scheme}: URL has a control character: write it as %XX")
        try:
            parts = urlsplit(text)
            has_password = parts.password is not None
        except ValueError as error:
            raise Refused(f"{scheme}: URL cannot be read: check the host's brackets") from error
        if has_password or (not parts.netloc and _HIDDEN_PASSWORD.match(parts.path)):
            raise Refused(
                f"{scheme}: URL carries a password: credentials come from the environment "
                "or the service's own configuration files"
            )
        if "#" in text:
            raise Refused(f"{scheme}: URL has a fragment, which means nothing here: write # as %23")
        pairs = parse_qsl(parts.query, keep_blank_values=True)
        options = dict(pairs)
        if len(options) != len(pairs):
            raise Refused(f"{scheme}: URL names an option twice")
        path = unquote(parts.path, errors="surrogateescape")
        _refuse_nul(path)
        return cls(text, scheme, parts.netloc, path, options)

    @property
    def redacted(self) -> str:
        """The URL without user, query or fragment, fit for logs and messages."""
        host = self.host.rpartition("@")[2]
        slashes = "//" if host or self.text[len(self.scheme) :].startswith("://") else ""
        shown = f"{self.scheme}:{slashes}{host}{self.path}"
        return shown.encode("utf-8", "backslashreplace").decode("utf-8")

    def __str__(self) -> str:
        return self.redacted

    def __repr__(self) -> str:
        return f"Url({self.redacted!r})"

    def take_options(self, *known: str) -> dict[str, str]:
        """Return the options; raises Refused naming the first that is not among `known`."""
        for name in self.options:
            if name not in known:
                hint = f"known are {', '.join(sorted(known))}" if known else "it takes none"
                raise Refused(f"{self.redacted}: unknown option {name!r}: {hint}")
        return dict(self.options)

    def wants(self, name: str, *, default: bool = False) -> bool:
        """Return whether an option is `yes`, the default when it is left out.

        Raises: Refused when it is neither yes nor no.
        """
        chosen = self.options.get(name, "yes" if default else "no")
        if chosen not in ("yes", "no"):
            raise Refused(f"{self.redacted}: {name} is {chosen!r}: write yes or no")
        return chosen == "yes"


def _refuse_nul(path: str) -> None:
    if "\0" in path:
        raise Refused("path has a NUL character: no file can have this name")
