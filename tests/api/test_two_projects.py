"""Two projects know nothing of each other: one is told the same whether the other is there."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path
from typing import Any, cast

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backupcore.service import Service
from tests.api.conftest import B, Client, Shelf, number, opened

MEMBER_IDS = [number(value) for value in range(1, 4)]
FOREIGN_IDS = [number(value) for value in range(50, 53)]
_RANDOM = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}|"
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}"
)

ids = st.sampled_from([*MEMBER_IDS, *FOREIGN_IDS])
queries = st.one_of(
    st.sampled_from(["", "?all_tenants=1", "?with_count=1&limit=1", "?limit=2&sort=name:asc"]),
    ids.map(lambda found: f"?marker={found}"),
    ids.map(lambda found: f"?volume_id={found}"),
)
kinds = st.sampled_from(["backups", "volumes", "snapshots"])
steps = st.one_of(
    st.tuples(st.just("GET"), st.builds("/{}/detail{}".format, kinds, queries), st.none()),
    st.tuples(st.just("GET"), st.builds("/{}/{}".format, kinds, ids), st.none()),
    st.tuples(st.just("DELETE"), st.builds("/{}/{}".format, kinds, ids), st.none()),
    st.tuples(
        st.just("POST"),
        st.just("/backups"),
        st.builds(
            lambda volume, snapshot, incremental: {
                "backup": {
                    "volume_id": volume, "snapshot_id": snapshot, "incremental": incremental,
                }
            },
            ids, st.none() | ids, st.booleans(),
        ),
    ),
    st.tuples(
        st.just("POST"),
        ids.map(lambda found: f"/backups/{found}/restore"),
        st.builds(lambda volume: {"restore": {"volume_id": volume}}, st.none() | ids),
    ),
    st.tuples(st.just("POST"), st.just("/volumes"), st.just({"volume": {"size": 1}})),
    st.tuples(
        st.just("GET"), st.sampled_from(["/limits", f"/os-quota-sets/{B}?usage=1"]), st.none()
    ),
)  # fmt: skip


def _fill(service: Service, row_ids: list[str], project: str | None = None) -> None:
    shelf = Shelf(service)
    given = {} if project is None else {"project": project}
    for row_id in row_ids:
        shelf.volume(row_id, **given)
        shelf.snapshot(row_id, row_id, **given)
        shelf.backup(row_id, row_id, **given, name=f"of {row_id}")


def _told(client: Client, sequence: list[tuple[str, str, Any]]) -> list[tuple[int, str]]:
    """Return what each request is answered, random ids and times by the order they came in."""
    seen: dict[str, str] = {}
    kept = {*MEMBER_IDS, *FOREIGN_IDS}

    def name(found: re.Match[str]) -> str:
        text = found[0]
        return text if text in kept else seen.setdefault(text, f"<{len(seen)}>")

    answers = [client.send(*step) for step in sequence]
    return [(answer.status_code, _RANDOM.sub(name, answer.text)) for answer in answers]


@settings(
    max_examples=10,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=cast(Any, list(HealthCheck)),
)
@given(sequence=st.lists(steps, min_size=4, max_size=12))
def test_what_a_project_is_told_does_not_depend_on_another(
    tmp_path_factory: Any, sequence: list[tuple[str, str, Any]]
) -> None:
    told = []
    for has_neighbour in (False, True):
        folder: Path = tmp_path_factory.mktemp("project")
        with ExitStack() as stack:
            service = stack.enter_context(opened(folder, quotas={"backups": 5, "volumes": 5}))
            if has_neighbour:
                _fill(service, FOREIGN_IDS, B)
            _fill(service, MEMBER_IDS)
            told.append(_told(Client(service, token="member", version="3.64"), sequence))
    assert told[0] == told[1]
