"""Machines that are processes here: each is one agent, in a session of its own.

A note in a folder says of each what it is. It is written before the process is started, so that
none is forgotten: one that was started and not yet noted is found by its command line. A pid is
believed only with the time at which its process began, and signals go by a pidfd, so that a process
that has got the pid since is never met.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from ...core.timeout import wait_for_event
from ...errors import UnavailableError, UsageError
from ...system.process_identity import boot_id, is_running, pid_started
from ..agent_launch import (
    LABEL,
    Launch,
    agent_args,
    agent_environment,
    new_machine_id,
    pool_of,
    read_options,
)
from ..fan_out import call_each, create_machines
from ..provider import Machine, MachineState, PoolSpec

AGENT = re.compile(rb"^agent (\S+): \d+ slots", re.MULTILINE)
# How much of the two ends of a log is looked at, in bytes.
BEGINS, ENDS = 1 << 16, 1 << 12
# How long a process may take to be gone after SIGKILL, in seconds.
KILLED = 10.0
# How long one that has ended is kept, for those who want to see why, in seconds.
KEPT = 600.0
DEFAULT = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGPIPE)


class ProcessSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`folder` keeps the notes and logs; `grace` is how long an agent may take to end."""

    folder: str = ".conveyor-machines"
    grace: float = 35.0


class ProcessOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a pool says: `args` for the agent, and `env`."""

    args: tuple[str, ...] = ()
    env: dict[str, str] = {}


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a machine. `pid` is 0 before it is started."""

    id: str
    pool: str
    created_at: float
    pid: int = 0
    started: float = 0.0
    stopping_at: float | None = None
    boot: str


class ProcessProvider:
    """Agents on this machine, which outlive the process that started them."""

    def __init__(self, settings: ProcessSettings, launch: Launch) -> None:
        self._settings, self._launch, self._boot = settings, launch, boot_id()
        if not self._boot:
            raise UsageError("the provider process needs Linux: it knows processes by /proc")
        self._folder = Path(settings.folder).absolute()

    async def create(self, pool: PoolSpec, count: int) -> Sequence[Machine]:
        """Start agents."""
        options = read_options(ProcessOptions, pool.options, f"pool {pool.name}")
        self._forget_old()

        async def start_one() -> Machine:
            return self._start(pool, options)

        return await create_machines(start_one, count)

    async def destroy(self, ids: Collection[str]) -> None:
        """SIGTERM, the grace, SIGKILL."""
        await call_each(self._end, [note for note in self._notes() if note.id in ids])

    async def list(self) -> Sequence[Machine]:
        """Return all that was started in the folder and not destroyed; one that ended is gone."""
        return [self._seen(note) for note in self._notes()]

    async def close(self) -> None:
        """Nothing is held."""

    def _start(self, pool: PoolSpec, options: ProcessOptions) -> Machine:
        machine = new_machine_id(pool)
        args = agent_args(self._launch, pool, machine, options.args)
        # This process's own settings are not the agents': a health file is for one process.
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("CONVEYOR_")}
        note = Note(id=machine, pool=pool.name, created_at=time.time(), boot=self._boot)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._write(note)
            pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-m", "conveyor", *args],
                {**inherited, **options.env, **agent_environment(self._launch, machine)},
                file_actions=[
                    (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                    (os.POSIX_SPAWN_OPEN, 1, self._log(machine), _NEW_LOG, 0o600),
                    (os.POSIX_SPAWN_DUP2, 1, 2),
                ],
                setsid=True,
                setsigmask=(),
                setsigdef=DEFAULT,
            )
            self._write(_begun(note, pid))
        except OSError as error:
            # A note without a process is harmless, and a process without one would not be.
            raise UnavailableError(f"no agent could be started: {error}") from error
        return Machine(id=machine, pool=pool.name, created_at=note.created_at, state="starting")

    def _seen(self, note: Note) -> Machine:
        note = self._found(note)
        agent = AGENT.search(_read(self._log(note.id), BEGINS))
        state: MachineState = "running" if agent else "starting"
        detail = ""
        if not self._lives(note):
            state, detail = "gone", self._last_words(note)
        elif note.stopping_at is not None:
            state = "stopping"
        return Machine(
            id=note.id,
            pool=note.pool,
            created_at=note.created_at,
            state=state,
            agent=agent[1].decode() if agent else "",
            detail=detail,
        )

    def _found(self, note: Note) -> Note:
        """Return a note with its process, which whoever started it may not have lived to note."""
        if note.pid or note.boot != self._boot:
            return note
        label = f"\0{LABEL}={note.id}\0".encode()
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if label in (folder / "cmdline").read_bytes():
                    note = _begun(note, int(folder.name))
                    self._write(note)
                    break
        return note

    def _lives(self, note: Note) -> bool:
        if not note.pid or note.boot != self._boot:
            return False
        if is_running(note.pid, note.started):
            return True
        if note.started and pid_started(note.pid) == note.started:
            _reap(note.pid)
        return False

    async def _end(self, note: Note) -> None:
        note = self._found(note)
        fd = self._held(note)
        if fd is not None:
            try:
                await self._stop(note, fd)
            finally:
                os.close(fd)
        self._lives(note)  # which reaps it
        self._forget(note.id)

    async def _stop(self, note: Note, fd: int) -> None:
        stopping_at = note.stopping_at
        if stopping_at is None:
            stopping_at = time.time()
            self._write(msgspec.structs.replace(note, stopping_at=stopping_at))
            # Once only: an agent takes a second one for "now".
            _send(fd, signal.SIGTERM)
        left = stopping_at + self._settings.grace - time.time()
        if await _ended(fd, min(max(0.0, left), self._settings.grace)):
            return
        _send(fd, signal.SIGKILL)
        if not await _ended(fd, KILLED):
            raise UnavailableError(f"{note.id}, process {note.pid}, does not end, even by SIGKILL")

    def _held(self, note: Note) -> int | None:
        """Return a pidfd of its process; None when that is not there any more."""
        if not self._lives(note):
            return None
        try:
            fd = os.pidfd_open(note.pid)
        except ProcessLookupError:
            return None
        # Looked at again, now that the pid cannot come to mean another.
        if is_running(note.pid, note.started):
            return fd
        os.close(fd)
        return None

    def _last_words(self, note: Note) -> str:
        if note.boot != self._boot:
            return "the system was started anew"
        lines = _read(self._log(note.id), -ENDS).decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it is not there")

    def _notes(self) -> Sequence[Note]:
        notes: list[Note] = []
        for path in sorted(self._folder.glob("*.json")):
            try:
                notes.append(msgspec.json.decode(path.read_bytes(), type=Note))
            except FileNotFoundError:
                continue
            except msgspec.MsgspecError:
                # A power cut may leave it empty. Its name says enough to look for a process.
                notes.append(self._named(path))
            except OSError as error:
                raise UnavailableError(f"the note {path} cannot be read: {error}") from error
        return notes

    def _named(self, path: Path) -> Note:
        return Note(
            id=path.stem,
            pool=pool_of(path.stem),
            created_at=path.stat().st_mtime,
            boot=self._boot,
        )

    def _write(self, note: Note) -> None:
        path = self._path(note.id)
        draft = f"{path}.new"
        Path(draft).write_bytes(msgspec.json.encode(note))
        os.replace(draft, path)

    def _forget_old(self) -> None:
        """Forget those that ended by themselves, and that nobody has destroyed since."""
        for note in map(self._found, self._notes()):
            if not self._lives(note) and _changed(self._log(note.id)) < time.time() - KEPT:
                self._forget(note.id)

    def _forget(self, machine: str) -> None:
        for path in (self._log(machine), self._path(machine)):
            Path(path).unlink(missing_ok=True)

    def _path(self, machine: str) -> str:
        return str(self._folder / f"{machine}.json")

    def _log(self, machine: str) -> str:
        return str(self._folder / f"{machine}.log")


_NEW_LOG = os.O_WRONLY | os.O_CREAT | os.O_APPEND


def _begun(note: Note, pid: int) -> Note:
    return msgspec.structs.replace(note, pid=pid, started=pid_started(pid))


def _reap(pid: int) -> None:
    with suppress(ChildProcessError):  # whoever started it is gone, and the init does it
        os.waitpid(pid, os.WNOHANG)


def _send(fd: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(fd, number)


async def _ended(fd: int, seconds: float) -> bool:
    """Wait until the process of a pidfd ends; False when that takes longer."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(fd, ended.set)
    try:
        return await wait_for_event(ended, seconds)
    finally:
        loop.remove_reader(fd)


def _changed(path: str) -> float:
    try:
        return Path(path).stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _read(path: str, size: int) -> bytes:
    """Return the first `size` bytes of a file, the last if `size` is negative; b"" if none."""
    try:
        with Path(path).open("rb") as file:
            if size < 0:
                file.seek(max(0, file.seek(0, os.SEEK_END) + size))
            return file.read(abs(size))
    except FileNotFoundError:
        return b""
