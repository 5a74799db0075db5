"""What a provider promises of snapshots; each docstring says why a backup needs it."""

# ruff: noqa: D401 - a promise says why it matters; its name says what it is

from __future__ import annotations

from contextlib import suppress

from backupcore.errors import NotFound, ReadOnly, TargetBusy
from backupcore.provider import ProvidedVolume
from backupcore.testing.bench import raising, same
from backupcore.testing.provider.stand import (
    NOBODY,
    Stand,
    any_volume,
    new_volumes,
    promise,
    read,
    snapshots,
    write,
)


@promise(any_volume, snapshots)
def freezes_a_volume(stand: Stand) -> None:
    """A backup of a snapshot is of one point in time, whatever is written meanwhile."""
    place = stand.some(b"before")
    taken = stand.freeze(place)
    write(stand.provider, place, b"after!")
    same(read(stand.provider.open_snapshot(taken), 6), b"before", "snapshot")
    same(read(stand.provider.open(place), 6), b"after!", "volume")
    with stand.provider.open_snapshot(taken) as frozen:
        same(frozen.size_bytes, stand.provider.show(place).size_bytes, "size of the snapshot")
        with raising(ReadOnly, "writing to a snapshot"):
            frozen.write(0, b"x")


@promise(any_volume, snapshots)
def gives_a_snapshot_the_identity_of_its_volume(stand: Stand) -> None:
    """Each backup is of another snapshot; by its own name none would find the one before."""
    place = stand.some()
    taken = stand.freeze(place)
    with stand.provider.open(place) as volume, stand.provider.open_snapshot(taken) as frozen:
        same(frozen.identity, volume.identity, "identity of a snapshot")


@promise(any_volume, snapshots)
def lists_snapshots_with_their_volume_only(stand: Stand) -> None:
    """What a crash has left is found by its name; taken for a volume it would be backed up."""
    place = stand.some()
    before = {each.place for each in stand.provider.list_snapshots(place)}
    taken = stand.freeze(place)
    size_bytes = stand.provider.show(place).size_bytes
    wanted = [ProvidedVolume(taken, size_bytes, f"{stand.prefix}snapshot")]
    found = [each for each in stand.provider.list_snapshots(place) if each.place not in before]
    same(found, wanted, "snapshots of the volume")
    same([each for each in stand.provider.list() if each.place == taken], [], "volumes")
    same(list(stand.provider.list_snapshots(NOBODY)), [], "snapshots of no volume")


@promise(any_volume, snapshots)
def never_freezes_over_another_snapshot(stand: Stand) -> None:
    """A backup that reads a snapshot must not find another point in time in it."""
    place = stand.some(b"first")
    taken = stand.freeze(place)
    write(stand.provider, place, b"other")
    with raising(TargetBusy, "a second snapshot of the same name"):
        stand.freeze(place)
    same(read(stand.provider.open_snapshot(taken), 5), b"first", "the first snapshot")


@promise(any_volume, snapshots)
def deletes_a_snapshot_and_keeps_the_volume(stand: Stand) -> None:
    """Snapshots are made for one backup; each that stays costs room."""
    place = stand.some(b"stays")
    taken = stand.freeze(place)
    stand.provider.delete_snapshot(taken)
    with raising(NotFound, "opening a deleted snapshot"):
        stand.provider.open_snapshot(taken).close()
    stand.provider.delete_snapshot(taken)
    same(read(stand.provider.open(place), 5), b"stays", "volume after that")


@promise(any_volume, snapshots)
def keeps_a_snapshot_readable_to_who_reads_it(stand: Stand) -> None:
    """Leftovers are swept away; a backup under way must not lose what it reads by that."""
    taken = stand.freeze(stand.some(b"frozen"))
    with stand.provider.open_snapshot(taken) as frozen:
        with suppress(TargetBusy):
            stand.second.delete_snapshot(taken)
        buffer = bytearray(6)
        frozen.read_into(0, buffer)
    same(bytes(buffer), b"frozen", "snapshot that somebody else deletes")


@promise(new_volumes, snapshots)
def keeps_a_volume_that_has_snapshots(stand: Stand) -> None:
    """Most stores cannot part them; a snapshot nobody can name is room that is lost."""
    place = stand.some()
    taken = stand.freeze(place)
    with raising(TargetBusy, "deleting a volume that has a snapshot"):
        stand.provider.delete(place)
    same(read(stand.provider.open_snapshot(taken), 1), b"\0", "snapshot after that")


@promise(snapshots)
def freezes_nothing_that_is_not_there(stand: Stand) -> None:
    """A snapshot of nothing would be backed up as an empty volume."""
    with raising(NotFound, "a snapshot of a volume that is not there"):
        stand.freeze(NOBODY)
