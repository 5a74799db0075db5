"""What a provider promises of volumes; each docstring says why a backup needs it."""

# ruff: noqa: D401 - a promise says why it matters; its name says what it is

from __future__ import annotations

from backupcore.errors import NotFound, ReadOnly, Refused, TargetBusy
from backupcore.provider import Access
from backupcore.runtime import open_pool
from backupcore.testing.bench import pattern, raising, same
from backupcore.testing.promise import Broken
from backupcore.testing.provider.stand import (
    NOBODY,
    SIZE_BYTES,
    Stand,
    any_volume,
    fixed_volumes,
    new_volumes,
    promise,
    read,
    two_openings,
    write,
)
from backupcore.units import KIB

WORKER_COUNT = 8
HOSTILE_PLACES = ("", ".", "..", "../etc/passwd", "/etc/passwd", "a\nb", "a\0b", " a", "a" * 300)


@promise(any_volume)
def lists_and_shows_its_volumes(stand: Stand) -> None:
    """A volume that is not listed is never backed up."""
    place = stand.some()
    shown = stand.provider.show(place)
    same([each for each in stand.provider.list() if each.place == place], [shown], "listed volumes")
    with stand.provider.open(place) as volume:
        same(shown.size_bytes, volume.size_bytes, "its size")


@promise(any_volume)
def keeps_what_was_written(stand: Stand) -> None:
    """A restore that is not there after it ended is no restore."""
    content = pattern(100 * KIB)
    place = stand.some(content)
    same(read(stand.provider.open(place), len(content)), content, "bytes read again")


@promise(any_volume)
def opens_for_reading_unless_asked(stand: Stand) -> None:
    """A source must be safe from a caller that mixes up source and target."""
    with (
        stand.provider.open(stand.some()) as volume,
        raising(ReadOnly, "writing to a volume that was opened for reading"),
    ):
        volume.write(0, b"x")


@promise(any_volume)
def lets_one_write_at_a_time(stand: Stand) -> None:
    """Two restores into one volume leave a mixture of both."""
    place = stand.some()
    with (
        stand.provider.open(place, Access.WRITE),
        raising(TargetBusy, "opening a volume for writing that is written to"),
    ):
        stand.second.open(place, Access.WRITE).close()
    stand.second.open(place, Access.WRITE).close()


@promise(any_volume)
def gives_each_opening_of_a_volume_the_same_identity(stand: Stand) -> None:
    """By its identity a volume finds its last backup, and reads only what changed since."""
    place, seen = stand.some(), set()
    for provider in (stand.provider, stand.second):
        for access in (Access.READ, Access.WRITE):
            with provider.open(place, access) as volume:
                seen.add(volume.identity)
    same(len(seen), 1, f"identities of one volume, {sorted(seen)}")


@promise()
def knows_nothing_of_what_is_not_there(stand: Stand) -> None:
    """A missing volume taken for another one, or for a failure, ends in the wrong deed."""
    with raising(NotFound, "showing a volume that is not there"):
        stand.provider.show(NOBODY)
    for access in (Access.READ, Access.WRITE):
        with raising(NotFound, f"opening a volume that is not there to {access}"):
            stand.provider.open(NOBODY, access).close()


@promise()
def opens_nothing_but_its_volumes(stand: Stand) -> None:
    """Places come from people: one that leads elsewhere gives away the machine."""
    for place in HOSTILE_PLACES:
        for attempt in (stand.provider.show, stand.provider.open, stand.provider.open_snapshot):
            try:
                attempt(place)
            except (NotFound, Refused):
                continue
            raise Broken(f"{attempt.__name__} took the place {place[:40]!r}")


@promise(any_volume)
def makes_no_volume_by_opening(stand: Stand) -> None:
    """Only create says how large a volume is."""
    with raising(Refused, "opening a volume to create it"):
        stand.provider.open(stand.some(), Access.CREATE).close()


@promise(fixed_volumes)
def says_that_it_makes_and_deletes_nothing(stand: Stand) -> None:
    """Who asks for the impossible must hear so, and what is there must stay."""
    with raising(Refused, "creating a volume"):
        stand.provider.create(f"{stand.prefix}volume", SIZE_BYTES)
    for volume in [*stand.provider.list()][:1]:
        with raising(Refused, "deleting a volume"):
            stand.provider.delete(volume.place)
        same(stand.provider.show(volume.place), volume, "volume after that")


@promise(new_volumes)
def makes_volumes_that_are_large_enough_and_hold_zeros(stand: Stand) -> None:
    """Bytes of a former owner must not show, and a restore must fit and may leave out zeros."""
    place = stand.make()
    with stand.provider.open(place) as volume:
        if volume.size_bytes < SIZE_BYTES:
            raise Broken(f"{volume.size_bytes} bytes instead of {SIZE_BYTES} or more")
    same(read(stand.provider.open(place), SIZE_BYTES), bytes(SIZE_BYTES), "a new volume")
    same(stand.provider.show(place).name, f"{stand.prefix}volume", "name of a new volume")


@promise(new_volumes)
def never_makes_a_volume_over_another(stand: Stand) -> None:
    """A name that is asked for twice must not cost the first volume its bytes."""
    place = stand.some(b"first")
    with raising(TargetBusy, "creating a volume of a name that is taken"):
        stand.made.append(stand.provider.create(f"{stand.prefix}volume", SIZE_BYTES))
    same(read(stand.provider.open(place), 5), b"first", "the first volume")


@promise(new_volumes)
def refuses_what_is_no_size_or_name(stand: Stand) -> None:
    """What is refused at once is not found half done later."""
    for size_bytes in (0, -1, (1 << 62) + 1):
        with raising(Refused, f"creating a volume of {size_bytes} bytes"):
            stand.make("wrong", size_bytes)
    for hint in ("", ".hidden", "a/b", "a b", "a@b", "é", "a" * 101):
        with raising(Refused, f"creating a volume called {hint[:40]!r}"):
            stand.made.append(stand.provider.create(hint, SIZE_BYTES))


@promise(new_volumes)
def deletes_a_volume_once_and_for_all(stand: Stand) -> None:
    """A job that is repeated after a crash deletes again; what is gone is no error."""
    place = stand.make()
    stand.provider.delete(place)
    with raising(NotFound, "showing a deleted volume"):
        stand.provider.show(place)
    same([each for each in stand.provider.list() if each.place == place], [], "listed volumes")
    stand.provider.delete(place)
    stand.make()


@promise(new_volumes)
def keeps_a_volume_that_is_written_to(stand: Stand) -> None:
    """A restore that goes into nothing ends as if it were done."""
    place = stand.some(b"first")
    with (
        stand.provider.open(place, Access.WRITE),
        raising(TargetBusy, "deleting a volume that is written to"),
    ):
        stand.second.delete(place)
    same(read(stand.provider.open(place), 5), b"first", "volume after that")


@promise(new_volumes)
def tells_volumes_apart(stand: Stand) -> None:
    """Two volumes of one identity would take each other's backups for their own."""
    places = [stand.make(name) for name in ("one", "two")]
    seen = set()
    for place in places:
        with stand.provider.open(place) as volume:
            seen.add(volume.identity)
    same((len(set(places)), len(seen)), (2, 2), "number of places and identities of two volumes")


@promise(new_volumes)
def serves_many_threads_at_once(stand: Stand) -> None:
    """Jobs share one provider."""

    def work(number: int) -> bool:
        content = pattern(10 * KIB, str(number))
        place = stand.make(f"of-{number}")
        write(stand.provider, place, content)
        is_listed = stand.provider.show(place) in [*stand.provider.list()]
        return is_listed and read(stand.provider.open(place), len(content)) == content

    with open_pool(WORKER_COUNT, "worker") as pool:
        same(list(pool.map(work, range(2 * WORKER_COUNT))), [True] * 2 * WORKER_COUNT, "volumes")


@promise(new_volumes, two_openings)
def shows_another_opening_what_was_made(stand: Stand) -> None:
    """The process that backs a volume up is another than the one that made it."""
    place = stand.some(b"made")
    same(stand.second.show(place), stand.provider.show(place), "volume as seen by another")
    same(read(stand.second.open(place), 4), b"made", "its bytes")


@promise(any_volume, two_openings)
def closes_one_opening_only(stand: Stand) -> None:
    """A service that is stopped closes its provider, perhaps twice, while others work."""
    place = stand.some(b"made")
    stand.provider.close()
    stand.provider.close()
    same(read(stand.second.open(place), 4), b"made", "bytes read after another was closed")


@promise(any_volume)
def shows_no_volume_in_use_that_nobody_uses(stand: Stand) -> None:
    """What is in use is backed up by force only, and neither restored to nor deleted."""
    place = stand.some(b"at rest")
    same(stand.provider.show(place).is_in_use, False, "is in use")
    with stand.provider.open(place):
        same(stand.second.show(place).is_in_use, False, "is in use while it is read")
