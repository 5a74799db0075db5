"""What a driver promises of one object; each docstring says why a backup needs it.

A function takes a `Bench` and raises `Broken`, or whatever the driver raised. What a store does
not claim in its capabilities is not asked of it.
"""

# ruff: noqa: D401 - a promise says why it matters; its name says what it is

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from itertools import pairwise
from threading import Barrier

from backupcore.driver import Role
from backupcore.errors import ObjectExists, ObjectMissing
from backupcore.runtime import open_pool
from backupcore.testing.bench import (
    Bench,
    conditional_put,
    pattern,
    promise,
    raising,
    range_get,
    same,
    size_max,
)
from backupcore.units import KIB, MIB

SIZES = (0, 1, 511, 4095, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 5 * MIB + 3)
RACER_COUNT = 32
RACED_COUNT = 8
READER_COUNT = 8


class _Buffer(bytearray):
    """Memory of which is known when it is given back."""


@promise()
def keeps_objects_of_any_size(bench: Bench) -> None:
    """Packs, maps and leases have any length: one byte lost or added makes a backup unreadable."""
    for size_bytes in SIZES:
        key = bench.put(f"size-{size_bytes}", pattern(size_bytes))
        same(bench.driver.get(key), pattern(size_bytes), f"object of {size_bytes} bytes")


@promise(size_max)
def keeps_an_object_of_the_largest_size(bench: Bench) -> None:
    """Packs are cut to the size the store names; if that is too large no backup can be stored."""
    size_bytes = bench.driver.capabilities.object_size_bytes_max or 0
    key = bench.put("largest", pattern(size_bytes))
    same(bench.driver.get(key), pattern(size_bytes), "largest object")


@promise()
def joins_parts_in_order(bench: Bench) -> None:
    """A pack goes out as hundreds of buffers; out of order its frames are not where they should."""
    bounds = [0, 0, 1, 70_000, 70_000, 70_001, 200_000, 200_000]
    content = pattern(bounds[-1])
    view = memoryview(content)
    kinds: list[Callable[[memoryview], bytes | bytearray | memoryview]]
    kinds = [bytes, bytearray, memoryview, lambda part: memoryview(bytearray(part))]
    parts = [
        kinds[index % len(kinds)](view[start:end])
        for index, (start, end) in enumerate(pairwise(bounds))
    ]
    many = [view[index : index + 1] for index in range(3000)]
    for name, given in (("mixed", parts), ("many", many), ("none", []), ("empty", [b"", b""])):
        key = bench.key(name)
        bench.driver.put(key, given)
        same(bench.driver.get(key), b"".join(given), f"joined parts, {name}")


@promise()
def keeps_no_buffer_after_a_put(bench: Bench) -> None:
    """Buffers are used again at once; read later they hold another chunk's bytes."""
    buffer = bytearray(pattern(100_000))
    key = bench.put("reused", buffer)
    buffer[:] = bytes(len(buffer))
    same(bench.driver.get(key), pattern(100_000), "object whose buffer was used again")


@promise()
def lets_go_of_buffers_after_a_put(bench: Bench) -> None:
    """A connection that remembers what it sent holds a pack of memory that nobody counts."""
    buffer = _Buffer(pattern(MIB))
    seen = weakref.ref(buffer)
    bench.driver.put(bench.key("let-go"), [memoryview(buffer)])
    del buffer
    gc.collect()
    same(seen() is None, True, "whether the memory of a stored object is free")


@promise()
def replaces_an_object_whole(bench: Bench) -> None:
    """What remains of a longer predecessor would be read as part of the object."""
    key = bench.put("replaced", pattern(200_000, "long"))
    bench.put("replaced", pattern(1_000, "short"))
    same(bench.driver.get(key), pattern(1_000, "short"), "object after it was replaced")
    same(bench.driver.stat(key).size_bytes, 1_000, "its size")


@promise()
def takes_every_role(bench: Bench) -> None:
    """A store that knows data only loses manifests and leases."""
    for role in Role:
        key = bench.key(role)
        bench.driver.put(key, [role.encode()], role=role)
        same(bench.driver.get(key), role.encode(), f"object with role {role}")


@promise()
def refuses_a_second_object_when_asked_to(bench: Bench) -> None:
    """Registers are written once: a second writer must lose and must hear of it."""
    key = bench.key("register")
    bench.driver.put(key, [b"first"], if_absent=True)
    with raising(ObjectExists, "put with if_absent of an existing key"):
        bench.driver.put(key, [b"the second one"], if_absent=True)
    same(bench.driver.get(key), b"first", "object after the refused put")


@promise()
def takes_a_name_again_after_deletion(bench: Bench) -> None:
    """What is deleted is absent, also for if_absent; else a lease can never be taken again."""
    key = bench.put("again", b"first")
    bench.driver.delete([key])
    bench.driver.put(key, [b"second"], if_absent=True)
    same(bench.driver.get(key), b"second", "object after deletion and a new put")


@promise(conditional_put)
def lets_exactly_one_of_many_writers_win(bench: Bench) -> None:
    """Two winners of one register mean a backup that is committed and pruned at the same time."""
    for index in range(RACED_COUNT):
        key, start = bench.key(f"race-{index}"), Barrier(RACER_COUNT)
        with open_pool(RACER_COUNT, "racer") as pool:
            racers = [
                pool.submit(_race, bench, start, key, number) for number in range(RACER_COUNT)
            ]
            winners = [number for number, racer in enumerate(racers) if racer.result()]
        same(len(winners), 1, f"number of winners of race {index}")
        same(bench.second.get(key), _flag(winners[0]), f"content of race {index}")


def _race(bench: Bench, start: Barrier, key: str, number: int) -> bool:
    driver = bench.second if number % 2 else bench.driver
    start.wait(60)
    try:
        driver.put(key, [_flag(number)], if_absent=True)
    except ObjectExists:
        return False
    return True


def _flag(number: int) -> bytes:
    return pattern(1_000, str(number))


@promise()
def reads_ranges(bench: Bench) -> None:
    """A frame is read out of the middle of a pack; other bytes than asked for are damage."""
    content = pattern(200_000)
    key = bench.put("ranged", content)
    for offset, length in ((0, 1), (0, 4_096), (70_001, 65_537), (199_999, 1), (0, 200_000)):
        seen = bench.driver.get(key, offset, length)
        same(seen, content[offset : offset + length], f"range {offset}+{length}")


@promise()
def reads_to_the_end_without_a_length(bench: Bench) -> None:
    """Footers and trailers are found from the end of an object."""
    content = pattern(10_000)
    key = bench.put("tail", content)
    for offset in (0, 1, 9_999):
        same(bench.driver.get(key, offset), content[offset:], f"range from {offset} to the end")


@promise()
def returns_less_at_the_end(bench: Bench) -> None:
    """A reader asks for the largest header there can be; a small object is no error."""
    content = pattern(10_000)
    key = bench.put("short", content)
    same(bench.driver.get(key, 9_000, 5_000), content[9_000:], "range that ends beyond the object")
    same(bench.driver.get(key, 0, 1 << 40), content, "range far longer than the object")


@promise()
def returns_nothing_for_an_empty_range(bench: Bench) -> None:
    """Many protocols cannot ask for no bytes and send all of them instead."""
    key = bench.put("ten", b"0123456789")
    same(bench.driver.get(key, 10), b"", "range from the very end")
    same(bench.driver.get(key, 10, 5), b"", "range of 5 from the very end")
    same(bench.driver.get(key, 0, 0), b"", "range of length 0")
    same(bench.driver.get(key, 4, 0), b"", "range of length 0 in the middle")
    same(bench.driver.get(bench.put("empty", b""), 0), b"", "empty object")


@promise()
def refuses_an_offset_past_the_end(bench: Bench) -> None:
    """An offset past the end means a pack was cut short: that must not look like no bytes."""
    key = bench.put("ten", b"0123456789")
    with raising(ValueError, "get from past the end"):
        bench.driver.get(key, 11)
    with raising(ValueError, "get of a range past the end"):
        bench.driver.get(key, 11, 1)
    with raising(ValueError, "get_into from past the end"):
        bench.driver.get_into(key, 11, bytearray(1))


@promise()
def reads_into_a_buffer(bench: Bench) -> None:
    """A restore reads into memory it uses again; bytes around the answer belong to others."""
    content = pattern(100_000)
    key = bench.put("into", content)
    buffer = bytearray(b"\xaa" * 70_000)
    same(bench.driver.get_into(key, 10_000, memoryview(buffer)[5:-5]), 69_990, "bytes read")
    same(bytes(buffer[5:-5]), content[10_000:79_990], "the buffer")
    same(bytes(buffer[:5] + buffer[-5:]), b"\xaa" * 10, "bytes around the buffer")


@promise()
def says_how_much_it_read_into_a_buffer(bench: Bench) -> None:
    """What is left in a reused buffer is another chunk; only the count tells."""
    key = bench.put("into", b"0123456789")
    buffer = bytearray(b"\xaa" * 8)
    same(bench.driver.get_into(key, 7, buffer), 3, "bytes read at the end")
    same(bytes(buffer), b"789" + b"\xaa" * 5, "the buffer")
    same(bench.driver.get_into(key, 10, buffer), 0, "bytes read from the very end")
    same(bench.driver.get_into(key, 0, bytearray()), 0, "bytes read into an empty buffer")


@promise(range_get)
def reads_scattered_ranges_of_a_large_object(bench: Bench) -> None:
    """A restore reads packs in pieces, from several threads, in the order of the volume."""
    content = pattern(8 * MIB)
    key = bench.put("large", content)
    offsets = [(index * 5_000_011) % (8 * MIB - 4_096) for index in range(64)]
    with open_pool(READER_COUNT, "reader") as pool:
        seen = list(pool.map(lambda offset: bench.driver.get(key, offset, 4_096), offsets))
    same(seen, [content[offset : offset + 4_096] for offset in offsets], "64 ranges of 8 MiB")


@promise()
def says_when_an_object_is_missing(bench: Bench) -> None:
    """Missing and unavailable lead to opposite deeds: one is damage, the other is patience."""
    key = bench.key("missing")
    bench.put("missing-not", b"a neighbour")
    with raising(ObjectMissing, "get"):
        bench.driver.get(key)
    with raising(ObjectMissing, "get of a range"):
        bench.driver.get(key, 5, 5)
    with raising(ObjectMissing, "get_into"):
        bench.driver.get_into(key, 0, bytearray(5))
    with raising(ObjectMissing, "stat"):
        bench.driver.stat(key)
    with raising(ObjectMissing, "stat of what is only the beginning of other keys"):
        bench.driver.stat(bench.prefix.rstrip("/"))


@promise()
def tells_the_size(bench: Bench) -> None:
    """Packs are proven complete by their size before a backup is committed."""
    for size_bytes in (0, 1, 65_537):
        key = bench.put(f"size-{size_bytes}", pattern(size_bytes))
        info = bench.driver.stat(key)
        same((info.key, info.size_bytes), (key, size_bytes), "stat")
