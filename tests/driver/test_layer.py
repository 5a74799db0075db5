from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC

import pytest

from backupcore import errors
from backupcore.driver import Buffer, ObjectInfo, Role, check_key, check_prefix, is_key
from backupcore.driver.layer import Checked, Counted, Layer, OperationCount, ReadOnly
from backupcore.driver.memory import MemoryDriver
from backupcore.errors import InvalidKey, ObjectMissing, Refused
from backupcore.url import Url


class Recording(MemoryDriver):
    """Accepts any name and remembers it, as a careless plugin does."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.parts: Sequence[Buffer] = ()
        self.foreign: list[str] = []
        self.is_closed = False

    def put(
        self,
        key: str,
        parts: Sequence[Buffer],
        *,
        if_absent: bool = False,
        role: Role = Role.DATA,
    ) -> None:
        self.seen.append(key)
        self.parts = parts

    def get(self, key: str, offset: int = 0, length: int | None = None) -> bytes:
        self.seen.append(key)
        return b""

    def get_into(self, key: str, offset: int, buffer: Buffer) -> int:
        self.seen.append(key)
        return 0

    def stat(self, key: str) -> ObjectInfo:
        self.seen.append(key)
        return ObjectInfo(key, 0)

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        self.seen.append(prefix)
        yield from (ObjectInfo(key, 0) for key in self.foreign)

    def delete(self, keys: Iterable[str]) -> None:
        self.seen.extend(keys)

    def close(self) -> None:
        self.is_closed = True


def test_no_refused_key_passes() -> None:
    below = Recording()
    driver = Checked(below)
    for call in (
        lambda: driver.put("../x", [b""]),
        lambda: driver.get("/x"),
        lambda: driver.get_into("a//b", 0, bytearray(1)),
        lambda: driver.stat("A"),
        lambda: driver.list("../"),
        lambda: driver.delete(["fine", "not fine"]),
    ):
        with pytest.raises(InvalidKey):
            call()
    assert below.seen == []


def test_names_that_are_no_keys_are_not_listed() -> None:
    below = Recording()
    below.foreign = ["data/1", "README.txt", "lost+found/x", "data//2", "data/2"]
    assert [info.key for info in Checked(below).list()] == ["data/1", "data/2"]


def test_layers_hand_on_the_very_same_parts() -> None:
    below = Recording()
    parts: list[Buffer] = [b"a", memoryview(b"b")]
    Checked(Counted(Layer(below))).put("k", parts)
    assert below.parts is parts


def test_closing_a_layer_closes_what_is_below() -> None:
    below = Recording()
    with Checked(Counted(below)):
        pass
    assert below.is_closed


def test_a_read_only_store_refuses_puts() -> None:
    with pytest.raises(errors.ReadOnly, match="k: not stored"):
        ReadOnly(MemoryDriver()).put("k", [b"x"])


def test_a_read_only_store_refuses_deletions() -> None:
    with pytest.raises(errors.ReadOnly):
        ReadOnly(MemoryDriver()).delete(["k"])


def test_a_read_only_store_reads() -> None:
    memory = MemoryDriver()
    memory.put("k", [b"xyz"])
    driver = ReadOnly(memory)
    buffer = bytearray(2)
    assert driver.get_into("k", 1, buffer) == 2
    assert (driver.get("k"), driver.stat("k").size_bytes, bytes(buffer)) == (b"xyz", 3, b"yz")
    assert [info.key for info in driver.list("k")] == ["k"]


def test_calls_and_bytes_are_counted() -> None:
    driver = Counted(MemoryDriver())
    driver.put("k", [b"123", bytearray(4)])
    driver.get("k", 5)
    driver.get_into("k", 0, bytearray(100))
    driver.stat("k")
    assert len(list(driver.list())) == 1
    driver.delete(["k"])
    assert driver.report() == {
        "put": OperationCount(1, 0, 7),
        "get": OperationCount(2, 0, 9),
        "stat": OperationCount(1),
        "list": OperationCount(1),
        "delete": OperationCount(1),
    }


def test_errors_are_counted() -> None:
    driver = Counted(MemoryDriver())
    with pytest.raises(ObjectMissing):
        driver.get("missing")
    assert driver.report()["get"] == OperationCount(1, 1, 0)


def test_counting_loses_nothing_between_threads() -> None:
    driver = Counted(MemoryDriver())

    def work() -> None:
        for _ in range(300):
            driver.put("k", [b"12"])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert driver.report()["put"] == OperationCount(1_200, 0, 2_400)


@pytest.mark.parametrize("prefix", ["", "a", "a/", "a/b.", "a/b-"])
def test_a_beginning_of_a_key_is_a_prefix(prefix: str) -> None:
    assert check_prefix(prefix) == prefix


@pytest.mark.parametrize("prefix", ["/", "a//", ".", "a/.", "A", "../", "a" * 513])
def test_what_no_key_starts_with_is_no_prefix(prefix: str) -> None:
    with pytest.raises(InvalidKey):
        check_prefix(prefix)


def test_a_part_of_a_key_is_no_longer_than_a_file_name() -> None:
    assert is_key("a" * 255)
    with pytest.raises(InvalidKey, match="255"):
        check_key("a" * 256)


def test_memory_tells_when_an_object_was_stored() -> None:
    driver = MemoryDriver()
    driver.put("k", [b""])
    modified = driver.stat("k").modified
    assert modified is not None
    assert modified.tzinfo is UTC


def test_an_offset_past_the_end_of_memory_is_an_error() -> None:
    driver = MemoryDriver()
    driver.put("k", [b"abc"])
    with pytest.raises(ValueError, match="past the end"):
        driver.get("k", 4)


def test_memory_takes_no_options() -> None:
    url = Url.parse("memory:?size=1", default_scheme="posix")
    with pytest.raises(Refused, match="size"):
        url.take_options()
