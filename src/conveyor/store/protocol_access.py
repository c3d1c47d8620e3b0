"""What a store keeps for whoever guards it: tokens, and the audit of what was done."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ..core.access import Action, Token
from ..core.pending import Pending


class AccessStore(Protocol):
    """What a server and an operator need to say who may do what, and who did.

    `prune` forgets tokens that have been good no more for 90 days, and actions after 365.
    """

    def add_token(self, token: Token) -> Pending[None]:
        """Make a token known; UsageError when there is one of its id."""
        ...

    def token(self, token_id: str) -> Pending[Token]:
        """Return a token, whether it is good or not."""
        ...

    def tokens(self, *, after: str = "", limit: int) -> Pending[list[Token]]:
        """Return at most `limit` tokens whose id is above `after`, by id."""
        ...

    def revoke_token(self, token_id: str) -> Pending[Token]:
        """Let a token be good no more, from now on; the first time stays."""
        ...

    def note_action(self, actions: Sequence[Action]) -> Pending[None]:
        """Add lines to the audit. Their texts are kept on one line and to 500 characters each."""
        ...

    def actions(self, *, before: int | None = None, limit: int) -> Pending[list[Action]]:
        """Return at most `limit` lines of the audit, newest first; `before` is a `seq`."""
        ...
