"""The OpenAPI document is valid, and responses match it whatever the request."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from openapi_spec_validator import validate
from served import OpenAuthenticator, Serving

from conveyor.server.openapi import openapi
from conveyor.store.http.api import HINTS, PREFIX, SERVER_CALLS, STORE_CALLS
from conveyor.store.memory.store import MemoryStore
from conveyor.store.messages import HintKind
from conveyor.store.protocol import Store
from conveyor.store.sqlite.store import SqliteStore

DOCUMENT: dict[str, Any] = json.loads(openapi("1"))
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
# A stream does not end, so there is no answer to look at.
OPERATIONS = [
    found.ok() for found in SCHEMA.get_all_operations() if found.ok().path != PREFIX + HINTS.path
]
CHECKS = (
    schemathesis.checks.not_a_server_error,
    schemathesis.specs.openapi.checks.status_code_conformance,
    schemathesis.specs.openapi.checks.content_type_conformance,
    schemathesis.specs.openapi.checks.response_schema_conformance,
)


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Serving]]:
    """Return a server for each kind of store. Generating requests takes longer than sending them,
    so both get the same ones.
    """
    file = tmp_path_factory.mktemp("api") / "jobs.db"
    stores: list[Store] = [MemoryStore(), SqliteStore(file, durability="normal")]
    made = [Serving(store, authenticator=OpenAuthenticator(store)) for store in stores]
    yield made
    for each in (*made, *stores):
        each.close()


def test_the_document_is_valid() -> None:
    validate(DOCUMENT)


def test_the_document_has_every_call_and_no_others() -> None:
    written = {
        (operation["operationId"], method.upper(), path.removeprefix(PREFIX))
        for path, methods in DOCUMENT["paths"].items()
        for method, operation in methods.items()
    }
    calls = [*STORE_CALLS.values(), *SERVER_CALLS]
    known = {(call.name, call.method, call.path) for call in calls}
    assert written == known | {("health", "GET", "/health")}
    for call in calls:
        named = DOCUMENT["paths"][PREFIX + call.path][call.method.lower()]["parameters"]
        in_path = {each["name"] for each in named if each["in"] == "path"}
        assert in_path == set(re.findall(r"\{(\w+)\}", call.path))


def test_requests_are_closed_and_bounded_and_responses_may_grow() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    sent, returned = schemas["OptionsInput"], schemas["Options"]
    assert sent["additionalProperties"] is False
    assert "additionalProperties" not in returned
    assert sent["properties"]["retries"] == {
        "type": "integer", "format": "int64", "minimum": 0, "maximum": 2**31 - 1, "default": 0,
    }  # fmt: skip
    assert sent["properties"]["files"]["maxItems"] == 1000
    assert sent["properties"]["files"]["items"] == {"$ref": "#/components/schemas/InputFileInput"}
    fixed = "#/components/schemas/FixedInput"
    assert sent["properties"]["backoff"]["discriminator"]["mapping"]["fixed"] == fixed
    assert returned["properties"]["retries"] == {"type": "integer", "format": "int64", "default": 0}
    assert schemas["Lease"]["properties"]["lease"]["maximum"] == 2**63 - 1
    assert set(get_args(HintKind)) == set(schemas["Hint"]["properties"]["kind"]["enum"])
    for name, schema in schemas.items():
        assert schema["title"] == name
        assert not any(isinstance(each.get("default"), dict | list) for each in fields(schema))


def fields(schema: dict[str, Any]) -> list[dict[str, Any]]:
    return list(schema.get("properties", {}).values())


def test_only_lists_that_are_paged_have_a_cursor() -> None:
    paged = {
        operation["operationId"]
        for methods in DOCUMENT["paths"].values()
        for operation in methods.values()
        if "Next-Cursor" in operation["responses"].get("200", {}).get("headers", {})
    }
    assert paged == {"find", "output", "tokens", "actions"}


@pytest.mark.parametrize(
    "operation", OPERATIONS, ids=lambda each: each.definition.raw["operationId"]
)
def test_responses_match_the_document(operation: Any, servers: list[Serving]) -> None:
    @seed(1)
    @settings(
        max_examples=8,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(), job=st.sampled_from(["a", "b"]))
    def keeps(case: Any, job: str) -> None:
        # Some of what there is has to be met: names at random would hardly ever be known.
        for name in ("job_id", "queue", "name", "worker"):
            if name in (case.path_parameters or {}) and job == "a":
                case.path_parameters[name] = job
        if isinstance(case.body, dict) and "wait" in case.body:
            case.body["wait"] = 0.01
        for server in servers:
            case.call_and_validate(base_url=server.url, checks=CHECKS, timeout=60)

    keeps()
