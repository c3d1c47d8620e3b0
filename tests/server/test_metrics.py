"""The metrics of a server, by real scrapes: what they show, to whom, and how much at most."""

from __future__ import annotations

import urllib.error
from typing import Any

import msgspec
import pytest
from calls import BROKEN, claim, new, put, settle
from raw_http import RawClient, make_token
from served import Serving

from conveyor.autoscaler.plan import PoolCounts
from conveyor.autoscaler.state import ScalerState
from conveyor.autoscaler.status import ScalerNote, ScalerStatus, encode_note
from conveyor.core.access import agent_suffix
from conveyor.core.job import State, WorkerInfo
from conveyor.core.lifecycle import Succeeded
from conveyor.core.serving_workers import SILENT
from conveyor.server import metrics_snapshot
from conveyor.store.memory.store import MemoryStore
from conveyor.store.protocol import Store
from conveyor.testing import FakeClock
from scrape import OPENMETRICS, Scrape

WORKERS = "conveyor_workers"


@pytest.fixture
def token(store: Store) -> str:
    return make_token(store, "read")


def worker(name: str, **given: Any) -> WorkerInfo:
    known: dict[str, Any] = {
        "host": "h", "boot_id": "b", "pid": 1, "pid_started": 1.0, "started_at": 1.0, "slots": 4,
        "queues": ("q",),
    }  # fmt: skip
    return WorkerInfo(id=name, **{**known, **given})


def test_queues_show_their_jobs_by_state_bound_and_pause(
    store: Store, server: Serving, token: str
) -> None:
    put(store, new(), new(delay=60.0), new(), capacity=9)
    claim(store)
    store.set_paused("q", paused=True).result()
    found = Scrape(f"{server.url}/metrics", token=token)
    states = {state: found("conveyor_queue_jobs", queue="q", state=state) for state in State}
    assert states == {**dict.fromkeys(State, 0), "available": 1, "scheduled": 1, "running": 1}
    assert found("conveyor_queue_capacity", queue="q") == 9
    assert found("conveyor_queue_paused", queue="q") == 1
    assert found("conveyor_queues_cut") == 0


def test_the_oldest_waiting_job_gives_the_age_of_its_queue() -> None:
    clock = FakeClock()
    store = MemoryStore(clock)
    server = Serving(store)
    put(store, new())
    clock.advance(30)
    put(store, new(requires=("gpu",)))
    clock.advance(60)
    put(store, new())
    put(store, new(queue="new"))
    put(store, new(queue="idle"))
    claim(store, queue="idle")
    found = Scrape(f"{server.url}/metrics")
    ages = {
        queue: found("conveyor_queue_oldest_waiting_seconds", queue=queue)
        for queue in ("q", "new", "idle")
    }
    assert ages == {"q": 90, "new": 0, "idle": 0}
    server.close()
    store.close()


def test_totals_are_counters_that_stay_when_jobs_are_deleted(
    store: Store, server: Serving, token: str
) -> None:
    put(store, new(), new(retries=1))
    for job in claim(store, 2):
        settle(store, job, Succeeded() if job.options.retries == 0 else BROKEN)
        if job.options.retries == 0:
            store.delete(job.id).result()
    found = Scrape(f"{server.url}/metrics", token=token)
    assert found("conveyor_jobs_enqueued_total", queue="q") == 2
    assert found("conveyor_jobs_ended_total", queue="q", state="completed") == 1
    assert found("conveyor_jobs_ended_total", queue="q", state="discarded") == 0
    assert found("conveyor_attempts_retried_total", queue="q") == 1
    assert found.families["conveyor_jobs_enqueued"].type == "counter"


def test_workers_and_agents_are_counted_by_state_with_their_slots(
    store: Store, server: Serving, token: str
) -> None:
    agent = f"a1{agent_suffix(make_token(store, 'agent'))}"
    for each in (
        worker("w1", running=3),
        worker("w2", quiet=True),
        worker(agent, slots=2, running=1, sick={"process": "no memory"}),
        worker("server-1", slots=0),
    ):
        store.beat(each).result()
    found = Scrape(f"{server.url}/metrics", token=token)
    assert found("conveyor_workers", kind="worker", state="ready") == 1
    assert found("conveyor_workers", kind="worker", state="quiet") == 1
    assert found("conveyor_workers", kind="agent", state="sick") == 1
    assert sum(value for (name, _), value in found.samples.items() if name == WORKERS) == 3
    assert found("conveyor_slots", kind="worker") == 8
    assert found("conveyor_slots_busy", kind="worker") == 3
    assert found("conveyor_slots", kind="agent") == 2
    assert found("conveyor_slots_busy", kind="agent") == 1


def test_a_silent_worker_has_no_slots() -> None:
    clock = FakeClock()
    store = MemoryStore(clock)
    server = Serving(store)
    store.beat(worker("w", running=2)).result()
    clock.advance(SILENT + 1)
    found = Scrape(f"{server.url}/metrics")
    assert found("conveyor_workers", kind="worker", state="silent") == 1
    assert found("conveyor_slots", kind="worker") == 0
    assert found("conveyor_slots_busy", kind="worker") == 0
    server.close()
    store.close()


def test_a_scaler_shows_its_machines_as_it_notes_them(
    store: Store, server: Serving, token: str
) -> None:
    pool = PoolCounts(pool="small", wanted=5, booting=1, idle=2, busy=1, draining=3, other=4)
    status = ScalerStatus(at=12.5, every=5.0, pools=(pool,), held=("a",), blind={"docker": "no"})
    note = encode_note(ScalerNote(status, ScalerState()))
    store.lead("scaler", "me", hold=60, note=note).result()
    found = Scrape(f"{server.url}/metrics", token=token)
    named = {"scaler": "scaler", "pool": "small"}
    shown = {
        state: found("conveyor_scaler_machines", state=state, **named)
        for state in ("booting", "idle", "busy", "draining", "other")
    }
    assert shown == {"booting": 1, "idle": 2, "busy": 1, "draining": 3, "other": 4}
    assert found("conveyor_scaler_machines_wanted", **named) == 5
    assert found("conveyor_scaler_leads", scaler="scaler") == 1
    assert found("conveyor_scaler_last_cycle_timestamp_seconds", scaler="scaler") == 12.5
    assert found("conveyor_scaler_held", scaler="scaler") == 1
    assert found("conveyor_scaler_unreachable_providers", scaler="scaler") == 1


def test_scalers_of_other_names_are_shown_when_they_are_named(
    store: Store, server: Serving, token: str
) -> None:
    for name in ("scaler", "night", "damaged"):
        store.lead(name, "me", hold=60, note="{" if name == "damaged" else "").result()
    found = Scrape(f"{server.url}/metrics?scalers=night,,damaged,unknown,night", token=token)
    assert found.values("conveyor_scaler_leads", "scaler") == {"night", "damaged"}


@pytest.mark.parametrize("accept", ["", OPENMETRICS, "*/*"])
def test_hostile_names_are_read_back_one_by_one(
    store: Store, server: Serving, token: str, accept: str
) -> None:
    names = ['a"b', "a\\nb", "a\nb", "a\\\nb", "{}", "\u202eevil", "\x1b[31m", "x" * 200, "(other)"]
    for name in names:
        put(store, new(queue=name))
    found = Scrape(f"{server.url}/metrics", token=token, accept=accept)
    shown = found.values("conveyor_queue_paused", "queue")
    assert len(shown) == len(names)
    assert all(each.isprintable() for each in shown)
    assert ("openmetrics" in found.media) == (accept == OPENMETRICS)


def test_a_token_that_is_limited_to_queues_sees_only_these(store: Store, server: Serving) -> None:
    for queue in ("mine", "other"):
        put(store, new(queue=queue))
        store.beat(worker(f"w-{queue}", queues=(queue,), slots=3)).result()
    store.lead("scaler", "me", hold=60).result()
    token = make_token(store, "read", queues=["mine", "unused"])
    found = Scrape(f"{server.url}/metrics", token=token)
    for name, labels in found.samples:
        assert dict(labels).get("queue", "mine") == "mine", name
    assert found("conveyor_slots", kind="worker") == 3
    assert "conveyor_scaler_leads" not in found.names


@pytest.mark.parametrize("scope", ["enqueue", "agent"])
def test_a_token_without_the_scope_read_sees_nothing(
    store: Store, server: Serving, scope: str
) -> None:
    with pytest.raises(urllib.error.HTTPError, match="403"):
        Scrape(f"{server.url}/metrics", token=make_token(store, scope))


def test_without_a_token_there_are_no_metrics(store: Store, server: Serving) -> None:
    with pytest.raises(urllib.error.HTTPError, match="401"):
        Scrape(f"{server.url}/metrics")


def test_the_metrics_are_in_the_api_as_well(store: Store, server: Serving, token: str) -> None:
    put(store, new())
    answer = RawClient(server.url, token)("GET", "/metrics")
    assert answer.status == 200
    assert 'conveyor_queue_jobs{queue="q",state="available"} 1.0' in answer.text
    RawClient(server.url, token)("GET", "/metrics?depth=1").is_problem(400, "usage")


def test_the_first_thousand_queues_have_series_and_the_output_says_that_there_are_more(
    store: Store, server: Serving, token: str
) -> None:
    most = metrics_snapshot.MAX_QUEUES
    for number in range(most + 1):
        store.insert([new(queue=f"q{number:05}")]).result()
    found = Scrape(f"{server.url}/metrics", token=token)
    assert len(found.values("conveyor_queue_paused", "queue")) == most
    assert found("conveyor_queues_cut") == 1
    assert f"{most:,}" in found.families["conveyor_queues_cut"].documentation


def test_a_pool_is_read_as_the_scaler_describes_it() -> None:
    """The server may not import the scaler, so it repeats what it reads of a note."""
    theirs = {each.name: each.type for each in msgspec.structs.fields(PoolCounts)}
    ours = {each.name: each.type for each in msgspec.structs.fields(metrics_snapshot.PoolSnapshot)}
    assert ours == theirs
