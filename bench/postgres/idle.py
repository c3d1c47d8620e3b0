"""Measure what idle workers cost a PostgreSQL server: `python bench/postgres/idle.py`.

The workers share a few processes here; each has its own connections, sidecar and maintenance, as
one that is a process of its own. The server is that of BENCH_POSTGRES, or a private one with fsync;
its processes must be on this machine (Linux).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import AsyncExitStack, ExitStack, suppress
from pathlib import Path

import psycopg
from age import private_server
from rows import database, print_machine

from conveyor import Conveyor
from conveyor.store.postgres.address import parse_address
from conveyor.store.postgres.migrate import Migration

ROLE = "workers"


def main() -> None:
    """Print the server's CPU time per second with idle workers, and without any."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, default=100)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--settle", type=float, default=30.0, help="seconds before measuring")
    parser.add_argument("--seconds", type=float, default=60.0)
    given = parser.parse_args()
    with ExitStack() as stack:
        most = f"max_connections={100 + 6 * given.workers}"
        server = os.environ.get("BENCH_POSTGRES") or stack.enter_context(private_server([most]))
        print_machine(server)
        url = stack.enter_context(database(server))
        Migration(parse_address(url)).run()
        session = stack.enter_context(psycopg.connect(url, autocommit=True))
        without = cost(session, min(given.seconds, 10.0))
        print(f"without workers: {100 * without:.2f} % of a core")
        share = -(-given.workers // given.processes)
        counts = [min(share, given.workers - n) for n in range(0, given.workers, share)]
        running = [start(url, count) for count in counts]
        for each in running:
            stack.callback(each.wait)
            stack.callback(each.terminate)
        for each in running:
            if each.stdout is None or each.stdout.readline() != "ready\n":
                sys.exit("a process of workers has ended")
        time.sleep(given.settle)
        before = [tree_cpu(each.pid) for each in running]
        server_cost = cost(session, given.seconds)
        after = [tree_cpu(each.pid) for each in running]
        own = (sum(after) - sum(before)) * 60 / given.seconds / given.workers
        [(connections,)] = session.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'conveyor %'"
        ).fetchall()
        print(
            f"{given.workers} idle workers: {100 * server_cost:.2f} % of a core of the server, "
            f"{connections} connections; each worker {own:.2f} CPU s/min itself"
        )


def start(url: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, __file__, ROLE, url, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


async def work(url: str, count: int) -> None:
    """Run workers until this process is terminated."""
    async with AsyncExitStack() as stack:
        for _ in range(count):
            belt = Conveyor(url)
            belt.task(noop)
            await stack.enter_async_context(belt.worker())
        stopped = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
        print("ready", flush=True)
        await stopped.wait()


async def noop() -> None: ...


def cost(session: psycopg.Connection[tuple[object, ...]], seconds: float) -> float:
    """Return the CPU seconds per second of all processes of a session's server."""
    backend = Path(f"/proc/{session.info.backend_pid}/stat").read_text()
    postmaster = int(backend.rpartition(")")[2].split()[1])
    before, began = tree_cpu(postmaster), time.monotonic()
    time.sleep(seconds)
    return (tree_cpu(postmaster) - before) / (time.monotonic() - began)


def tree_cpu(root: int) -> float:
    """Return the CPU seconds used by a process and its children, also by those that have ended."""
    ticks = os.sysconf("SC_CLK_TCK")
    ended = Path(f"/proc/{root}/stat").read_text().rpartition(")")[2].split()
    used = (int(ended[13]) + int(ended[14])) / ticks
    pids = [root]
    while pids:
        pid = pids.pop()
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            for task in Path(f"/proc/{pid}/task").iterdir():
                used += int((task / "schedstat").read_text().split()[0]) / 1e9
                pids += map(int, (task / "children").read_text().split())
    return used


if __name__ == "__main__":
    if sys.argv[1:2] == [ROLE]:
        asyncio.run(work(sys.argv[2], int(sys.argv[3])))
    else:
        main()
