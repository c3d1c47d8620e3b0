"""The server's settings for agents, and its limits for all clients."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ..core.secret_mask import MASKED_KEYS
from ..core.task import Task


class ServerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Durations are seconds, limits are bytes.

    A lease lasts at most `lease_for`. A waiting claim is held for `hold`. Workers send a heartbeat
    every `beat`. A large body waits for `room_wait` until others leave memory for it.
    `capacities` are those that the server's application declares for its queues, and `tasks` are
    its tasks: if there are any, only jobs of these are accepted. `masked_keys` are the words in the
    names of arguments whose values are secrets, see core/secret_mask.py. At most `viewers` pages of
    the dashboard are kept up to date.
    """

    lease_for: float = 60.0
    hold: float = 25.0
    beat: float = 15.0
    room_wait: float = 10.0
    args_limit: int = 1 << 20
    body_limit: int = 64 << 20
    capacities: Mapping[str, int | None] = {}
    tasks: Mapping[str, Task] = {}
    masked_keys: tuple[str, ...] = MASKED_KEYS
    viewers: int = 200
