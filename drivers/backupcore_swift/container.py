"""The container: whether it is there, made when that is wished, and what is listed of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from swiftclient import client
from swiftclient.exceptions import ClientException

from backupcore.driver import ObjectInfo
from backupcore.errors import Refused, StoreError, Unavailable
from backupcore_swift.connection import Line
from backupcore_swift.option import Settings
from backupcore_swift.translation import status_of, translated

__all__ = ["Container"]


class Container:
    """The container that the settings name."""

    def __init__(self, line: Line, settings: Settings) -> None:
        self._line = line
        self._settings = settings
        self._what = f"container {settings.container}"

    def check(self) -> None:
        """Look whether it is there. Raises: StoreError when it is missing."""
        if self._policy() is None:
            raise StoreError(
                f"{self._settings.place}: {self._what} does not exist: check its name and the "
                "account, create it, or open it with create_container=yes"
            )

    def create(self) -> None:
        """Make it when it is missing. Raises: Refused when it has another policy."""
        wanted = self._settings.storage_policy
        found = self._policy()
        if found is None:
            self._put({"X-Storage-Policy": wanted} if wanted else {})
            found = self._policy() if wanted else None
        if wanted and (found or "").lower() != wanted.lower():
            raise Refused(
                f"{self._settings.place}: {self._what} has storage policy {found or 'unknown'}, "
                f"not {wanted}, and Swift cannot change it: use another container"
            )

    def objects(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yield all objects whose whole name starts with the prefix, under their names.

        Raises: StoreError, Unavailable for a page that is not whole or not what was asked for.
        """
        what = f"{self._settings.place}: listing"
        marker = ""
        while page := self._page(what, prefix, marker):
            for entry in page:
                info = _info(entry)
                if not info.key.startswith(prefix) or not info.key > marker:
                    raise StoreError(
                        f"{what}: asked for {prefix}* after {marker!r}, told of {info.key!r}"
                    )
                marker = info.key
                yield info

    def _page(self, what: str, prefix: str, marker: str) -> list[dict[str, Any]]:
        given = {"container": self._settings.container, "prefix": prefix, "marker": marker}
        with translated(what):
            try:
                _, page = self._line.call(client.get_container, **given)
            except ClientException as error:
                if status_of(error) == 404:
                    self.check()
                raise
            except ValueError as error:
                if isinstance(error, OSError):
                    raise
                raise Unavailable(f"{what}: a page is cut off or no JSON: try again") from error
        if not isinstance(page, list) or not all(isinstance(entry, dict) for entry in page):
            raise StoreError(f"{what}: a page is no list of objects: check the storage URL")
        return page

    def _policy(self) -> str | None:
        """Return its policy, empty when the store has none, or None when it is missing."""
        with translated(f"{self._settings.place}: {self._what}"):
            try:
                headers = self._line.call(client.head_container, container=self._settings.container)
            except ClientException as error:
                if status_of(error) == 404:
                    return None
                raise
        return str(headers.get("x-storage-policy", ""))

    def _put(self, headers: dict[str, str]) -> None:
        with translated(f"{self._settings.place}: {self._what}: not created"):
            try:
                self._line.call(
                    client.put_container, container=self._settings.container, headers=headers
                )
            except ClientException as error:
                # somebody else made it meanwhile, with another policy, which is looked at next
                if status_of(error) != 409 or not headers:
                    raise


def _info(entry: dict[str, Any]) -> ObjectInfo:
    """Return what an entry of a page tells; times are in UTC, whether they say so or not."""
    try:
        name, size_bytes = str(entry["name"]), int(entry["bytes"])
        modified = datetime.fromisoformat(entry["last_modified"])
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"an entry of a listing is not understood: {entry!r:.200}") from error
    return ObjectInfo(name, size_bytes, modified.replace(tzinfo=modified.tzinfo or UTC))
