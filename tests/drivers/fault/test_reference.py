"""The reference of faults says what is tested here, no more and no less."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.drivers.fault.case import BACKUPS, RESTORES, Case
from tests.drivers.fault.stage import URLS

REFERENCE = Path(__file__).resolve().parents[3] / "docs/reference/store-faults.md"


def rows(cases: Sequence[Case]) -> list[str]:
    """Return a table's rows: the promise, then for each store how the operation ends."""
    outcomes: dict[str, dict[str, str]] = {}
    for case in cases:
        ends = f"`{case.fails.__name__}`" if case.fails else "completes"
        outcomes.setdefault(case.promise, {}).update(dict.fromkeys(case.stores, ends))
    return [
        " | ".join([f"| {promise}", *(found.get(store, "–") for store in URLS)]) + " |"
        for promise, found in outcomes.items()
    ]


@pytest.mark.parametrize(("title", "cases"), [("backup", BACKUPS), ("restore", RESTORES)])
def test_the_reference_has_a_row_for_every_case(title: str, cases: Sequence[Case]) -> None:
    stores = " | ".join(f"`{store}:`" for store in URLS)
    head = [f"| in a {title} | {stores} |", "|---|" + "---|" * len(URLS)]
    wanted = "\n".join([*head, *rows(cases)])
    assert wanted in REFERENCE.read_text(), wanted
