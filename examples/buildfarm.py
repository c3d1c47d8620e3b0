"""Build wheels of well-known packages on one server and three agents, through real failures.

pip fetches source distributions from its configured index. Each becomes a command job that builds
the wheel on an agent; packages with a C extension need an agent with the label `cc`. While builds
run, the program cancels one, kills an agent with SIGKILL, and kills and restarts the server. It
checks each guarantee and prints a table of the results. Exit codes: 0 if all guarantees held, 1 if
not, 2 if the farm could not be set up (no network, no pip), 130 after Ctrl-C.
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

from farm import TIMEOUT, Farm, FarmSetupError, processes_with, wait_for
from rich.console import Console
from rich.table import Table

from conveyor import Conveyor, ConveyorError, State, WaitTimeoutError
from conveyor.client.job_handle import Job

# Small packages first. A C extension requires an agent with a compiler.
PACKAGES = {
    "six": "pure", "markupsafe": "cc", "iniconfig": "pure", "simplejson": "cc", "idna": "pure",
    "click": "pure", "packaging": "pure", "pluggy": "pure", "wrapt": "cc", "attrs": "pure",
    "jinja2": "pure", "certifi": "pure", "psutil": "cc", "ujson": "cc", "pyyaml": "cc",
    "typing-extensions": "pure",
}  # fmt: skip
SHORT, NORMAL = 5, 14
# Every label is on two agents, so that one of them can be killed.
AGENTS = {"smith": ("cc",), "weaver": ("pure",), "both": ("cc", "pure")}
QUEUE = "builds"
BUILD_TIMEOUT = 900.0

# Wide enough for the table in a file or a pipe.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 140)


@dataclass
class Build:
    """One package: its source, and the job that builds the wheel."""

    package: str
    label: str
    sdist: Path
    job: Job[dict[str, int]]


@dataclass
class Checks:
    """Checks guarantees and counts the failures."""

    failed: int = 0

    def check(self, guarantee: str, *, passed: bool, seen: object = "") -> None:
        """Print a guarantee and whether it held; if not, also what was seen."""
        self.failed += not passed
        sign = "[green]ok    [/]" if passed else "[red]FAILED[/]"
        console.print(f"{sign} {guarantee}" + ("" if passed else f": {seen}"))


def find_pip() -> list[str]:
    """Return the pip command of this Python, or of the one its environment was created from."""
    for python in (sys.executable, str(getattr(sys, "_base_executable", sys.executable))):
        command = [python, "-m", "pip"]
        if not subprocess.run([*command, "--version"], capture_output=True, check=False).returncode:
            return command
    raise FarmSetupError("pip is not installed; run `python -m ensurepip`")


def fetch(pip: Sequence[str], package: str, folder: Path) -> Path:
    """Fetch the source distribution of a package with pip, without dependencies."""
    target = folder / package
    command = [*pip, "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-binary", package, "--dest", str(target), package]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    found = [path for path in target.glob("*") if path.name.endswith((".tar.gz", ".zip"))]
    if ran.returncode or not found:
        errors = [line for line in ran.stderr.splitlines() if line.startswith("ERROR")]
        reason = errors[-1] if errors else ran.stderr
        raise FarmSetupError(f"pip found no source distribution of {package}: {reason}")
    return found[0]


def fetch_all(pip: Sequence[str], packages: Sequence[str], folder: Path) -> list[Path]:
    """Fetch all packages in parallel; raise the first error."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        fetching = [pool.submit(fetch, pip, package, folder) for package in packages]
        try:
            return [future.result() for future in fetching]
        finally:
            pool.shutdown(cancel_futures=True)


def enqueue(belt: Conveyor, pip: Sequence[str], package: str, label: str, sdist: Path) -> Build:
    """Enqueue a build with the source as its input and the wheel as its artifact."""
    build = belt.command(
        *pip, "wheel", "--verbose", "--disable-pip-version-check", "--no-deps", "--wheel-dir", ".",
        f"./{sdist.name}",
        files={sdist.name: sdist},
        artifacts=["*.whl"],
        env={"PYTHONUNBUFFERED": "1"},
        queue=QUEUE,
    )  # fmt: skip
    job = build.using(requires=[label], timeout=BUILD_TIMEOUT, retries=1).enqueue()
    return Build(package, label, sdist, job)


def cancel_build(build: Build, checks: Checks) -> None:
    """Cancel a running build and check that its whole process tree is gone."""
    wait_for(lambda: is_building(build), f"the build of {build.package} did not start")
    before = processes(build.job.id)
    console.print(f"cancelling {build.package}, which has {len(before)} processes")
    cancelled = build.job.cancel(wait=TIMEOUT, reason="no longer needed")
    left = processes(build.job.id)
    checks.check(
        f"The cancelled build ({build.package}) is gone, with its {len(before)} processes",
        passed=cancelled and len(before) > 1 and not left,
        seen=f"{build.job.state}, processes {before} before, {left} after",
    )


def kill_an_agent(farm: Farm, builds: Sequence[Build], checks: Checks) -> Build:
    """Kill an agent during a build; return that build once its crash is recorded."""

    def find_running() -> Build | None:
        return next(filter(is_building, builds), None)

    build = wait_for(find_running, "no build was running when an agent was to be killed")
    agent = farm.names[build.job.record.worker]
    console.print(f"kill -9 {agent}, which is building {build.package}")
    farm.kill_agent(agent)
    wait_for(lambda: build.job.refresh().record.crashes, "the death of the agent was not detected")
    error, left = build.job.history()[-1].error, processes(build.job.id)
    checks.check(f"The crash of {build.package} is recorded", passed=error.type == "WorkerLost")
    if build.job.refresh().state is State.AVAILABLE:  # not started again yet
        checks.check("The processes of its build died with the agent", passed=not left, seen=left)
    return build


def restart_server(farm: Farm, builds: Sequence[Build]) -> dict[str, int]:
    """Kill and restart the server while builds run; return their leases by job id."""

    def find_running() -> dict[str, int]:
        records = [build.job.refresh().record for build in builds]
        return {each.id: each.lease for each in records if each.state is State.RUNNING}

    running = wait_for(find_running, "no build was running when the server was to be killed")
    console.print(f"kill -9 server during {len(running)} builds, then restart it")
    farm.kill_server()
    time.sleep(1)
    farm.start_server()
    return running


def is_building(build: Build) -> bool:
    """Return whether a build has started, has processes, and is not about to end."""
    if build.job.refresh().state is not State.RUNNING:
        return False
    output = build.job.logs()
    started = build.sdist.name in output and "Building wheel" not in output
    return started and len(processes(build.job.id)) > 1


def processes(job_id: str) -> list[int]:
    """Return the processes of a job."""
    return processes_with(f"CONVEYOR_JOB_ID={job_id}")


def collect(builds: Sequence[Build], wheels: Path, farm: Farm, checks: Checks) -> Table:
    """Wait for all builds, download and verify their wheels; return a table of the results."""
    table = Table("package", "label", "agent", "attempts", "seconds", "output", "wheel", "bytes",
                  "sha-256", title="The build farm")  # fmt: skip
    for column in (3, 4, 5, 7):
        table.columns[column].justify = "right"
    for build in builds:
        try:
            record = build.job.wait(BUILD_TIMEOUT)
        except WaitTimeoutError as error:
            checks.check(f"{build.package} is built", passed=False, seen=error)
            continue
        output = build.job.logs()
        found = [download(build.job, wheels)] if record.state is State.COMPLETED else []
        valid = bool(found) and "Successfully built" in output
        if record.state is not State.CANCELLED:
            seen = f"{record.state}, {record.error}\n{output[-2000:]}"
            checks.check(f"{build.package} is built, its wheel valid", passed=valid, seen=seen)
        agent = farm.names.get(record.worker, "?")
        took = (record.final_at or 0.0) - (record.started_at or 0.0)
        [(name, size, digest)] = found or [(str(record.state), "", "")]
        runs = record.attempt + record.crashes  # a crash does not count as an attempt
        table.add_row(build.package, build.label, agent, str(runs), f"{took:.1f}",
                      f"{len(output):,}", name, size, digest)  # fmt: skip
    return table


def download(job: Job[Any], wheels: Path) -> tuple[str, str, str]:
    """Download the wheel of a job; raise ValueError if it is damaged."""
    [artifact] = job.artifacts()
    path = wheels / artifact.name
    job.download(artifact.name, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with zipfile.ZipFile(path) as wheel:
        damaged = wheel.testzip()
        listed = any(name.endswith(".dist-info/RECORD") for name in wheel.namelist())
    if digest != artifact.digest or damaged or not listed:
        raise ValueError(f"{path} is damaged")
    return artifact.name, f"{artifact.size:,}", digest[:12]


def check_finished(
    builds: Sequence[Build], crashed: Build, undisturbed: dict[str, int], farm: Farm, checks: Checks
) -> None:
    """Check the guarantees that must hold once all builds have ended."""
    records = {build.job.id: build.job.refresh().record for build in builds}
    rerun = records[crashed.job.id]
    checks.check(
        f"The build of the killed agent ({crashed.package}) completed on another, with one crash",
        passed=rerun.crashes == 1 and rerun.state is State.COMPLETED,
        seen=(rerun.crashes, rerun.state, rerun.error),
    )
    leases = {job_id: records[job_id].lease for job_id in undisturbed}
    checks.check(
        f"Builds that ran when the server was killed ({len(leases)}) continued and ran once",
        passed=bool(leases) and leases == undisturbed,
        seen=(undisturbed, leases),
    )
    misplaced = [
        build.package
        for build in builds
        if build.label not in AGENTS[farm.names[records[build.job.id].worker]]
    ]
    checks.check("Each build ran on an agent with its label", passed=not misplaced, seen=misplaced)


def run(packages: dict[str, str], folder: Path) -> int:
    """Set up the farm, build everything through all failures; return the exit code."""
    began = time.monotonic()
    checks, farm, wheels = Checks(), Farm(folder, QUEUE), folder / "wheels"
    logging.basicConfig(filename=folder / "producer.log")
    wheels.mkdir(exist_ok=True)
    pip = find_pip()
    sources = fetch_all(pip, list(packages), folder / "sources")
    console.print(f"{len(sources)} source distributions in {time.monotonic() - began:.1f} s")
    with ExitStack() as stack:
        stack.callback(farm.stop)
        secret = farm.token("producer", "enqueue", "read")
        farm.start_server()
        for name, labels in AGENTS.items():
            farm.start_agent(name, labels)
        belt = stack.enter_context(closing(Conveyor(farm.url, token=secret)))
        console.print(f"server {farm.url} and {len(AGENTS)} agents")
        listed = list(zip(packages.items(), sources, strict=True))
        to_cancel, *builds = [
            enqueue(belt, pip, package, label, sdist)
            for (package, label), sdist in [listed[-1], *listed]  # the last package twice
        ]
        cancel_build(to_cancel, checks)
        crashed = kill_an_agent(farm, builds, checks)
        undisturbed = restart_server(farm, builds)
        table = collect([to_cancel, *builds], wheels, farm, checks)
        check_finished(builds, crashed, undisturbed, farm, checks)
    console.print(table)
    console.print(
        f"{len(builds)} wheels in {time.monotonic() - began:.0f} s; {checks.failed} checks failed"
    )
    return 1 if checks.failed else 0


def choose(wanted: Sequence[str], *, short: bool) -> dict[str, str]:
    """Return packages and their labels: the named ones, or the first of the list."""
    known = PACKAGES if shutil.which("cc") else {n: at for n, at in PACKAGES.items() if at != "cc"}
    if len(known) < len(PACKAGES):
        console.print("No C compiler (cc) found; building pure-Python packages only.")
    if len(wanted) == 1 and wanted[0].isdecimal():
        return dict(list(known.items())[: max(1, int(wanted[0]))])
    if wanted:
        return {name: PACKAGES.get(name, "pure") for name in dict.fromkeys(wanted)}
    return dict(list(known.items())[: SHORT if short else NORMAL])


@contextmanager
def work_directory(folder: Path | None) -> Iterator[Path]:
    """Yield a temporary directory, or the given one, which is kept."""
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="buildfarm-") as made:
            yield Path(made)
        return
    folder.mkdir(parents=True, exist_ok=True)
    if list(folder.glob("jobs.db*")):
        raise FarmSetupError(
            f"{folder} contains an earlier farm; delete it or choose another directory"
        )
    yield folder.absolute()
    shutil.rmtree(folder / "tmp", ignore_errors=True)


def exit_on_signal(number: int, _frame: object) -> NoReturn:
    """Exit through an exception, so that everything is cleaned up."""
    raise SystemExit(128 + number)


def main() -> int:
    """Read the options and run the farm."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("packages", nargs="*", help="package names, or a number of packages")
    parser.add_argument("--short", action="store_true", help=f"build only {SHORT} small packages")
    parser.add_argument("--folder", type=Path, help="keep all files in this directory")
    options = parser.parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, exit_on_signal)
    try:
        missing = [each for each in ("aiohttp", "uvicorn") if not importlib.util.find_spec(each)]
        if missing:
            raise FarmSetupError(f"{missing[0]} is not installed; install conveyor[server,http]")
        with work_directory(options.folder) as folder:
            return run(choose(options.packages, short=options.short), folder)
    except FarmSetupError as error:
        console.print(f"Cannot set up the farm: {error}", markup=False)
        return 2
    except KeyboardInterrupt:
        console.print("Interrupted; all processes were stopped.")
        return 130
    except (TimeoutError, ValueError, ConveyorError) as error:
        console.print(f"[red]FAILED[/] {type(error).__name__}: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
