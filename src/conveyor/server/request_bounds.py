"""The bounds of the fields of requests, as JSON Schema, for the OpenAPI document.

They describe what is checked where a request is received (validation.py, job_intake.py) and in the
store. The bounds of the payloads themselves are in their types; here are those of the data in them,
which is stored and sent to clients as well, and must be readable there whatever it holds.
"""

from __future__ import annotations

from typing import Any, get_args

import msgspec

from ..client.options import CALLBACKS, LARGEST
from ..core.access import ID_LENGTH, Token
from ..core.bounds import BOUNDS as STORED
from ..core.bounds import CLASS_NAME_LIMIT, EARLIEST, LATEST, LONGEST
from ..core.files import CONTENT_LIMIT, FILE_NAME_LIMIT, FILES_LIMIT, PIECE, FileInfo, InputFile
from ..core.history import MINUTE
from ..core.job import DETAILS, Callback, Options, OutputChunk, ScheduleInfo, State, TaskDefaults
from ..core.names import NAME_LIMIT
from ..core.retry import MAX_STEPS, Exponential, Fixed, Steps
from ..core.retry_on import NAME as EXCEPTION_NAME
from ..core.trace_context import MAX_MEMBERS, STATE_LIMIT, TraceContext
from ..core.trace_context import MEMBER as TRACE_MEMBER
from ..store.history_reader import LONGEST_STEP
from ..store.http.history_payloads import AddMarkBody, QueueHistoryQuery
from ..store.http.list_queries import SUMMARY, CountQuery, FindQuery
from ..store.http.payloads import (
    BytesQuery,
    HintsQuery,
    LeadBody,
    PieceQuery,
    PruneBody,
    TickBody,
)
from ..store.http.wire import NewJobView
from ..store.messages import LONGEST_HOLD, HintKind, Want

Schema = dict[str, Any]

MAX_INTEGER = 2**63 - 1
# No NUL: no store can keep it.
NAME: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": NAME_LIMIT,
    "pattern": r"^[^\u0000]*$",
}
# A task of the application.
TASK: Schema = {**NAME, "pattern": r"^(?!conveyor\.)[^\u0000]*$"}
MOMENT: Schema = {"type": "number", "minimum": EARLIEST, "maximum": LATEST}
SECONDS: Schema = {"type": "number", "minimum": 0, "maximum": LONGEST}
COUNT: Schema = {"type": "integer", "minimum": 0, "maximum": LARGEST}
PRIORITY: Schema = {"type": "integer", "minimum": -LARGEST - 1, "maximum": LARGEST}
EXCEPTION: Schema = {
    "type": "string",
    "maxLength": CLASS_NAME_LIMIT,
    "pattern": f"^{EXCEPTION_NAME.pattern}$",
}
PAUSE: Schema = {"type": "number", "minimum": 0}
DIGEST: Schema = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
SIZE: Schema = {"type": "integer", "minimum": 0, "maximum": CONTENT_LIMIT}
TOKEN_ID: Schema = {"type": "string", "pattern": f"^[a-z0-9]{{{ID_LENGTH}}}$"}
# A part of a path, but not "." or "..".
_PART = r"([^/\u0000.]|\.[^/\u0000.]|\.\.[^/\u0000])[^/\u0000]*"
FILE_NAME: Schema = {
    "type": "string",
    "minLength": 1,
    "maxLength": FILE_NAME_LIMIT,
    "pattern": f"^{_PART}(/{_PART})*$",
}
BASE64 = "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"


def optional(schema: Schema) -> Schema:
    """Return the schema for a value that may be null."""
    return {"anyOf": [schema, {"type": "null"}]}


def comma_separated(names: list[str]) -> Schema:
    """Return the schema for a comma-separated list of some of these names."""
    one = f"({'|'.join(names)})?"
    return {"type": "string", "pattern": f"^{one}(,{one})*$"}


BOUNDS: dict[type[msgspec.Struct], dict[str, Schema]] = {
    NewJobView: {
        "task": NAME,
        "id": {"type": "string", "maxLength": NAME_LIMIT, "pattern": r"^[^\u0000]*$"},
        "args": {"type": "object"},
        "priority": PRIORITY,
        "run_at": optional(MOMENT),
        "delay": SECONDS,
        "callbacks": {"maxItems": len(CALLBACKS)},
    },
    Options: {
        "retries": COUNT,
        "retry_on": {"type": "array", "items": EXCEPTION, "maxItems": STORED["retry_on"].limit},
        "timeout": optional({**SECONDS, "exclusiveMinimum": 0}),
        "grace": SECONDS,
        "expires_at": optional(MOMENT),
        "key": optional(NAME),
        "postpone_limit": optional(SECONDS),
        "replaced_by": optional(NAME),
        "requires": {"type": "array", "items": NAME, "maxItems": STORED["requires"].limit},
        "crash_limit": COUNT,
        "output_limit": COUNT,
        "files": {"maxItems": FILES_LIMIT},
        "artifacts": {"type": "array", "items": FILE_NAME, "maxItems": FILES_LIMIT},
        "artifact_limit": {"type": "integer", "minimum": 0, "maximum": 2**53 - 1},
    },
    TraceContext: {
        "parent": {
            "type": "string",
            "pattern": "^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$",
        },
        "state": {
            "type": "string",
            "maxLength": STATE_LIMIT,
            "pattern": f"^({TRACE_MEMBER}(,{TRACE_MEMBER}){{0,{MAX_MEMBERS - 1}}})?$",
        },
    },
    OutputChunk: {"data": {"type": "string", "contentEncoding": "base64", "pattern": BASE64}},
    Fixed: {"seconds": PAUSE},
    Exponential: {
        "first": PAUSE,
        "factor": {"type": "number", "minimum": 1, "maximum": 1000},
        "longest": PAUSE,
        "jitter": {"type": "number", "minimum": 0, "maximum": 1},
    },
    Steps: {"seconds": {"type": "array", "items": PAUSE, "minItems": 1, "maxItems": MAX_STEPS}},
    InputFile: {"name": FILE_NAME, "digest": DIGEST, "size": SIZE},
    FileInfo: {"name": FILE_NAME, "digest": DIGEST, "size": SIZE},
    Want: {"queue": NAME, "limit": {"type": "integer", "minimum": 0, "maximum": MAX_INTEGER}},
    Callback: {"task": TASK, "parameter": NAME, "queue": NAME, "priority": PRIORITY},
    TaskDefaults: {
        "name": NAME,
        "queue": NAME,
        "priority": PRIORITY,
        "callbacks": {"maxItems": len(CALLBACKS)},
    },
    ScheduleInfo: {
        "name": NAME,
        "cron": {"type": "string", "maxLength": STORED["cron"].limit},
        "timezone": {"type": "string", "maxLength": STORED["timezone"].limit},
        "next_at": MOMENT,
    },
    TickBody: {"next_at": MOMENT},
    Token: {
        "id": TOKEN_ID,
        "name": {"type": "string", "maxLength": STORED["token"].limit},
        "digest": {"type": "string", "maxLength": STORED["digest"].limit},
        "queues": {"type": "array", "items": NAME, "maxItems": STORED["queues"].limit},
        "created_at": MOMENT,
        "expires_at": optional(MOMENT),
        "revoked_at": optional(MOMENT),
    },
    PruneBody: {"retention": {"propertyNames": {"enum": list(State)}}},
    PieceQuery: {"offset": SIZE},
    BytesQuery: {"offset": SIZE, "limit": {"type": "integer", "minimum": 0, "maximum": PIECE}},
    LeadBody: {"hold": {"type": "number", "minimum": 0, "maximum": LONGEST_HOLD}},
    CountQuery: {"states": comma_separated(list(State))},
    FindQuery: {
        "states": comma_separated(list(State)),
        "include": comma_separated([*sorted(DETAILS), SUMMARY]),
    },
    QueueHistoryQuery: {
        "since": optional(MOMENT),
        "until": optional(MOMENT),
        "step": {"minimum": MINUTE, "maximum": LONGEST_STEP, "multipleOf": MINUTE},
    },
    # One line; what else is not printable, no pattern can say.
    AddMarkBody: {"text": {"pattern": r"^[^\u0000-\u001f\u007f-\u009f]*$"}},
    HintsQuery: {"kinds": comma_separated(list(get_args(HintKind)))},
}

# What cannot be said of one field: a job has a time or a delay.
EXCLUDED: dict[type[msgspec.Struct], Schema] = {
    NewJobView: {
        "required": ["run_at", "delay"],
        "properties": {"run_at": {"type": "number"}, "delay": {"exclusiveMinimum": 0}},
    },
}

# Names in paths.
PATH: dict[str, Schema] = {
    "queue": NAME,
    "worker": NAME,
    "digest": DIGEST,
}
