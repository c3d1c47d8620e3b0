"""One program and all that it starts: its launch, signals to it, and its reaping."""

from __future__ import annotations

import errno
import fcntl
import os
import signal

from .privilege_drop import become_user, set_limits
from .processes import (
    LINUX,
    descendants,
    die_with_parent,
    is_running,
    process_group,
    send_signal,
    signal_group,
)
from .wire import MAX_FDS, READ_SIZE

# The pause between two rounds of killing, in seconds; it doubles for what the kernel holds.
MIN_KILL_INTERVAL, MAX_KILL_INTERVAL = 0.002, 0.5


class LaunchRequest:
    """A worker's request to run a program; see wire.py."""

    def __init__(self, request: bytes) -> None:
        paths, arguments, self.directory, user, limits, *fields = request.split(b"\0")
        first, last = int(paths), int(paths) + int(arguments)
        self.user = [int(number) for number in user.split()]
        self.limits = [int(number) for number in limits.split()]
        self.paths = fields[:first]
        self.arguments = fields[first:last]
        self.env = dict(field.split(b"=", 1) for field in fields[last:] if field)


class GuardedProgram:
    """A running program: the leader of a session, and all other descendants of this process.

    `launch_fd` becomes readable when the leader has executed the program, or failed to; then it
    becomes -1. `kill_interval` is 0 until all are killed, then the pause in seconds before the
    next round of killing. `gone` is set when no process is left.
    """

    def __init__(self, request: bytes, fds: list[int]) -> None:
        launch = LaunchRequest(request)
        self.launch_failed = self.stop_requested = self.gone = False
        self.kill_interval = 0.0
        self._killed: set[int] = set()
        self.launch_fd, error_fd = os.pipe()
        guard = os.getpid()
        self._leader: int | None = os.fork()
        if self._leader == 0:
            try:
                die_with_parent(guard)
                _execute(launch, fds, error_fd, guard)
            finally:
                os._exit(127)  # a fork must never continue as its parent
        for fd in (*fds, error_fd):
            os.close(fd)

    @property
    def left_behind(self) -> int:
        """How many processes were killed after the leader had ended."""
        return len(self._killed)

    def launch_result(self) -> str:
        """Return "started" or "failed ...". Call it once, when `launch_fd` is readable."""
        failure = os.read(self.launch_fd, READ_SIZE)
        os.close(self.launch_fd)
        self.launch_fd = -1
        self.launch_failed = bool(failure)
        return failure.decode() or "started"

    def signal(self, number: int) -> list[int]:
        """Send a signal to all processes; return their pids."""
        pids = [pid for pid in descendants(os.getpid()) if is_running(pid)]
        leader, group_signalled = self._leader, False
        if leader is not None:
            if not LINUX:
                pids = [leader]
            # The whole group atomically, so that a member that is just forking cannot escape. If
            # the leader was forked just now, it may not have made its group yet: then it gets the
            # signal by its pid below.
            group_signalled = signal_group(leader, number)
        for pid in {*pids, *descendants(os.getpid())}:
            if not group_signalled or process_group(pid) != leader:
                send_signal(pid, number)
        return pids

    def kill(self) -> list[int]:
        """Kill all processes and schedule the next round; return their pids."""
        pids = self.signal(signal.SIGKILL)
        if self._leader is None:
            self._killed.update(pids)
        self.kill_interval = min(MAX_KILL_INTERVAL, self.kill_interval * 2) or MIN_KILL_INTERVAL
        return pids

    def reap(self) -> int | None:
        """Reap children; return the leader's exit code, or -signal, if it is among them."""
        code = None
        try:
            while True:
                if not LINUX and self._leader is not None:
                    _kill_group(self._leader)
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    break
                if pid == self._leader:
                    code, self._leader = os.waitstatus_to_exitcode(status), None
        except ChildProcessError:
            self.gone = True
        return code


def _kill_group(leader: int) -> None:
    # Without a list of descendants: kill the group before reaping the leader frees its number.
    if os.waitid(os.P_PID, leader, os.WEXITED | os.WNOHANG | os.WNOWAIT):
        signal_group(leader, signal.SIGKILL)


def _execute(launch: LaunchRequest, fds: list[int], error_fd: int, guard: int) -> None:
    """Execute the program in this new process; on failure write the error to `error_fd`."""
    step = "start"
    try:
        os.setsid()
        error_fd = _install_fds(fds, error_fd)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if launch.user:
            step = "user"
            become_user(launch.user)
            die_with_parent(guard)  # a change of the user resets it
        if launch.directory:
            step = "chdir"
            os.chdir(launch.directory)
        if launch.limits:
            step = "limits"
            set_limits(launch.limits)
        step = "exec"
        code = _try_paths(launch)
    except OSError as error:
        code = error.errno or errno.EIO
    except MemoryError:
        code = errno.ENOMEM
    except Exception:  # noqa: BLE001 - an invalid user or limit: the program must not start
        code = errno.EINVAL
    os.write(error_fd, f"failed {step} {code}".encode())


def _install_fds(fds: list[int], error_fd: int) -> int:
    """Make `fds` the descriptors 0, 1, 2 and so on; return the new number of `error_fd`."""
    # First duplicate all to high numbers, so that none is overwritten before it is moved.
    *high, error_fd = [
        fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 2 * MAX_FDS) for fd in (*fds, error_fd)
    ]
    for number, fd in enumerate(high):
        os.dup2(fd, number)
    os.dup2(error_fd, len(fds), inheritable=False)
    os.closerange(len(fds) + 1, 1 << 16)
    return len(fds)


def _try_paths(launch: LaunchRequest) -> int:
    """Execute the first path that exists; return the most specific error."""
    worst = errno.ENOENT
    for path in launch.paths:
        try:
            os.execve(path, launch.arguments, launch.env)  # noqa: S606 - that is its purpose
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            if worst == errno.ENOENT and error.errno is not None:
                worst = error.errno
    return worst
