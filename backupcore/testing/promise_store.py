"""What a driver promises of many objects: listings, deletions, names, threads, connections."""

# ruff: noqa: D401 - a promise says why it matters; its name says what it is

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from threading import Event

from backupcore.driver import KEY_LENGTH_MAX, PART_LENGTH_MAX
from backupcore.errors import InvalidKey, ObjectMissing
from backupcore.runtime import open_pool
from backupcore.testing.bench import (
    Bench,
    pattern,
    promise,
    raising,
    same,
    strong_list,
    strong_list_of_two,
    two_connections,
)
from backupcore.testing.promise import Broken
from backupcore.units import MIB

WRITER_COUNT = 8
DELETE_COUNT = 1_100  # S3 takes 1000 keys a request
REFUSED_KEYS = (
    *("", "/a", "a/", "a//b", "..", ".", "../a", "a/../b", "a/./b", "a/..", ".hidden", "-a"),
    *("a\0b", "a\nb", "a\n", "a b", "A", "a/B", "ä", "%2e%2e/a", "a\\b", "~a", "a:b", "a*"),
    *("a" * (PART_LENGTH_MAX + 1), "a/" * (KEY_LENGTH_MAX // 2) + "a"),
)


@promise(strong_list)
def lists_by_any_beginning_of_a_key(bench: Bench) -> None:
    """Sessions are found by the beginning of their id; too few found means too much pruned."""
    names = ["data/ab1", "data/ab1-2", "data/ab2/x", "data/abc.d/e/f", "data/b", "datb", "dat"]
    for name in names:
        bench.put(name, name.encode())
    for prefix in ("", "d", "dat", "data", "data/", "data/a", "data/ab2", "data/ab2/", "data/abc."):
        wanted = sorted(name for name in names if name.startswith(prefix))
        same(bench.listed(prefix), wanted, f"names that start with {prefix!r}")


@promise(strong_list)
def lists_sizes(bench: Bench) -> None:
    """Prune and verify take sizes from the listing instead of asking a million times."""
    for size_bytes in (0, 1, 65_537):
        bench.put(f"size-{size_bytes}", pattern(size_bytes))
    seen = {
        info.key.removeprefix(bench.prefix): info.size_bytes
        for info in bench.driver.list(bench.prefix)
    }
    same(seen, {"size-0": 0, "size-1": 1, "size-65537": 65_537}, "sizes in the listing")


@promise()
def lists_nothing_where_nothing_is(bench: Bench) -> None:
    """A new repository has no sessions and no backups; that is no error."""
    same(bench.listed(), [], "listing of an unused prefix")
    same(bench.listed("no/such/place"), [], "listing of an unused prefix below")


@promise(strong_list)
def lists_every_object_once(bench: Bench) -> None:
    """A listing that ends with its first page makes prune take live objects for garbage."""
    names = [f"{index % 7}/{index:06d}" for index in range(bench.list_count)]
    keys = [bench.key(name) for name in names]
    with open_pool(WRITER_COUNT, "writer") as pool:
        list(pool.map(lambda key: bench.driver.put(key, [b"x"]), keys))
    seen = bench.listed()
    same(len(seen), len(names), "length of the long listing")
    same(set(seen) == set(names), True, "the long listing is complete")


@promise(strong_list)
def lists_while_what_was_listed_is_deleted(bench: Bench) -> None:
    """Prune deletes as it lists; a listing that loses its place leaves objects behind for good."""
    keys = [bench.put(f"{index % 3}/{index:04d}", b"x") for index in range(300)]
    seen = []
    for info in bench.driver.list(bench.prefix):
        seen.append(info.key)
        bench.driver.delete([info.key])
    same(sorted(seen), sorted(keys), "keys seen while they were deleted")
    same(bench.listed(), [], "listing after that")


@promise(strong_list_of_two)
def lists_at_once_what_another_connection_stored(bench: Bench) -> None:
    """Prune looks for leases right after it wrote its tomb; one unseen is a backup lost."""
    for index in range(50):
        bench.put(f"{index:02d}", b"x")
        same(len(list(bench.second.list(bench.prefix))), index + 1, "objects seen by the other")


@promise(two_connections)
def reads_at_once_what_another_connection_stored(bench: Bench) -> None:
    """Another host decides by what it reads: an old register, or none, is a wrong decision."""
    for index in range(50):
        content = pattern(100, str(index))
        key = bench.put(f"{index % 10}", content)
        same(bench.second.get(key), content, "object read by the other connection")
        same(bench.second.stat(key).size_bytes, 100, "its size")


@promise()
def forgets_a_deleted_object(bench: Bench) -> None:
    """Space must come back, and a deleted backup must not reappear."""
    key = bench.put("deleted", b"x")
    bench.driver.delete([key])
    with raising(ObjectMissing, "get after delete"):
        bench.second.get(key)
    with raising(ObjectMissing, "stat after delete"):
        bench.second.stat(key)
    if not bench.driver.capabilities.list_lag_s_max:
        same(bench.listed(), [], "listing after delete")


@promise()
def deletes_what_is_missing(bench: Bench) -> None:
    """A prune that was interrupted deletes the same objects again."""
    bench.driver.delete([])
    bench.driver.delete([bench.key("never"), bench.key("no/such/place")])
    key = bench.put("twice", b"x")
    bench.driver.delete([key, key])
    bench.driver.delete([key])


@promise()
def deletes_nothing_else(bench: Bench) -> None:
    """Deleting more than asked for is the one mistake that nothing can repair."""
    kept = {bench.put(name, name.encode()): name for name in ("a-1", "a.b/c", "aa", "b/a", "b/a1")}
    bench.driver.delete([bench.put("a", b"x"), bench.put("b/b", b"x"), bench.key("b")])
    for key, name in kept.items():
        same(bench.driver.get(key), name.encode(), f"neighbour {name} of deleted objects")


@promise()
def deletes_many_at_once(bench: Bench) -> None:
    """Prune removes thousands of packs in one call; stores have limits for one request."""
    keys = [bench.key(f"{index % 5}/{index:05d}") for index in range(DELETE_COUNT)]
    with open_pool(WRITER_COUNT, "writer") as pool:
        list(pool.map(lambda key: bench.driver.put(key, [b"x"]), keys))
    bench.driver.delete(key for key in keys)
    for key in (keys[0], keys[999], keys[1_000], keys[-1]):
        with raising(ObjectMissing, f"stat of {key} after it was deleted with many"):
            bench.driver.stat(key)


@promise()
def refuses_names_that_are_no_keys(bench: Bench) -> None:
    """A name that some store reads as another, or as a path outside, must never reach any."""
    driver = bench.driver
    for key in REFUSED_KEYS:
        calls: Iterable[Callable[[], object]] = (
            partial(driver.put, key, [b"x"]),
            partial(driver.get, key),
            partial(driver.get_into, key, 0, bytearray(1)),
            partial(driver.stat, key),
            partial(driver.delete, [key]),
        )
        for call in calls:
            with raising(InvalidKey, f"the name {key[:40]!r}"):
                call()


@promise()
def takes_every_name_that_is_a_key(bench: Bench) -> None:
    """Names are made from ids and numbers; one that fails does so after hours of backup."""
    room = KEY_LENGTH_MAX - len(bench.prefix)
    longest = "/".join(["k" * min(PART_LENGTH_MAX, room // 2 - 1)] * 2)
    names = ["0", "a..b", "a.", "a--_", "con", "0123456789abcdef-", "a.tmp", "a/b/c/d/e/f", longest]
    for name in names:
        bench.put(name, name.encode())
    for name in names:
        same(bench.driver.get(bench.prefix + name), name.encode(), f"object {name[:40]}")


@promise()
def takes_objects_from_many_threads(bench: Bench) -> None:
    """Uploads run in parallel through one driver; mixed up, each is another's damage."""
    sizes = [0, 1, 1_000, 65_537, MIB]
    contents = {
        bench.key(f"{index % 4}/{index}"): pattern(sizes[index % 5], str(index))
        for index in range(80)
    }
    with open_pool(WRITER_COUNT, "writer") as pool:
        puts = [pool.submit(bench.driver.put, key, [part]) for key, part in contents.items()]
        for put in puts:
            put.result()
        seen = list(pool.map(bench.driver.get, contents))
    for (key, content), data in zip(contents.items(), seen, strict=True):
        same(data, content, f"object {key} of many threads")


@promise()
def puts_while_neighbours_are_deleted(bench: Bench) -> None:
    """Backups run while others are pruned; a name must not fail because its last neighbour went."""

    def come_and_go(number: int) -> None:
        for index in range(40):
            key = bench.prefix + f"deep/er/{number}"
            bench.driver.put(key, [pattern(100, f"{number} {index}")])
            same(bench.driver.get(key), pattern(100, f"{number} {index}"), "object just stored")
            bench.driver.delete([key])

    keys = [bench.key(f"deep/er/{number}") for number in range(WRITER_COUNT)]
    with open_pool(WRITER_COUNT, "writer") as pool:
        list(pool.map(come_and_go, range(len(keys))))


@promise()
def shows_the_old_or_the_new_object_whole(bench: Bench) -> None:
    """A reader that meets a replacement must not see half of each: that is read as damage."""
    versions = [pattern(300_000, "odd"), pattern(200_000, "even")]
    key = bench.put("replaced", versions[1])
    is_done = Event()

    def replace() -> None:
        try:
            for index in range(40):
                bench.driver.put(key, [versions[index % 2]])
        finally:
            is_done.set()

    with open_pool(1, "writer") as pool:
        writer = pool.submit(replace)
        while not is_done.is_set():
            if bench.second.get(key) not in versions:
                raise Broken("a reader saw neither the old nor the new object")
        writer.result()


@promise(two_connections)
def closes_one_connection_only(bench: Bench) -> None:
    """A finished job closes its driver, perhaps twice, while others work on the same store."""
    key = bench.put("kept", b"kept")
    bench.driver.close()
    bench.driver.close()
    same(bench.second.get(key), b"kept", "object read after another connection was closed")
    bench.second.put(key, [b"new"])
    same(bench.second.get(key), b"new", "object stored after that")
