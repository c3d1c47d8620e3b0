"""Compare Conveyor on PostgreSQL with other queues: `python bench/postgres/rows.py`.

Every system gets the same rows in turns: enqueue one at a time, from 64 coroutines and in batches
of 1,000 (from one process and from two), drain with one worker process and with two, and the
latency from enqueue to the first line of the job in an idle worker. Each phase has a database of
its own. The server is that of BENCH_POSTGRES, or a private one with fsync from the wheel of the
tests. Trust the ratios; absolute figures depend on the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import systems
from systems import MissingError, System

ROOT = Path(__file__).parents[2]
Figures = dict[str, float]
COLUMNS = (
    ("one", "one by one/s", 0),
    ("one_cpu", "client µs each", 0),
    ("many", "64 coroutines/s", 0),
    ("many_cpu", "client µs each", 0),
    ("bulk", "bulk/s", 0),
    ("bulk2", "bulk, 2 processes/s", 0),
    ("drain", "drain/s, 1 worker", 0),
    ("drain2", "drain/s, 2 workers", 0),
    ("p50", "p50 ms", 2),
    ("p99", "p99 ms", 2),
)
LIMIT = 120.0
SETTINGS = "max_connections=100", "shared_buffers=256MB", "max_wal_size=4GB", "autovacuum=on"
PAIR = 16


def main() -> None:
    """Run the rows and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000, help="to drain; the rest is a share")
    parser.add_argument("--singles", type=int, default=2_000)
    parser.add_argument("--probes", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default=",".join(systems.NAMES))
    parser.add_argument("--rows", default="one,many,bulk,bulk2,drain,drain2,latency")
    given = parser.parse_args()
    with ExitStack() as stack:
        server = os.environ.get("BENCH_POSTGRES") or stack.enter_context(private_server())
        os.environ["BENCH_ANY"] = server
        print_machine(server)
        found = [each for name in given.only.split(",") if (each := found_or_told(name))]
        results: dict[str, list[Figures]] = {each.name: [] for each in found}
        for _ in range(given.rounds):
            for each in found:
                results[each.name].append(measure(each, server, given))
    print_table({name: medians(rounds) for name, rounds in results.items() if rounds})


def found_or_told(name: str) -> System | None:
    try:
        return systems.find(name)
    except (MissingError, subprocess.CalledProcessError) as error:
        print(f"without {name}: {error}", file=sys.stderr)
        return None


def measure(system: System, server: str, given: argparse.Namespace) -> Figures:
    """Run all rows of one system once; a row that fails is left out, and said."""
    figures: Figures = {}
    rows: dict[str, Callable[[Bench], Figures]] = {
        "one": lambda bench: produce(bench, "one", given.singles),
        "many": lambda bench: produce(bench, "many", 4 * given.singles),
        "bulk": lambda bench: produce(bench, "bulk", 4 * given.jobs),
        "bulk2": lambda bench: {"bulk2": produce(bench, "bulk", 4 * given.jobs, 2)["bulk"]},
        "drain": lambda bench: drain(bench, int(system.drained * given.jobs), 1),
        "drain2": lambda bench: drain(bench, int(system.drained * given.jobs), 2),
        "latency": lambda bench: latency(bench, given.probes),
    }
    for name in given.rows.split(","):
        if system.is_queue or name == "one":
            with database(server) as url, tempfile.TemporaryDirectory() as folder:
                bench = Bench(system, url, Path(folder))
                try:
                    bench.run("setup")
                    figures |= rows[name](bench)
                except (OSError, RuntimeError, subprocess.SubprocessError) as error:
                    print(f"{system.name}, {name}: {error}", file=sys.stderr)
    print(f"{system.name}: {shown(figures)}", file=sys.stderr)
    return figures


class Bench:
    """The processes of one system on one database."""

    def __init__(self, system: System, url: str, folder: Path) -> None:
        self.system, self.url, self.folder = system, url, folder
        # The last is for Oban's own commands.
        known = {"BENCH_PG": url, "BENCH_MARKS": str(folder / "own"), "OBAN_DSN": url}
        path = os.pathsep.join([str(Path(systems.HERE, "peers")), str(ROOT / "src")])
        self.variables = os.environ | system.variables | known | {"PYTHONPATH": path}

    def command(self, command: str, count: int = 0) -> list[str]:
        return [*self.system.producer, command, str(count)]

    def run(self, command: str) -> None:
        subprocess.run(
            self.command(command),
            check=True,
            env=self.variables,
            capture_output=True,
            timeout=LIMIT,
        )

    def produce(self, command: str, count: int, processes: int = 1) -> list[dict[str, float]]:
        """Run producers that begin at once; return what each of them took."""
        started = [
            subprocess.Popen(
                self.command(command, count),
                env=self.variables,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=(self.folder / "errors").open("wb"),
                text=True,
            )
            for _ in range(processes)
        ]
        for each in started:
            if each.stdout is None or each.stdout.readline() != "ready\n":
                raise RuntimeError((self.folder / "errors").read_text()[-500:])
        for each in started:
            each.stdin.write("go\n")  # type: ignore[union-attr]
            each.stdin.flush()  # type: ignore[union-attr]
        took = [each.communicate(timeout=LIMIT)[0] for each in started]
        return [json.loads(each.splitlines()[-1]) for each in took]

    @contextmanager
    def workers(self, count: int) -> Iterator[list[Path]]:
        """Run workers; yields the files with the marks of their jobs."""
        files = [self.folder / f"marks-{number}" for number in range(count)]
        running = []
        for file in files:
            file.touch()
            process = subprocess.Popen(
                self.system.worker,
                cwd=systems.HERE / "peers",
                env=self.variables | {"BENCH_MARKS": str(file)},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            running.append(process)
        try:
            yield files
        finally:
            for process in running:
                process.terminate()
            for process in running:
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def produce(bench: Bench, command: str, count: int, processes: int = 1) -> Figures:
    took = bench.produce(command, count, processes)
    seconds = max(each["ended"] for each in took) - min(each["began"] for each in took)
    cpu = sum(each["cpu"] for each in took)
    total = count * processes
    return {command: total / seconds, f"{command}_cpu": 1e6 * cpu / total}


def drain(bench: Bench, count: int, workers: int, command: str = "bulk") -> Figures:
    """The rate from when each worker has run a job until the last one has run."""
    bench.produce(command, count)
    with bench.workers(workers) as files:
        wait_until(lambda: all(sizes(files)))
        began, before = time.monotonic(), sum(sizes(files))
        wait_until(lambda: sum(sizes(files)) >= count)
        seconds = time.monotonic() - began
    return {"drain" if workers == 1 else f"drain{workers}": (count - before) / seconds}


def latency(bench: Bench, probes: int) -> Figures:
    with bench.workers(1) as [file]:
        bench.produce("probe", 1)
        wait_until(lambda: sizes([file]) == [PAIR])
        bench.produce("probe", probes)
        wait_until(lambda: sizes([file]) == [(probes + 1) * PAIR])
        stamps = memoryview(file.read_bytes()).cast("q").tolist()
    took = sorted(
        (started - enqueued) / 1e6
        for enqueued, started in zip(stamps[2::2], stamps[3::2], strict=True)
    )
    return {"p50": took[len(took) // 2], "p99": took[len(took) * 99 // 100]}


def sizes(files: list[Path]) -> list[int]:
    return [file.stat().st_size for file in files]


def wait_until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT
    while not is_so():
        if time.monotonic() > deadline:
            raise RuntimeError(f"not done after {LIMIT:.0f} s")
        time.sleep(0.002)


@contextmanager
def database(server: str) -> Iterator[str]:
    """Make a database for one phase; yields its URL."""
    name = f"bench_{os.getpid()}"
    with psycopg.connect(server, autocommit=True) as session:
        session.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        session.execute(f"CREATE DATABASE {name}")
        try:
            yield with_database(server, name)
        finally:
            session.execute(f"DROP DATABASE {name} WITH (FORCE)")


def with_database(server: str, name: str) -> str:
    """Return the URL of another database of a server, in the form that every driver reads."""
    from urllib.parse import urlsplit, urlunsplit

    return urlunsplit(urlsplit(server)._replace(path=f"/{name}"))


@contextmanager
def private_server() -> Iterator[str]:
    sys.path.insert(0, str(ROOT / "tests"))
    import postgres_server

    # As a server of an application, not as one of the tests.
    postgres_server.SETTINGS = SETTINGS
    with tempfile.TemporaryDirectory(prefix="bench-postgres-") as folder:
        Path(folder).chmod(0o755)
        server = postgres_server.PostgresServer(Path(folder))
        server.start(durable=True)
        try:
            yield server.url
        finally:
            server.stop()


def medians(rounds: list[Figures]) -> Figures:
    keys = dict.fromkeys(key for each in rounds for key in each)
    return {key: statistics.median(each[key] for each in rounds if key in each) for key in keys}


def print_machine(server: str) -> None:
    with psycopg.connect(server) as session:
        rows = session.execute(
            "SELECT current_setting('server_version'), current_setting('fsync'), "
            "current_setting('synchronous_commit')"
        ).fetchall()
    version, fsync, commit = rows[0]
    print(
        f"{platform.system()} {platform.release()}, {os.cpu_count()} cores, "
        f"Python {platform.python_version()}, psycopg {psycopg.__version__}, PostgreSQL {version}, "
        f"fsync {fsync}, synchronous_commit {commit}, load {os.getloadavg()[0]:.1f}\n"
    )


def shown(figures: Figures) -> str:
    return ", ".join(
        f"{key} {figures[key]:,.{digits}f}" for key, _, digits in COLUMNS if key in figures
    )


def print_table(rows: dict[str, Figures]) -> None:
    """Print the figures, and those of Conveyor as ratios to each of the others'."""
    print("| system | " + " | ".join(title for _, title, _ in COLUMNS) + " |")
    print("|---|" + "--:|" * len(COLUMNS))
    for name, figures in rows.items():
        cells = (
            f"{figures[key]:,.{digits}f}" if key in figures else "" for key, _, digits in COLUMNS
        )
        print(f"| {name} | {' | '.join(cells)} |")
    ours: dict[str, Any] = rows.get("conveyor", {})
    for name, figures in rows.items():
        if name != "conveyor" and ours:
            cells = (
                f"{ours[key] / figures[key]:.2f}" if key in ours and figures.get(key) else ""
                for key, _, _ in COLUMNS
            )
            print(f"| Conveyor : {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
