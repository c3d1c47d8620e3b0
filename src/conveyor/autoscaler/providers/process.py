"""Machines that are processes on this host: one agent each, in a session of its own.

A note in a directory describes each machine. It is written before the process is started, so that
none is forgotten: a process whose pid was not noted in time is found by its command line. A pid is
trusted only together with the start time of its process, and signals are sent by pidfd, so that
they never reach another process that has got the pid since.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import stat
import sys
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from ...core.timeout import wait_for_event
from ...core.unreadable import UNREADABLE
from ...errors import UnavailableError, UsageError
from ...system.process_identity import boot_id, is_running, pid_started
from ..agent_launch import (
    MACHINE_LABEL,
    AgentLaunch,
    agent_args,
    agent_environment,
    convert_options,
    new_machine_id,
    pool_of,
)
from ..fan_out import call_each, create_machines
from ..provider import Machine, PoolSpec, ProvisioningState

AGENT_STARTED = re.compile(rb"^agent (\S+): \d+ slots", re.MULTILINE)
# How much is read from the beginning and the end of a log, in bytes.
LOG_HEAD, LOG_TAIL = 1 << 16, 1 << 12
# How long a process may take to exit after SIGKILL, in seconds.
KILL_TIMEOUT = 10.0
# How long the logs of exited agents are kept, in seconds.
KEEP_EXITED = 600.0
DEFAULT_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGPIPE)


class ProcessSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`folder` holds notes and logs; `grace` is the time between SIGTERM and SIGKILL."""

    folder: str = ".conveyor-machines"
    grace: float = 35.0


class ProcessOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of a pool: additional arguments and environment variables of its agents."""

    args: tuple[str, ...] = ()
    env: dict[str, str] = {}


class MachineNote(msgspec.Struct, frozen=True, kw_only=True):
    """The note of a machine, as it is stored. `pid` is 0 before the process is started."""

    id: str
    pool: str
    created_at: float
    pid: int = 0
    started: float = 0.0
    stopping_at: float | None = None
    boot: str


class ProcessProvider:
    """Agents on this host, which outlive the process that started them."""

    def __init__(self, settings: ProcessSettings, launch: AgentLaunch) -> None:
        self._settings, self._launch, self._boot = settings, launch, boot_id()
        if not self._boot:
            raise UsageError("provider process needs Linux, because it finds processes in /proc")
        self._folder = Path(settings.folder).absolute()

    async def create(self, pool: PoolSpec, count: int) -> Sequence[Machine]:
        """Start agents."""
        options = convert_options(ProcessOptions, pool.options, f"pool {pool.name}")
        self._remove_old()

        async def start_one() -> Machine:
            return self._start(pool, options)

        return await create_machines(start_one, count)

    async def destroy(self, ids: Collection[str]) -> None:
        """Stop agents: SIGTERM, and SIGKILL after the grace."""
        await call_each(self._destroy, [note for note in self._notes() if note.id in ids])

    async def list(self) -> Sequence[Machine]:
        """Return all agents that were started and not destroyed; exited ones are "gone"."""
        return [self._machine(note) for note in self._notes()]

    async def close(self) -> None:
        """Do nothing: there are no connections."""

    def _start(self, pool: PoolSpec, options: ProcessOptions) -> Machine:
        machine = new_machine_id(pool)
        args = agent_args(self._launch, pool, machine, options.args)
        # The settings of this process are not for agents: a health file, for instance.
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("CONVEYOR_")}
        note = MachineNote(id=machine, pool=pool.name, created_at=time.time(), boot=self._boot)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._check_owner()
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
                setsigdef=DEFAULT_SIGNALS,
            )
            self._write(_with_process(note, pid))
        except OSError as error:
            # A note without a process is harmless; a process without a note would be forgotten.
            raise UnavailableError(f"cannot start an agent: {error}") from error
        return Machine(id=machine, pool=pool.name, created_at=note.created_at, state="starting")

    def _machine(self, note: MachineNote) -> Machine:
        note = self._with_found_process(note)
        agent = AGENT_STARTED.search(_read_part(self._log(note.id), LOG_HEAD))
        state: ProvisioningState = "running" if agent else "starting"
        detail = ""
        if not self._is_running(note):
            state, detail = "gone", self._exit_detail(note)
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

    def _with_found_process(self, note: MachineNote) -> MachineNote:
        """Return a note with its process, even if its scaler was killed before noting the pid."""
        if note.pid or note.boot != self._boot:
            return note
        label = f"\0{MACHINE_LABEL}={note.id}\0".encode()
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                # Any user can start a process with this label, to have it or another one killed.
                is_ours = folder.stat().st_uid == os.geteuid()
                if is_ours and label in (folder / "cmdline").read_bytes():
                    note = _with_process(note, int(folder.name))
                    self._write(note)
                    break
        return note

    def _is_running(self, note: MachineNote) -> bool:
        if not note.pid or note.boot != self._boot:
            return False
        if is_running(note.pid, note.started):
            return True
        if note.started and pid_started(note.pid) == note.started:
            _reap(note.pid)
        return False

    async def _destroy(self, note: MachineNote) -> None:
        note = self._with_found_process(note)
        fd = self._open_pidfd(note)
        if fd is not None:
            try:
                await self._stop(note, fd)
            finally:
                os.close(fd)
        self._is_running(note)  # reaps it
        self._remove_files(note.id)

    async def _stop(self, note: MachineNote, fd: int) -> None:
        stopping_at = note.stopping_at
        if stopping_at is None:
            stopping_at = time.time()
            self._write(msgspec.structs.replace(note, stopping_at=stopping_at))
            # Only once: a second SIGTERM makes an agent exit at once.
            _send(fd, signal.SIGTERM)
        left = stopping_at + self._settings.grace - time.time()
        if await _wait_for_exit(fd, min(max(0.0, left), self._settings.grace)):
            return
        _send(fd, signal.SIGKILL)
        if not await _wait_for_exit(fd, KILL_TIMEOUT):
            raise UnavailableError(f"{note.id}: process {note.pid} did not exit after SIGKILL")

    def _open_pidfd(self, note: MachineNote) -> int | None:
        """Return a pidfd of its process; None if that has exited."""
        if not self._is_running(note):
            return None
        try:
            fd = os.pidfd_open(note.pid)
        except ProcessLookupError:
            return None
        # Checked again: the pidfd can no longer come to mean another process.
        if is_running(note.pid, note.started):
            return fd
        os.close(fd)
        return None

    def _exit_detail(self, note: MachineNote) -> str:
        if note.boot != self._boot:
            return "the host was rebooted"
        lines = _read_part(self._log(note.id), -LOG_TAIL).decode(errors="replace").split("\n")
        return next(
            (line.strip() for line in reversed(lines) if line.strip()), "its process has exited"
        )

    def _check_owner(self) -> None:
        """Raise UnavailableError if others can write notes: they could have any process killed."""
        try:
            seen = os.lstat(self._folder)
        except FileNotFoundError:
            return
        if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.geteuid() or seen.st_mode & 0o022:
            raise UnavailableError(
                f"the notes of machines in {self._folder} cannot be trusted: it must be a "
                f"directory of user {os.geteuid()} that no other user can write; remove it, or "
                "choose another `folder`"
            )

    def _notes(self) -> Sequence[MachineNote]:
        self._check_owner()
        notes: list[MachineNote] = []
        for path in sorted(self._folder.glob("*.json")):
            try:
                notes.append(msgspec.json.decode(path.read_bytes(), type=MachineNote))
            except FileNotFoundError:
                continue
            except UNREADABLE:
                # A power cut may leave it empty. Its name is enough to find the process.
                notes.append(self._note_from_name(path))
            except OSError as error:
                raise UnavailableError(f"cannot read the note {path}: {error}") from error
        return notes

    def _note_from_name(self, path: Path) -> MachineNote:
        return MachineNote(
            id=path.stem,
            pool=pool_of(path.stem),
            created_at=path.stat().st_mtime,
            boot=self._boot,
        )

    def _write(self, note: MachineNote) -> None:
        path = self._path(note.id)
        new = f"{path}.new"
        Path(new).write_bytes(msgspec.json.encode(note))
        os.replace(new, path)

    def _remove_old(self) -> None:
        """Remove agents that exited by themselves some time ago."""
        for note in map(self._with_found_process, self._notes()):
            if (
                not self._is_running(note)
                and _modified_at(self._log(note.id)) < time.time() - KEEP_EXITED
            ):
                self._remove_files(note.id)

    def _remove_files(self, machine: str) -> None:
        for path in (self._log(machine), self._path(machine)):
            Path(path).unlink(missing_ok=True)

    def _path(self, machine: str) -> str:
        return str(self._folder / f"{machine}.json")

    def _log(self, machine: str) -> str:
        return str(self._folder / f"{machine}.log")


_NEW_LOG = os.O_WRONLY | os.O_CREAT | os.O_APPEND


def _with_process(note: MachineNote, pid: int) -> MachineNote:
    return msgspec.structs.replace(note, pid=pid, started=pid_started(pid))


def _reap(pid: int) -> None:
    with suppress(ChildProcessError):  # not a child: another scaler started it
        os.waitpid(pid, os.WNOHANG)


def _send(fd: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(fd, number)


async def _wait_for_exit(fd: int, seconds: float) -> bool:
    """Wait for the process of a pidfd to exit; return whether it did in time."""
    exited = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(fd, exited.set)
    try:
        return await wait_for_event(exited, seconds)
    finally:
        loop.remove_reader(fd)


def _modified_at(path: str) -> float:
    try:
        return Path(path).stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _read_part(path: str, size: int) -> bytes:
    """Return the first `size` bytes of a file, or the last ones if negative; b"" if missing."""
    try:
        with Path(path).open("rb") as file:
            if size < 0:
                file.seek(max(0, file.seek(0, os.SEEK_END) + size))
            return file.read(abs(size))
    except FileNotFoundError:
        return b""
