"""What every store promises to whoever guards it: tokens, and the audit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from calls import claim, hears, new, put, settle

from conveyor.core.access import Action, Token, issue_token
from conveyor.core.job import State
from conveyor.core.lifecycle import Succeeded
from conveyor.errors import NotFoundError, UsageError
from conveyor.store.messages import Hint
from conveyor.store.protocol import Store
from conveyor.testing import FakeClock

DAY = 86400.0


def add(store: Store, name: str = "laptop", **given: Any) -> Token:
    """Issue a token and keep it."""
    _, token = issue_token(name, given.pop("scopes", ["read"]), now=store.now(), **given)
    store.add_token(token).result()
    return token


def action(subject: str = "job-1", what: str = "cancel", detail: str = "") -> Action:
    return Action(who="ann", where="here", what=what, subject=subject, detail=detail)


def test_a_token_comes_back_as_it_was_given(store: Store) -> None:
    plain = add(store)
    full = add(
        store,
        "Zoë's ci",
        scopes=["agent", "enqueue"],
        queues=("mail", "images"),
        expires_at=store.now() + 60,
    )
    assert store.token(plain.id).result() == plain
    assert store.token(full.id).result() == full


def test_a_token_of_an_id_that_is_taken_is_refused_and_changes_nothing(store: Store) -> None:
    token = add(store)
    with pytest.raises(UsageError, match=f"a token {token.id} already"):
        store.add_token(msgspec.structs.replace(token, name="thief")).result()
    assert store.token(token.id).result() == token


def test_an_unknown_token_is_not_found(store: Store) -> None:
    with pytest.raises(NotFoundError, match="token 'nobody' not found"):
        store.token("nobody").result()
    with pytest.raises(NotFoundError, match="token 'nobody' not found"):
        store.revoke_token("nobody").result()


def test_tokens_are_listed_by_id_and_page_by_page(store: Store) -> None:
    ids = sorted(add(store).id for _ in range(5))
    first = store.tokens(limit=3).result()
    rest = store.tokens(after=first[-1].id, limit=3).result()
    assert [token.id for token in (*first, *rest)] == ids
    assert store.tokens(after=ids[-1], limit=3).result() == []


def test_a_token_is_revoked_by_the_store_s_clock_and_the_first_time_stays(
    store: Store, clock: FakeClock
) -> None:
    token = add(store)
    clock.advance(5)
    revoked = store.revoke_token(token.id).result()
    assert revoked == msgspec.structs.replace(token, revoked_at=clock.now())
    clock.advance(5)
    assert store.revoke_token(token.id).result() == revoked
    assert store.token(token.id).result() == revoked


def test_whoever_listens_hears_that_a_token_is_new_or_revoked(
    store: Store, until: Callable[[Callable[[], object]], None]
) -> None:
    heard: list[Hint] = []
    stop = store.listen(["access"], heard.append)
    token = add(store)
    store.revoke_token(token.id).result()
    store.note_action([action()]).result()
    until(lambda: hears(heard, "access", token.id))
    stop()
    assert {hint.kind for hint in heard} == {"access"}


def test_the_audit_is_read_newest_first_and_page_by_page(store: Store, clock: FakeClock) -> None:
    store.note_action([action("a"), action("b", detail="why")]).result()
    clock.advance(5)
    store.note_action([action("c", "retry")]).result()
    store.note_action([]).result()
    first = store.actions(limit=2).result()
    rest = store.actions(before=first[-1].seq, limit=2).result()
    assert [each.subject for each in (*first, *rest)] == ["c", "b", "a"]
    assert [each.at for each in (*first, *rest)] == [clock.now(), clock.now() - 5, clock.now() - 5]
    assert msgspec.structs.replace(first[1], seq=0, at=0.0) == action("b", detail="why")


def test_the_store_alone_says_when_an_action_was(store: Store) -> None:
    store.note_action([msgspec.structs.replace(action(), seq=99, at=1.0)]).result()
    [kept] = store.actions(limit=5).result()
    assert (kept.seq, kept.at) == (1, store.now())


def test_a_line_of_the_audit_is_one_line_of_bounded_length(store: Store) -> None:
    store.note_action([action("q\nann here retry", detail="x" * 10_000)]).result()
    [kept] = store.actions(limit=5).result()
    assert kept.subject == "q ann here retry"
    assert len(kept.detail) == 500


def test_pruning_forgets_tokens_that_were_good_ninety_days_ago_at_last(
    store: Store, clock: FakeClock
) -> None:
    expiring = add(store, expires_at=store.now() + 10)
    revoked, good = add(store), add(store)
    store.revoke_token(revoked.id).result()
    clock.advance(90 * DAY)
    store.prune({}, limit=10).result()
    assert len(store.tokens(limit=9).result()) == 3
    clock.advance(1)
    store.prune({}, limit=10).result()
    assert {each.id for each in store.tokens(limit=9).result()} == {expiring.id, good.id}
    clock.advance(10)
    store.prune({}, limit=10).result()
    assert [each.id for each in store.tokens(limit=9).result()] == [good.id]


def test_pruning_forgets_a_year_old_audit_up_to_its_limit_and_counts_only_jobs(
    store: Store, clock: FakeClock
) -> None:
    store.note_action([action(str(number)) for number in range(5)]).result()
    clock.advance(365 * DAY + 1)
    put(store, new())
    [job] = claim(store)
    settle(store, job, Succeeded())
    store.note_action([action("new")]).result()
    assert store.prune({State.COMPLETED: 60.0}, limit=3).result() == 0
    assert [each.subject for each in store.actions(limit=9).result()] == ["new", "4", "3"]
    clock.advance(61)
    assert store.prune({State.COMPLETED: 60.0}, limit=3).result() == 1
    kept = store.actions(limit=9).result()
    # A server has recorded that jobs were pruned.
    assert [each.subject for each in kept if each.what != "prune"] == ["new"]
    store.note_action([action("later")]).result()
    assert store.actions(limit=1).result()[0].seq == kept[0].seq + 1
