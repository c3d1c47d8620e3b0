"""One program and all it starts, as its guard sees them: start, signals, burial."""

from __future__ import annotations

import errno
import fcntl
import os
import signal

from .privileges import become_user, set_limits
from .processes import LINUX, below, die_with, group, is_running, send, send_group
from .wire import MOST_FDS, READ

# Between two rounds of killing, in seconds: at first, and for what the kernel holds.
FIRST_ROUND, LONGEST_ROUND = 0.002, 0.5


class Request:
    """What is to be run, as the worker has written it down; see wire.py."""

    def __init__(self, request: bytes) -> None:
        paths, arguments, self.directory, user, limits, *texts = request.split(b"\0")
        first, last = int(paths), int(paths) + int(arguments)
        self.user = [int(number) for number in user.split()]
        self.limits = [int(number) for number in limits.split()]
        self.paths = texts[:first]
        self.arguments = texts[first:last]
        self.env = dict(text.split(b"=", 1) for text in texts[last:] if text)


class Program:
    """What one request has started: the leader of a session, and all below this process.

    `launch` can be read once the leader runs the program or could not, and is -1 after that.
    `round` is 0 until all are to be killed, then the pause in seconds before that is done again.
    """

    def __init__(self, request: bytes, fds: list[int]) -> None:
        wanted = Request(request)
        self.failed = self.told_to_end = self.over = False
        self.round = 0.0
        self._killed: set[int] = set()
        self.launch, told = os.pipe()
        guard = os.getpid()
        self._leader: int | None = os.fork()
        if self._leader == 0:
            try:
                die_with(guard)
                _become(wanted, fds, told, guard)
            finally:
                os._exit(127)  # a fork must never go on as its parent
        for fd in (*fds, told):
            os.close(fd)

    @property
    def left_behind(self) -> int:
        """How many were killed after the leader had ended."""
        return len(self._killed)

    def news(self) -> str:
        """Say whether the program was started. Call it once, when `launch` can be read."""
        said = os.read(self.launch, READ)
        os.close(self.launch)
        self.launch = -1
        self.failed = bool(said)
        return said.decode() or "started"

    def signal(self, number: int) -> list[int]:
        """Send a signal to all; return who that was."""
        found = [pid for pid in below(os.getpid()) if is_running(pid)]
        leader, reached = self._leader, False
        if leader is not None:
            if not LINUX:
                found = [leader]
            # The group at once, so that a member which is just forking cannot slip through. There
            # is none yet if the leader was forked just now: then it is sent for by its number,
            # though it may have made its group in the meantime.
            reached = send_group(leader, number)
        for pid in {*found, *below(os.getpid())}:
            if not reached or group(pid) != leader:
                send(pid, number)
        return found

    def kill(self) -> list[int]:
        """Kill all, and have that done again until nothing is left; return who was there."""
        found = self.signal(signal.SIGKILL)
        if self._leader is None:
            self._killed.update(found)
        self.round = min(LONGEST_ROUND, self.round * 2) or FIRST_ROUND
        return found

    def reap(self) -> int | None:
        """Bury the dead; return the leader's exit code, or -signal, if it is among them."""
        code = None
        try:
            while True:
                if not LINUX and self._leader is not None:
                    _end_group(self._leader)
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                if pid == self._leader:
                    code, self._leader = os.waitstatus_to_exitcode(status), None
        except ChildProcessError:
            self.over = True
        return code


def _end_group(leader: int) -> None:
    # Where nothing is known of the others, they end before their group's number is given away.
    if os.waitid(os.P_PID, leader, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        send_group(leader, signal.SIGKILL)


def _become(wanted: Request, fds: list[int], told: int, guard: int) -> None:
    """Turn this new process into the program; say on `told` what prevents it."""
    step = "start"
    try:
        os.setsid()
        told = _arrange(fds, told)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if wanted.user:
            step = "user"
            become_user(wanted.user)
            die_with(guard)  # the kernel forgets that when the user changes
        if wanted.directory:
            step = "chdir"
            os.chdir(wanted.directory)
        if wanted.limits:
            step = "limits"
            set_limits(wanted.limits)
        step = "exec"
        code = _execute(wanted)
    except OSError as error:
        code = error.errno or errno.EIO
    except MemoryError:
        code = errno.ENOMEM
    except Exception:  # noqa: BLE001 - numbers that are no user's or no limit's: it must not begin
        code = errno.EINVAL
    os.write(told, f"failed {step} {code}".encode())


def _arrange(fds: list[int], told: int) -> int:
    # All go out of the way first, so that none is overwritten before it was moved.
    *high, told = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 2 * MOST_FDS) for fd in (*fds, told)]
    for number, fd in enumerate(high):
        os.dup2(fd, number)
    os.dup2(told, len(fds), inheritable=False)
    os.closerange(len(fds) + 1, 1 << 16)
    return len(fds)


def _execute(wanted: Request) -> int:
    """Try the paths in turn; return the error that says most."""
    worst = errno.ENOENT
    for path in wanted.paths:
        try:
            os.execve(path, wanted.arguments, wanted.env)  # noqa: S606 - running what it is told to is its purpose
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            if worst == errno.ENOENT and error.errno is not None:
                worst = error.errno
    return worst
