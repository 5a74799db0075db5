"""Image files of one folder as volumes (kind `directory`).

    FOLDER/<place>                        a volume: a regular file with at least one byte
    FOLDER/.snapshots/<place>@<hint>      a snapshot of it
    FOLDER/.<32 hex digits>.partial       a file being made, locked by its maker
                                          (in .snapshots too); removed at opening when that died

Names are looked up below descriptors and no link is followed. A file that is written to is locked
(flock), and so is one that is frozen or deleted, and a snapshot that is read, so that these never
mix; QEMU is kept off in its own way (`volume.image_lock`). Opening makes nothing.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from enum import StrEnum

from backupcore.errors import BackupError, NotFound, Refused, SourceError, TargetBusy, TargetError
from backupcore.provider import (
    Access,
    ProvidedVolume,
    Provider,
    Volume,
    hookimpl,
    is_hint,
    is_place,
    take_texts,
)
from backupcore.provider.directory.draft import Draft, sweep
from backupcore.provider.directory.duplicate import copy_data, may_share_blocks, share_blocks
from backupcore.provider.directory.folder import Folder, Image, look_at, synchronize
from backupcore.provider.directory.translation import translated
from backupcore.runtime import Runtime
from backupcore.volume.file import FileVolume, WritableFile

__all__ = ["DirectoryProvider", "Snapshots", "backupcore_open_provider"]

log = logging.getLogger(__name__)

SNAPSHOTS = ".snapshots"


class Snapshots(StrEnum):
    """How a volume is frozen."""

    AUTO = "auto"  # its blocks are shared where the file system can do that, else copied
    SHARED = "shared"  # its blocks are shared, or it is not frozen at all
    NONE = "none"


@hookimpl
def backupcore_open_provider(name: str, options: Mapping[str, object], folder: str) -> Provider:
    """Return a provider of the image files in a folder.

    options: `path` of the folder; `snapshots`, which is `auto` unless given; `mounted`, `yes` when
    the folder has to be where a file system is mounted.
    """
    allowed = ["snapshots", "mounted"]
    texts = take_texts(f"provider {name}", options, needed=["path"], allowed=allowed)
    chosen = texts.get("snapshots", Snapshots.AUTO)
    if chosen not in tuple(Snapshots):
        known = ", ".join(Snapshots)
        raise Refused(f"provider {name}: snapshots {chosen!r} is unknown: known are {known}")
    path = os.path.join(folder, texts["path"])
    mounted = texts.get("mounted", "no")
    if mounted not in ("yes", "no"):
        raise Refused(f"provider {name}: mounted {mounted!r} is unknown: say yes or no")
    if mounted == "yes" and not os.path.ismount(os.path.realpath(path)):
        raise NotFound(f"{path}: nothing is mounted there: mount its file system, then start again")
    return DirectoryProvider(name, path, snapshots=Snapshots(chosen))


class DirectoryProvider(Provider):
    """Image files of one folder, whose descriptor is held from opening to closing."""

    has_new_volumes = True

    def __init__(
        self,
        name: str,
        path: str,
        *,
        snapshots: Snapshots = Snapshots.AUTO,
        runtime: Runtime | None = None,
    ) -> None:
        """Open the folder and remove what makers that died have left.

        Raises: NotFound when there is no such folder, SourceError.
        """
        self.name = name
        self._snapshots = snapshots
        self._runtime = runtime or Runtime()
        with translated(path, SourceError):
            self._folder = Folder(path)
        with self._at(path) as here:
            can_share = snapshots is Snapshots.SHARED and may_share_blocks(here)
        self.has_snapshots = can_share or snapshots is Snapshots.AUTO
        for below in ("", SNAPSHOTS):
            # what can only be read, or is not there, has nothing to remove
            with suppress(OSError), self._folder.opened(below) as here:
                sweep(here)

    def list(self) -> Iterator[ProvidedVolume]:
        """Yield every volume in the order of their places, looked at one by one."""
        with self._at(self._folder.path) as here:
            for place in sorted(filter(_is_image_place, os.listdir(here))):
                if (found := _found(here, place, place)) is not None:
                    yield found

    def show(self, place: str) -> ProvidedVolume:
        """Return a file's name and size, and whether a program says that it writes to it."""
        path = self._path(place)
        with self._at(path) as here:
            return look_at(here, place, path)

    def open(self, place: str, access: Access = Access.READ) -> Volume:
        """Open a file; its identity is its path, as when it is opened as a file."""
        path = self._path(place)
        if access is Access.READ:
            with self._at(path) as here, Image(here, place, path) as image:
                return _called(FileVolume(path, descriptor=image.hand_over()), path)
        with self._at(path, TargetError) as here, Image(here, place, path, os.O_RDWR) as image:
            image.lock(is_shared=False)
            return _called(WritableFile(path, descriptor=image.hand_over()), path)

    def create(self, hint: str, size_bytes: int) -> str:
        """Make a sparse file of this name that only its owner can read."""
        path = self._path(hint)
        with self._at(path, TargetError) as here, Draft(here, self._runtime) as draft:
            draft.resize(size_bytes)
            draft.publish(hint, path)
        return hint

    def delete(self, place: str) -> None:
        """Remove a file that no other program uses and that has no snapshots."""
        path = self._path(place)
        with (
            self._at(path, TargetError) as here,
            Image(here, place, path, may_be_empty=True) as image,
        ):
            image.lock(is_shared=False)
            image.claim()
            for found in self.list_snapshots(place):
                raise TargetBusy(f"{path}: has snapshot {found.place}: delete that first")
            os.unlink(place, dir_fd=here)
            synchronize(here)

    def snapshot(self, place: str, hint: str) -> str:
        """Freeze a file: share its blocks, else copy its data while nobody writes."""
        path, taken = self._path(place), f"{place}@{hint}"
        snapshot_path = self._snapshot_path(taken)
        with self._at(path) as here, Image(here, place, path) as image:
            image.lock(is_shared=True)
            with (
                self._at(snapshot_path, TargetError, SNAPSHOTS, create=True) as there,
                Draft(there, self._runtime) as draft,
            ):
                self._fill(image, draft)
                draft.publish(taken, snapshot_path)
        return taken

    def _fill(self, image: Image, draft: Draft) -> None:
        if share_blocks(image.descriptor, draft.descriptor):
            return
        if self._snapshots is Snapshots.SHARED:
            raise Refused(
                f"{image.path}: its file system cannot share blocks: keep volumes on XFS or Btrfs, "
                "or let the provider copy them with snapshots = 'auto'"
            )
        facts = {"provider": self.name, "volume": image.path}
        log.info("file system cannot share blocks, volume is copied", extra=facts)
        copy_data(
            image.descriptor,
            draft.descriptor,
            image.path,
            clock=self._runtime.clock,
            is_stopped=lambda: self._folder.is_closed,
        )

    def list_snapshots(self, place: str) -> Iterator[ProvidedVolume]:
        """Yield the snapshots of a volume by name, also of one that was removed by hand."""
        with suppress(NotFound), self._at(self._path(place), below=SNAPSHOTS) as here:
            for taken in sorted(os.listdir(here)):
                volume, _, hint = taken.rpartition("@")
                if volume != place or not is_hint(hint):
                    continue
                if (found := _found(here, taken, hint)) is not None:
                    yield found

    def open_snapshot(self, place: str) -> Volume:
        """Open a snapshot; its identity is the path of its volume."""
        path = self._snapshot_path(place)
        with self._at(path, below=SNAPSHOTS) as here, Image(here, place, path) as image:
            image.lock(is_shared=True)
            volume = FileVolume(path, descriptor=image.hand_over())
        return _called(volume, self._path(place.rpartition("@")[0]))

    def delete_snapshot(self, place: str) -> None:
        """Remove a snapshot that nobody reads."""
        path = self._snapshot_path(place)
        with (
            self._at(path, TargetError, SNAPSHOTS) as here,
            Image(here, place, path, may_be_empty=True) as image,
        ):
            image.lock(is_shared=False)
            os.unlink(place, dir_fd=here)
            synchronize(here)

    def close(self) -> None:
        """Let go of the folder; a copy that is being made ends with Stopped."""
        self._folder.close()

    def _path(self, place: str) -> str:
        """Return the path of a volume for messages. Raises: Refused when it is no place."""
        if not _is_image_place(place):
            raise Refused(
                f"{place[:80]!r} is no volume of provider {self.name}: its places are the names "
                f"of files directly in {self._folder.path}, without a dot in front"
            )
        return os.path.join(self._folder.path, place)

    def _snapshot_path(self, place: str) -> str:
        volume, _, hint = place.rpartition("@")
        if not _is_image_place(volume) or not is_hint(hint):
            raise Refused(
                f"{place[:80]!r} is no snapshot of provider {self.name}: its places are those of "
                "their volumes, an @ and a name"
            )
        return os.path.join(self._folder.path, SNAPSHOTS, place)

    @contextmanager
    def _at(
        self,
        path: str,
        failure: type[BackupError] = SourceError,
        below: str = "",
        *,
        create: bool = False,
    ) -> Iterator[int]:
        """Yield a descriptor of the folder; an OSError in the block is one of the path."""
        with translated(path, failure), self._folder.opened(below, create=create) as here:
            yield here


def _is_image_place(text: str) -> bool:
    return is_place(text) and not text.startswith(".") and "/" not in text


def _found(here: int, place: str, name: str) -> ProvidedVolume | None:
    """Return what there is to tell of an image file, None when it is gone or is none."""
    try:
        return look_at(here, place, place, name)
    except (FileNotFoundError, Refused, NotFound):
        return None


def _called(volume: FileVolume | WritableFile, identity: str) -> Volume:
    volume.identity = identity
    return volume
