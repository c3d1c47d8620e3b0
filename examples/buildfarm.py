"""Build wheels of well-known packages on a farm: one server, three agents, real accidents.

pip fetches source distributions from whatever index it is configured for. Each becomes a command
job that builds its wheel on an agent; packages with a C extension go where the label `cc` is. In
the middle of it one build is cancelled, one agent is killed with SIGKILL, and the server is killed
and started again. A table says what came of it, and each promise is checked: exit code 0 if all
were kept, 1 if not, 2 if the farm could not be set up (no network, no pip), 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from farm import PATIENCE, Farm, NoFarmError, processes_with, wait_for
from rich.console import Console
from rich.table import Table

from conveyor import Conveyor, ConveyorError, State, WaitTimeoutError
from conveyor.client.job_handle import Job

# The first few are small. Those with a C extension require an agent that has a compiler.
PACKAGES = {
    "six": "pure", "markupsafe": "cc", "iniconfig": "pure", "simplejson": "cc", "idna": "pure",
    "click": "pure", "packaging": "pure", "pluggy": "pure", "wrapt": "cc", "attrs": "pure",
    "jinja2": "pure", "certifi": "pure", "psutil": "cc", "ujson": "cc", "pyyaml": "cc",
    "typing-extensions": "pure",
}  # fmt: skip
SHORT, NORMAL = 5, 14
# Whichever is killed, another one has its labels.
AGENTS = {"smith": ("cc",), "weaver": ("pure",), "both": ("cc", "pure")}
QUEUE = "builds"
LONGEST_BUILD = 900.0

# Wide enough for the table also where nobody looks: in a file or a pipe.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)


@dataclass
class Build:
    """One package on its way: its source, and the job that makes a wheel of it."""

    package: str
    label: str
    sdist: Path
    job: Job[dict[str, int]]


@dataclass
class Promises:
    """What was checked, and whether it was so."""

    broken: int = 0

    def check(self, promise: str, *, kept: bool, seen: object = "") -> None:
        """Print a promise and whether it was kept; what was seen tells why not."""
        self.broken += not kept
        sign = "[green]kept  [/]" if kept else "[red]BROKEN[/]"
        console.print(f"{sign} {promise}" + ("" if kept else f": {seen}"))


def find_pip() -> list[str]:
    """Return how pip is called: that of this Python, or of the one its environment is made from."""
    for python in (sys.executable, str(getattr(sys, "_base_executable", sys.executable))):
        command = [python, "-m", "pip"]
        if not subprocess.run([*command, "--version"], capture_output=True, check=False).returncode:
            return command
    raise NoFarmError("there is no pip: `python -m ensurepip` brings one")


def fetch(pip: Sequence[str], package: str, folder: Path) -> Path:
    """Have pip fetch the source distribution of a package, and nothing else."""
    target = folder / package
    command = [*pip, "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-binary", package, "--dest", str(target), package]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    found = [path for path in target.glob("*") if path.name.endswith((".tar.gz", ".zip"))]
    if ran.returncode or not found:
        said = [line for line in ran.stderr.splitlines() if line.startswith("ERROR")]
        raise NoFarmError(f"pip got no source of {package}: {said[-1] if said else ran.stderr}")
    return found[0]


def fetch_all(pip: Sequence[str], packages: Sequence[str], folder: Path) -> list[Path]:
    """Fetch some at a time; the first that fails says why the farm cannot begin."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        fetching = [pool.submit(fetch, pip, package, folder) for package in packages]
        try:
            return [future.result() for future in fetching]
        finally:
            pool.shutdown(cancel_futures=True)


def enqueue(belt: Conveyor, pip: Sequence[str], package: str, label: str, sdist: Path) -> Build:
    """Enqueue a build: the source is its input, the wheel its artifact."""
    build = belt.command(
        *pip, "wheel", "--verbose", "--disable-pip-version-check", "--no-deps", "--wheel-dir", ".",
        f"./{sdist.name}",
        files={sdist.name: sdist},
        artifacts=["*.whl"],
        env={"PYTHONUNBUFFERED": "1"},
        queue=QUEUE,
    )  # fmt: skip
    job = build.using(requires=[label], timeout=LONGEST_BUILD, retries=1).enqueue()
    return Build(package, label, sdist, job)


def cancel_one(build: Build, promises: Promises) -> None:
    """Cancel a build in the middle: then nothing of its process tree is left."""
    wait_for(lambda: in_the_middle(build), f"{build.package} was never in the middle of its build")
    before = processes(build.job.id)
    console.print(f"cancel {build.package}, of which {len(before)} processes run")
    cancelled = build.job.cancel(wait=PATIENCE, reason="nobody wants it any more")
    left = processes(build.job.id)
    promises.check(
        f"A cancelled build ({build.package}) is gone, with the {len(before)} processes it had",
        kept=cancelled and len(before) > 1 and not left,
        seen=f"{build.job.state}, processes {before} before, {left} after",
    )


def kill_an_agent(farm: Farm, builds: Sequence[Build], promises: Promises) -> Build:
    """Kill an agent in the middle of a build; return that build once it is known as crashed."""

    def victim() -> Build | None:
        return next(filter(in_the_middle, builds), None)

    build = wait_for(victim, "no agent was caught in the middle of a build")
    agent = farm.names[build.job.record.worker]
    console.print(f"kill -9 {agent}, which builds {build.package}")
    farm.kill_agent(agent)
    wait_for(lambda: build.job.refresh().record.crashes, "nobody noticed the death of the agent")
    error, left = build.job.history()[-1].error, processes(build.job.id)
    promises.check(f"The crash of {build.package} is noted", kept=error.type == "WorkerLost")
    if build.job.refresh().state is State.AVAILABLE:  # nobody has begun it again so far
        promises.check("What the agent ran has ended with it", kept=not left, seen=left)
    return build


def restart_server(farm: Farm, builds: Sequence[Build]) -> dict[str, int]:
    """Kill the server while builds run and start it again; return their leases by job."""

    def look() -> dict[str, int]:
        records = [build.job.refresh().record for build in builds]
        return {each.id: each.lease for each in records if each.state is State.RUNNING}

    running = wait_for(look, "nothing was built when the server was to be killed")
    console.print(f"kill -9 server, while builds run: {len(running)}; then it is started again")
    farm.kill_server()
    time.sleep(1)
    farm.start_server()
    return running


def in_the_middle(build: Build) -> bool:
    """Whether a build has begun, with processes of its own, and is not about to end."""
    if build.job.refresh().state is not State.RUNNING:
        return False
    said = build.job.logs()
    going = build.sdist.name in said and "Building wheel" not in said
    return going and len(processes(build.job.id)) > 1


def processes(job_id: str) -> list[int]:
    """Return the processes of a job."""
    return processes_with(f"CONVEYOR_JOB_ID={job_id}")


def collect(builds: Sequence[Build], wheels: Path, farm: Farm, promises: Promises) -> Table:
    """Wait for all builds, download their wheels, verify them; return the table of it."""
    table = Table("package", "label", "agent", "attempts", "seconds", "output", "wheel", "bytes",
                  "sha-256", title="The build farm")  # fmt: skip
    for place in (3, 4, 5, 7):
        table.columns[place].justify = "right"
    for build in builds:
        try:
            record = build.job.wait(LONGEST_BUILD)
        except WaitTimeoutError as error:
            promises.check(f"{build.package} is built", kept=False, seen=error)
            continue
        output = build.job.logs()
        found = [download(build.job, wheels)] if record.state is State.COMPLETED else []
        whole = bool(found) and "Successfully built" in output
        if record.state is not State.CANCELLED:
            seen = f"{record.state}, {record.error}\n{output[-2000:]}"
            promises.check(f"{build.package} is built, its wheel whole", kept=whole, seen=seen)
        agent = farm.names.get(record.worker, "?")
        took = (record.final_at or 0.0) - (record.started_at or 0.0)
        [(name, size, digest)] = found or [(str(record.state), "", "")]
        runs = record.attempt + record.crashes  # a crash does not count as an attempt
        table.add_row(build.package, build.label, agent, str(runs), f"{took:.1f}",
                      f"{len(output):,}", name, size, digest)  # fmt: skip
    return table


def download(job: Job[Any], wheels: Path) -> tuple[str, str, str]:
    """Get the one wheel of a job; ValueError if it is not what its SHA-256 says, or no wheel."""
    [artifact] = job.artifacts()
    path = wheels / artifact.name
    job.download(artifact.name, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with zipfile.ZipFile(path) as wheel:
        damaged = wheel.testzip()
        listed = any(name.endswith(".dist-info/RECORD") for name in wheel.namelist())
    if digest != artifact.digest or damaged or not listed:
        raise ValueError(f"{path} is not the wheel that was built")
    return artifact.name, f"{artifact.size:,}", digest[:12]


def judge(
    builds: Sequence[Build], crashed: Build, undisturbed: dict[str, int], farm: Farm, to: Promises
) -> None:
    """Check what has to hold once all has ended."""
    records = {build.job.id: build.job.refresh().record for build in builds}
    elsewhere = records[crashed.job.id]
    to.check(
        f"The build of the killed agent ({crashed.package}) was done elsewhere, one crash counted",
        kept=elsewhere.crashes == 1 and elsewhere.state is State.COMPLETED,
        seen=(elsewhere.crashes, elsewhere.state, elsewhere.error),
    )
    leases = {job_id: records[job_id].lease for job_id in undisturbed}
    to.check(
        f"What was built when the server was killed ({len(leases)}) went on and ran once",
        kept=bool(leases) and leases == undisturbed,
        seen=(undisturbed, leases),
    )
    astray = [
        build.package
        for build in builds
        if build.label not in AGENTS[farm.names[records[build.job.id].worker]]
    ]
    to.check("Each build ran where its label is", kept=not astray, seen=astray)


def run(packages: dict[str, str], folder: Path) -> int:
    """Set the farm up, build everything through all accidents; return the exit code."""
    began = time.monotonic()
    promises, farm, wheels = Promises(), Farm(folder, QUEUE), folder / "wheels"
    logging.basicConfig(filename=folder / "producer.log")
    wheels.mkdir(exist_ok=True)
    pip = find_pip()
    sources = fetch_all(pip, list(packages), folder / "sources")
    console.print(f"{len(sources)} source distributions after {time.monotonic() - began:.1f} s")
    with ExitStack() as stack:
        stack.callback(farm.stop)
        secret = farm.token("producer", "enqueue", "read")
        farm.start_server()
        for name, labels in AGENTS.items():
            farm.start_agent(name, labels)
        belt = stack.enter_context(closing(Conveyor(farm.url, token=secret)))
        console.print(f"server {farm.url} and {len(AGENTS)} agents")
        listed = list(zip(packages.items(), sources, strict=True))
        unwanted, *builds = [
            enqueue(belt, pip, package, label, sdist)
            for (package, label), sdist in [listed[-1], *listed]  # one is there twice
        ]
        cancel_one(unwanted, promises)
        crashed = kill_an_agent(farm, builds, promises)
        undisturbed = restart_server(farm, builds)
        table = collect([unwanted, *builds], wheels, farm, promises)
        judge(builds, crashed, undisturbed, farm, promises)
    console.print(table)
    console.print(
        f"{len(builds)} wheels in {time.monotonic() - began:.0f} s; "
        f"{promises.broken or 'no'} promises broken"
    )
    return 1 if promises.broken else 0


def choose(wanted: Sequence[str], *, short: bool) -> dict[str, str]:
    """Return packages with their labels: those named, or so many of the list."""
    known = PACKAGES if shutil.which("cc") else {n: at for n, at in PACKAGES.items() if at != "cc"}
    if len(known) < len(PACKAGES):
        console.print("There is no C compiler (cc) here: only packages of pure Python are built.")
    if len(wanted) == 1 and wanted[0].isdecimal():
        return dict(list(known.items())[: max(1, int(wanted[0]))])
    if wanted:
        return {name: PACKAGES.get(name, "pure") for name in dict.fromkeys(wanted)}
    return dict(list(known.items())[: SHORT if short else NORMAL])


@contextmanager
def workplace(folder: Path | None) -> Iterator[Path]:
    """Give a folder: one that is gone afterwards, or the given one, which keeps what is made."""
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="buildfarm-") as made:
            yield Path(made)
        return
    folder.mkdir(parents=True, exist_ok=True)
    if list(folder.glob("jobs.db*")):
        raise NoFarmError(f"{folder} has been a farm already: name another folder, or remove it")
    yield folder.absolute()
    shutil.rmtree(folder / "tmp", ignore_errors=True)


def leave(number: int, _frame: object) -> NoReturn:
    """End as after an error, so that all is cleaned up."""
    raise SystemExit(128 + number)


def main() -> int:
    """Read the options and run the farm."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("packages", nargs="*", help="names of packages, or how many of the list")
    parser.add_argument("--short", action="store_true", help=f"only {SHORT} small packages")
    parser.add_argument("--folder", type=Path, help="keep sources, wheels, jobs and logs there")
    options = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)
    try:
        missing = [each for each in ("aiohttp", "uvicorn") if not importlib.util.find_spec(each)]
        if missing:
            raise NoFarmError(f"there is no {missing[0]}: `pip install conveyor[server,http]`")
        with workplace(options.folder) as folder:
            return run(choose(options.packages, short=options.short), folder)
    except NoFarmError as error:
        console.print(f"No farm here: {error}", markup=False)
        return 2
    except KeyboardInterrupt:
        console.print("Interrupted: all that ran was ended.")
        return 130
    except (TimeoutError, ValueError, ConveyorError) as error:
        console.print(f"[red]BROKEN[/] {type(error).__name__}: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
