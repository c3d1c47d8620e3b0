"""The OpenAPI document is valid and complete. Requests made from it: test_schemathesis.py."""

from __future__ import annotations

import json
import re
from typing import Any, get_args

from openapi_spec_validator import validate

from conveyor.server.openapi import openapi
from conveyor.store.http.api import PREFIX, SERVER_CALLS, STORE_CALLS
from conveyor.store.messages import HintKind

DOCUMENT: dict[str, Any] = json.loads(openapi("1"))


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
    assert schemas["LeaseInput"]["properties"]["lease"]["maximum"] == 2**63 - 1
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
    of_jobs = {"find", "history", "attempts", "output"}
    assert paged == of_jobs | {"tokens", "actions", "counts", "workers", "schedules", "marks"}


def test_what_a_query_must_have_is_required() -> None:
    paths = json.loads(openapi("1"))["paths"]
    parameters = paths[f"{PREFIX}/jobs/{{job_id}}/output/search"]["get"]["parameters"]
    required = {each["name"] for each in parameters if each["required"]}
    assert required == {"job_id", "text"}


def test_a_list_of_a_fixed_length_has_one_schema_of_its_items_if_they_are_alike() -> None:
    schema = json.loads(openapi("1"))["components"]["schemas"]["Acted"]["properties"]["jobs"]
    assert schema["items"] == {
        "type": "array", "minItems": 2, "maxItems": 2, "items": {"type": "string"},
    }  # fmt: skip
