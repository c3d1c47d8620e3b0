"""The benchmark of stopping sees what it says it sees. It looks at clocks, so it runs alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_scenes_of_stopping_tell_what_stops_from_what_goes_on(tmp_path: Path) -> None:
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
    # The control: a thread that does not listen has to be caught running on.
    assert seen["thread"]["stopped_s"]["job"] is None
    assert seen["thread"]["said_gone_s"] is None
