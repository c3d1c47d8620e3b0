"""A process is known by its pid and start, whatever name it gives itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from conveyor.system.process_exit import exit_status, peak_memory
from conveyor.system.process_identity import is_frozen, is_running, pid_started, stat_fields

NAME_ITSELF = """
import sys
open("/proc/self/comm", "wb").write(bytes.fromhex(sys.argv[1]))
print("named", flush=True)
sys.stdin.read()
"""
NAMES = [b"\xff\xfe", b"a) Z (b", b") X 1", "\u202e".encode()]


@pytest.mark.skipif(not Path("/proc/self/comm").exists(), reason="no names of processes here")
@pytest.mark.parametrize("name", NAMES)
def test_a_process_with_any_name_is_seen(name: bytes) -> None:
    command = [sys.executable, "-c", NAME_ITSELF, name.hex()]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"named\n"
        started = pid_started(process.pid)
        assert started > 0
        assert is_running(process.pid, started)
        assert not is_running(process.pid, started + 1)
        assert not is_frozen(process.pid)
        assert peak_memory(process.pid) > 0
        assert exit_status(process.pid, -1) is None
    assert not is_running(process.pid, started)


@pytest.mark.parametrize("name", NAMES)
def test_the_fields_of_a_process_follow_its_name(name: bytes) -> None:
    fields = stat_fields(b"12 (%b) S %b\n" % (name, b" ".join(b"%d" % n for n in range(4, 53))))
    assert fields[2] == "S"
    assert fields[21] == "22"
