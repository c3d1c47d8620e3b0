"""A guard: runs one program after another, and kills everything that they leave behind."""

from __future__ import annotations

import signal
import socket
import time

from .poller import CLOSE_ON_EXEC, Poller, WatchedWorker
from .processes import is_frozen
from .program import GuardedProgram
from .wire import KILL, LENGTH, MAX_FDS, READ_SIZE, RUN, TERM


class Guard:
    """Serves one worker over one socket."""

    def __init__(self, line: socket.socket, worker: WatchedWorker) -> None:
        self._line = line
        self._worker = worker
        self._poller = Poller(line, worker)
        self._worker_exited = False
        self._request = b""
        self._fds: list[int] = []
        self._program: GuardedProgram | None = None
        self._last_unfrozen = 0.0

    def serve(self) -> None:
        """Run programs until the worker has exited or closed the socket, and no program runs."""
        while not self._worker_exited or self._program is not None:
            for fd in self._poller.wait(self._timeout()):
                if self._program is not None and fd == self._program.launch_fd:
                    self._report_launch(self._program)
                elif fd == self._poller.worker_fd:
                    self._on_worker_exit()
                elif fd == self._line.fileno():
                    self._receive()
            if self._program is not None:
                self._supervise(self._program)

    def _timeout(self) -> float | None:
        if self._program is None:
            return None
        return self._program.kill_interval or self._worker.check_every

    def _receive(self) -> None:
        try:
            data, fds, flags, _ = socket.recv_fds(self._line, READ_SIZE, MAX_FDS, CLOSE_ON_EXEC)
        except OSError:
            data, fds, flags = b"", [], 0
        if flags & socket.MSG_CTRUNC:
            data = b""  # there was no room for all descriptors: exit, and the worker tries again
        self._fds += fds
        if not data:
            self._on_worker_exit()
        elif self._program is None:
            self._receive_request(data)
        else:
            self._obey_orders(self._program, data)

    def _receive_request(self, data: bytes) -> None:
        # Orders before a request came too late for the previous program; they need no reply.
        self._request = (self._request + data) if self._request else data.lstrip(TERM + KILL)
        start = len(RUN) + LENGTH
        end = start + int.from_bytes(self._request[len(RUN) : start], "big")
        if len(self._request) < max(start, end):
            return
        request, orders = self._request[start:end], self._request[end:]
        fds, self._request, self._fds = self._fds, b"", []
        self._last_unfrozen = time.monotonic()
        self._program = GuardedProgram(request, fds)
        self._poller.add(self._program.launch_fd)
        self._obey_orders(self._program, orders)

    def _obey_orders(self, program: GuardedProgram, orders: bytes) -> None:
        for order in orders:
            if order == TERM[0]:
                program.stop_requested = True
                pids = program.signal(signal.SIGTERM)
                program.signal(signal.SIGCONT)  # one that is stopped gets SIGTERM only then
            else:
                pids = program.kill()
            self._send(" ".join(["signalled", *map(str, pids)]))

    def _on_worker_exit(self) -> None:
        self._worker_exited = True
        self._poller.close_worker()
        if self._program is not None:
            self._program.kill()

    def _supervise(self, program: GuardedProgram) -> None:
        code = program.reap()
        if code is not None:
            if program.launch_fd >= 0:
                self._report_launch(program)
            if not program.launch_failed:
                self._send(f"exited {code}")
            if not program.stop_requested and not program.gone:
                program.kill()
        if program.gone:
            self._send(f"empty {program.left_behind}")
            self._program = None
        elif program.kill_interval and code is None:
            program.kill()
        elif not program.kill_interval:
            self._check_worker(program)

    def _report_launch(self, program: GuardedProgram) -> None:
        self._poller.remove(program.launch_fd)
        self._send(program.launch_result())

    def _check_worker(self, program: GuardedProgram) -> None:
        # This clock stops while the machine sleeps, as do all processes.
        now = time.monotonic()
        if not is_frozen(self._worker.pid):
            self._last_unfrozen = now
        elif now - self._last_unfrozen >= self._worker.kill_after:
            self._send(f"frozen {now - self._last_unfrozen:.1f}")
            program.kill()

    def _send(self, line: str) -> None:
        try:
            self._line.sendall(line.encode() + b"\n")
        except OSError:  # the worker has exited; its pidfd or socket reports that
            return
