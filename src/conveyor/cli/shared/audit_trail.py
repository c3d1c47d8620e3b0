"""Records in the store what commands change, and who ran them."""

from __future__ import annotations

import os
import pwd
import socket
from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol

from ...core.access import Action
from ...store.protocol import Store


class RecordAction(Protocol):
    """Records one action of a command."""

    def __call__(
        self,
        what: str,
        subject: str,
        detail: str = "",
        reason: str = "",
        count: int | None = None,
    ) -> None: ...


@contextmanager
def audited(store: Store) -> Generator[RecordAction]:
    """Store the recorded actions in one transaction when the block ends, also by an error.

    A remote store records them itself.
    """
    actions: list[Action] = []
    user, host = user_name(), socket.gethostname()

    def record(
        what: str, subject: str, detail: str = "", reason: str = "", count: int | None = None
    ) -> None:
        actions.append(
            Action(
                who=user,
                where=host,
                what=what,
                subject=subject,
                detail=detail,
                reason=reason,
                count=count,
            )
        )

    try:
        yield record
    finally:
        if actions and not store.records_actions:
            store.note_action(actions).result()


def who_runs_this() -> str:
    """Return the user and the host, as who pauses something here."""
    return f"{user_name()} on {socket.gethostname()}"


def user_name() -> str:
    """Return the name of the user who runs this command."""
    # Not getpass, which trusts LOGNAME.
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # users in containers often have no name
        return f"uid {os.getuid()}"
