"""The OpenAPI document, and a generator of requests that holds the service to it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, cast

import jsonschema
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from backupcore.api import create_app
from backupcore.api.openapi import openapi_document
from backupcore.api.openapi.shape import SHAPES
from backupcore.api.route import ROUTES
from backupcore.api.wire.version import MAXIMUM
from backupcore.service import Service
from tests.api.conftest import A, Badges, Client, Shelf, number, opened

schemathesis = pytest.importorskip(
    "schemathesis", reason="no schemathesis: pip install 'backupcore[test]'"
)
from schemathesis.checks import CHECKS  # noqa: E402 - not without the above

NEWEST = f"volume {MAXIMUM[0]}.{MAXIMUM[1]}"
V, S, K = number(1), number(2), number(3)
IDS = {
    "project_id": A, "backup_id": K, "volume_id": V, "snapshot_id": S, "target_id": A,
    "type_id": "default",
}  # fmt: skip
# What the generator may not hold against the service, and why.
DISABLED = {
    "unsupported_method": "an unknown method is 404: the API has no 405",
    "positive_data_acceptance": "400 is also what does not fit the state of things",
    "ignored_auth": "the matrix of roles proves it call by call",
    "use_after_free": "a deletion ends after its answer",
    "ensure_resource_availability": "a backup is available later than its answer",
    "missing_required_header": "no header is required but the token",
    "negative_data_rejection": "a path may hold any text and a query any filter",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service with a volume, a snapshot and a backup."""
    quotas = {"volumes": 30, "snapshots": 30, "backups": 30}
    with opened(tmp_path_factory.mktemp("service"), quotas=quotas) as service:
        yield service


def _filled(service: Service) -> None:
    """Put the three things there that requests name, where they are gone."""
    client, shelf = Client(service), Shelf(service)
    if client.get(f"/volumes/{V}").status_code == 404:
        shelf.volume(V)
    if client.get(f"/snapshots/{S}").status_code == 404:
        shelf.snapshot(S, V)
    if client.get(f"/backups/{K}").status_code == 404:
        shelf.backup(K, V)


def _attack(service: Service, name: str, example_count: int) -> None:
    """Send generated requests of one call, half of them at things that are there."""
    app = create_app(service, Badges())
    schema = schemathesis.openapi.from_wsgi("/openapi.json", app)
    method, path = name.split()
    operation = schema[f"/v3/{{project_id}}{path}"][method]
    disabled = [check for check in CHECKS.get_all() if check.__name__ in DISABLED]
    modes = [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]
    cases = st.one_of([operation.as_strategy(generation_mode=mode) for mode in modes])

    @given(case=cases, is_there=st.booleans(), token=st.sampled_from(["member", "admin"]))
    @settings(
        max_examples=example_count,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=cast(Any, list(HealthCheck)),
    )
    def send(case: Any, is_there: bool, token: str) -> None:
        _filled(service)
        if is_there:
            case.path_parameters = {
                key: IDS.get(key, value) for key, value in (case.path_parameters or {}).items()
            }
        headers = {"X-Auth-Token": token, "OpenStack-API-Version": NEWEST}
        answer = case.call_and_validate(headers=headers, excluded_checks=disabled)
        assert answer.status_code >= 400 or not _has_bad_body(case)

    send()


def _has_bad_body(case: Any) -> bool:
    """Return whether the generator made a body that the document does not allow."""
    parts = {str(getattr(part, "value", part)): info for part, info in case.meta.components.items()}
    body = parts.get("body")
    return body is not None and body.mode is schemathesis.GenerationMode.NEGATIVE


@pytest.mark.no_cover  # a search of what others cover; being traced takes twice as long
@pytest.mark.parametrize("name", [route.name for route in ROUTES])
def test_generated_requests_are_answered_as_the_document_says(home: Service, name: str) -> None:
    _attack(home, name, 6)


@pytest.mark.long
@pytest.mark.parametrize("name", [route.name for route in ROUTES])
def test_many_generated_requests_are_answered_as_the_document_says(
    home: Service, name: str
) -> None:
    _attack(home, name, 400)


def test_the_document_names_every_call(home: Service) -> None:
    document = openapi_document(114_688)
    found = {
        operation["operationId"]
        for methods in document["paths"].values()
        for operation in methods.values()
    }
    assert found == {route.name for route in ROUTES}


def test_the_document_is_open_to_anybody(home: Service) -> None:
    answer = Client(home, token=None).get("/openapi.json", prefix="")
    assert (answer.status_code, answer.json["openapi"]) == (200, "3.1.0")


def test_every_shape_and_schema_is_one() -> None:
    for schema in openapi_document(1)["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_every_shape_is_somebodys_answer() -> None:
    assert set(SHAPES) == {route.answer for route in ROUTES if route.answer}


def test_the_page_is_open_to_anybody_and_loads_nothing(home: Service) -> None:
    answer = Client(home, token=None).get("/docs", prefix="")
    assert answer.headers["content-type"].startswith("text/html")
    assert re.findall(r"<script|<link|<img|@import|url\(|src=|https?://", answer.text) == []
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_the_page_shows_every_call(home: Service) -> None:
    text = Client(home, token=None).get("/docs", prefix="").text
    assert text.count("<details>") == len(ROUTES)
