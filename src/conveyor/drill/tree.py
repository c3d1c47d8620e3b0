"""A command with a tree of processes: itself, a child, and a grandchild in a session of its own.

    python tree.py NOTES

It runs until the file NOTES.cue exists, and leaves no process behind then; a second run ends at
once. It imports nothing of ours: a job that is a command may be anything.
"""

import os
import sys
import time

LEASE = int(os.environ.get("CONVEYOR_LEASE", "1"))
FAILS = ".fails"
LONGEST = 120.0


def write(notes: str, what: str, lease: int = LEASE) -> None:
    """Note what happens, in one piece."""
    line = f"{what} {os.getpid()} {lease} {time.time()}\n".encode()
    file = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(file, line)
    os.close(file)


def stay(notes: str) -> None:
    """Run until the cue."""
    write(notes, "began")
    deadline = time.monotonic() + LONGEST
    while not os.path.exists(notes + ".cue") and time.monotonic() < deadline:
        time.sleep(0.02)
    write(notes, "ended")


def main(notes: str) -> None:
    """Grow a tree and see it through."""
    if LEASE > 1:
        write(notes, "began")
        write(notes, "ended")
        return
    if os.path.exists(notes + FAILS):
        sys.exit("the drill wants this command to fail")
    if os.fork() == 0:
        if os.fork() == 0:
            os.setsid()  # now no signal to the command's session or group reaches it
        stay(notes)
        os._exit(0)
    stay(notes)
    os.wait()


if __name__ == "__main__":
    main(sys.argv[1])
