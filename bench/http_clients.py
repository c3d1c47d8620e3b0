"""Lone enqueues over HTTP: the blocking and the pooled client in alternating rounds of one run.

`python bench/http_clients.py`. A blocking program that enqueues one job after another sends its
requests in its own thread (`store/http/blocking_client.py`); everything else goes through aiohttp
in the client's thread (`store/http/client.py`). Both talk to the same server process, which is
started once with `durability=normal` and once with `durability=full`. Compare ratios: absolute
figures depend on the machine and the moment.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from remote import Server, nothing

from conveyor import Conveyor, TaskFunction
from conveyor.core.job import NewJob, WhenFull
from conveyor.core.pending import Pending
from conveyor.store.http import idempotency, payloads
from conveyor.store.http.store import HttpStore
from conveyor.store.http.wire import encode_new_job
from conveyor.store.messages import Accepted, Offered

WARM_UP = 500


def main() -> None:
    """Print the throughput of both clients and their ratio, for each durability."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--calls", type=int, default=500)
    given = parser.parse_args()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        + ", ".join(f"{each} {version(each)}" for each in ("conveyor", "uvicorn", "aiohttp"))
    )
    for durability in ("normal", "full"):
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            server = Server(Path(folder), f"jobs.db?durability={durability}")
            try:
                print(f"durability={durability}: {compare(server, given.rounds, given.calls)}")
            finally:
                server.close()


class PooledStore(HttpStore):
    """Sends every enqueue through the pooled client, even for a blocking caller."""

    def insert(
        self,
        jobs: Sequence[NewJob],
        *,
        capacity: int | None = None,
        when_full: WhenFull = "wait",
        again: bool = False,
    ) -> Pending[Accepted | Offered]:
        body = payloads.InsertBody(
            jobs=list(map(encode_new_job, jobs)),
            capacity=capacity,
            when_full=when_full,
            again=again,
        )
        client = self._open_client()
        return client.submit(idempotency.send_insert_pooled(client, jobs[0].queue, body))


def compare(server: Server, rounds: int, calls: int) -> str:
    """Enqueue alternately through both clients; return the medians and the median ratio."""
    stores = {"blocking": HttpStore(server.url), "pooled": PooledStore(server.url)}
    tasks = {name: _task(store) for name, store in stores.items()}
    for task in tasks.values():
        _rate(task, min(calls, WARM_UP))
    rates: dict[str, list[float]] = {name: [] for name in tasks}
    for number in range(rounds):
        # Each client goes first in every other round.
        for name in sorted(tasks, reverse=bool(number % 2)):
            rates[name].append(_rate(tasks[name], calls))
    for store in stores.values():
        store.close()
    ratios = [one / other for one, other in zip(rates["blocking"], rates["pooled"], strict=True)]
    return (
        f"blocking client {statistics.median(rates['blocking']):,.0f}/s, "
        f"pooled client {statistics.median(rates['pooled']):,.0f}/s, "
        f"ratio {statistics.median(ratios):.2f} ({rounds} rounds: {min(ratios):.2f} to "
        f"{max(ratios):.2f})"
    )


def _task(store: HttpStore) -> TaskFunction[[], None]:
    return Conveyor(store=store).queue("singles").task(name="nothing")(nothing)


def _rate(task: TaskFunction[[], None], calls: int) -> float:
    before = time.perf_counter()
    for _ in range(calls):
        task.enqueue()
    return calls / (time.perf_counter() - before)


if __name__ == "__main__":
    main()
