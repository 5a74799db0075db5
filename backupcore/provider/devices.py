"""Block devices that the operator lists as volumes (kind `devices`); no other is ever opened.

    [[devices]]
    name = "db"
    path = "/dev/vg0/db"

The place of a volume is its name in the list. Devices are neither made nor deleted nor frozen.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping

from backupcore.errors import NotFound, Refused, SourceError, VolumeMissing
from backupcore.provider import (
    Access,
    ProvidedVolume,
    Provider,
    Volume,
    check_hint,
    check_options,
    hookimpl,
    take_texts,
)
from backupcore.volume.block import BlockVolume, open_source, open_target
from backupcore.volume.descriptor import open_path

__all__ = ["DevicesProvider", "backupcore_open_provider"]

log = logging.getLogger(__name__)


@hookimpl
def backupcore_open_provider(name: str, options: Mapping[str, object]) -> Provider:
    """Return a provider of the listed devices.

    options: `devices`, a list of tables with `name` and `path`.
    """
    check_options(f"provider {name}", options, needed=["devices"])
    rows = options["devices"]
    if not isinstance(rows, list) or not rows:
        raise Refused(f"provider {name}: devices: give a list of tables with name and path")
    paths: dict[str, str] = {}
    for number, row in enumerate(rows, 1):
        what = f"provider {name}: device {number}"
        if not isinstance(row, Mapping):
            raise Refused(f"{what}: is no table: give it a name and a path")
        device = take_texts(what, row, needed=["name", "path"])
        place = check_hint(device["name"])
        if place in paths:
            raise Refused(f"{what}: the name {place!r} is taken: names are given once")
        if not os.path.isabs(device["path"]):
            raise Refused(f"{what}: {device['path']}: write the whole path, such as /dev/vg0/db")
        paths[place] = device["path"]
    return DevicesProvider(name, paths)


class DevicesProvider(Provider):
    """Block devices by name; nothing is opened before it is asked for."""

    def __init__(self, name: str, paths: Mapping[str, str]) -> None:
        """Take the path of each device by the name it is listed under."""
        self.name = name
        self._paths = dict(paths)

    def list(self) -> Iterator[ProvidedVolume]:
        """Yield every listed device that is there, by name."""
        for place in sorted(self._paths):
            try:
                yield self.show(place)
            except SourceError as error:
                facts = {"provider": self.name, "place": place, "reason": str(error)}
                log.warning("listed device is left out", extra=facts)

    def show(self, place: str) -> ProvidedVolume:
        """Return a device's name and the size that the kernel tells."""
        path = self._path(place)
        with BlockVolume(path, open_path(path, os.O_RDONLY, VolumeMissing)) as volume:
            if not volume.size_bytes:
                raise VolumeMissing(f"{path}: is empty: a volume has at least one byte")
            return ProvidedVolume(place, volume.size_bytes, place)

    def open(self, place: str, access: Access = Access.READ) -> Volume:
        """Open a listed device; for writing it is claimed, so that nobody mounts it meanwhile."""
        path = self._path(place)
        if access is Access.READ:
            return open_source(path, open_path(path, os.O_RDONLY, VolumeMissing))
        return open_target(path, is_forced=False)

    def create(self, hint: str, size_bytes: int) -> str:
        """Refuse: somebody has to make the device and list it."""
        raise Refused(
            f"provider {self.name}: cannot make {hint}: its volumes are the devices that the "
            "settings list: make a device and list it, or restore to one of them"
        )

    def delete(self, place: str) -> None:
        """Refuse: a device is not the service's to remove."""
        raise Refused(
            f"provider {self.name}: cannot delete {place}: its volumes are the devices that the "
            "settings list: take it off the list"
        )

    def _path(self, place: str) -> str:
        if place not in self._paths:
            known = ", ".join(sorted(self._paths))
            raise NotFound(f"provider {self.name}: no device {place!r} is listed, only {known}")
        return self._paths[place]
