"""A command's program: it writes down that it runs, as does a process of it that tries to escape.

    python -I -S tree.py FILE SECONDS GO deaf|listening

Runs until the file GO is there (if it is not ""), and then for SECONDS. `deaf` ignores SIGTERM. The
one that tries to escape is forked twice, leads a session of its own, and never ends by itself.
"""

from __future__ import annotations

import os
import signal
import sys
import time

# Often enough that code which runs on is seen to, seldom enough that a hundred jobs are no load.
PAUSE = 0.05
FOR_EVER = 300.0
MARK = "DRILLED_WORKER"


class Diary:
    """A file that many write into, a line at a time: when, what, which job under which lease, who.

    Who it is: a pid, when that process was started, because pids come again, and the name that its
    worker was given in the environment.
    """

    def __init__(self, path: str, job: str, lease: object) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        with open("/proc/self/stat") as stat:
            born = stat.read().rpartition(")")[2].split()[19]
        self._who = f"{job} {lease} {os.getpid()} {born} {os.environ.get(MARK, '-')}"
        self._end: float | None = None

    def write(self, word: str) -> None:
        os.write(self._file, f"{time.time():.6f} {word} {self._who}\n".encode())

    def close(self) -> None:
        os.close(self._file)

    def beats(self, seconds: float, go: str) -> bool:
        """Write that it still runs; return whether it is to go on."""
        if self._end is None and (not go or os.path.exists(go)):
            self._end = time.monotonic() + seconds
        if self._end is not None and time.monotonic() >= self._end:
            return False
        self.write("beat")
        return True


def main() -> None:
    path, seconds, go, manner = sys.argv[1:]
    job, lease = os.environ["CONVEYOR_JOB_ID"], os.environ["CONVEYOR_LEASE"]
    if manner == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    escape(path, job, lease)
    diary = Diary(path, job, lease)
    diary.write("begin")
    while diary.beats(float(seconds), go):
        time.sleep(PAUSE)
    diary.write("end")


def escape(path: str, job: str, lease: str) -> None:
    """Leave a process behind, and go on once that has begun to write."""
    heard, said = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            diary = Diary(path, job, lease)
            diary.write("child")
            os.close(said)
            while diary.beats(FOR_EVER, ""):
                time.sleep(PAUSE)
        os._exit(0)
    os.close(said)
    os.wait()
    os.read(heard, 1)
    os.close(heard)


if __name__ == "__main__":
    main()
