"""The part of the store protocol for access control: tokens and the audit log."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..core.access import EVERY_ACTION, Action, ActionFilter, Token
from ..core.page import Page
from ..core.pending import Pending


class AccessStore(Protocol):
    """For servers and operators: who may do what, and who did.

    `prune` deletes tokens 90 days after they became invalid, and actions after 365 days.
    """

    def add_token(self, token: Token) -> Pending[None]:
        """Add a token; UsageError if its id exists."""
        ...

    def token(self, token_id: str) -> Pending[Token]:
        """Return a token, valid or not."""
        ...

    def tokens(self, *, after: str = "", limit: int) -> Pending[Page[Token]]:
        """Return at most `limit` tokens whose id is above `after`, by id."""
        ...

    def revoke_token(self, token_id: str) -> Pending[Token]:
        """Revoke a token from now on; the time of the first revocation stays."""
        ...

    def note_action(self, actions: Sequence[Action]) -> Pending[None]:
        """Append to the audit log. Each text is cut to one line of 500 characters."""
        ...

    def actions(
        self, *, before: int | None = None, limit: int, which: ActionFilter = EVERY_ACTION
    ) -> Pending[Page[Action]]:
        """Return at most `limit` lines of the audit log, newest first; `before` is a `seq`.

        At most 10,000 lines are looked at: read on before the page's `next` if it has one.
        """
        ...
