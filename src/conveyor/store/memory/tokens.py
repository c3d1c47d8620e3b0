"""Access: tokens and the audit log."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from ...core.access import (
    ACTIONS_KEPT,
    EVERY_ACTION,
    Action,
    ActionFilter,
    Token,
    is_purgeable,
    sanitize_action,
)
from ...core.page import Page, cut_page
from ...core.storable import check_token
from ...errors import NotFoundError, UsageError
from ..list_rules import action_size, token_size
from .data import MemoryData


def add_token(memory: MemoryData, token: Token) -> None:
    """Store a new token."""
    check_token(token)
    if token.id in memory.tokens:
        raise UsageError(f"there is a token {token.id} already: issue another")
    memory.tokens[token.id] = token
    memory.hint("access", token.id)


def token(memory: MemoryData, token_id: str) -> Token:
    """Return one token."""
    try:
        return memory.tokens[token_id]
    except KeyError:
        raise NotFoundError(f"token {token_id!r} not found") from None


def tokens(memory: MemoryData, *, after: str = "", limit: int) -> Page[Token]:
    """Return one page of the tokens, by id."""
    ids = sorted(each for each in memory.tokens if each > after)
    return cut_page((memory.tokens[each] for each in ids), limit, token_size)


def revoke_token(memory: MemoryData, token_id: str) -> Token:
    """Revoke a token."""
    known = token(memory, token_id)
    if known.revoked_at is None:
        known = msgspec.structs.replace(known, revoked_at=memory.now)
        memory.tokens[token_id] = known
    memory.hint("access", token_id)
    return known


def note_action(memory: MemoryData, actions: Sequence[Action]) -> None:
    """Append actions to the audit log."""
    for action in actions:
        memory.action_numbers += 1
        memory.actions.append(sanitize_action(action, seq=memory.action_numbers, at=memory.now))


def actions(
    memory: MemoryData,
    *,
    before: int | None = None,
    limit: int,
    which: ActionFilter = EVERY_ACTION,
) -> Page[Action]:
    """Return one page of the audit log, newest first."""
    newest = reversed(memory.actions)
    older = (
        each for each in newest if (before is None or each.seq < before) and which.matches(each)
    )
    return cut_page(older, limit, action_size)


def prune_access(memory: MemoryData, *, limit: int) -> None:
    """Delete tokens that ended long ago, and old actions of the audit log."""
    over = [each.id for each in memory.tokens.values() if is_purgeable(each, memory.now)]
    for token_id in over[:limit]:
        del memory.tokens[token_id]
    for _ in range(limit):
        if not memory.actions or memory.actions[0].at >= memory.now - ACTIONS_KEPT:
            break
        memory.actions.popleft()
