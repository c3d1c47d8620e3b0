"""What a job writes to the pipe of its child process hurts nobody but the job."""

from __future__ import annotations

import job_functions
import pytest
from runner_helpers import process, run_jobs

from conveyor.core.job import ErrorInfo
from conveyor.core.lifecycle import Failed, Succeeded
from conveyor.runners.process import ProcessRunner


@pytest.mark.parametrize(
    "data",
    [b"x\n", b'{"type":"wait","what":"\xff"}\n', b'{"type":"ready","x":' + b"[" * 9999 + b"\n"],
    ids=["no JSON", "not UTF-8", "too deep"],
)
def test_a_job_that_writes_to_its_worker_fails_alone(data: bytes):
    broken, other = run_jobs(
        lambda: ProcessRunner(1),
        process(job_functions.write_to_the_worker, data),
        process(job_functions.double, 2),
    )
    assert broken == Failed(ErrorInfo("ProcessDied", "its process sent invalid messages"))
    assert other == Succeeded(b"4")
