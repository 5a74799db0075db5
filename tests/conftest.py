"""What holds for all tests: who shares a process, and what is too slow for every run."""

from __future__ import annotations

import pytest

# Loop devices are numbered by the kernel: two processes would take each other's.
LOOP_FIXTURES = frozenset({"bay", "shared_disk"})
# Many small requests to servers that are processes on this machine.
MANY = ("lists_while_what_was_listed_is_deleted", "puts_while_neighbours_are_deleted")
SLOW_PROMISES = {
    "TestSwift": (*MANY, "deletes_many_at_once"),
    "TestSftp": (*MANY, "deletes_many_at_once"),
    "TestGateway": MANY,
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if LOOP_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.xdist_group("loop"))
        kit, promise = item.nodeid.split("::")[-2], item.name.partition("[")[2][:-1]
        if promise in SLOW_PROMISES.get(kit, ()):
            item.add_marker(pytest.mark.long)
