"""A command that runs on a terminal of its own."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path


class Service:
    """A command that runs until it is stopped, on a terminal of its own."""

    def __init__(self, folder: Path, *args: str, lines: int = 0, columns: int = 0) -> None:
        self._master, slave = pty.openpty()
        if lines:
            self.resize(lines, columns)
        self.printed = b""
        self.process = subprocess.Popen(
            [sys.executable, "-m", "conveyor", *args],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=slave,
            stderr=slave,
        )
        os.close(slave)

    def resize(self, lines: int, columns: int) -> None:
        size = struct.pack("HHHH", lines, columns, 0, 0)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, size)

    def read_until(self, text: bytes, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.printed:
            assert time.monotonic() < deadline, self.printed
            assert self._read(0.5) is not None, self.printed

    def stop(self, number: signal.Signals = signal.SIGTERM) -> str:
        """Stop it as a service manager does, and return all that it has printed."""
        self.process.send_signal(number)
        deadline = time.monotonic() + 60
        while self._read(0.5) is not None:
            assert time.monotonic() < deadline, self.printed
        assert self.process.wait(60) == 0, self.printed
        return self.printed.replace(b"\r\n", b"\n").decode()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)

    def _read(self, seconds: float) -> bytes | None:
        """Read what is there within some seconds; None at the end."""
        if not select.select([self._master], [], [], seconds)[0]:
            return b""
        try:
            piece = os.read(self._master, 1 << 16)
        except OSError:  # so a terminal ends on Linux
            return None
        self.printed += piece
        return piece or None
