"""Access: tokens and the audit log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from ....core.access import (
    ACTIONS_KEPT,
    EVERY_ACTION,
    TOKENS_KEPT,
    Action,
    ActionFilter,
    Scope,
    Token,
    sanitize_action,
)
from ....core.page import Page, cut_page
from ....core.storable import check_token
from ....core.unreadable import UNREADABLE
from ....errors import NotFoundError, UsageError
from ...list_rules import action_size, token_size
from ...messages import LOOKED_AT
from ..rows import Row, finite, is_time, text
from ..transaction import Tx

LAST_SEQ = 2**63 - 1

_encode = msgspec.json.Encoder().encode
_decode_scopes = msgspec.json.Decoder(frozenset[Scope]).decode
_decode_queues = msgspec.json.Decoder(tuple[str, ...]).decode


async def add_token(tx: Tx, token: Token) -> None:
    """Store a new token."""
    check_token(token)
    row = (
        token.id,
        token.name,
        token.digest,
        _encode(sorted(token.scopes)).decode(),
        _encode(token.queues).decode(),
        token.created_at,
        token.expires_at,
        token.revoked_at,
    )
    if not await tx.rows("add_token", row):
        raise UsageError(f"there is a token {token.id} already: issue another")
    tx.hint("access", token.id)


async def token(tx: Tx, token_id: str) -> Token:
    """Return one token."""
    return _one(await tx.rows("token", (token_id,)), token_id)


async def tokens(tx: Tx, *, after: str = "", limit: int) -> Page[Token]:
    """Return one page of the tokens, by id."""
    rows = await tx.rows("tokens", (after, limit + 1))
    return cut_page(map(_token, rows), limit, token_size)


async def revoke_token(tx: Tx, token_id: str) -> Token:
    """Revoke a token."""
    known = await token(tx, token_id)
    await tx.rows("revoke_token", (tx.now, token_id))
    if known.revoked_at is None:
        known = msgspec.structs.replace(known, revoked_at=tx.now)
    tx.hint("access", token_id)
    return known


async def note_action(tx: Tx, actions: Sequence[Action]) -> None:
    """Append actions to the audit log."""
    kept = (sanitize_action(action, seq=0, at=tx.now) for action in actions)
    await tx.many(
        "note_action",
        [
            (
                *(each.at, each.who, each.where, each.what, each.subject, each.detail),
                *(each.reason, each.count),
            )
            for each in kept
        ],
    )


async def actions(
    tx: Tx, *, before: int | None = None, limit: int, which: ActionFilter = EVERY_ACTION
) -> Page[Action]:
    """Return one page of the audit log, newest first."""
    place = {"before": LAST_SEQ if before is None else before, "rows": LOOKED_AT}
    rows = await tx.rows("actions", {**place, **msgspec.structs.asdict(which), "limit": limit + 1})
    page = cut_page((_action(*row) for row in rows), limit, action_size)
    if not page.more:
        [(last, seen)] = await tx.rows("oldest_action", place)
        if seen == LOOKED_AT:
            page.more, page.next = True, last
    return page


def _action(
    seq: int, at: Any, who: str, where: str, what: str, subject: str, detail: str, *more: Any
) -> Action:
    reason, count = more
    return Action(
        seq=seq,
        at=finite(at),
        who=who,
        where=where,
        what=what,
        subject=subject,
        detail=detail,
        reason=text(reason),
        count=count if type(count) is int else None,
    )


async def prune_access(tx: Tx, *, limit: int) -> None:
    """Delete tokens that ended long ago, and old actions of the audit log."""
    await tx.rows("delete_old_tokens", (tx.now - TOKENS_KEPT, limit))
    await tx.rows("delete_old_actions", (tx.now - ACTIONS_KEPT, limit))


def is_intact(row: Row) -> bool:
    """Whether the row of a token can be read."""
    *texts, created_at, expires_at, revoked_at = row
    times = [created_at, *(each for each in (expires_at, revoked_at) if each is not None)]
    readable = all(isinstance(each, str) and "\ufffd" not in each for each in texts)
    return readable and all(map(is_time, times)) and bool(_token(row).scopes)


def _one(rows: list[Row], token_id: str) -> Token:
    if not rows:
        raise NotFoundError(f"token {token_id!r} not found")
    return _token(rows[0])


def _token(row: tuple[Any, ...]) -> Token:
    """Return a token. One whose row is damaged allows nothing."""
    token_id, name, digest, scopes, queues, created_at, expires_at, revoked_at = row
    try:
        may, where = _decode_scopes(scopes), _decode_queues(queues)
    except (TypeError, *UNREADABLE):
        may, where = frozenset[Scope](), ()
    return Token(
        id=token_id,
        name=name,
        digest=digest,
        scopes=may,
        queues=where,
        created_at=finite(created_at),
        expires_at=None if expires_at is None else finite(expires_at),
        revoked_at=None if revoked_at is None else finite(revoked_at),
    )
