"""Enqueues with one system: `producer.py MODULE COMMAND COUNT`, started by `rows.py`.

Once it is ready it says so, and waits for a line; then it works and prints what it took.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import time
from pathlib import Path
from types import ModuleType

COROUTINES, BATCH, WARM = 64, 1000, 20
GAP = 0.02


async def one(system: ModuleType, count: int) -> None:
    for _ in range(count):
        await system.send()


async def many(system: ModuleType, count: int) -> None:
    await asyncio.gather(*(one(system, count // COROUTINES) for _ in range(COROUTINES)))


async def bulk(system: ModuleType, count: int) -> None:
    for first in range(0, count, BATCH):
        await system.send_many(min(BATCH, count - first))


async def naps(system: ModuleType, count: int) -> None:
    for first in range(0, count, BATCH):
        await system.send_naps(min(BATCH, count - first))


async def probe(system: ModuleType, count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(GAP)
        await system.probe(time.monotonic_ns())


def one_blocking(system: ModuleType, count: int) -> None:
    for _ in range(count):
        system.send_blocking()


async def run(system: ModuleType, command: str, count: int) -> None:
    if command == "setup":
        await system.setup()
        return
    await system.start()
    work = {"one": one, "many": many, "bulk": bulk, "naps": naps, "probe": probe}[command]
    # Connections are open and statements known before the time counts.
    if command in ("one", "many"):
        await work(system, COROUTINES)
    elif command == "bulk":
        for _ in range(WARM):
            await system.send_many(1)
    await asyncio.to_thread(wait_for_start)
    began, cpu = time.monotonic(), time.process_time()
    await work(system, count)
    report(began, cpu)
    await system.close()


def run_blocking(system: ModuleType, count: int) -> None:
    one_blocking(system, WARM)
    wait_for_start()
    began, cpu = time.monotonic(), time.process_time()
    one_blocking(system, count)
    report(began, cpu)
    asyncio.run(system.close())


def wait_for_start() -> None:
    print("ready", flush=True)
    sys.stdin.readline()


def report(began: float, cpu: float) -> None:
    took = {"began": began, "ended": time.monotonic(), "cpu": time.process_time() - cpu}
    print(json.dumps(took), flush=True)


def main() -> None:
    sys.path.insert(0, str(Path(__file__).parent / "peers"))
    name, command, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    system = importlib.import_module(name)
    if command == "one" and hasattr(system, "send_blocking"):
        run_blocking(system, count)
    elif command == "worker":
        print(json.dumps([system.WORKER, system.DRAINED]))
    else:
        asyncio.run(run(system, command, count))


if __name__ == "__main__":
    main()
