"""What the server itself answers about jobs, schedules and the scaler, and what it audits."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from calls import claim, new, put, settle
from raw_http import RawClient, make_token
from served import Serving

from conveyor.core.job import ErrorInfo, OutputChunk, ScheduleInfo, State, WorkerInfo
from conveyor.core.lifecycle import Failed
from conveyor.core.secret_mask import MASK
from conveyor.store.messages import Filter
from conveyor.store.protocol import Store

ARGS = {"to": "ann", "login": {"password": "geheim"}, "n": 1}


@pytest.fixture
def admin(store: Store, server: Serving) -> RawClient:
    return RawClient(server.url, make_token(store, "admin"))


def client(store: Store, server: Serving, *scopes: str, queues: tuple[str, ...] = ()) -> RawClient:
    return RawClient(server.url, make_token(store, *scopes, queues=queues))


def with_args(store: Store, **given: Any) -> str:
    [job_id] = put(store, new(args=json.dumps(ARGS).encode(), **given))
    return job_id


def worker(name: str, *queues: str, **given: Any) -> WorkerInfo:
    return WorkerInfo(
        id=name, host="h", boot_id="b", pid=1, pid_started=0.0, started_at=0.0, slots=1,
        queues=queues, **given,
    )  # fmt: skip


# -- one job ---------------------------------------------------------------------------------------


def test_why_a_job_waits_is_a_sentence_and_its_parts(store: Store, admin: RawClient) -> None:
    put(store, new(id="first"), new(id="second"))
    store.beat(worker("w", "q", running=1)).result()
    told = admin("GET", "/jobs/second/why").data
    assert told["text"].startswith("It waits behind 1 job in queue 'q'")
    assert "".join(part["text"] for part in told["parts"]) == told["text"]
    assert {"text": "queue 'q'", "kind": "queue", "name": "q"} in told["parts"]
    assert told["ahead"] == 1
    assert admin("GET", "/jobs/none/why").is_problem(404, "not_found")


def test_why_an_offered_job_waits_names_its_queue(store: Store, admin: RawClient) -> None:
    put(store, new(), capacity=1)
    store.insert([new(id="offered")], capacity=1).result()
    told = admin("GET", "/jobs/offered/why").data
    assert "waits for room" in told["text"]
    assert told["ahead"] is None


def test_a_token_of_some_queues_does_not_see_what_jobs_of_others_wait_for(
    store: Store, server: Serving
) -> None:
    put(store, new(id="mine"))
    waits = {"secret-1": "room in queue 'q' (1/1)"}
    store.beat(worker("w", "q", "other", running=1, waits=waits)).result()
    for_all = client(store, server, "read")("GET", "/jobs/mine/why")
    limited = client(store, server, "read", queues=("q",))("GET", "/jobs/mine/why")
    assert "secret-1" in for_all.text
    assert limited.status == 200
    assert "secret-1" not in limited.text


def test_arguments_are_shown_without_secrets_and_large_ones_on_request(
    store: Store, admin: RawClient
) -> None:
    job_id = with_args(store)
    shown = admin("GET", f"/jobs/{job_id}/args").data
    assert shown["args"] == {"to": "ann", "login": {"password": MASK}, "n": 1}
    assert shown["masked"] == ["/login/password"]
    assert (shown["size"], shown["omitted"]) == (len(json.dumps(ARGS)), False)
    [large] = put(store, new(args=json.dumps({"a": "x" * (64 << 10)}).encode()))
    assert admin("GET", f"/jobs/{large}/args").data["args"] is None
    assert admin("GET", f"/jobs/{large}/args").data["omitted"]
    assert len(admin("GET", f"/jobs/{large}/args?whole=true").data["args"]["a"]) == 64 << 10


def test_a_token_that_may_only_read_never_sees_a_secret(store: Store, server: Serving) -> None:
    job_id = with_args(store)
    paths = (f"/jobs/{job_id}", "/jobs?include=args", "/jobs?include=summary,args")
    for scopes, sees in ((("read",), False), (("read", "enqueue"), True), (("admin",), True)):
        call = client(store, server, *scopes)
        for path in paths:
            answer = call("GET", path)
            assert answer.status == 200
            assert ("geheim" in answer.text) is sees, (scopes, path)
            assert "ann" in answer.text
        assert "geheim" not in call("GET", "/jobs?include=summary").text


@pytest.mark.parametrize("queues", [(), ("q",)])
def test_a_token_that_may_only_read_cannot_search_for_a_secret(
    store: Store, server: Serving, queues: tuple[str, ...]
) -> None:
    with_args(store)

    def ask(call: RawClient, text: str) -> list[tuple[int, str]]:
        body = {"filter": {"queue": "q", "text": text}}
        answers = [
            call("GET", f"/jobs?queue=q&text={text}"),
            call("GET", f"/bulk/counts?queue=q&text={text}"),
            call("POST", "/bulk/match", body),
        ]
        return [(answer.status, answer.text) for answer in answers]

    reader = client(store, server, "read", queues=queues)
    for text in ("geheim", "falsch", "ann"):
        for status, said in ask(reader, text):
            assert status == 403
            assert "may not filter by text" in said
    for scopes in (("read", "enqueue"), ("read", "agent"), ("admin",)):
        call = client(store, server, *scopes, queues=() if "admin" in scopes else queues)
        assert [status for status, _ in ask(call, "geheim")] == [200, 200, 200]


def test_arguments_that_are_nested_too_deeply_are_not_shown_and_cannot_be_copied_from_a_request(
    store: Store, server: Serving, admin: RawClient
) -> None:
    deep = b'{"password":"geheim","a":' + b"[" * 5000 + b"]" * 5000 + b"}"
    [job_id] = put(store, new(args=deep))
    reader = client(store, server, "read")
    for path in (f"/jobs/{job_id}", "/jobs?include=args", "/jobs?include=summary"):
        answer = reader("GET", path)
        assert answer.status == 200
        assert "geheim" not in answer.text
    assert admin("GET", f"/jobs/{job_id}/args").data["omitted"]
    assert admin("POST", f"/jobs/{job_id}/copy", {}).status == 200
    body = b'{"args":%b}' % deep
    json_type = {"Content-Type": "application/json"}
    answer = admin("POST", f"/jobs/{job_id}/copy", headers=json_type, chunks=[body])
    assert answer.is_problem(400, "usage")


def test_a_summary_of_the_arguments_comes_without_the_arguments(
    store: Store, admin: RawClient
) -> None:
    with_args(store)
    [job] = admin("GET", "/jobs?include=summary").data
    assert job["summary"] == f'to=ann login={{"password":"{MASK}"}} n=1'
    assert job["args"] == {}
    assert "args" in job["omitted"]
    [job] = admin("GET", "/jobs").data
    assert "summary" not in job


def test_a_copy_goes_through_the_intake_with_the_changed_arguments(
    store: Store, admin: RawClient
) -> None:
    job_id = with_args(store, key="k", retries=3, priority=7)
    edited = {"to": "bob", "login": {"password": MASK}, "n": 1}
    answer = admin("POST", f"/jobs/{job_id}/copy", {"args": edited, "priority": 9})
    copy = store.get(answer.data["id"]).result()
    assert json.loads(copy.args) == {**ARGS, "to": "bob"}
    assert (copy.task, copy.queue, copy.priority) == ("t", "q", 9)
    assert copy.options.retries == 3
    assert copy.options.key is None
    again = store.get(admin("POST", f"/jobs/{job_id}/copy", {}).data["id"]).result()
    assert (again.args, again.priority) == (json.dumps(ARGS).encode(), 7)
    [line, *_] = store.actions(limit=1).result()
    assert (line.what, line.subject, line.detail) == ("copy", job_id, f"as {again.id}")
    for wrong in ({"args": [1]}, {"queue": ""}, {"delay": -1}, {"args": {"a": 1}, "odd": 1}):
        assert admin("POST", f"/jobs/{job_id}/copy", wrong).status == 400


def test_a_copy_into_a_full_queue_is_refused_and_leaves_nothing(
    store: Store, admin: RawClient
) -> None:
    [job_id] = put(store, new(), capacity=1)
    assert admin("POST", f"/jobs/{job_id}/copy", {}).is_problem(429, "queue_full")
    store.set_capacity("q", 0).result()
    assert admin("POST", f"/jobs/{job_id}/copy", {}).is_problem(429, "queue_full")
    assert store.queue_info("q").result().offers == 0


def write(store: Store, *parts: bytes) -> str:
    [job_id] = put(store, new())
    [job] = claim(store)
    offset = 0
    for data in parts:
        chunk = OutputChunk(
            job_id=job_id, lease=job.lease, offset=offset, stream="stdout", at=1.0, data=data
        )
        store.write_output([chunk]).result()
        offset += len(data)
    return job_id


def test_output_is_searched_by_line_also_across_chunks(store: Store, admin: RawClient) -> None:
    job_id = write(store, b"one\ntwo err", b"or Zo", "ë\nthree\n".encode(), b"last ERROR")
    found = admin("GET", f"/jobs/{job_id}/output/search?text=error").data
    assert [line["text"] for line in found["lines"]] == ["two error Zoë", "last ERROR"]
    assert found["next"] is None
    assert found["lines"][0]["seq"] == 3
    text = quote("ZOË")
    assert len(admin("GET", f"/jobs/{job_id}/output/search?text={text}").data["lines"]) == 1
    assert admin("GET", f"/jobs/{job_id}/output/search?text=").status == 400


def test_a_search_stops_at_its_limit_and_goes_on_from_there(store: Store, admin: RawClient) -> None:
    job_id = write(store, *[b"hit %d\n" % number for number in range(5)])
    seen: list[str] = []
    after: int | None = 0
    for _ in range(9):
        path = f"/jobs/{job_id}/output/search?text=hit&limit=2&after={after}"
        found = admin("GET", path).data
        seen += [line["text"] for line in found["lines"]]
        after = found["next"]
        if after is None:
            break
    assert seen == [f"hit {number}" for number in range(5)]


def test_the_end_of_the_output_is_read_backwards(store: Store, admin: RawClient) -> None:
    job_id = write(store, b"a", b"b", b"c")
    last = admin("GET", f"/jobs/{job_id}/output?before=0&limit=2")
    assert [chunk["seq"] for chunk in last.data] == [2, 3]
    assert last.headers["next-cursor"] == "2"
    first = admin("GET", f"/jobs/{job_id}/output?before=2&limit=2")
    assert [chunk["seq"] for chunk in first.data] == [1]
    assert "next-cursor" not in first.headers


# -- look-ups --------------------------------------------------------------------------------------


def test_names_are_suggested_those_that_begin_with_the_text_first(
    store: Store, admin: RawClient
) -> None:
    put(store, new(queue="mail", task="send_mail", requires=("gpu",)))
    put(store, new(queue="email", task="mail_all"))
    put(store, new(queue="images"))
    store.beat(worker("mail-1", "mail", labels=("ssd",))).result()

    def suggested(query: str) -> list[str]:
        found: list[str] = admin("GET", f"/suggest?{query}").data["found"]
        return found

    assert suggested("kind=queue&text=MAIL") == ["mail", "email"]
    assert suggested("kind=queue&text=m&limit=1") == ["mail"]
    assert suggested("kind=task&text=mail") == ["mail_all", "send_mail"]
    assert suggested("kind=task&text=mail&queue=mail") == ["send_mail"]
    assert suggested("kind=worker") == ["mail-1"]
    assert suggested("kind=worker&queue=images") == []
    assert suggested("kind=label") == ["gpu", "ssd"]
    assert suggested("kind=label&queue=mail&text=g") == ["gpu"]
    assert admin("GET", "/suggest?kind=secret").status == 400


def test_a_token_of_some_queues_gets_suggestions_of_these_only(
    store: Store, server: Serving
) -> None:
    put(store, new(queue="mine", task="a"))
    put(store, new(queue="other", task="b"))
    store.beat(worker("w-1", "other")).result()
    limited = client(store, server, "read", queues=("mine",))
    assert limited("GET", "/suggest?kind=queue").data["found"] == ["mine"]
    assert limited("GET", "/suggest?kind=task&queue=mine").data["found"] == ["a"]
    assert limited("GET", "/suggest?kind=worker&queue=mine").data["found"] == []
    for query in ("kind=task", "kind=worker", "kind=label", "kind=task&queue=other"):
        assert limited("GET", f"/suggest?{query}").is_problem(403, "forbidden")


def test_a_schedule_is_shown_in_words_with_its_next_ticks_and_last_jobs(
    store: Store, admin: RawClient
) -> None:
    schedule = ScheduleInfo(
        name="nightly", cron="30 3 * * *", timezone="UTC", missed="skip", next_at=12_600.0
    )
    store.put_schedule(schedule).result()
    store.tick("nightly", due_at=12_600.0, next_at=99_000.0, jobs=[new(id="one")]).result()
    store.tick("nightly", due_at=99_000.0, next_at=185_400.0, jobs=[new(id="two")]).result()
    store.cancel("two", reason="r").result()
    shown = admin("GET", "/schedules/nightly/outlook").data
    assert shown["words"] == "every day at 03:30 (UTC)"
    assert shown["next"] == [185_400.0, 271_800.0, 358_200.0]
    assert [(each["id"], each["state"]) for each in shown["outcomes"]] == [
        ("two", State.CANCELLED),
        ("one", State.AVAILABLE),
    ]
    store.delete("two").result()
    assert len(admin("GET", "/schedules/nightly/outlook").data["outcomes"]) == 1
    assert admin("GET", "/schedules/none/outlook").is_problem(404, "not_found")


def test_a_schedule_is_run_now_unless_it_is_paused(store: Store, admin: RawClient) -> None:
    later = store.now() + 1000
    rule = {"cron": "0 0 1 1 *", "timezone": "UTC", "missed": "skip"}
    declared = msgspec.convert({"name": "s", "next_at": later, **rule}, ScheduleInfo)
    store.put_schedule(declared).result()
    assert admin("POST", "/schedules/s/run", {"reason": "now"}).status == 204
    [due] = store.schedules().result()
    assert due.next_at <= store.now()
    assert store.actions(limit=1).result()[0].reason == "now"
    assert admin("PUT", "/schedules/s/paused", {"paused": True, "reason": "r"}).status == 204
    [paused] = store.schedules().result()
    assert (paused.pause_reason, paused.paused_by.split()[1]) == ("r", "admin")
    assert admin("POST", "/schedules/s/run", {}).is_problem(409, "invalid_transition")
    assert admin("POST", "/schedules/none/run", {}).is_problem(404, "not_found")


def test_the_scaler_shows_what_its_leader_stored_last(store: Store, admin: RawClient) -> None:
    assert admin("GET", "/scaler").data == {"leader": None, "is_current": False, "status": None}
    note = json.dumps({"status": {"at": 1.0, "pools": []}, "memory": {"secret": 1}})
    store.lead("scaler", "me", hold=60, note=note).result()
    shown = admin("GET", "/scaler").data
    assert shown["status"] == {"at": 1.0, "pools": []}
    assert (shown["leader"]["holder"], shown["is_current"]) == ("me", True)
    assert "memory" not in json.dumps(shown)
    store.lead("scaler", "me", hold=0, note="damaged").result()
    assert admin("GET", "/scaler").data["status"] is None


# -- actions and the audit -------------------------------------------------------------------------


def test_each_step_of_an_action_is_audited_with_the_filter_the_count_and_the_reason(
    store: Store, admin: RawClient
) -> None:
    for _ in range(3):
        put(store, new())
        [job] = claim(store)
        settle(store, job, Failed(ErrorInfo("E", "x")))
    chosen = {"queue": "q", "states": ["discarded"]}
    shown = admin("POST", "/bulk/match", {"filter": chosen, "action": "retry"}).data
    assert (shown["changeable"], shown["is_complete"]) == (3, True)
    body = {
        "filter": chosen,
        "upto": shown["upto"],
        "action": "retry",
        "reason": "fixed",
        "limit": 2,
    }
    first = admin("POST", "/bulk/act", body).data
    second = admin("POST", "/bulk/act", {**body, "before": first["next"]}).data
    assert (first["changed"], second["changed"], second["next"]) == (2, 1, None)
    assert admin("POST", "/bulk/act", body).data["changed"] == 0
    lines = store.actions(limit=9).result()
    assert [(each.what, each.subject, each.reason, each.count) for each in lines] == [
        ("retry", "queue=q states=discarded", "fixed", 1),
        ("retry", "queue=q states=discarded", "fixed", 2),
    ]
    assert admin("GET", "/audit?what=retry&limit=1").data[0]["count"] == 1
    assert admin("GET", "/audit?what=cancel").data == []


def test_the_reason_of_each_action_is_in_the_audit(store: Store, admin: RawClient) -> None:
    put(store, new(id="j"))
    store.beat(worker("w", "q")).result()
    store.cancel("j", reason="r").result()
    calls: list[tuple[str, str, Any]] = [
        ("POST", "/jobs/j/retry", {"reason": "why"}),
        ("PUT", "/queues/q/paused", {"paused": True, "reason": "why"}),
        ("PUT", "/queues/q/capacity", {"capacity": 5, "reason": "why"}),
        ("PUT", "/workers/w/order", {"order": "quiet", "reason": "why"}),
        ("POST", "/jobs/j/cancel", {"reason": "why"}),
        ("DELETE", "/jobs/j?reason=why", None),
        ("DELETE", "/workers/w?reason=why", None),
    ]
    for method, path, body in calls:
        assert admin(method, path, body).status in (200, 204), path
    lines = store.actions(limit=99).result()
    assert len(lines) == len(calls)
    assert {line.reason for line in lines} == {"why"}
    assert store.queue_info("q").result().paused_by.endswith("admin")


def test_a_filter_with_an_unknown_field_is_refused(store: Store, admin: RawClient) -> None:
    body = {"filter": {"queues": "q"}, "upto": 1, "action": "cancel"}
    assert "queues" in admin("POST", "/bulk/act", body).data["detail"]
    put(store, new())
    assert store.find(Filter(), limit=1).result()[0].state is State.AVAILABLE


def test_a_page_without_jobs_says_where_the_search_goes_on(store: Store, admin: RawClient) -> None:
    page = admin("GET", "/jobs?task=none")
    assert (page.data, "next-cursor" in page.headers) == ([], False)
    put(store, *(new() for _ in range(3)))
    newest = admin("GET", "/jobs?limit=1")
    oldest = admin("GET", "/jobs?limit=1&order=oldest")
    assert (newest.data[0]["seq"], newest.headers["next-cursor"]) == (3, "3")
    assert (oldest.data[0]["seq"], oldest.headers["next-cursor"]) == (1, "1")
    following = admin("GET", "/jobs?limit=1&order=oldest&after=1")
    assert following.data[0]["seq"] == 2
    assert msgspec.json.decode(following.text.encode())[0]["task"] == "t"
