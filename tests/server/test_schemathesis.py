"""Requests made from the OpenAPI document, alone and in sequences, pass every check."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

import msgspec
import pytest
import schemathesis
from calls import new, put
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from raw_http import WORKER
from schemathesis import GenerationMode
from schemathesis.config._checks import PositiveDataAcceptanceConfig
from schemathesis.config._phases import InferenceConfig
from schemathesis.specs.openapi.checks import use_after_free
from served import OpenAuthenticator, Serving

from conveyor.core.access import issue_token
from conveyor.core.bulk import changeable_states
from conveyor.core.job import ScheduleInfo, State, WorkerInfo
from conveyor.core.storable import NOT_OF_CALLBACKS
from conveyor.errors import UsageError
from conveyor.server.openapi import openapi
from conveyor.store.http.api import HINTS, PREFIX, STORE_CALLS
from conveyor.store.memory.store import MemoryStore
from conveyor.store.protocol import Store
from conveyor.store.sqlite.store import SqliteStore
from conveyor.testing import FakeClock

SCHEMA = schemathesis.openapi.from_dict(json.loads(openapi("1")))
SCHEMA.config.checks.positive_data_acceptance = PositiveDataAcceptanceConfig(
    expected_statuses=["2xx", "401", "403", "404", "409", "413", "429"]
)
# Only what the document links: a token that was revoked can still be read, for instance.
SCHEMA.config.phases.stateful.inference = InferenceConfig(algorithms=[])
# A stream does not end, so there is no answer to look at.
OPERATIONS = [
    found.ok() for found in SCHEMA.get_all_operations() if found.ok().path != PREFIX + HINTS.path
]
QUICKLY: dict[str, Any] = {
    "database": None,
    "deadline": None,
    "phases": [Phase.generate],
    "suppress_health_check": list(HealthCheck),
}
EMPTY = sha256(b"").hexdigest()
# Whose name is in the path and in the body.
NAMED = {"beat": ("worker", "info", "id"), "put_schedule": ("name", "schedule", "name"),
         "add_token": ("token_id", "token", "id")}  # fmt: skip
TIMES = {"cron": "0 3 * * *", "timezone": "Europe/Berlin"}


def name_of(operation: Any) -> str:
    return str(operation.definition.raw["operationId"])


def can_be_invalid(operation: Any) -> bool:
    """Whether a request can break a rule of the document: it has more than free names in a path."""
    raw = operation.definition.raw
    bounded = [each for each in raw.get("parameters", []) if each["in"] == "query"]
    return bool(bounded) or "application/json" in raw.get("requestBody", {}).get("content", {})


INVALID = [each for each in OPERATIONS if can_be_invalid(each)]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Serving]]:
    """Return a server for each kind of store. Generating requests takes longer than sending them,
    so both get the same ones.
    """
    stores: list[Store] = [memory(), sqlite(tmp_path_factory.mktemp("api"))]
    made = [serve(store) for store in stores]
    yield made
    for each in (*made, *stores):
        each.close()


def sqlite(folder: Path) -> SqliteStore:
    path = folder / f"{uuid4()}.db"
    return SqliteStore(path, clock=FakeClock(), durability="normal", draw=always)


def memory() -> MemoryStore:
    return MemoryStore(FakeClock(), draw=always)


def always() -> float:
    return 0.5


def serve(store: Store) -> Serving:
    """Serve a new store with something in it."""
    fill(store)
    return Serving(store, authenticator=OpenAuthenticator(store))


def fill(store: Store) -> None:
    """Put something of each kind into a store, for lists that lead to other calls.

    It is the same each time, and so are time and chance: a sequence that Hypothesis repeats must
    meet what it met before.
    """
    store.write_content(EMPTY, 0, b"", last=True).result()
    put(store, *(new(id=f"job-{number}", queue="a") for number in range(5)))
    # The first one that `find` lists has ended: only such a job can be retried and deleted.
    assert store.cancel("job-4", reason="").result()
    schedule = ScheduleInfo(name="s", missed="skip", next_at=1.0, **TIMES)
    store.put_schedule(schedule).result()
    store.beat(msgspec.convert({"id": "w", **WORKER}, WorkerInfo)).result()
    store.add_token(issue_token("t", ["read"], now=0.0, random_bytes=bytes)[1]).result()


def adapt(case: Any) -> None:
    """Keep the rules that no schema can express: what is stored, and what belongs together."""
    if name_of(case.operation) == "queue_history" and "since" in case.query:
        case.query["until"] = case.query["since"]  # in order, and not too many steps apart
    if isinstance(case.body, dict | list):
        case.body = with_integers(case.body)
    if not isinstance(case.body, dict):
        if name_of(case.operation) == "write_content":  # random bytes have another digest
            case.query = {"offset": 0}
        return
    body = case.body
    if isinstance(body.get("wait"), int | float) and body["wait"] > 0:
        body["wait"] = 0.01
    path, part, field = NAMED.get(name_of(case.operation), ("", "", ""))
    if part and isinstance(body.get(part), dict):
        body[part][field] = unquote(case.path_parameters[path])
    for want in listed(body, "wants"):
        want["queue"] = "a"
    if isinstance(body.get("schedule"), dict):
        body["schedule"].update(TIMES)
    if isinstance(body.get("file"), dict):
        body["file"].update(digest=EMPTY, size=0)
    adapt_jobs(body)
    adapt_filter(body)
    if name_of(case.operation) == "add_mark" and isinstance(body.get("text"), str):
        body["text"] = "".join(filter(str.isprintable, body["text"])).strip() or "x"


def adapt_jobs(body: dict[str, Any]) -> None:
    for each in (*listed(body, "jobs"), *listed(body, "tasks")):
        if isinstance(each.get("options"), dict):
            each["options"].pop("files", None)
            each["options"].pop("artifacts", None)
            adapt_conflict(each["options"])
        if "callbacks" in each:
            each["callbacks"] = callbacks_of(each)


def adapt_filter(body: dict[str, Any]) -> None:
    """Let an action have jobs that it can change."""
    which = body.get("filter")
    if isinstance(which, dict) and which.get("states"):
        try:
            changeable_states(body.get("action", "cancel"), set(map(State, which["states"])))
        except UsageError:
            del which["states"]


def adapt_conflict(options: dict[str, Any]) -> None:
    """Let only a job with a key say what becomes of its holder."""
    if options.get("key") is None:
        options.pop("on_conflict", None)
        options.pop("postpone_limit", None)
    elif options.get("postpone_limit") is not None:
        options["on_conflict"] = "postpone"


def callbacks_of(each: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the callbacks of a job or task: one for each end, without what only jobs can have."""
    made = {callback["on"]: callback for callback in listed(each, "callbacks")}
    for callback in made.values():
        for name in NOT_OF_CALLBACKS:
            callback.get("options", {}).pop(name, None)
    return list(made.values())


def listed(body: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = body.get(name)
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def with_integers(value: Any) -> Any:
    """Return data with 2 for 2.0: JSON Schema takes them for the same, other programs do not."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    if isinstance(value, dict):
        return {key: with_integers(each) for key, each in value.items()}
    return [with_integers(each) for each in value] if isinstance(value, list) else value


def check_valid(operation: Any, servers: list[Serving], examples: int) -> None:
    @seed(1)
    @settings(max_examples=examples, **QUICKLY)
    @given(case=operation.as_strategy(), known=st.booleans())
    def keeps(case: Any, known: bool) -> None:
        # Some of what there is has to be met: names at random would hardly ever be known.
        for name in {"job_id", "queue", "name", "worker"} & set(case.path_parameters or {}):
            case.path_parameters[name] = "a" if known else case.path_parameters[name]
        adapt(case)
        for server in servers:
            case.call_and_validate(base_url=server.url, timeout=60)

    keeps()


def check_invalid(operation: Any, server: Serving, examples: int) -> None:
    @seed(1)
    @settings(max_examples=examples, **QUICKLY)
    @given(case=operation.as_strategy(generation_mode=GenerationMode.NEGATIVE))
    def keeps(case: Any) -> None:
        case.call_and_validate(base_url=server.url, timeout=60)

    keeps()


def run_sequences(
    open_store: Callable[[], Store], examples: int, steps: int, *, derandomize: bool = False
) -> set[str]:
    """Run sequences of calls, each with what an earlier one returned; return the calls made.

    Each sequence has a store of its own: what it draws depends on what the server returns.
    """
    called: set[str] = set()
    machine: Any = SCHEMA.as_state_machine()

    class Workflow(machine):  # type: ignore[misc]
        def setup(self) -> None:
            super().setup()
            self.store = open_store()
            self.server = serve(self.store)

        def teardown(self) -> None:
            super().teardown()
            self.server.close()
            self.store.close()

        def get_call_kwargs(self, case: Any) -> dict[str, Any]:
            return {"base_url": self.server.url, "timeout": 60}

        def before_call(self, case: Any) -> None:
            adapt(case)

        def validate_response(self, response: Any, case: Any, *args: Any, **given: Any) -> None:
            if response.status_code < 300:
                called.add(name_of(case.operation))
            if name_of(case.operation) == "offered":  # null for every job that is not offered
                case.validate_response(
                    response, excluded_checks=[use_after_free], recorder=self.recorder
                )
                return
            super().validate_response(response, case, *args, **given)

    sequences = Workflow.TestCase()
    sequences.settings = settings(
        max_examples=examples, stateful_step_count=steps, derandomize=derandomize, **QUICKLY
    )
    sequences.runTest()
    return called


@pytest.mark.parametrize("operation", OPERATIONS, ids=name_of)
def test_a_valid_request_is_accepted_and_answered_as_documented(
    operation: Any, servers: list[Serving]
) -> None:
    check_valid(operation, servers, 5)


@pytest.mark.parametrize("operation", INVALID, ids=name_of)
def test_an_invalid_request_is_refused(operation: Any, servers: list[Serving]) -> None:
    check_invalid(operation, servers[0], 4)


def test_sequences_of_calls_pass_every_check() -> None:
    assert run_sequences(memory, 8, 8, derandomize=True)


@pytest.mark.slow
@pytest.mark.parametrize("operation", OPERATIONS, ids=name_of)
def test_many_requests_pass_every_check(operation: Any, servers: list[Serving]) -> None:
    check_valid(operation, servers, 150)
    if operation in INVALID:
        check_invalid(operation, servers[0], 150)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["memory", "SQLite"])
def test_many_sequences_reach_what_jobs_workers_and_tokens_offer(kind: str, tmp_path: Path) -> None:
    open_store = memory if kind == "memory" else partial(sqlite, tmp_path)
    called = run_sequences(open_store, 300, 15)
    assert called >= STORE_CALLS.keys() & {"insert", "get", "cancel", "retry", "delete", "claim"}
