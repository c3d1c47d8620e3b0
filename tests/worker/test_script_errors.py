"""The exception classes in retry_on: those of a script itself, and misspelled ones."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from conveyor import Conveyor

SCRIPT = """
import json, sys
from conveyor import Conveyor, current_job
belt = Conveyor("jobs.db")

class Outer:
    class FlakyError(Exception): pass

class WorseError(Outer.FlakyError): pass

def attempt():
    if current_job().attempt == 1:
        raise WorseError("not yet")

options = dict(retries=1, backoff=0, retry_on=[Outer.FlakyError])

@belt.task(**options)
async def coroutine() -> None: attempt()

@belt.task(**options)
def thread() -> None: attempt()

@belt.task(run="process", **options)
def process() -> None: attempt()

if __name__ == "__main__":
    jobs = [each.enqueue() for each in (coroutine, thread, process)]
    if "work" in sys.argv:
        belt.work(timeout=60, keep=False)
    print(json.dumps([job.id for job in jobs]))
"""
WORKER = """
import json, sys
import app
if "work" not in sys.argv:
    app.belt.work(timeout=60, keep=False)
jobs = [app.belt.job(each) for each in json.loads(sys.argv[1])]
print(json.dumps([[str(job.state), job.history()[0].error.type] for job in jobs]))
"""


@pytest.mark.parametrize("where", [["work"], []], ids=["in the script", "in another process"])
def test_a_script_s_own_exception_class_is_retried(tmp_path: Path, where: list[str]) -> None:
    def run(*argv: str) -> str:
        command = [sys.executable, *argv, *where]
        ran = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=90, check=True
        )
        return ran.stdout

    (tmp_path / "app.py").write_text(SCRIPT)
    jobs = run("app.py")
    assert json.loads(run("-c", WORKER, jobs)) == [["completed", "app.WorseError"]] * 3


def test_a_worker_warns_about_a_misspelled_name_in_retry_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    belt = Conveyor("memory:")

    @belt.task(name="fetch", retries=3, retry_on=["ConectionError", "OSError"])
    async def fetch() -> None: ...

    belt.worker()
    [warned] = [each for each in caplog.records if each.name == "conveyor.worker"]
    assert warned.getMessage() == (
        "task.retry_on task=fetch name=ConectionError error=no exception class has that name; "
        "did you mean 'ConnectionError'?"
    )
    belt.close()
