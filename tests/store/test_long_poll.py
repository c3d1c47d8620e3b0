"""A claim that waits at a server ends when the server refuses it."""

from __future__ import annotations

import asyncio
from typing import Any

from conveyor.errors import AccessError
from conveyor.store.http.api import STORE_CALLS
from conveyor.store.http.long_poll import LongPolls
from conveyor.store.http.wire import ExchangedView
from conveyor.store.messages import Claimant, Want

LONG = 60.0


class Client:
    """Answers the first call with no job, and refuses the claim that would wait for one."""

    claims = 0

    async def call(self, call: Any, *_: Any, **__: Any) -> ExchangedView:
        if call is not STORE_CALLS["claim"]:
            return ExchangedView((), ())
        self.claims += 1
        raise AccessError("the token is revoked")


def test_a_refused_claim_is_not_repeated_and_the_worker_is_told_to_ask_itself() -> None:
    client = Client()
    told: list[tuple[str, ...]] = []

    async def main() -> None:
        refused = asyncio.Event()

        def tell(queues: tuple[str, ...]) -> None:
            told.append(queues)
            refused.set()

        polls = LongPolls(client, lambda: 0.0, tell)  # type: ignore[arg-type]
        await polls.exchange([], [Want("q", 1)], Claimant("w"), 1)
        await refused.wait()
        await polls.decline("w")

    asyncio.run(asyncio.wait_for(main(), LONG))
    assert (client.claims, told) == (1, [()])
