"""Functions that the tests run in child processes, which import them from here."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from conveyor.core.job_context import current_job
from conveyor.errors import JobCancelledError, Snooze

LONG = 60
SEEN: contextvars.ContextVar[str] = contextvars.ContextVar("seen", default="nothing")


class OddError(Exception):
    def __str__(self) -> str:
        raise RuntimeError


class LyingError(Exception):
    @property
    def __class__(self) -> type:  # type: ignore[override]
        raise SystemExit


def lie() -> None:
    raise LyingError


async def lie_async() -> None:
    raise LyingError


def double(number: int) -> int:
    return 2 * number


def raise_full_disk() -> None:
    raise OSError(28, "No space left on device")


class Registered:
    """Stands where a function stood, as a decorator leaves it."""

    def __init__(self, function: object) -> None:
        self.task = self
        self.function = function

    def __call__(self) -> None:
        raise AssertionError("the function itself was wanted")


def pid() -> int:
    return os.getpid()


def echo(value: str) -> str:
    return value


async def wait_and_echo(value: str) -> str:
    await asyncio.sleep(0)
    return f"{value} from {current_job().id}"


def leave_a_mark() -> list[str]:
    before = SEEN.get()
    SEEN.set("mark")
    return [before, str(os.getpid())]


def write_in_every_way(mark: str) -> None:
    print(f"{mark} printed")
    os.write(1, f"{mark} by descriptor\n".encode())
    subprocess.run(["echo", f"{mark} by a command"], check=True)
    print(f"{mark} to stderr", file=sys.stderr)
    logging.getLogger("some").warning("%s logged", mark)
    print(f"{mark} without an end", end="")


def log_much(size: int) -> None:
    logging.getLogger("app").warning("x" * size)


def write_much(size: int) -> None:
    block = b"x" * 65536
    for _ in range(size // len(block)):
        os.write(1, block)


def die(code: int) -> None:
    os._exit(code)


def kill_myself(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(LONG)


def die_and_leave_a_fork_with_the_pipes(path: str) -> None:
    fork = os.fork()
    if fork == 0:
        time.sleep(LONG)
        os._exit(0)
    Path(path).write_text(str(fork))
    os._exit(3)


def fail(kind: str) -> None:
    match kind:
        case "odd":
            raise OddError
        case "exit":
            sys.exit(3)
        case "connection":
            raise ConnectionResetError("the line is dead")
        case "snooze":
            raise Snooze(5)


def result_that_json_cannot_hold() -> object:
    return threading.Lock()


def report() -> None:
    current_job().progress(1, 4, "a quarter")


def tell_pid_and_wait(path: str) -> None:
    _tell(path, os.getpid())
    time.sleep(LONG)


def wait_politely(path: str) -> None:
    _tell(path, os.getpid())
    current_job().sleep(LONG)


def clean_up_when_told(path: str) -> None:
    _tell(path, os.getpid())
    try:
        time.sleep(LONG)
    except JobCancelledError:
        print("cleaned up")
        raise


def start_others_and_wait(path: str) -> None:
    near = subprocess.Popen(["sleep", str(LONG)])
    far = subprocess.Popen(["sleep", str(LONG)], start_new_session=True)
    _tell(path, os.getpid(), near.pid, far.pid)
    time.sleep(LONG)


def ignore_everything(path: str) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _tell(path, os.getpid())
    while True:
        time.sleep(LONG)


def take_memory(megabytes: int) -> int:
    some = globals().setdefault("KEPT", [])
    some.append(b"x" * (megabytes << 20))
    return os.getpid()


def run_script(script: str) -> int:
    return subprocess.run(["sh", "-c", script], check=False).returncode


def environment() -> list[str | None]:
    names = ("CONVEYOR_JOB_ID", "CONVEYOR_ATTEMPT", "CONVEYOR_LEASE")
    return [os.environ.get(name) for name in names]


@Registered
def decorated() -> str:
    return "the function itself"


def _tell(path: str, *pids: int) -> None:
    whole = Path(path + ".part")
    whole.write_text(" ".join(map(str, pids)))
    whole.rename(path)


def time_out() -> None:
    raise TimeoutError


async def time_out_async() -> None:
    raise TimeoutError


def count(text: str | None) -> int:
    return text  # type: ignore[return-value]


async def count_async(text: str | None) -> int:
    return text  # type: ignore[return-value]


def write_to_the_worker(data: bytes) -> None:
    os.write(3, data)  # where its process sends messages
    time.sleep(LONG)
