"""The stopping benchmark observes correctly. It measures time, so it runs alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.alone

ROOT = Path(__file__).parents[2]


def test_the_scenes_distinguish_a_stopped_job_from_a_running_one(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "bench" / "stopping" / "scenes.py"), "--only", "conveyor"]
    ran = subprocess.run(
        [*command, "--scenes", "blocking", "--watch", "2"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    seen = json.loads(ran.stdout)["peers"]["conveyor"]["blocking"]
    assert seen["process"]["stopped_s"]["job"] is not None
    # The control: a thread that ignores cancellation must be seen to keep running.
    assert seen["thread"]["stopped_s"]["job"] is None
    assert seen["thread"]["said_gone_s"] is None
