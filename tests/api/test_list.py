"""Lists: order, bounds, links, filters; each as the contract has them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest

from backupcore.catalog.status import BackupStatus
from backupcore.service import Service
from tests.api.conftest import A, B, Client, Json, Shelf, fault, number

BEGIN = datetime(2026, 11, 23, tzinfo=UTC)
V, W, X = number(1), number(2), number(3)
PAGE_LIMIT = 1000
BOTH = (
    "The 'sort_key' and 'sort_dir' parameters are deprecated and cannot be used with the 'sort' "
    "parameter."
)
NEWEST = [14, 13, 12, 11, 10]
# number: (name, status, volume, size)
ROWS = {
    10: ("delta", BackupStatus.AVAILABLE, V, 3),
    11: ("alpha", BackupStatus.AVAILABLE, V, 1),
    12: ("charlie", BackupStatus.ERROR, W, 2),
    13: ("alphabet", BackupStatus.AVAILABLE, W, 2),
    14: (None, BackupStatus.CREATING, W, 2),
}


@pytest.fixture(scope="module")
def client(shared: Service) -> Client:
    """A client of a service with five backups of project A and one of B, numbers 10 to 15."""
    shelf = Shelf(shared)
    shelf.volume(V)
    shelf.volume(W)
    shelf.volume(X, B)
    for value, (name, status, volume_id, size) in ROWS.items():
        at = BEGIN + timedelta(hours=value)
        shelf.backup(number(value), volume_id, name=name, status=status, size=size, created_at=at)
    shelf.backup(number(15), X, B, name="bob's", created_at=BEGIN)
    return Client(shared, token="member")


def _numbers(document: Json) -> list[int]:
    return [int(row["id"][-12:]) for row in document["backups"]]


def _page(client: Client, query: str, **changes: str) -> Json:
    answer = client.get(f"/backups?{query}", **changes)
    assert answer.status_code == 200, answer.text
    document: Json = answer.json
    return document


@pytest.mark.parametrize(("query", "wanted"), [
    ("", NEWEST),
    ("sort_key=created_at", NEWEST),
    ("sort_dir=asc", NEWEST[::-1]),
    ("sort_key=name&sort_dir=asc", [14, 11, 13, 12, 10]),
    ("sort_key=display_name&sort_dir=desc", [10, 12, 13, 11, 14]),
    ("sort=name:asc", [14, 11, 13, 12, 10]),
    ("sort=display_name:asc", [14, 11, 13, 12, 10]),
    ("sort=size,created_at:asc", [10, 12, 13, 14, 11]),
    ("sort=size:asc,id:desc", [11, 14, 13, 12, 10]),
    ("sort=status:asc,created_at", [13, 11, 10, 14, 12]),
    ("sort_key=id&sort_dir=asc", [10, 11, 12, 13, 14]),
    ("sort_key=volume_id&sort_dir=asc", [10, 11, 12, 13, 14]),
    ("sort_key=updated_at", NEWEST),
    ("sort_key=container", NEWEST),
    ("limit=2", [14, 13]),
    ("limit=0", []),
    ("limit=5000", NEWEST),
    ("offset=3", [11, 10]),
    ("offset=99", []),
    ("offset=1&limit=1", [13]),
    (f"marker={number(12)}", [11, 10]),
    (f"marker={number(12)}&sort_dir=asc", [13, 14]),
    (f"marker={number(10)}", []),
    (f"marker={number(13)}&sort=size:desc,id:asc&limit=2", [14, 11]),
    ("name=alpha", [11]),
    ("name=nobody", []),
    ("status=available", [13, 11, 10]),
    ("status=nonsense", []),
    (f"volume_id={V}", [11, 10]),
    (f"volume_id={V}&status=error", []),
    ("all_tenants=1", NEWEST),
    ("all_tenants=0", NEWEST),
    ("bogus=1", NEWEST),
    ("container=elsewhere", NEWEST),
    (f"project_id={B}", NEWEST),
    ("name~=alpha", NEWEST),
    ("with_count=nonsense", NEWEST),
])  # fmt: skip
def test_a_member_finds_rows_in_order(client: Client, query: str, wanted: list[int]) -> None:
    assert _numbers(_page(client, query)) == wanted


@pytest.mark.parametrize("prefix", [f"/v2/{A}", f"/v3/{A}", "/v3"])
def test_details_come_in_the_same_order(client: Client, prefix: str) -> None:
    document = client.get("/backups/detail?sort=name:asc", prefix=prefix).json
    assert _numbers(document) == [14, 11, 13, 12, 10]


@pytest.mark.parametrize(("query", "wanted"), [
    ("all_tenants=1", [*NEWEST, 15]),
    ("all_tenants=true", [*NEWEST, 15]),
    ("all_tenants=False", NEWEST),
    (f"all_tenants=1&project_id={B}", [15]),
    (f"project_id={B}", []),
    ("container=volumebackups", NEWEST),
    ("size=2", [14, 13, 12]),
    ("size=many", []),
    ("is_incremental=false", NEWEST),
    ("is_incremental=maybe", []),
    ("created_at=2026-11-23T12:00:00.000000", [12]),
    ("created_at=noon", []),
    ("bogus=1", []),
    ("with_count=true", []),
    (f"id={number(11)}", [11]),
    ("display_name=delta", [10]),
])  # fmt: skip
def test_an_admin_filters_by_any_column(client: Client, query: str, wanted: list[int]) -> None:
    assert _numbers(_page(client, query, token="admin")) == wanted


@pytest.mark.parametrize(("query", "wanted"), [
    ("name~=alpha", [13, 11]),
    ("name~='alpha'", [13, 11]),
    ("name~=Alpha", []),
    ("name~=%25", []),
])  # fmt: skip
def test_from_3_34_a_part_of_a_name_is_enough(
    client: Client, query: str, wanted: list[int]
) -> None:
    assert _numbers(_page(client, query, version="3.34")) == wanted


@pytest.mark.parametrize(("query", "message"), [
    ("limit=-1", "limit param must be positive"),
    ("limit=x", "limit param must be an integer"),
    ("limit=1.5", "limit param must be an integer"),
    ("offset=-1", "offset must be >= 0"),
    ("offset=2147483648", "offset must be >= 0"),
    ("offset=x", "offset must be an integer"),
    ("sort_key=secret", "Invalid input received: Invalid sort key"),
    ("sort=name:asc,secret", "Invalid input received: Invalid sort key"),
    ("sort_dir=up", "Unknown sort direction, must be 'desc' or 'asc'."),
    ("sort=name:up", "Unknown sort direction, must be 'desc' or 'asc'."),
    ("sort=name&sort_key=name", BOTH),
    ("sort=name&sort_dir=asc", BOTH),
    ("all_tenants=zzz", "all_tenants must be a boolean, got 'zzz'."),
])  # fmt: skip
@pytest.mark.parametrize("path", ["/backups", "/backups/detail"])
def test_what_cannot_be_listed_is_400(client: Client, path: str, query: str, message: str) -> None:
    assert fault(client.get(f"{path}?{query}")) == ("badRequest", 400, message)


@pytest.mark.parametrize("row_id", [number(99), "x", number(15)])
def test_an_unknown_marker_is_404(client: Client, row_id: str) -> None:
    answer = client.get(f"/backups?marker={row_id}")
    assert fault(answer) == ("itemNotFound", 404, f"Backup {row_id} could not be found.")


@pytest.mark.parametrize("query", ["bogus=1", "container=x", f"project_id={B}", "zzz=2"])
def test_from_3_31_a_filter_that_is_not_the_members_is_400(client: Client, query: str) -> None:
    name = query.partition("=")[0]
    message = f"Invalid filters {name} are found in query options."
    assert fault(client.get(f"/backups?{query}", version="3.31"))[2] == message


@pytest.mark.parametrize(("query", "has_link"), [
    ("", False),
    ("limit=2", True),
    ("limit=4", True),
    ("limit=5", True),
    ("limit=6", False),
    ("limit=0", False),
    (f"limit=2&marker={number(12)}", True),
    (f"limit=2&marker={number(10)}", False),
    ("limit=2&name=nobody", False),
    ("limit=2&offset=4", False),
])  # fmt: skip
def test_a_link_to_the_next_page_is_there_exactly_when_the_page_is_full(
    client: Client, query: str, has_link: bool
) -> None:
    assert ("backups_links" in _page(client, query)) == has_link


@pytest.mark.parametrize("path", ["/backups", "/backups/detail"])
@pytest.mark.parametrize("prefix", [f"/v2/{A}", f"/v3/{A}", "/v3"])
def test_a_link_repeats_the_query_with_a_new_marker(client: Client, path: str, prefix: str) -> None:
    query = f"limit=1&sort=name:asc&status=available&marker={number(11)}"
    document = client.get(f"{path}?{query}", prefix=prefix).json
    link = document["backups_links"][0]
    assert (link["rel"], urlsplit(link["href"]).path) == ("next", f"{prefix}{path}")
    wanted = {"limit": ["1"], "sort": ["name:asc"], "status": ["available"]}
    assert parse_qs(urlsplit(link["href"]).query) == wanted | {"marker": [number(13)]}


@pytest.mark.parametrize(("query", "wanted"), [
    ("limit=2&sort=size", [14, 13, 12, 11, 10]),
    ("limit=1&offset=1", NEWEST[1:]),
    ("limit=2&offset=2&sort=name:asc", [13, 12, 10]),
])  # fmt: skip
def test_following_the_links_finds_every_row_once(
    client: Client, query: str, wanted: list[int]
) -> None:
    found = []
    while query:
        document = _page(client, query)
        found += _numbers(document)
        links = document.get("backups_links")
        query = urlsplit(links[0]["href"]).query if links else ""
    assert sorted(found) == sorted(wanted)


@pytest.mark.parametrize(("query", "count", "has_link"), [
    ("limit=1", 5, True),
    ("", 5, False),
    (f"limit=5&marker={number(12)}", 5, True),
    (f"limit=6&marker={number(12)}", 5, False),
    ("status=available", 3, False),
    ("limit=0", 5, False),
])  # fmt: skip
def test_from_3_45_the_rows_are_counted(
    client: Client, query: str, count: int, has_link: bool
) -> None:
    document = _page(client, f"with_count=true&{query}", version="3.45")
    assert (document["count"], "backups_links" in document) == (count, has_link)


def test_a_filter_that_nothing_can_fit_counts_nothing(client: Client) -> None:
    document = _page(client, "with_count=1&bogus=1", version="3.45", token="admin")
    assert document == {"backups": [], "count": 0}


def test_with_count_takes_a_boolean(client: Client) -> None:
    answer = client.get("/backups?with_count=zzz", version="3.45")
    assert fault(answer)[2] == "with_count must be a boolean, got 'zzz'."


def test_a_limit_over_the_operators_is_clamped(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert client.service.settings.api.page_limit_max == PAGE_LIMIT
    api = type(client.service.settings.api)(page_limit_max=2)
    monkeypatch.setattr(type(client.service.settings), "api", api)
    document = _page(client, "limit=4")
    assert (_numbers(document), "backups_links" in document) == ([14, 13], True)
    assert "backups_links" in _page(client, "")
