"""The rules of access: what a token's text is, what it allows, and how long it is good."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from hashlib import sha256
from typing import Any

import msgspec
import pytest

from conveyor.core.access import (
    SCOPES,
    Action,
    Scope,
    Token,
    agent_suffix,
    describe_rights,
    is_allowed,
    is_purgeable,
    issue_token,
    matches_token,
    sanitize_action,
    token_id,
    token_label,
    token_status,
)
from conveyor.errors import UsageError

DAY = 86400.0


def issued(
    scopes: Collection[str] = ("read",), queues: Collection[str] = (), **given: Any
) -> tuple[str, Token]:
    return issue_token("laptop", scopes, tuple(queues), now=100.0, **given)


def test_a_token_s_text_has_its_id_and_a_secret_that_is_not_kept() -> None:
    text, token = issued()
    head, name, secret = text.split("_", 2)
    assert (head, name, len(name), len(secret)) == ("cvy", token.id, 8, 43)
    assert token.digest == sha256(secret.encode()).hexdigest()
    assert secret not in repr(token)
    assert token.created_at == 100.0
    assert token_label(token) == f"{token.id} laptop"


def test_the_randomness_of_a_token_can_be_given() -> None:
    text, _ = issued(random_bytes=bytes)
    assert text == "cvy_aaaaaaaa_" + "A" * 43
    assert len({issued()[0] for _ in range(50)}) == 50


def test_only_the_token_s_own_text_fits() -> None:
    text, token = issued()
    other, _ = issued()
    assert matches_token(token, text)
    assert token_id(text) == token.id
    wrong = text[:-1] + ("A" if text[-1] != "A" else "B")
    borrowed = f"cvy_{token.id}_{other.split('_', 2)[2]}"
    for each in (wrong, other, borrowed, text + "\n", text[:-1], text.upper(), "", token.digest):
        assert not matches_token(token, each)


@pytest.mark.parametrize(
    "text", ["", "cvy_", "cvy_abc_def", "x" * 1000, "cvy_aaaaaaa\xe9_" + "A" * 43]
)
def test_what_is_no_token_has_no_id(text: str) -> None:
    assert token_id(text) is None


def test_a_token_is_good_until_it_expires_or_is_revoked() -> None:
    _, forever = issued()
    _, brief = issued(expires_at=200.0)
    revoked = msgspec.structs.replace(brief, revoked_at=150.0)
    assert token_status(forever, 1e12) == "good"
    assert [token_status(brief, at) for at in (100.0, 199.9, 200.0)] == ["good", "good", "expired"]
    assert [token_status(revoked, at) for at in (150.0, 300.0)] == ["revoked", "revoked"]


def test_a_token_that_is_over_is_remembered_for_ninety_days() -> None:
    _, forever = issued()
    _, brief = issued(expires_at=200.0)
    assert not is_purgeable(forever, 1e12)
    assert not is_purgeable(brief, 200.0 + 90 * DAY)
    assert is_purgeable(brief, 201.0 + 90 * DAY)
    revoked = msgspec.structs.replace(brief, revoked_at=150.0)
    assert is_purgeable(revoked, 151.0 + 90 * DAY)


@pytest.mark.parametrize(("held", "wanted"), list(itertools.product(SCOPES, SCOPES)))
def test_admin_may_do_everything_and_no_other_scope_implies_another(
    held: Scope, wanted: Scope
) -> None:
    _, token = issued([held])
    allowed = held in ("admin", wanted)
    assert is_allowed(token, wanted, "mail") is allowed
    assert is_allowed(token, wanted, None) is allowed


def test_a_limit_to_queues_holds_for_every_scope() -> None:
    _, token = issued(["enqueue", "agent", "read"], ["mail"])
    for scope in ("enqueue", "agent", "read"):
        assert is_allowed(token, scope, "mail")
        assert not is_allowed(token, scope, "images")
    # A beat or an offer is of no certain queue; a list of all jobs is of every one.
    assert is_allowed(token, "agent", None)
    assert is_allowed(token, "enqueue", None)
    assert not is_allowed(token, "read", None)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"scopes": []}, "needs at least one scope: choose from enqueue, read, agent, admin"),
        ({"scopes": ["root"]}, "unknown scope 'root'"),
        ({"queues": [""]}, "empty"),
        ({"queues": "mail"}, r"write \['mail'\]"),
        ({"scopes": ["admin"], "queues": ["mail"]}, "cannot be limited to queues"),
        ({"expires_at": 100.0}, "is in the past"),
        ({"name": " "}, "printable"),
        ({"name": "a\nb"}, "printable"),
        ({"name": "a" * 101}, "1 to 100 printable"),
    ],
)
def test_a_token_that_could_mean_nothing_is_refused_with_the_reason(
    given: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        issue_token(**{"name": "n", "scopes": ["read"], "queues": [], "now": 100.0, **given})


def test_an_action_is_kept_on_one_line_and_cut() -> None:
    action = Action(who="a", where="h", what="cancel", subject="j\x1b[2J\nroot", detail="x" * 600)
    kept = sanitize_action(action, seq=3, at=7.0)
    assert (kept.seq, kept.at, kept.subject) == (3, 7.0, "j [2J root")
    assert len(kept.detail) == 500
    assert kept.detail.endswith("x…")


def test_an_agent_s_name_ends_with_the_id_of_its_token() -> None:
    text, token = issued(["agent"])
    assert agent_suffix(text) == f"@{token.id}"
    assert agent_suffix("") == agent_suffix("no token") == ""


def test_the_rights_of_a_token_are_described_with_its_queues() -> None:
    _, token = issued(["read", "enqueue"])
    assert describe_rights(token) == "laptop: enqueue, read"
    _, token = issued(["read"], ["mail", "web"])
    assert describe_rights(token) == "laptop: read on mail, web"


def test_every_text_of_an_action_is_stored_on_one_line() -> None:
    action = Action(who="a\nb", where="c\rd", what="e\tf", subject="g\0h", detail="i\x1bj")
    stored = sanitize_action(action, seq=7, at=9.0)
    assert (stored.seq, stored.at) == (7, 9.0)
    texts = (stored.who, stored.where, stored.what, stored.subject, stored.detail)
    assert texts == ("a b", "c d", "e f", "g h", "i j")
    for length in (499, 500):
        whole = msgspec.structs.replace(action, detail="x" * length)
        assert sanitize_action(whole, seq=1, at=1.0).detail == "x" * length
