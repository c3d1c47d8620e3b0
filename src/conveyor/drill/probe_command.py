"""The drill's command: a process, its child, and a grandchild in a session of its own.

    python probe_command.py EVENTS

It runs until the file EVENTS.finish exists, and leaves no process behind; a second run ends at
once. It imports nothing of ours, because a command job may be any program.
"""

import os
import sys
import time

LEASE = int(os.environ.get("CONVEYOR_LEASE", "1"))
FINISH = ".finish"
FAILS = ".fails"
LONGEST = 120.0


def write_event(events: str, what: str, lease: int = LEASE) -> None:
    """Append an event with a single write, so that lines of several processes do not mix."""
    line = f"{what} {os.getpid()} {lease} {time.time()}\n".encode()
    file = os.open(events, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    os.write(file, line)
    os.close(file)


def wait_until_may_finish(events: str) -> None:
    """Wait until the drill lets the job finish."""
    write_event(events, "began")
    deadline = time.monotonic() + LONGEST
    while not os.path.exists(events + FINISH) and time.monotonic() < deadline:
        time.sleep(0.02)
    write_event(events, "ended")


def main(events: str) -> None:
    """Start the tree and wait for it."""
    if LEASE > 1:
        write_event(events, "began")
        write_event(events, "ended")
        return
    if os.path.exists(events + FAILS):
        sys.exit("the drill makes this command fail")
    if os.fork() == 0:
        if os.fork() == 0:
            os.setsid()  # no signal to the command's session or process group reaches it now
        wait_until_may_finish(events)
        os._exit(0)
    wait_until_may_finish(events)
    os.wait()


if __name__ == "__main__":
    main(sys.argv[1])
