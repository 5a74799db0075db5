"""Who one is to Swift: where the account is and a token for it, renewed when it was refused."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from swiftclient import client

from backupcore.errors import AccessDenied, StoreError
from backupcore_swift.translation import translated

__all__ = ["AuthV1", "ExistingToken", "Login", "Ticket", "Trust", "Way", "shown"]

LOGIN_S_MAX = 60.0


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a request needs; the generation counts the logins."""

    storage_url: str
    token: str = field(repr=False)
    generation: int = 0


@dataclass(frozen=True, slots=True)
class Trust:
    """Whom to trust in TLS, as `requests` takes it.

    verify: True for the authorities everybody trusts, a file of others, False for anybody.
    certificate: files of one's own certificate and its key, if the server asks for one.
    """

    verify: bool | str = True
    certificate: str | tuple[str, str] | None = None


class Way(ABC):
    """One way to log in. Called by one thread at a time."""

    trust = Trust()

    @abstractmethod
    def ask(self) -> tuple[str, str]:
        """Return storage URL and token. Raises: AccessDenied, Unavailable, StoreError."""

    def renew(self) -> tuple[str, str]:
        """Return them anew, the token having been refused."""
        return self.ask()

    def is_ending(self) -> bool:
        """Return whether the token is known to end soon."""
        return False


class ExistingToken(Way):
    """A token that somebody else got, for as long as it lasts."""

    def __init__(self, storage_url: str, token: str, trust: Trust) -> None:
        self._storage_url = storage_url
        self._token = token
        self.trust = trust

    def ask(self) -> tuple[str, str]:
        """Return what was given."""
        return self._storage_url, self._token

    def renew(self) -> tuple[str, str]:
        """Refuse. Raises: AccessDenied."""
        raise AccessDenied(
            f"{shown(self._storage_url)}: 401: the token in OS_AUTH_TOKEN is not accepted, or no "
            "longer, and cannot be renewed: put a new one there, or use a login that can "
            "be repeated (cloud=…, OS_AUTH_URL or ST_AUTH)"
        )


class AuthV1(Way):
    """Swift's own login, which TempAuth and some appliances know."""

    def __init__(self, auth_url: str, user: str, key: str, trust: Trust) -> None:
        self._auth_url = auth_url
        self._user = user
        self._key = key
        self.trust = trust

    def ask(self) -> tuple[str, str]:
        """Log in."""
        what = f"login of {self._user} at {shown(self._auth_url)}"
        cacert = self.trust.verify if isinstance(self.trust.verify, str) else None
        with translated(what):
            storage_url, token = client.get_auth(
                *(self._auth_url, self._user, self._key),
                auth_version="1",
                cacert=cacert,
                timeout=LOGIN_S_MAX,
            )
        if not storage_url or not token:
            raise StoreError(f"{what}: gave no storage URL and token: check ST_AUTH")
        return storage_url, token


class Login:
    """The one ticket of all threads."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._lock = threading.Lock()
        self._ticket: Ticket | None = None

    @property
    def trust(self) -> Trust:
        """Whom to trust in TLS."""
        return self._way.trust

    def ticket(self) -> Ticket:
        """Return the ticket, after a login when there is none or its token is about to end."""
        with self._lock:
            if self._ticket is None or self._way.is_ending():
                return self._keep(*self._way.ask())
            return self._ticket

    def renew(self, refused: Ticket) -> Ticket:
        """Return a ticket younger than a refused one; of many threads only one logs in."""
        with self._lock:
            if self._ticket is None or self._ticket.generation == refused.generation:
                return self._keep(*self._way.renew())
            return self._ticket

    def _keep(self, storage_url: str, token: str) -> Ticket:
        generation = self._ticket.generation + 1 if self._ticket else 0
        self._ticket = Ticket(storage_url, token, generation)
        return self._ticket


def shown(url: str) -> str:
    """Return a URL without user and query, fit for messages."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
