"""Jobs over HTTP: one server process on SQLite FULL, agents in other processes, no-op jobs.

`python bench/remote.py`. Server, agents and producers share this machine, so every figure is bound
by its cores: what the server alone costs is printed beside it, in CPU µs.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import aiohttp
import msgspec
from across import probe

from conveyor import Conveyor
from conveyor.core.job import NewJob, OutputChunk, WorkerInfo
from conveyor.store.http.api import HINTS, PREFIX, STORE_CALLS
from conveyor.store.http.payloads import BeatBody, ClaimBody
from conveyor.store.http.store import HttpStore
from conveyor.store.messages import Claimant, Want

APP = """
import time

from conveyor import Conveyor

belt = Conveyor("unused.db")


@belt.task(name="nothing")
async def nothing() -> None:
    return None


@belt.task(name="stamp")
async def stamp() -> float:
    return time.monotonic()
"""
TICK = os.sysconf("SC_CLK_TCK")


class Server:
    """A server process; `cpu` is the CPU time that it has used, in seconds."""

    def __init__(self, folder: Path, store: str = "jobs.db") -> None:
        (folder / "app.py").write_text(APP)
        self.folder = folder
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "conveyor", "server", "--url", store, "--port", "0"],
            cwd=folder,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.popen.stderr is not None
        self.url = self.popen.stderr.readline().split()[1].rstrip(",")

    @property
    def cpu(self) -> float:
        fields = Path(f"/proc/{self.popen.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    @contextmanager
    def agents(self, number: int, slots: int) -> Generator[None]:
        """Run agents within the block."""
        command = [sys.executable, "-m", "conveyor", "agent", "--server", self.url]
        command += ["--app", "app:belt", "-c", str(slots)]
        running = [
            subprocess.Popen(command, cwd=self.folder, stderr=subprocess.PIPE, text=True)
            for _ in range(number)
        ]
        for each in running:
            assert each.stderr is not None
            each.stderr.readline()  # it has started
        try:
            yield
        finally:
            for each in running:
                each.terminate()
            for each in running:
                each.communicate()

    def close(self) -> None:
        self.popen.terminate()
        self.popen.communicate()


def main() -> None:
    """Print each figure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=60_000)
    parser.add_argument("--singles", type=int, default=3000)
    parser.add_argument("--probes", type=int, default=500)
    parser.add_argument("--idle", type=int, default=500)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--megabytes", type=int, default=200)
    given = parser.parse_args()
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
        + ", ".join(f"{each} {version(each)}" for each in ("conveyor", "uvicorn", "aiohttp"))
    )
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        server = Server(Path(folder))
        try:
            for measure in (
                lambda: singles(server, given.singles),
                lambda: bulk(server, given.jobs),
                lambda: drain(server),
                lambda: latency(server, given.probes),
                lambda: claims(server, given.probes),
                lambda: logs(server, given.megabytes),
                lambda: idle(server, given.idle, given.seconds),
            ):
                print(measure(), flush=True)
        finally:
            server.close()


def singles(server: Server, count: int) -> str:
    """One blocking client, one job a call; beside it the same without fsync, and without HTTP.

    The second server does not wait for the disk at each commit (durability "normal").
    """
    rate, cpu = _one_by_one(server, server.url, count)
    without_fsync = Server(server.folder, "normal.db?durability=normal")
    try:
        normal_rate, _ = _one_by_one(without_fsync, without_fsync.url, count)
    finally:
        without_fsync.close()
    direct_rate, _ = _one_by_one(server, str(server.folder / "direct.db"), count)
    return (
        f"enqueue, one blocking client, one by one: {rate:,.0f}/s; server {cpu:.0f} µs each; "
        f"not waiting for the disk {normal_rate:,.0f}/s; in the file itself {direct_rate:,.0f}/s; "
        f"the disk alone takes {1000 * _disk(server.folder):.2f} ms a commit"
    )


def _disk(folder: Path) -> float:
    """Return the median time to write the five pages of such a commit, in seconds.

    The file already has its full size, as SQLite's WAL has most of the time.
    """
    page, pages, took = os.urandom(4096), 4000, list[float]()
    descriptor = os.open(folder / "disk", os.O_CREAT | os.O_RDWR)
    try:
        os.write(descriptor, page * pages)
        os.fsync(descriptor)
        for first in range(0, pages, 5):
            before = time.monotonic()
            for number in range(first, first + 5):
                os.pwrite(descriptor, page, number * len(page))
            os.fdatasync(descriptor)
            took.append(time.monotonic() - before)
    finally:
        os.close(descriptor)
    return statistics.median(took)


def _one_by_one(server: Server, url: str, count: int) -> tuple[float, float]:
    belt = Conveyor(url)
    task = belt.queue("singles").task(name="nothing")(nothing)

    def send(number: int) -> None:
        for _ in range(number):
            task.enqueue()

    # Until the WAL has its full size: before that, each commit also extends the file.
    send(min(count, 1000))
    measured = _rate(server, count, lambda: send(count))
    belt.close()
    return measured


def bulk(server: Server, count: int) -> str:
    """One client, a thousand jobs a call; the next benchmark drains them."""
    belt = Conveyor(server.url)
    task = belt.task(name="nothing")(nothing)

    def send() -> None:
        for first in range(0, count, 1000):
            task.enqueue_many([()] * min(1000, count - first))

    rate, cpu = _rate(server, count, send)
    belt.close()
    return f"enqueue in bulk, 1,000 a call: {rate:,.0f}/s; server {cpu:.1f} µs each"


def drain(server: Server) -> str:
    """Two agents with 64 slots each; the queue is paused until both have started."""
    store = HttpStore(server.url)
    store.set_paused("default", paused=True).result()

    def left() -> int:
        return next(each for each in store.counts().result() if each.name == "default").depth

    with server.agents(2, 64):

        def wait() -> None:
            store.set_paused("default", paused=False).result()
            while left():
                time.sleep(0.05)

        rate, cpu = _rate(server, left(), wait)
    store.close()
    return f"no-op jobs drained by 2 agents: {rate:,.0f}/s; server {cpu:.1f} µs each"


def latency(server: Server, probes: int) -> str:
    """From the call of `enqueue` here to the first line of the job in an idle agent."""
    belt = Conveyor(server.url)
    with server.agents(1, 4):
        took = probe(belt, probes)
    belt.close()
    return f"enqueue to start in an idle agent: {_spread(took)}"


def claims(server: Server, probes: int) -> str:
    """A claim of one available job."""
    store = HttpStore(server.url)
    claimant = Claimant("bench", 60.0, frozenset(), 10.0)
    jobs = [
        NewJob(id=f"claim-{number}", task="nothing", queue="claims") for number in range(probes)
    ]
    store.insert(jobs).result()
    took: list[float] = []
    for _ in range(probes):
        before = time.monotonic()
        assert store.claim([Want("claims", 1)], claimant, limit=1).result().jobs
        took.append(time.monotonic() - before)
    store.close()
    return f"claim of an available job: {_spread(took)}"


def logs(server: Server, megabytes: int) -> str:
    """Four writers that send chunks of 64 KiB, half a MiB a call, like workers."""
    store = HttpStore(server.url)
    claimant = Claimant("logs", 60.0)
    names = [f"log-{number}" for number in range(4)]
    store.insert([NewJob(id=name, task="nothing", queue="logs") for name in names]).result()
    jobs = store.claim([Want("logs", 4)], claimant, limit=4).result().jobs
    data = os.urandom(1 << 16)
    before, cpu = time.monotonic(), server.cpu
    for first in range(0, 2 * megabytes, len(jobs)):
        asked = [
            store.write_output(
                [
                    OutputChunk(
                        job_id=job.id,
                        lease=job.lease,
                        offset=(first * 8 + piece) << 16,
                        stream="stdout",
                        at=0.0,
                        data=data,
                    )
                    for piece in range(8)
                ]
            )
            for job in jobs
        ]
        for each in asked:
            assert all(renewal.verdict == "continue" for renewal in each.result())
    rate = megabytes / (time.monotonic() - before)
    used = 1000 * (server.cpu - cpu) / megabytes
    store.close()
    return f"output: {rate:,.0f} MiB/s in sum; server {used:.1f} ms of CPU a MiB"


def idle(server: Server, count: int, seconds: float) -> str:
    """Idle agents as connections: a waiting claim, a stream of hints, a heartbeat every 10 s."""
    used = asyncio.run(_idle(server, count, seconds))
    return f"{count} idle agents: {100 * used / seconds:.1f} % of a core of the server"


async def _idle(server: Server, count: int, seconds: float) -> float:
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
    ) as session:
        tasks = [
            asyncio.create_task(each(session, server.url, f"idle-{number}"))
            for number in range(count)
            for each in (_wait_for_jobs, _stream_hints, _beat)
        ]
        await asyncio.sleep(min(5.0, seconds))  # until all are connected
        before = server.cpu
        await asyncio.sleep(seconds)
        used = server.cpu - before
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return used


async def _wait_for_jobs(session: aiohttp.ClientSession, url: str, worker: str) -> None:
    body = ClaimBody(wants=[Want("none", 4)], limit=4, wait=25.0, confirm_within=10.0)
    while True:
        await _post(session, url + PREFIX + STORE_CALLS["claim"].path.format(worker=worker), body)


async def _stream_hints(session: aiohttp.ClientSession, url: str, _worker: str) -> None:
    async with session.get(f"{url}{PREFIX}{HINTS.path}?kinds=cancel,quiet") as answer:
        async for _ in answer.content:
            continue


async def _beat(session: aiohttp.ClientSession, url: str, worker: str) -> None:
    info = WorkerInfo(
        id=worker, host="h", boot_id="b", pid=1, pid_started=0, started_at=0, slots=4, queues=("q",)
    )
    address = url + PREFIX + STORE_CALLS["beat"].path.format(worker=worker)
    while True:
        await _post(session, address, BeatBody(info=info), "PUT")
        await asyncio.sleep(10)


async def _post(
    session: aiohttp.ClientSession, url: str, body: msgspec.Struct, method: str = "POST"
) -> None:
    headers = {"Content-Type": "application/json"}
    async with session.request(
        method, url, data=msgspec.json.encode(body), headers=headers
    ) as answer:
        await answer.read()


def nothing() -> None:
    """Do nothing."""


def _rate(server: Server, count: int, work: Callable[[], object]) -> tuple[float, float]:
    before, cpu = time.monotonic(), server.cpu
    work()
    took = time.monotonic() - before
    return count / took, 1e6 * (server.cpu - cpu) / count


def _spread(took: list[float]) -> str:
    ordered = sorted(took)
    return (
        f"p50 {1000 * statistics.median(ordered):.2f} ms, "
        f"p99 {1000 * ordered[len(ordered) * 99 // 100]:.2f} ms"
    )


if __name__ == "__main__":
    main()
