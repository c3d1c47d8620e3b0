"""`conveyor drill` on an application with odd habits, from the command line to the exit code."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from conveyor.drill.processes import find_marked_processes
from conveyor.drill.scenarios import SCENARIOS

# It handles signals, logs, runs a thread and names its store; and it would note what it runs.
ODD = '''
"""An application that does much at its import."""

import logging
import signal
import threading
import time

from conveyor import Conveyor

logging.basicConfig(level=logging.DEBUG, filename="odd.log", force=True)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGCHLD, lambda *_: None)


def tick() -> None:
    while True:
        time.sleep(0.05)


threading.Thread(target=tick, daemon=True).start()
belt = Conveyor("jobs.db")
own = belt.queue("own", capacity=1, when_full="refuse")


@belt.schedule("every 1s", name="often")
@own.task(name="own")
def ran() -> None:
    open("ran", "w").close()
'''
# The folder of a drill and its end, by a name.
Ended = dict[str, tuple[Path, "subprocess.CompletedProcess[str]"]]
NO_STORE = b"this is not a database, and nobody opens it"


def drill(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    """Run it in a folder with the application; the store that this names must not be touched."""
    (folder / "odd.py").write_text(ODD)
    (folder / "jobs.db").write_bytes(NO_STORE)
    # Settings of the user's own, which the drill's workers must not heed.
    (folder / "conveyor.toml").write_text(
        'labels = ["gpu!only"]\nqueues = ["own"]\nhealth_file = "health"\n'
        'keep_completed = "0.01s"\nkeep_cancelled = "0.01s"\nkeep_discarded = "0.01s"\n'
    )
    return subprocess.run(
        [sys.executable, "-m", "conveyor", "drill", *args],
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def environment(folder: Path) -> dict[str, str]:
    (folder / "tmp").mkdir(exist_ok=True)
    plain = {name: text for name, text in os.environ.items() if not name.startswith("CONVEYOR")}
    return {**plain, "TMPDIR": str(folder / "tmp")}


@pytest.fixture(scope="module")
def stops(tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """The folders and the ends of two short drills that ran at once, which mostly wait."""
    args = {"plain": ["--only", "stop"], "kept": ["odd:belt", "--only", "stop", "--keep"]}
    folders = {name: tmp_path_factory.mktemp(name) for name in args}
    with ThreadPoolExecutor(len(args)) as threads:
        begun = {name: threads.submit(drill, folders[name], *args[name]) for name in args}
    return {name: (folders[name], each.result()) for name, each in begun.items()}


@pytest.mark.alone
def test_an_application_with_odd_habits_keeps_every_promise_and_nothing_of_it_is_touched(
    tmp_path: Path,
) -> None:
    ran = drill(tmp_path, "odd:belt", "--json")
    assert ran.returncode == 0, ran.stderr
    results = json.loads(ran.stdout)
    assert results["kept"]
    assert [scenario["name"] for scenario in results["scenes"]] == [
        scenario.name for scenario in SCENARIOS
    ]
    assert results["seconds"] < 240
    assert f"promises in {len(SCENARIOS)} scenarios were kept" in ran.stderr
    assert (tmp_path / "jobs.db").read_bytes() == NO_STORE
    left = {path.name for path in tmp_path.iterdir()} - {"__pycache__"}
    assert left == {"odd.py", "odd.log", "jobs.db", "conveyor.toml", "tmp"}
    assert list((tmp_path / "tmp").iterdir()) == []
    assert find_marked_processes(str(tmp_path / "tmp")) == {}


@pytest.mark.alone
def test_a_program_reads_lines_with_what_was_promised_and_what_happened(stops: Ended) -> None:
    _, ran = stops["plain"]
    assert ran.returncode == 0, ran.stderr
    headings, *lines = [line.split("\t") for line in ran.stdout.splitlines()]
    assert headings == ["SCENARIO", "JOB", "KEPT", "PROMISED", "HAPPENED"]
    assert [line[1] for line in lines] == [
        "coroutine",
        "thread",
        "deaf thread",
        "process",
        "command",
        "the worker",
    ]
    assert {line[0] for line in lines} == {"stop"}


@pytest.mark.alone
def test_the_temporary_directory_can_be_kept_and_read(stops: Ended) -> None:
    around, ran = stops["kept"]
    [folder] = (around / "tmp").iterdir()
    assert str(folder) in ran.stderr
    written = folder / "stop" / "first" / "conveyor_drill_app.py"
    assert "load_app('odd:belt')" in written.read_text()
    assert (folder / "stop" / "jobs.db").exists()


@pytest.mark.parametrize(
    ("app", "why"),
    [
        ("odd:nothing", "odd has no 'nothing'"),
        ("nowhere:belt", "no module 'nowhere'"),
        ("odd", "expected module:name"),
    ],
)
def test_an_application_that_is_none_is_wrong_use(app: str, why: str, tmp_path: Path) -> None:
    ran = drill(tmp_path, app)
    assert ran.returncode == 2
    assert why in ran.stderr
    assert "Traceback" not in ran.stderr


def test_the_scenes_are_listed_with_their_promises(tmp_path: Path) -> None:
    ran = drill(tmp_path, "--list")
    assert [line.split("\t")[0] for line in ran.stdout.splitlines()[1:]] == [
        scenario.name for scenario in SCENARIOS
    ]


@pytest.mark.alone
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_drill_that_is_interrupted_leaves_no_process_and_no_folder(
    number: signal.Signals, tmp_path: Path, until: Callable[[Callable[[], object]], None]
) -> None:
    started = subprocess.Popen(
        [sys.executable, "-m", "conveyor", "drill"],
        cwd=tmp_path,
        env=environment(tmp_path),
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    until(lambda: len(list((tmp_path / "tmp").glob("*/stop/*-command"))) == 1)
    started.send_signal(number)
    _, said = started.communicate(timeout=60)
    assert started.returncode == 130
    assert b"interrupted" in said
    assert find_marked_processes(str(tmp_path / "tmp") + "/") == {}
    assert list((tmp_path / "tmp").iterdir()) == []
