"""Describes the HTTP API as an OpenAPI 3.1 document, made from the table of its calls."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from ..store.http.api import CALLS, HINTS, JSON, OWN, PACKED, PREFIX, Call
from ..store.http.payloads import Nothing
from ..store.http.problems import MEDIA, PROBLEMS, Problem

REFERENCE = "#/components/schemas/{name}"
# What any call may be answered with, beside its own refusals.
ALWAYS = ("usage", "unavailable", "internal")
GUARDED = ("unauthorized", "forbidden")
WITH_BODY = ("too_large", "too_slow", "not_json")
BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
ABOUT = (
    "Jobs for programs and agents on other machines. Times are Unix seconds, durations are "
    "seconds. Every error is a problem (RFC 9457) whose `code` is for programs. Send a token as "
    "`Authorization: Bearer cvy_…`."
)


def openapi(version: str) -> bytes:
    """Return the document, as JSON, for a version of Conveyor."""
    calls = [*CALLS.values(), *OWN]
    types: list[Any] = [Problem]
    types += [call.takes for call in calls if call.takes is not Nothing]
    types += [call.gives for call in calls if call.gives is not None]
    schemas, components = msgspec.json.schema_components(types, ref_template=REFERENCE)
    schema_of = dict(zip(map(repr, types), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for call in sorted(calls, key=lambda call: call.path):
        path = paths.setdefault(PREFIX + call.path, {})
        path[call.method.lower()] = _operation(call, schema_of, components)
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "Conveyor", "version": version, "description": ABOUT},
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        # A server that listens only on its own machine may want none.
        "security": [{"token": []}, {}],
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=1)


def refusals(call: Call) -> list[str]:
    """Return the codes of the problems that a call may be answered with."""
    codes = [*ALWAYS, *GUARDED, *call.refusals]
    if call.method != "GET":
        codes += WITH_BODY
    if any(name in call.path for name in ("{job_id}", "{offer}")):
        # To say whether a token may, what it is about is looked up.
        codes.append("not_found")
    return list(dict.fromkeys(codes))


def _operation(call: Call, schema_of: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    named = ", ".join([*call.scopes, "admin"])
    operation: dict[str, Any] = {
        "operationId": call.name,
        "summary": call.summary,
        "description": f"For tokens with the scope {named}.",
        "parameters": [_in_path(name) for name in re.findall(r"\{(\w+)\}", call.path)],
        "responses": _responses(call, schema_of),
    }
    if call.takes is Nothing:
        return operation
    schema = schema_of[repr(call.takes)]
    if call.in_query:
        whole = components[call.takes.__name__]
        operation["parameters"] += [
            {"name": name, "in": "query", "required": False, "schema": each}
            for name, each in whole["properties"].items()
        ]
        if call.raw == "takes":
            operation["requestBody"] = {"required": True, "content": BYTES}
    else:
        required = bool(components[call.takes.__name__].get("required"))
        content = {kind: {"schema": schema} for kind in (JSON, PACKED)[: 1 + call.packed]}
        operation["requestBody"] = {"required": required, "content": content}
    return operation


def _in_path(name: str) -> dict[str, Any]:
    schema = {"type": "string", "minLength": 1}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _responses(call: Call, schema_of: dict[str, Any]) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    if call is HINTS:
        text = {"application/x-ndjson": {"schema": {"type": "string"}}}
        responses["200"] = {"description": "Hints, one a line", "content": text}
    elif call.raw == "gives":
        responses["200"] = {"description": "Bytes", "content": BYTES}
    elif call.gives is None:
        responses["204"] = {"description": "Done"}
    else:
        content = {JSON: {"schema": schema_of[repr(call.gives)]}}
        responses["200"] = {"description": "Done", "content": content}
        if call.name == "insert":
            responses["202"] = {"description": "The queue is full; an offer", "content": content}
    for code in refusals(call):
        status, title, _ = PROBLEMS[code]
        known = responses.setdefault(
            str(status),
            {"description": "", "content": {MEDIA: {"schema": schema_of[repr(Problem)]}}},
        )
        known["description"] = "; ".join(filter(None, [known["description"], f"{title} ({code})"]))
        if code == "queue_full":
            known["headers"] = {
                name: {"schema": {"type": "integer"}}
                for name in ("Retry-After", "Queue-Depth", "Queue-Capacity")
            }
    return responses
