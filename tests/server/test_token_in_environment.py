"""An agent's token in CONVEYOR_TOKEN: gone from the environment that its jobs can read in /proc."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from deployment import Deployment

from conveyor import Conveyor

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="requires /proc")

# Looks at this shell, at those that it descends from up to $2, and at their children: prints
# those that have the text $1 in their environment, and in the last line which it has read.
LOOK = r"""
pid=$$ tree=
while [ "$pid" != "$2" ] && [ "$pid" -gt 1 ]; do
    tree="$tree $pid $(cat /proc/$pid/task/*/children)"
    pid=$(sed 's/.*) . //; s/ .*//' /proc/$pid/stat)
done
for pid in $tree; do
    if tr '\0' '\n' < /proc/$pid/environ | grep -qF -e "$1"; then
        echo "in $pid: $(tr '\0' ' ' < /proc/$pid/cmdline)"
    fi
done
echo $tree
"""


def test_no_job_finds_the_agent_s_token_in_the_environment_of_any_process(
    deployment: Deployment, tmp_path: Path
) -> None:
    deployment.server_thread()
    text, other = deployment.token("agent"), tmp_path / "other.token"
    other.write_text(deployment.token("agent"))
    agent = deployment.agent_without_token_file(CONVEYOR_TOKEN=text, CONVEYOR_TOKEN_FILE=str(other))
    assert agent.name.endswith(f"@{text.split('_')[1]}")
    belt = deployment.closing(Conveyor(deployment.url, token=deployment.admin))
    secret = text.split("_", 2)[2]  # which may have underscores itself
    look = ["sh", "-c", f"({LOOK}) 2>/dev/null", "look", secret, str(os.getpid())]
    job = belt.command(*look).enqueue()
    assert job.result(timeout=30) == {"exit_code": 0}
    [line] = job.logs().splitlines()
    assert str(agent.popen.pid) in line.split()


SHOW = """
import os, subprocess, sys
from conveyor.system.hidden_variable import hide_variable
hide_variable("SECRET")
hide_variable("NOT_SET")
child = [sys.executable, "-c", "import os; print(os.environ['SECRET'])"]
print(os.environ["SECRET"], subprocess.check_output(child, text=True).strip())
print(b"s3cr3t" in open("/proc/self/environ", "rb").read())
print(b"OTHER=shown" in open("/proc/self/environ", "rb").read())
"""


def test_a_hidden_variable_is_still_passed_on() -> None:
    env = {**os.environ, "SECRET": "s3cr3t", "OTHER": "shown"}
    shown = subprocess.run(
        [sys.executable, "-c", SHOW], env=env, capture_output=True, text=True, check=True
    )
    assert shown.stdout == "s3cr3t s3cr3t\nFalse\nTrue\n"
