"""What other processes of this machine leave: messages, journals, notes, hints and listings."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import msgspec
from client_targets import JOB
from harness import Target, scratch_folder
from server_targets import ERROR

from conveyor.autoscaler.agent_launch import AgentLaunch
from conveyor.autoscaler.http_api import ApiResponse, decode_response, error_message, retry_pause
from conveyor.autoscaler.providers import docker, kubernetes
from conveyor.autoscaler.providers.command import decode_listing
from conveyor.autoscaler.providers.process import ProcessProvider, ProcessSettings
from conveyor.autoscaler.status import decode_note, encode_note
from conveyor.core.command import Command, validate_command
from conveyor.core.unreadable import UNREADABLE
from conveyor.errors import UnavailableError, UsageError
from conveyor.runners.child_protocol import decode_message, decode_run
from conveyor.runners.guard.program import LaunchRequest
from conveyor.runners.guarded_process import decode_event, encode_request
from conveyor.runners.privileges import Privileges
from conveyor.store.sqlite.notifier import decode_subjects
from conveyor.system import crash_journal
from conveyor.system.process_identity import stat_fields
from conveyor.worker import health

FOLDER = scratch_folder()
MESSAGES = (
    {"type": "ready"}, {"type": "started", "imported_rss": 5},
    {"type": "progress", "progress": {"done": 1, "total": 2, "message": "m"}},
    {"type": "output", "stream": "stdout", "data": "eA=="}, {"type": "wait", "what": "w"},
    {"type": "workdir"}, {"type": "artifact", "name": "a", "path": "/b"},
    *({"type": "done", "rss": 5, "run_result": result}
      for result in ({"type": "succeeded", "result": "MQ=="},
                     {"type": "failed", "error": ERROR}, {"type": "snoozed", "delay": 1.0},
                     {"type": "stopped", "notes": ["n"]})),
)  # fmt: skip
RUN = {"type": "run", "job": {**JOB, "args": "e30=", "result": None}, "where": "a:b", "main": {}}
MACHINE = {"id": "m-1", "pool": "p", "created_at": 1.0}
NOTE = {
    "status": {"at": 1.0, "every": 5.0, "held": ["h"], "events":
               [{"at": 1.0, "did": "start", "subject": "s", "why": "w"}]},
    "memory": {"machines": {"m": {"beat_at": 1.0}}, "queues": {"p": ["q"]}, "strays": {"a": 1.0}},
}  # fmt: skip
HEALTH = {
    "worker": "w", "state": "ready", "running": 1, "slots": 4, "at": 1.0, "pid": 1,
    "pid_started": 1.0, "boot_id": "b", "sick": {"thread": "r"},
}  # fmt: skip
CONTAINERS = [{"Id": "c", "Created": 1.0, "State": "exited", "Status": "s", "Labels": {"a": "b"}}]
JOBS = {
    "metadata": {"continue": "c"},
    "items": [{"metadata": {"name": "n", "labels": {"conveyor-pool": "p"},
                            "creationTimestamp": "2024-01-01T00:00:00Z"},
               "status": {"ready": 1, "conditions": [{"type": "Failed", "status": "True"}]}}],
}  # fmt: skip
API: Any = SimpleNamespace(name="the API")
PROVIDER = ProcessProvider(
    ProcessSettings(folder=str(FOLDER / "machines")), AgentLaunch(server="http://h")
)


def dump(*values: Any) -> list[bytes]:
    return [json.dumps(value).encode() for value in values]


def decode_journal(data: bytes) -> frozenset[str]:
    (FOLDER / "journal").write_bytes(data)
    found = crash_journal.read(str(FOLDER), "journal")
    assert found is not None
    msgspec.json.encode(sorted(found))
    return found


def decode_health(data: bytes) -> None:
    (FOLDER / "health").write_bytes(data)
    found = health.read(str(FOLDER / "health"))
    health.judge(found, now=1.0)
    if found is not None:
        health.is_gone(found)


def decode_machine(data: bytes) -> None:
    folder = FOLDER / "machines"
    folder.mkdir(exist_ok=True)
    (folder / "conveyor-p-0123456789.json").write_bytes(data)
    for note in PROVIDER._notes():
        PROVIDER._is_running(note)
        PROVIDER._log(note.id)


def response(data: bytes, kind: Any) -> Any:
    return decode_response(API, ApiResponse(200, data, ""), kind)


def decode_jobs(data: bytes) -> None:
    for each in response(data, kubernetes.JobList).items:
        kubernetes._machine(each)


def decode_containers(data: bytes) -> None:
    for each in response(data, list[docker.Container]):
        docker._has_exited(each, 1.0)


def decode_versions(data: bytes) -> None:
    docker._version_numbers(response(data, docker.VersionRange).newest)


def decode_datagrams(data: bytes) -> tuple[str, ...]:
    subjects = decode_subjects(data.split(b"\n"), 10)
    msgspec.json.encode(subjects)
    return subjects


def decode_stat(data: bytes) -> None:
    """Read a process whose name is the data, as the kernel writes it."""
    fields = stat_fields(b"12 (%b) S %b\n" % (data, b" ".join(b"%d" % n for n in range(4, 53))))
    assert fields[2] == "S"
    assert fields[21] == "22"


def decode_command(data: bytes) -> None:
    command = msgspec.json.decode(data, type=Command)
    validate_command(command.argv, env=command.env, cwd=command.cwd)


def decode_launch(data: bytes) -> Any:
    """Send a program to a guard, with whatever arguments, and read what the guard reads."""
    argv = [part.decode(errors="surrogateescape") for part in data.split(b"\n")]
    request = encode_request(argv, {"A": "b=c"}, "", Privileges())
    read = LaunchRequest(request[4:])
    assert read.arguments == data.split(b"\n")
    assert read.env == {b"A": b"b=c"}


def process_targets() -> list[Target]:
    """Return the targets of what other processes write."""
    return [
        Target("message of a child", decode_message, dump(*MESSAGES)),
        Target("job for a child", decode_run, dump(RUN), UNREADABLE, msgspec.json.encode),
        Target("program for a guard", decode_launch, [b"make\n-j\ntest"], (ValueError,)),
        Target("event of a guard", decode_event,
               [b"started", b"failed exec 2", b"signalled 1 2", b"frozen 1.5", b"exited -9",
                b"empty 3"]),
        Target("crash journal", decode_journal, [b"j" * 36 + b"\0" * 36 + b"k".ljust(36, b"\0")]),
        Target("hint datagrams", decode_datagrams, [b"a\0b\nc\n\xc3\xa9"]),
        Target("health file", decode_health, dump(HEALTH)),
        Target("note of a machine", decode_machine, dump({**MACHINE, "boot": "b", "pid": 5})),
        Target("machines of a command", decode_listing, dump({"machines": [MACHINE]}),
               (UsageError,)),
        Target("containers of Docker", decode_containers, dump(CONTAINERS), (UnavailableError,)),
        Target("versions of Docker", decode_versions, dump({"ApiVersion": "1.44"}),
               (UnavailableError,)),
        Target("Jobs of Kubernetes", decode_jobs, dump(JOBS), (UnavailableError,)),
        Target("Retry-After", lambda data: retry_pause(data.decode("utf-8", "replace")), [b"3"]),
        Target("error of an API", lambda data: error_message(ApiResponse(500, data, "")),
               dump({"message": "m"})),
        Target("note of a scaler", lambda data: decode_note(data.decode(errors="replace")),
               dump(NOTE), (), lambda note: b"" if note is None else encode_note(note).encode()),
        Target("state of a process", decode_stat, [b"python", b"a) S (b"]),
        Target("command", decode_command, dump({"argv": ["make"], "env": {"A": "b"}, "cwd": "/"}),
               (*UNREADABLE, UsageError)),
    ]  # fmt: skip
