"""Which change hints at what: each kind of hint names what has changed."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from calls import BROKEN, claim, hears, new, offer, put, settle

from conveyor.core.access import issue_token
from conveyor.core.job import Callback
from conveyor.core.lifecycle import Interrupted, Outcome, Succeeded
from conveyor.store.messages import Hint, HintKind, Offered
from conveyor.store.protocol import Store
from conveyor.testing import FakeClock

Act = Callable[[], object]
Scene = Callable[[Store, FakeClock], tuple[HintKind, str, Act]]


def enqueued(store: Store, _: FakeClock) -> tuple[HintKind, str, Act]:
    return "work", "q", lambda: put(store, new())


def delayed(store: Store, _: FakeClock) -> tuple[HintKind, str, Act]:
    return "due", "q", lambda: put(store, new(delay=60))


def due(store: Store, clock: FakeClock) -> tuple[HintKind, str, Act]:
    put(store, new(delay=60))
    clock.advance(61)
    return "work", "q", lambda: store.stage(limit=9).result()


def hastened(store: Store, _: FakeClock) -> tuple[HintKind, str, Act]:
    put(store, new(key="k", delay=60))
    return "work", "q", lambda: put(store, new(key="k", on_conflict="join"))


def postponed(store: Store, _: FakeClock) -> tuple[HintKind, str, Act]:
    put(store, new(key="k"))
    return "due", "q", lambda: put(store, new(key="k", on_conflict="postpone", delay=60))


def expired(store: Store, clock: FakeClock) -> tuple[HintKind, str, Act]:
    [job_id] = put(store, new(expires_at=clock.now() + 60))
    clock.advance(61)
    return "final", job_id, lambda: store.stage(limit=9).result()


def expired_at_its_claim(store: Store, clock: FakeClock) -> tuple[HintKind, str, Act]:
    [job_id] = put(store, new(expires_at=clock.now() + 60))
    clock.advance(61)
    return "final", job_id, lambda: claim(store)


def completed(store: Store, _: FakeClock) -> tuple[HintKind, str, Act]:
    put(store, new())
    [job] = claim(store)
    return "final", job.id, lambda: settle(store, job, Succeeded())


def called(store: Store, outcome: Outcome) -> tuple[HintKind, str, Act]:
    callback = Callback(on="finished", task="after", parameter="ended", queue="q")
    put(store, new(queue="first", callbacks=(callback,)))
    [job] = claim(store, queue="first")
    return "work", "q", lambda: settle(store, job, outcome)


def called_by_a_success(store: Store, _: FakeClock) -> tuple[HintKind, str, Act]:
    return called(store, Succeeded())


def called_by_a_discard(store: Store, _: FakeClock) -> tuple[HintKind, str, Act]:
    return called(store, BROKEN)


def failed(store: Store, _: FakeClock) -> tuple[HintKind, str, Act]:
    put(store, new(retries=1))
    [job] = claim(store)
    return "due", "q", lambda: settle(store, job, BROKEN)


def released(store: Store, _: FakeClock) -> tuple[HintKind, str, Act]:
    put(store, new())
    [job] = claim(store)
    return "work", "q", lambda: settle(store, job, Interrupted())


def retried(store: Store, _: FakeClock) -> tuple[HintKind, str, Act]:
    [job_id] = put(store, new())
    store.cancel(job_id, reason="r").result()
    return "work", "q", lambda: store.retry(job_id).result()


def cancelled(store: Store, _: FakeClock) -> tuple[HintKind, str, Act]:
    [job_id] = put(store, new())
    return "final", job_id, lambda: store.cancel(job_id, reason="r").result()


def asked_to_stop(store: Store, _: FakeClock) -> tuple[HintKind, str, Act]:
    [job_id] = put(store, new())
    claim(store)
    return "cancel", job_id, lambda: store.cancel(job_id, reason="r").result()


def dropped(store: Store, _: FakeClock) -> tuple[HintKind, str, Act]:
    [job_id] = put(store, new(), capacity=1)
    return "final", job_id, lambda: put(store, new(), capacity=1, when_full="drop_oldest")


def accepted(store: Store, _: FakeClock) -> tuple[HintKind, str, Act]:
    put(store, new(), capacity=1)
    answer = offer(store, new(), capacity=1)
    assert isinstance(answer, Offered)
    return "offer", answer.offer, lambda: claim(store)


def offered_to_a_claim(store: Store, _: FakeClock) -> tuple[HintKind, str, Act]:
    return "work", "q", lambda: offer(store, new(), capacity=0)


def resumed(store: Store, _: FakeClock) -> tuple[HintKind, str, Act]:
    put(store, new())
    store.set_paused("q", paused=True).result()
    return "work", "q", lambda: store.set_paused("q", paused=False).result()


def token_added(store: Store, clock: FakeClock) -> tuple[HintKind, str, Act]:
    _, token = issue_token("laptop", ["read"], (), now=clock.now())
    return "access", token.id, lambda: store.add_token(token).result()


def token_revoked(store: Store, clock: FakeClock) -> tuple[HintKind, str, Act]:
    _, token = issue_token("laptop", ["read"], (), now=clock.now())
    store.add_token(token).result()
    return "access", token.id, lambda: store.revoke_token(token.id).result()


SCENES: list[Scene] = [
    enqueued, delayed, due, expired, expired_at_its_claim, completed, failed, released, retried,
    cancelled, asked_to_stop, dropped, accepted, offered_to_a_claim, resumed, token_added,
    token_revoked, called_by_a_success, called_by_a_discard, hastened, postponed,
]  # fmt: skip


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_a_change_hints_at_what_has_changed(
    store: Store, clock: FakeClock, until: Callable[[Callable[[], object]], None], scene: Scene
) -> None:
    kind, subject, act = scene(store, clock)
    heard: list[Hint] = []
    stop = store.listen([kind], heard.append)
    if kind == "work":  # over a network, only a worker that found nothing is told of work
        assert claim(store) == []
    act()
    until(lambda: hears(heard, kind, subject))
    stop()
