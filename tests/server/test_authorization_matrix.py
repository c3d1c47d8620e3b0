"""Every call with every scope, limit to a queue and owner of a worker: who may, and who may not.

What is expected is written down here, apart from the table of calls. A fault that is planted in the
server must show in exactly the cells that it concerns.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec
import pytest
from call_bodies import EMPTY, body_of
from calls import claim, new, put

from conveyor.core.access import SCOPES, Scope, Token, issue_token
from conveyor.server.application import Application
from conveyor.server.auth import Authenticator, Principal
from conveyor.server.authorization import Authorizer
from conveyor.store.http.api import PREFIX, SERVER_CALLS, STORE_CALLS, ApiCall
from conveyor.store.memory.store import MemoryStore
from conveyor.store.protocol import Store

CALLS: dict[str, ApiCall] = {call.name: call for call in (*STORE_CALLS.values(), *SERVER_CALLS)}
# The scopes of each call beside "admin", and what else a token must have:
#   queue   it may use the queue that the call is about
#   hidden  it may use the queue of the job or offer; to others that one does not exist
#   all     it is not limited to queues
#   worker  the worker is its own
#   lease   the job is held by a worker of its own
#   unlimited  it is not limited to queues, for a call that needs "enqueue"
#   elsewhere  it may also use the queue "elsewhere", so it is not limited to others
RIGHTS = """
insert          enqueue             queue
task_defaults   read enqueue
accepted        enqueue             hidden
withdraw        enqueue             hidden
claim           agent               queue worker
exchange        agent               queue worker lease
exchange_by     agent               queue worker
exchange_of     agent               queue lease
decline         agent               worker
settle          agent               lease
extend          agent               lease
extend_worker   agent               worker
write_output    agent               lease
set_progress    agent               lease
set_stopping    agent               lease
request_stack
stack           read                hidden
stack_requests  agent               worker
put_stack       agent               lease
get             read enqueue        hidden
find            read                all
find_in_queue   read                queue
history         read enqueue        hidden
output          read enqueue        hidden
ahead           read enqueue        hidden
offered         read enqueue        hidden
counts          read enqueue
queue_info      read enqueue        queue
check
cancel          enqueue             hidden
retry
delete
set_paused
stage
rescue          agent               worker
prune
beat            agent               worker
order           agent               worker
dismiss
leave           agent               worker
workers         read enqueue
put_tasks
put_schedule
schedules       read                all
pause_schedule
remove_schedule
tick
content         enqueue agent
write_content   enqueue agent
read_content    enqueue read agent
attach          agent               hidden lease
files           read enqueue        hidden
sweep_contents
load            read enqueue
load_of_queue   read enqueue        queue
lead
leader          read                all
queue_history   read                all
queue_history_of read               queue
marks           read                all
add_mark
overview        read                all
tokens
token
add_token
revoke_token
actions
note_action
attempts        read enqueue        hidden
job_counts      read                all
counts_in_queue read                queue
match           read                all
match_in_queue  read                queue
act             enqueue             queue
act_on_all      enqueue             unlimited
act_retrying
act_deleting
failures        read                all
failures_of     read                queue
failure         read                all
failure_of      read                queue
set_capacity
run_schedule
recent_jobs     read                all
why             read enqueue        hidden
job_args        read enqueue        hidden
copy_job        enqueue             hidden
copy_elsewhere  enqueue             hidden elsewhere
search_output   read enqueue        hidden
schedule_outlook read               all
scaler          read                all
suggest         read
suggest_of      read                queue
suggest_tasks   read                all
terms           enqueue read agent
scale           read                queue
metrics         read
hints           enqueue read agent
"""


class Cell(NamedTuple):
    """One call by one token. `is_foreign`: the worker and its job are another token's."""

    row: str
    scope: Scope | None
    queues: tuple[str, ...] = ()
    is_foreign: bool = False


class Right(NamedTuple):
    scopes: frozenset[str]
    needs: frozenset[str]


def parse_rights() -> dict[str, Right]:
    rights = {}
    for line in RIGHTS.strip().splitlines():
        row, *words = line.split()
        scopes = frozenset(words) & set(SCOPES)
        rights[row] = Right(scopes, frozenset(words) - scopes)
    return rights


ROWS = parse_rights()
NEEDS = {"queue", "hidden", "all", "worker", "lease", "unlimited", "elsewhere"}
CELLS = [
    Cell(row, scope, queues, is_foreign)
    for row, right in ROWS.items()
    for scope in (None, *SCOPES)
    for queues in ([()] if scope in (None, "admin") else [(), ("mine",), ("other",)])
    for is_foreign in ([False, True] if right.needs & {"worker", "lease"} else [False])
]


def expected(cell: Cell) -> str:
    right = ROWS[cell.row]
    if cell.scope is None:
        return "unauthorized"
    if cell.scope == "admin":
        return "allowed"
    if cell.scope in right.scopes and "hidden" in right.needs and cell.queues == ("other",):
        return "hidden"
    is_refused = (
        cell.scope not in right.scopes
        or ("queue" in right.needs and cell.queues == ("other",))
        or (bool({"all", "unlimited", "elsewhere"} & right.needs) and bool(cell.queues))
        or cell.is_foreign
    )
    return "forbidden" if is_refused else "allowed"


# Rows of calls that have more: with a queue in the query, or where only the worker (by) or only the
# lease (of) is another token's.
VARIANTS = {"find_in_queue": "find", "load_of_queue": "load", "queue_history_of": "queue_history",
            "exchange_by": "exchange", "exchange_of": "exchange",
            "counts_in_queue": "job_counts", "match_in_queue": "match",
            "act_on_all": "act", "act_retrying": "act", "act_deleting": "act",
            "failures_of": "failures", "failure_of": "failure", "copy_elsewhere": "copy_job",
            "suggest_of": "suggest", "suggest_tasks": "suggest"}  # fmt: skip
OF_QUEUE = ("find_in_queue", "load_of_queue", "queue_history_of", "scale", "counts_in_queue",
            "failures_of", "failure_of")  # fmt: skip
QUERIES = {
    **dict.fromkeys(OF_QUEUE, "queue=mine"),
    "search_output": "text=x",
    "suggest": "kind=queue",
    "suggest_of": "kind=task&queue=mine",
    "suggest_tasks": "kind=task",
}
NAMES = {"queue": "mine", "name": "s", "digest": EMPTY, "task": "t", "token_id": "abcdefgh",
         "fingerprint": "0" * 12}  # fmt: skip
MakeAuthenticator = Callable[[Store], Authenticator]


def required(store: Store) -> Authenticator:
    return Authenticator(store, required=True)


async def observe(
    cell: Cell,
    authenticator: MakeAuthenticator = required,
    authorizer: Callable[[Store], Authorizer] = Authorizer,
) -> str:
    """Make a cell's call to a new server; return how its token was judged."""
    store = MemoryStore()
    app = Application(
        store, tokens=True, authenticator=authenticator(store), authorizer=authorizer(store)
    )
    secret, token = "", None
    if cell.scope is not None:
        secret, token = issue_token("n", [cell.scope], cell.queues, now=0.0)
        await store.add_token(token)
    admin, admin_token = issue_token("admin", ["admin"], now=0.0)
    await store.add_token(admin_token)
    worker, holder = (
        "w@somebody" if token is None or (cell.is_foreign and need in ROWS[cell.row].needs)
        else f"w@{token.id}"
        for need in ("worker", "lease")
    )  # fmt: skip
    await store.write_content(EMPTY, 0, b"", last=True)
    put(store, new(id="running", queue="mine"), capacity=2)
    [job] = claim(store, queue="mine", worker=holder)
    put(store, new(id="waiting", queue="mine"), new(queue="mine"), capacity=2)
    jobs = {"jobs": [{"task": "t"}]}  # the queue is full
    _, offered = await send(app, "POST", "/queues/mine/jobs", json.dumps(jobs), admin)
    call = CALLS[VARIANTS.get(cell.row, cell.row)]
    names = {
        **NAMES,
        "worker": worker,
        "job_id": "running" if call.name == "attach" else "waiting",
        "offer": json.loads(offered)["offered"]["offer"],
    }
    path = re.sub(r"\{(\w+)\}", lambda name: quote(names[name[1]], safe=""), call.path)
    row = cell.row if body_of(cell.row, worker, job.lease) else call.name
    body = "" if call.in_query else json.dumps(body_of(row, worker, job.lease))
    status, said = await send(app, call.method, path, body, secret, QUERIES.get(cell.row, ""))
    assert status < 500, (cell, said)
    assert status not in (400, 405, 415), (cell, said)  # it must be judged by its token alone
    if status in (401, 403):
        assert json.loads(said)["code"] == {401: "unauthorized", 403: "forbidden"}[status]
    if status == 404 and "hidden" in ROWS[cell.row].needs:
        return "hidden"
    return {401: "unauthorized", 403: "forbidden"}.get(status, "allowed")


async def send(
    app: Application, method: str, path: str, body: str, secret: str, query: str = ""
) -> tuple[int, bytes]:
    """Send one request; return its status, and the first part of its response."""
    headers = {"host": "localhost", "content-type": "application/json"}
    if secret:
        headers["authorization"] = f"Bearer {secret}"
    request = {
        "type": "http",
        "method": method,
        "path": PREFIX + path,
        "raw_path": (PREFIX + path).encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 1),
    }
    messages = [{"type": "http.request", "body": body.encode()}]
    status = 0
    first: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def receive() -> Any:
        if messages:
            return messages.pop()
        return await asyncio.Event().wait()

    async def answer(message: Any) -> None:
        nonlocal status
        status = message.get("status", status)
        if message["type"] == "http.response.body" and not first.done():
            first.set_result(message["body"])

    answering = asyncio.ensure_future(app(request, receive, answer))
    await asyncio.wait([answering, first], return_when=asyncio.FIRST_COMPLETED)
    answering.cancel()  # a stream of hints has no end
    await asyncio.wait([answering])
    return status, first.result()


def wrong_cells(
    cells: Sequence[Cell] = CELLS, authenticator: MakeAuthenticator = required
) -> set[Cell]:
    async def observe_each() -> set[Cell]:
        return {cell for cell in cells if await observe(cell, authenticator) != expected(cell)}

    return asyncio.run(observe_each())


def test_the_rights_of_every_call_are_written_down() -> None:
    assert ROWS.keys() - VARIANTS.keys() == CALLS.keys()
    assert {need for right in ROWS.values() for need in right.needs} == NEEDS
    named = {name for name, call in CALLS.items()
             if call.in_query and "queue" in call.request.__struct_fields__}  # fmt: skip
    asked = {VARIANTS.get(row, row) for row, query in QUERIES.items() if "queue=" in query}
    assert asked == named
    assert {row: right.scopes for row, right in ROWS.items() if row in CALLS} == {
        name: frozenset(call.scopes) for name, call in CALLS.items()
    }


def test_every_call_is_allowed_to_exactly_those_who_have_the_right() -> None:
    assert wrong_cells() == set()


class Planted(Authenticator):
    """Forgets or adds something of each token."""

    def __init__(self, store: Store, change: Callable[[Token], Token]) -> None:
        super().__init__(store, required=True)
        self._change = change

    async def identify(
        self,
        headers: Mapping[str, str],
        address: str,
        *,
        method: str = "POST",
        former: bool = False,
    ) -> Principal:
        principal = await super().identify(headers, address, method=method, former=former)
        assert principal.token is not None
        return msgspec.structs.replace(principal, token=self._change(principal.token))


def without_queues(token: Token) -> Token:
    return msgspec.structs.replace(token, queues=())


def reading_is_enqueueing(token: Token) -> Token:
    more = {"enqueue"} if "read" in token.scopes else set()
    return msgspec.structs.replace(token, scopes=token.scopes | more)


def of_somebody(token: Token) -> Token:
    return msgspec.structs.replace(token, id="somebody") if "agent" in token.scopes else token


@pytest.mark.parametrize(
    ("fault", "scope", "as_if"),
    [
        (without_queues, "read", lambda cell: cell._replace(queues=())),
        (reading_is_enqueueing, "read", lambda cell: cell._replace(scope=either(cell))),
        (of_somebody, "agent", lambda cell: cell._replace(is_foreign=is_others(cell))),
    ],
    ids=["without queues", "reading is enqueueing", "of somebody"],
)
def test_a_planted_fault_shows_in_exactly_the_cells_that_it_concerns(
    fault: Callable[[Token], Token], scope: Scope, as_if: Callable[[Cell], Cell]
) -> None:
    cells = [cell for cell in CELLS if cell.scope == scope]
    wrong = wrong_cells(cells, lambda store: Planted(store, fault))
    assert wrong == {cell for cell in cells if expected(as_if(cell)) != expected(cell)}
    assert len(wrong) > 10


def either(cell: Cell) -> Scope:
    """Return the scope by which a token that may read and enqueue makes a call."""
    return "read" if "read" in ROWS[cell.row].scopes else "enqueue"


def is_others(cell: Cell) -> bool:
    """Whether a worker is another token's for a token that is taken for another's."""
    if cell.row in ("exchange_by", "exchange_of"):  # then it is the other of the two
        return True
    return bool(ROWS[cell.row].needs & {"worker", "lease"}) and not cell.is_foreign
