"""The HTTP API as an OpenAPI 3.1 document, generated from the table of calls."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import msgspec

from ..store.http.api import (
    CURSOR_HEADER,
    HINTS,
    JSON,
    METRICS,
    MSGPACK,
    PREFIX,
    SERVER_CALLS,
    STORE_CALLS,
    ApiCall,
)
from ..store.http.payloads import EmptyPayload
from ..store.http.problems import MEDIA, PROBLEMS, Problem
from ..store.messages import Hint
from .links import LINKS
from .request_bounds import PATH, Schema
from .schemas import Schemas, generate_schemas

# The codes of problems that any call may return, beside its own.
ALWAYS = ("usage", "unavailable", "internal")
ACCESS = ("unauthorized", "forbidden")
WITH_BODY = ("too_large", "too_slow", "not_json")
HEALTH = "/health"
BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
METRIC_TEXTS = {
    "text/plain": {"schema": {"type": "string"}},
    "application/openmetrics-text": {"schema": {"type": "string"}},
}
ABOUT = (
    "A job queue for programs and agents on other machines. Times are Unix seconds, durations are "
    "seconds. Every error is a problem (RFC 9457); programs should look at its `code`. Send a "
    "token as `Authorization: Bearer cvy_…`. Integers fit into 64 bits. A field that a response "
    "leaves out has its default: where no default is named, an empty list or object, or null."
)
# The lines of the stream of hints are no part of any schema, so their type is named here.
LINES = "Hints, one JSON object of the schema `Hint` per line; empty lines keep it alive"
CURSOR = (
    "Only if there are more entries: send it as `before` or `after` to get the next page. A page "
    "without it is the last one. What is not printable ASCII is percent-encoded: decode it first."
)


@cache
def openapi(version: str) -> bytes:
    """Return the document as JSON, for a version of Conveyor."""
    calls = [*STORE_CALLS.values(), *SERVER_CALLS]
    schemas = generate_schemas(
        [call.request for call in calls if call.request is not EmptyPayload],
        [Problem, Hint, *(call.response for call in calls if call.response is not None)],
    )
    paths: dict[str, dict[str, Any]] = {PREFIX + HEALTH: {"get": _health()}}
    for call in sorted(calls, key=lambda call: call.path):
        path = paths.setdefault(PREFIX + call.path, {})
        path[call.method.lower()] = _operation(call, schemas)
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "Conveyor", "version": version, "description": ABOUT},
        "paths": paths,
        "components": {
            "schemas": dict(sorted(schemas.components.items())),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        # A server that only this machine can reach may require no token.
        "security": [{"token": []}, {}],
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=1)


def problem_codes(call: ApiCall) -> list[str]:
    """Return the codes of the problems that a call may return."""
    codes = [*ALWAYS, *ACCESS, *call.problems]
    if call.method != "GET":
        codes += WITH_BODY
    if any(name in call.path for name in ("{job_id}", "{offer}")):
        # Authorization looks up what the call is about.
        codes.append("not_found")
    return list(dict.fromkeys(codes))


def _health() -> dict[str, Any]:
    status = {"type": "object", "properties": {"status": {"enum": ["ok"]}}, "required": ["status"]}
    return {
        "operationId": "health",
        "summary": "Show that the server answers",
        "description": "No token is needed.",
        "security": [{}],
        "responses": {"200": {"description": "Done", "content": {JSON: {"schema": status}}}},
    }


def _operation(call: ApiCall, schemas: Schemas) -> dict[str, Any]:
    scopes = " or ".join([*call.scopes, "admin"])
    operation: dict[str, Any] = {
        "operationId": call.name,
        "summary": call.summary,
        "description": f"Required scope: {scopes}.",
        "parameters": [_in_path(name) for name in re.findall(r"\{(\w+)\}", call.path)],
        "responses": _responses(call, schemas.responses),
    }
    if call.request is EmptyPayload:
        return operation
    schema = schemas.requests[repr(call.request)]
    whole = schemas.components[call.request.__name__]
    if call.in_query:
        operation["parameters"] += [
            {
                "name": name,
                "in": "query",
                "required": name in whole.get("required", []),
                "schema": _in_query(each),
            }
            for name, each in whole["properties"].items()
        ]
        if call.raw == "request":
            operation["requestBody"] = {"required": True, "content": BYTES}
    else:
        required = bool(whole.get("required"))
        content = {kind: {"schema": schema} for kind in (JSON, MSGPACK)[: 1 + call.accepts_msgpack]}
        operation["requestBody"] = {"required": required, "content": content}
    return operation


def _in_path(name: str) -> dict[str, Any]:
    schema = PATH.get(name, {"type": "string", "minLength": 1})
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _in_query(schema: Schema) -> Schema:
    """Return the schema of a parameter, which is left out instead of null."""
    match schema:
        case {"anyOf": [value, {"type": "null"}]}:
            return dict(value)
        case _:
            return schema


def _responses(call: ApiCall, schema_of: dict[str, Schema]) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    if call is HINTS:
        text = {"application/x-ndjson": {"schema": {"type": "string"}}}
        responses["200"] = {"description": LINES, "content": text}
    elif call is METRICS:
        responses["200"] = {"description": "Metrics", "content": METRIC_TEXTS}
    elif call.raw == "response":
        responses["200"] = {"description": "Bytes", "content": BYTES}
    elif call.response is None:
        responses["204"] = {"description": "Done"}
    else:
        content = {JSON: {"schema": schema_of[repr(call.response)]}}
        done: dict[str, Any] = {"description": "Done", "content": content}
        responses["200"] = done
        if call.cursor:
            header = {"description": CURSOR, "schema": {"type": "string"}}
            done["headers"] = {CURSOR_HEADER: header}
        if call.name == "insert":
            responses["202"] = {
                "description": "The queue is full; the request waits as an offer",
                "content": content,
            }
    for succeeded, response in responses.items():
        if links := LINKS.get((call.name, succeeded)):
            response["links"] = links
    for code in problem_codes(call):
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
