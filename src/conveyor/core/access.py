"""Access tokens and their scopes, and the entries of the audit log.

Nothing here reads a clock or a store. The text of a token is shown once; the store keeps only its
digest.
"""

from __future__ import annotations

import hmac
import re
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable, Collection, Sequence
from hashlib import sha256
from typing import Literal, cast, get_args

import msgspec

from ..errors import UsageError
from .bounds import checked_moment

Scope = Literal["enqueue", "read", "agent", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
TokenStatus = Literal["good", "expired", "revoked"]

DAY = 86400.0
# How long the store keeps expired and revoked tokens, and the audit, in seconds.
TOKENS_KEPT = 90 * DAY
ACTIONS_KEPT = 365 * DAY

NAME_LIMIT = 100
TEXT_LIMIT = 500
SECRET_BYTES = 32
ID_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
ID_LENGTH = 8
TOKEN_TEXT = re.compile(rf"cvy_([a-z0-9]{{{ID_LENGTH}}})_([A-Za-z0-9_-]{{43}})")
AGENT_NAME = re.compile(rf"@[a-z0-9]{{{ID_LENGTH}}}\Z")


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A right to use the server. `name` is for people; empty `queues` means all queues.

    `digest` is the SHA-256 of the secret, in hex. That is enough: a secret of 256 random bits
    cannot be guessed, however fast the hash, and NIST SP 800-63B (5.1.2.2) asks for salt and a
    password hash only below 112 bits.
    """

    id: str
    name: str
    digest: str
    scopes: frozenset[Scope]
    queues: tuple[str, ...] = ()
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the audit: who did what to what. The store sets `seq` and `at`.

    `who` is a token's id and name, or a user of the host; `where` an address or a host; `what` the
    action ("cancel"); `subject` its object (a job's id, a queue's name, a filter). `reason` is why,
    if that was said; `count` is how many jobs were changed, if there may be several.
    """

    seq: int = 0
    at: float = 0.0
    who: str
    where: str
    what: str
    subject: str
    detail: str = ""
    reason: str = ""
    count: int | None = None


class ActionFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which lines of the audit to list; None means any. `since` <= at < `until`, Unix seconds."""

    who: str | None = None
    what: str | None = None
    subject: str | None = None
    since: float | None = None
    until: float | None = None

    def matches(self, action: Action) -> bool:
        """Whether a line is one of these."""
        return (
            self.who in (None, action.who)
            and self.what in (None, action.what)
            and self.subject in (None, action.subject)
            and (self.since is None or action.at >= self.since)
            and (self.until is None or action.at < self.until)
        )


EVERY_ACTION = ActionFilter()


def issue_token(
    name: str,
    scopes: Collection[str],
    queues: Sequence[str] = (),
    *,
    now: float,
    expires_at: float | None = None,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> tuple[str, Token]:
    """Make a token; return its text, to be shown once, and what the store keeps.

    UsageError if the name, scopes, queues or expiry make no sense.
    """
    _check_name(name)
    _check_rights(scopes, queues)
    if expires_at is not None and checked_moment(expires_at, "expires_at") <= now:
        raise UsageError(
            f"the expiry of token {name!r} is in the past: choose one in the future, or none"
        )
    # The id is not secret, so it does no harm that some letters are a little likelier.
    letters = (ID_LETTERS[byte % len(ID_LETTERS)] for byte in random_bytes(ID_LENGTH))
    token_id = "".join(letters)
    secret = urlsafe_b64encode(random_bytes(SECRET_BYTES)).rstrip(b"=").decode()
    token = Token(
        id=token_id,
        name=name,
        digest=_digest(secret),
        scopes=frozenset(cast("Collection[Scope]", scopes)),
        queues=tuple(dict.fromkeys(queues)),
        created_at=now,
        expires_at=expires_at,
    )
    return f"cvy_{token_id}_{secret}", token


def token_id(text: str) -> str | None:
    """Return the id in a token's text; None if it is not the text of a token."""
    found = TOKEN_TEXT.fullmatch(text)
    return found[1] if found else None


def matches_token(token: Token, text: str) -> bool:
    """Whether this is the token's text. Compares the secret in constant time."""
    found = TOKEN_TEXT.fullmatch(text)
    if found is None or found[1] != token.id:
        return False
    return hmac.compare_digest(_digest(found[2]), token.digest)


def token_status(token: Token, now: float) -> TokenStatus:
    """Return whether a token is good, expired or revoked."""
    if token.revoked_at is not None:
        return "revoked"
    if token.expires_at is not None and token.expires_at <= now:
        return "expired"
    return "good"


def is_allowed(token: Token, scope: Scope, queue: str | None) -> bool:
    """Whether a token allows a call that needs `scope` on a queue, or (None) on no particular one.

    "admin" allows everything; no other scope implies another. A token limited to queues cannot
    read across queues.
    """
    if "admin" in token.scopes:
        return True
    if scope not in token.scopes:
        return False
    if queue is None:
        return scope != "read" or not token.queues
    return not token.queues or queue in token.queues


def is_agent(worker: str) -> bool:
    """Whether a worker is an agent: it reaches the store through a server, with a token."""
    return AGENT_NAME.search(worker) is not None


def agent_suffix(text: str) -> str:
    """Return the suffix of the names of workers that use this token; "" without one.

    It names their owner, so that the server can refuse other tokens in their name.
    """
    found = token_id(text)
    return "" if found is None else f"@{found}"


def token_label(token: Token) -> str:
    """Return how the audit names the holder of a token."""
    return f"{token.id} {token.name}"


def describe_rights(token: Token) -> str:
    """Return the audit's description of a token: its name, scopes and queues."""
    queues = f" on {', '.join(token.queues)}" if token.queues else ""
    return f"{token.name}: {', '.join(sorted(token.scopes))}{queues}"


def is_purgeable(token: Token, now: float) -> bool:
    """Whether a token has been revoked or expired for so long that it can be deleted."""
    ends = [end for end in (token.revoked_at, token.expires_at) if end is not None]
    return bool(ends) and min(ends) < now - TOKENS_KEPT


def sanitize_action(action: Action, *, seq: int, at: float) -> Action:
    """Return an action as it is stored: each text printable, on one line, of limited length.

    A line break or an escape sequence in a subject could forge another line.
    """
    return Action(
        seq=seq,
        at=at,
        who=_line(action.who),
        where=_line(action.where),
        what=_line(action.what),
        subject=_line(action.subject),
        detail=_line(action.detail),
        reason=_line(action.reason),
        count=action.count,
    )


def _check_name(name: str) -> None:
    if not name.strip() or not name.isprintable() or len(name) > NAME_LIMIT:
        raise UsageError(
            f"a token's name must be 1 to {NAME_LIMIT} printable characters, like 'laptop of Ann', "
            f"got {name[:NAME_LIMIT]!r}"
        )


def _check_rights(scopes: Collection[str], queues: Sequence[str]) -> None:
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        what = f"unknown scope {unknown[0]!r}" if unknown else "a token needs at least one scope"
        raise UsageError(f"{what}: choose from {', '.join(SCOPES)}")
    if isinstance(queues, str):
        raise UsageError(f"queues must be a list of names, got a string: write [{queues!r}]")
    if not all(queues):
        raise UsageError("a queue's name is empty: name a queue, or leave out queues to allow all")
    if queues and "admin" in scopes:
        raise UsageError(
            "an admin token cannot be limited to queues, because it allows everything: "
            "leave out the queues, or choose other scopes"
        )


def _digest(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()


def _line(text: str) -> str:
    short = text if len(text) <= TEXT_LIMIT else text[: TEXT_LIMIT - 1] + "…"
    return "".join(letter if letter.isprintable() else " " for letter in short)
