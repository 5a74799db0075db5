"""The configured providers of volumes, by the name that rows keep."""

from __future__ import annotations

from collections.abc import Iterator

from backupcore.catalog.row import VolumeRow
from backupcore.closing import Closing
from backupcore.provider import Provider
from backupcore.provider.registry import open_provider
from backupcore.service.error import Invalid
from backupcore.service.settings import Settings

__all__ = ["Providers"]


class Providers(Closing):
    """Who holds the volumes; every one is open from the start to the end of the service."""

    def __init__(self, settings: Settings) -> None:
        """Open them all. Raises: as `open_provider`, after closing those that were opened."""
        self._settings = settings
        self._opened: dict[str, Provider] = {}
        folder = str(settings.path(""))
        try:
            for name, given in settings.providers.items():
                self._opened[name] = open_provider(
                    given.kind, name=name, options=given.options, folder=folder
                )
        except BaseException:
            self.close()
            raise

    def of(self, row: VolumeRow) -> Provider:
        """Return who holds a volume. Raises: Invalid when the operator took it away."""
        try:
            return self._opened[row.provider]
        except KeyError:
            raise Invalid(
                f"Invalid volume: Volume {row.id}: its provider is not configured any more"
            ) from None

    def maker(self) -> tuple[str, Provider]:
        """Return the name and the provider that new volumes come from. Raises: Invalid."""
        chosen = self._settings.default_provider
        names = [chosen] if chosen is not None else list(self._opened)
        for name in names:
            if self._opened[name].has_new_volumes:
                return name, self._opened[name]
        raise Invalid("Invalid volume: no volumes are made here: name one that exists already")

    def named(self) -> Iterator[tuple[str, Provider]]:
        """Yield every provider with its name."""
        yield from self._opened.items()

    def close(self) -> None:
        """Close every provider."""
        for provider in self._opened.values():
            provider.close()
