"""Measure an enqueue in the application's transaction: `python bench/postgres/joined.py --delay 1`.

A proxy adds that many milliseconds to each round trip, as a network does. Beside it, the time of
`SELECT 1` on the same connection. The server is that of BENCH_POSTGRES, or a private one with
fsync.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from rows import database, print_machine, private_server

from conveyor import Conveyor
from conveyor.store.postgres.address import parse_address
from conveyor.store.postgres.migrate import Migration

CHUNK = 65536


def main() -> None:
    """Print the milliseconds of each kind of call."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--delay", type=float, default=1.0, help="milliseconds per round trip")
    given = parser.parse_args()
    with ExitStack() as stack:
        server = os.environ.get("BENCH_POSTGRES") or stack.enter_context(private_server())
        print_machine(server)
        url = stack.enter_context(database(server))
        Migration(parse_address(url)).run()
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        path = str(Path(folder, ".s.PGSQL.5432"))
        threading.Thread(target=serve, args=(path, url, given.delay / 1000), daemon=True).start()
        belt = Conveyor(url)
        stack.callback(belt.close)
        task = belt.task(send)
        few = belt.queue("bounded", capacity=10 * given.calls).task(send, name="few")
        for each in (task, few):
            each.enqueue("first")
        slow = stack.enter_context(psycopg.connect(url, host=folder, port=5432))
        calls: dict[str, Callable[[int], object]] = {
            "SELECT 1": lambda _: slow.execute("SELECT 1"),
            "enqueue, unbounded": lambda _: task.using(connection=slow).enqueue("ann"),
            "enqueue, bounded": lambda _: few.using(connection=slow).enqueue("ann"),
            "enqueue, a free key": lambda n: task.using(connection=slow, key=str(n)).enqueue("ann"),
            "enqueue_many of 100": lambda _: task.using(connection=slow).enqueue_many(
                [("a",)] * 100
            ),
        }
        for name, call in calls.items():
            print(f"{name}: {1000 * measure(slow, call, given.calls):.2f} ms")


def send(to: str) -> None: ...


def measure(
    connection: psycopg.Connection[Any], call: Callable[[int], object], count: int
) -> float:
    """Return the median time of a call within a transaction, in seconds."""
    took: list[float] = []
    for number in range(count):
        connection.execute("SELECT 1")  # begins a transaction
        began = time.perf_counter()
        call(number)
        took.append(time.perf_counter() - began)
        connection.commit()
    return statistics.median(took)


def serve(path: str, url: str, delay: float) -> None:
    """Accept connections and pass on what they send, each piece after a delay."""
    known = conninfo_to_dict(url)
    folder, port = known.get("host", ""), known.get("port", "5432")
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(path)
        door.listen()
        while True:
            client, _ = door.accept()
            back: socket.socket
            if str(folder).startswith("/"):
                back = socket.socket(socket.AF_UNIX)
                back.connect(f"{folder}/.s.PGSQL.{port}")
            else:
                back = socket.create_connection((str(folder), int(str(port))))
            for source, target, pause in ((client, back, delay), (back, client, 0.0)):
                threading.Thread(target=pump, args=(source, target, pause), daemon=True).start()


def pump(source: socket.socket, target: socket.socket, pause: float) -> None:
    """Pass on what comes until one side closes."""
    with suppress(OSError):
        while data := source.recv(CHUNK):
            time.sleep(pause)
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    main()
