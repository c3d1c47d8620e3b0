"""An agent writes only to jobs that its own workers hold, and only within the server's limits."""
# ruff: noqa: E501 - the table of writes has one a line

from __future__ import annotations

from typing import Any

import pytest
from raw_http import WORKER, RawClient, claim, make_token, put
from served import Serving

from conveyor.core.access import token_id
from conveyor.core.job import State
from conveyor.store.messages import Filter
from conveyor.store.protocol import Store

FILTER = Filter(states=frozenset({State.RUNNING}))

WRITES: list[tuple[str, str, str, Any]] = [
    ("settle", "POST", "/reports", {"reports": [{"id": "j", "lease": 1, "outcome": {"type": "succeeded"}}]}),
    ("exchange", "POST", "/workers/w{mine}/exchange", {"wants": [], "reports": [{"id": "j", "lease": 1, "outcome": {"type": "succeeded"}}]}),
    ("extend", "POST", "/leases/extend", {"leases": [{"id": "j", "lease": 1}]}),
    ("output", "POST", "/output", {"chunks": [{"job_id": "j", "lease": 1, "offset": 0, "stream": "stdout", "at": 1, "data": "aGk="}]}),
    ("progress", "POST", "/progress", {"reports": [[{"id": "j", "lease": 1}, {"done": 1}]]}),
    ("stopping", "POST", "/stopping", {"reports": [[{"id": "j", "lease": 1}, [{"at": 1, "text": "t"}]]]}),
    ("extend_worker", "POST", "/workers/w{theirs}/extend", {}),
    ("claim", "POST", "/workers/w{theirs}/claim", {"wants": [{"queue": "q", "limit": 1}]}),
    ("beat", "PUT", "/workers/w{theirs}", {"info": {"id": "w{theirs}", **WORKER}}),
    ("beat of another", "PUT", "/workers/w{mine}", {"info": {"id": "w{theirs}", **WORKER}}),
    ("leave", "POST", "/workers/w{theirs}/leave", {}),
    ("decline", "POST", "/workers/w{theirs}/decline", {}),
    ("rescue", "POST", "/upkeep/rescue", {"dead": ["w{theirs}"]}),
    ("order", "PUT", "/workers/w{theirs}/order", {"order": "quiet"}),
]  # fmt: skip


@pytest.mark.parametrize("restarted", [False, True])
@pytest.mark.parametrize(
    ("name", "method", "path", "body"), WRITES, ids=lambda each: str(each)[:15]
)
def test_an_agent_writes_only_to_jobs_that_its_own_workers_hold(
    name: str, method: str, path: str, body: Any, restarted: bool, store: Store, server: Serving
) -> None:
    mine, theirs = make_token(store, "agent"), make_token(store, "agent")
    marks = {"mine": f"@{token_id(mine)}", "theirs": f"@{token_id(theirs)}"}
    owner = RawClient(server.url, theirs)
    put(store, "j", "q")
    worker = f"w{marks['theirs']}"
    claimed = owner("POST", f"/workers/{worker}/claim", {"wants": [{"queue": "q", "limit": 1}]})
    assert claimed.data["jobs"][0]["lease"] == 1
    assert owner("PUT", f"/workers/{worker}", {"info": {"id": worker, **WORKER}}).status == 200
    before = store.get("j").result(), store.workers().result(), store.output("j", limit=9).result()
    again = Serving(store, tokens=True) if restarted else None
    url = again.url if again else server.url
    answer = RawClient(url, mine)(method, filled(path, marks), filled(body, marks))
    if name == "beat of another":
        assert answer.is_problem(400, "usage")
    else:
        assert answer.is_problem(403, "forbidden")
    after = store.get("j").result(), store.workers().result(), store.output("j", limit=9).result()
    assert after == before
    # Its own agent may, also when the server does not remember that it does.
    if "{mine}" not in path:
        assert RawClient(url, theirs)(method, filled(path, marks), filled(body, marks)).status < 300
    if again:
        again.close()


def test_an_ended_lease_is_lost_and_a_future_one_is_forbidden(
    store: Store, server: Serving
) -> None:
    text = make_token(store, "agent")
    ask = RawClient(server.url, text)
    put(store, "j", "q")
    job = claim(store, "q", f"w@{token_id(text)}")
    store.rescue(dead=[f"w@{token_id(text)}"], limit=1).result()
    claim(store, "q", "somebody else")
    [renewal] = ask("POST", "/leases/extend", {"leases": [{"id": "j", "lease": job.lease}]}).data
    assert renewal["verdict"] == "lost"
    for lease in (2, 3, 1000):
        answer = ask("POST", "/leases/extend", {"leases": [{"id": "j", "lease": lease}]})
        assert answer.is_problem(403, "forbidden")
    [gone] = ask("POST", "/leases/extend", {"leases": [{"id": "nobody's", "lease": 1}]}).data
    assert gone["verdict"] == "lost"


def test_only_an_admin_gets_leases_longer_than_the_limit_of_the_server(
    store: Store, server: Serving
) -> None:
    text = make_token(store, "agent")
    ask, worker = RawClient(server.url, text), f"w%40{token_id(text)}"
    want = {"wants": [{"queue": "q", "limit": 1}], "lease_for": 1e6}
    put(store, "j", "q")
    for body in (want, {**want, "confirm_within": 1e6}):
        put(store, f"j{len(body)}", "q")
        [job] = ask("POST", f"/workers/{worker}/claim", body).data["jobs"]
        assert job["lease_until"] <= store.now() + 60
    ask("POST", f"/workers/{worker}/extend", {"lease_for": 1e6})
    running = store.find(FILTER, limit=10).result()
    assert all((job.lease_until or 0) <= store.now() + 60 for job in running)


def test_a_remote_worker_cannot_name_a_file_for_maintenance_to_delete(
    store: Store, server: Serving
) -> None:
    text = make_token(store, "agent")
    worker = f"w@{token_id(text)}"
    info = {"id": worker, **WORKER, "begun": "../../jobs.db"}
    assert RawClient(server.url, text)("PUT", f"/workers/{worker}", {"info": info}).status == 200
    [known] = store.workers().result()
    assert known.begun == ""


def test_a_command_is_only_for_workers_that_may_run_commands(store: Store, server: Serving) -> None:
    text = make_token(store, "enqueue")
    job = {"task": "conveyor.command", "id": "c", "args": {"argv": ["true"]}}
    assert RawClient(server.url, text)("POST", "/queues/q/jobs", {"jobs": [job]}).status == 200
    assert store.get("c").result().options.requires == ("commands",)


def test_the_audit_log_names_the_caller_and_the_scopes_of_a_new_token(
    store: Store, server: Serving
) -> None:
    text = make_token(store, "admin")
    ask = RawClient(server.url, text)
    line = {"who": "root", "where": "moon", "what": "forged", "subject": "s"}
    assert ask("POST", "/audit", {"actions": [line]}).status == 204
    made = {"id": "abcdefgh", "name": "n", "digest": "d", "scopes": ["read"], "created_at": 1}
    assert ask("PUT", "/tokens/abcdefgh", {"token": made}).status == 204
    newest, oldest = store.actions(limit=5).result()
    assert (oldest.what, oldest.who) == ("forged", f"{token_id(text)} admin")
    assert oldest.where == "127.0.0.1"
    assert (newest.what, newest.subject, newest.detail) == ("create token", "abcdefgh", "n: read")


def filled(value: Any, marks: dict[str, str]) -> Any:
    """Put the marks of workers into a path or a body."""
    match value:
        case str():
            return value.replace("{mine}", marks["mine"]).replace("{theirs}", marks["theirs"])
        case dict():
            return {name: filled(each, marks) for name, each in value.items()}
        case list():
            return [filled(each, marks) for each in value]
        case _:
            return value
