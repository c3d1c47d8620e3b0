"""Who may do what over the network, and the line that is kept of what was done.

Nothing here reads a clock or a store. A token is a text that is shown once; the store keeps only
its digest.
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

Scope = Literal["enqueue", "read", "agent", "admin"]
SCOPES: tuple[Scope, ...] = get_args(Scope)
Standing = Literal["good", "expired", "revoked"]

DAY = 86400.0
# How long the store remembers tokens that are good no more, and what was done, in seconds.
TOKENS_KEPT = 90 * DAY
ACTIONS_KEPT = 365 * DAY

LONGEST_NAME = 100
LONGEST_TEXT = 500
SECRET_BYTES = 32
ID_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
ID_LENGTH = 8
TEXT = re.compile(rf"cvy_([a-z0-9]{{{ID_LENGTH}}})_([A-Za-z0-9_-]{{43}})")
MARKED = re.compile(rf"@[a-z0-9]{{{ID_LENGTH}}}\Z")


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A right to use the server. `name` is what a person calls it; no `queues` means all.

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
    """A line of the audit: who did what to whom. The store sets `seq` and `at`.

    `who` is a token's id and name, or a user of the system; `where` an address or a host; `what`
    the action ("cancel"); `subject` what it was done to (a job's id, a queue's name).
    """

    seq: int = 0
    at: float = 0.0
    who: str
    where: str
    what: str
    subject: str
    detail: str = ""


def issue(
    name: str,
    scopes: Collection[str],
    queues: Sequence[str] = (),
    *,
    now: float,
    expires_at: float | None = None,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
) -> tuple[str, Token]:
    """Make a token; returns the text, which is shown once, and what the store keeps.

    UsageError when it could not mean anything.
    """
    _check_name(name)
    _check_rights(scopes, queues)
    if expires_at is not None and expires_at <= now:
        raise UsageError(
            f"the token {name!r} would be expired from the start: give a time in the future, "
            "or none for a token that is good until it is revoked"
        )
    # The id is a name and no secret, so that some letters are a little likelier does no harm.
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
    """Return the id within a token's text; None if it is not the text of a token."""
    found = TEXT.fullmatch(text)
    return found[1] if found else None


def fits(token: Token, text: str) -> bool:
    """Whether this is the token's text. Takes as long whatever part of the secret is wrong."""
    found = TEXT.fullmatch(text)
    if found is None or found[1] != token.id:
        return False
    return hmac.compare_digest(_digest(found[2]), token.digest)


def standing(token: Token, now: float) -> Standing:
    """Say whether a token is good, and why not."""
    if token.revoked_at is not None:
        return "revoked"
    if token.expires_at is not None and token.expires_at <= now:
        return "expired"
    return "good"


def may(token: Token, scope: Scope, queue: str | None) -> bool:
    """Whether a token allows what needs `scope`, for one queue or (None) for no certain one.

    Admin may do everything; no other scope implies another. A token that is limited to queues may
    not read what is of no certain queue: that would be a list of all.
    """
    if "admin" in token.scopes:
        return True
    if scope not in token.scopes:
        return False
    if queue is None:
        return scope != "read" or not token.queues
    return not token.queues or queue in token.queues


def is_marked(worker: str) -> bool:
    """Whether a worker is an agent: one that reaches the store by a server, with a token."""
    return MARKED.search(worker) is not None


def mark(text: str) -> str:
    """Return what the names of workers end with that use this token; "" without one.

    It says whose they are, so that nobody else can speak for them.
    """
    found = token_id(text)
    return "" if found is None else f"@{found}"


def called(token: Token) -> str:
    """Return how the audit names the one who holds a token."""
    return f"{token.id} {token.name}"


def rights(token: Token) -> str:
    """Return what the audit says of a token that was made: its name, scopes and queues."""
    queues = f" on {', '.join(token.queues)}" if token.queues else ""
    return f"{token.name}: {', '.join(sorted(token.scopes))}{queues}"


def long_over(token: Token, now: float) -> bool:
    """Whether a token has been revoked or expired for so long that it may be forgotten."""
    ends = [end for end in (token.revoked_at, token.expires_at) if end is not None]
    return bool(ends) and min(ends) < now - TOKENS_KEPT


def noted(action: Action, *, seq: int, at: float) -> Action:
    """Return an action as it is kept: its texts on one line each, and cut where they are long.

    A line break or an escape sequence in a subject could pass for a line of its own.
    """
    return Action(
        seq=seq,
        at=at,
        who=_line(action.who),
        where=_line(action.where),
        what=_line(action.what),
        subject=_line(action.subject),
        detail=_line(action.detail),
    )


def _check_name(name: str) -> None:
    if not name.strip() or not name.isprintable() or len(name) > LONGEST_NAME:
        raise UsageError(
            f"the token's name {name[:LONGEST_NAME]!r}: give one by which people know whose it is, "
            f"of at most {LONGEST_NAME} printable characters, like 'laptop of Ann'"
        )


def _check_rights(scopes: Collection[str], queues: Sequence[str]) -> None:
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        what = f"has no scope {unknown[0]!r}" if unknown else "without a scope may do nothing"
        raise UsageError(f"a token {what}: choose from {', '.join(SCOPES)}")
    if isinstance(queues, str):
        raise UsageError(f"queues are a list of names, not the text {queues!r}: write [{queues!r}]")
    if not all(queues):
        raise UsageError("a queue's name is empty: name a queue, or none to allow all")
    if queues and "admin" in scopes:
        raise UsageError(
            "an admin token may do everything, so a limit to queues would not hold: "
            "leave out the queues, or choose other scopes"
        )


def _digest(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()


def _line(text: str) -> str:
    short = text if len(text) <= LONGEST_TEXT else text[: LONGEST_TEXT - 1] + "…"
    return "".join(letter if letter.isprintable() else " " for letter in short)
