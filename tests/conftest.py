"""What holds for all tests: who shares a process, and what is too slow for every run."""

from __future__ import annotations

import pytest

# Loop devices are numbered by the kernel: two processes would take each other's.
LOOP_FIXTURES = frozenset({"bay", "shared_disk"})
# Many small requests to a Swift that is four processes on this machine.
SLOW_PROMISES = (
    "deletes_many_at_once",
    "lists_while_what_was_listed_is_deleted",
    "puts_while_neighbours_are_deleted",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if LOOP_FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.xdist_group("loop"))
        if "::TestSwift::" in item.nodeid and item.name.partition("[")[2][:-1] in SLOW_PROMISES:
            item.add_marker(pytest.mark.long)
