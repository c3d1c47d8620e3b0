"""What people and programs write: configuration, command lines, names, rules, and text to show."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from harness import Target, scratch_folder

from conveyor.autoscaler.config import parse_config
from conveyor.autoscaler.workload import read_trace
from conveyor.cli.enqueue import _parse_arguments
from conveyor.core import trace_context
from conveyor.core.command_policy import read_limits
from conveyor.core.cron import next_tick, parse
from conveyor.core.cron_words import describe_schedule
from conveyor.core.duration import parse_duration
from conveyor.core.explain_parts import explain_parts
from conveyor.core.file_patterns import FilePatterns
from conveyor.core.files import artifact_patterns, file_name, file_names
from conveyor.core.fingerprint import LENGTH, fingerprint
from conveyor.core.foreign_text import escape_block, escape_json, escape_line
from conveyor.core.job import ErrorInfo, OutputChunk
from conveyor.core.key_template import literal_key, parse_key
from conveyor.core.names import parse_weighted_queue, validate_name, weighted_queue
from conveyor.core.output_text import COLOUR, OutputText
from conveyor.core.retry import parse_backoff
from conveyor.core.retry_on import parse_retry_on
from conveyor.core.secret_mask import mask, summary, unmask
from conveyor.core.size import parse_size
from conveyor.errors import UnavailableError, UsageError
from conveyor.server.output_search import OutputSearch
from conveyor.settings import PREFIX, SETTINGS, Settings, has_password_in, load_settings, token_from
from conveyor.store.open import check_store_exists

CONFIG = """name = "s"
cost_cap = 5.5
[server]
url = "https://h"
args = ["--drain", "5"]
[providers.process]
folder = "x"
[pools.small]
provider = "process"
labels = ["gpu"]
slots = 2
max = 5
idle_for = "5m"
cost_per_hour = 0.5
[pools.small.options]
args = ["-v"]
"""
TOML = (
    b'url = "jobs.db"\nqueues = ["a", "b:2"]\nconcurrency = 4\nlease = "60s"\nlog_format = "json"\n'
    b'token_file = "t"\nlabels = "x,y"\nmax_jobs_per_process = 0\n'
)
TRACE_CONTEXT = b"00-%s-%s-01\nvendor=x,b@c=1" % (b"4b" * 16, b"0f" * 8)
FOLDER = scratch_folder()


MASKED = b'{"token":"t","a":[{"db_password":1}],"u":"p://a:b@c","max_tokens":5}'
TRACEBACK = (
    b'Traceback (most recent call last):\n  File "/a/b.py", line 3, in f\n    g()\nE: job 17\n'
)


def decode_masked(data: bytes) -> None:
    try:
        value = msgspec.json.decode(data)
    except (ValueError, RecursionError):
        return
    shown = mask(value)
    summary(data)
    assert mask(shown.value).value == shown.value
    assert unmask(shown.value, value) == value


def decode_key(data: bytes) -> None:
    text, _, args = data.decode(errors="replace").partition("\0")
    key = parse_key(text)
    assert parse_key(literal_key(text)) == text
    if not isinstance(key, str):
        key.render(args.encode())


def decode_error(data: bytes) -> None:
    kind, message, traceback = [*data.decode(errors="replace").split("\0", 2), "", ""][:3]
    made = fingerprint(ErrorInfo(kind, message, traceback))
    assert len(made) == LENGTH


def decode_sentence(data: bytes) -> None:
    name, _, sentence = data.decode(errors="replace").partition("\0")
    parts = explain_parts(sentence, queues=[name], workers=["w"])
    assert "".join(part.text for part in parts) == sentence


def decode_searched(data: bytes) -> None:
    sought, *parts = data.split(b"\0")
    search = OutputSearch(sought.decode(errors="replace"))
    for seq, part in enumerate(parts):
        search.feed(OutputChunk(job_id="j", lease=1, offset=0, stream="log", at=1.0, data=part,
                                seq=seq))  # fmt: skip


def text(read: Callable[[str], Any]) -> Callable[[bytes], Any]:
    """Return a decoder of the text that a terminal or an environment variable has."""
    return lambda data: read(os.fsdecode(data))


def decode_settings_file(data: bytes) -> None:
    path = FOLDER / "conveyor.toml"
    path.write_bytes(data)
    load_settings(environment={}, folder=path.parent)


def decode_environment(data: bytes) -> None:
    env = dict(line.partition("=")[::2] for line in os.fsdecode(data).split("\n"))
    load_settings(
        environment={PREFIX + name: value for name, value in env.items()}, folder=Path("/")
    )


def decode_token_file(data: bytes) -> str:
    path = FOLDER / "token"
    path.write_bytes(data)
    return token_from(Settings({"token_file": str(path)}, dict.fromkeys(SETTINGS, "")), "")


def decode_cron(data: bytes) -> None:
    rule, _, zone = os.fsdecode(data).partition("\n")
    parsed = parse(rule, zone or "UTC")
    assert next_tick(parsed, 1.0e9) > 1.0e9
    assert describe_schedule(rule, zone)


def decode_pattern(data: bytes) -> None:
    pattern, _, name = os.fsdecode(data).partition("\n")
    FilePatterns(artifact_patterns([pattern])).matches(name or "a/b/c.txt")


def decode_output(data: bytes) -> str:
    """Show output in one chunk, and in pieces: the same letters, and no control but colours."""
    whole = OutputText().feed(data, final=True)
    pieces = OutputText()
    parts = [pieces.feed(data[at : at + 3]) for at in range(0, len(data), 3)]
    parts.append(pieces.feed(b"", final=True))
    for shown in (whole, "".join(parts)):
        plain = COLOUR.sub("", shown)
        assert plain.isprintable() or not {*plain.replace("\n", "").replace("\t", "")} & CONTROLS
    assert COLOUR.sub("", whole) == COLOUR.sub("", "".join(parts))
    return whole


CONTROLS = frozenset(map(chr, [*range(32), *range(127, 160), 0x202E, 0x2066, 0x200B]))


def decode_shown(data: bytes) -> None:
    shown = escape_line(os.fsdecode(data))
    assert not CONTROLS & {*shown}
    escape_block(os.fsdecode(data))


def decode_json_shown(data: bytes) -> None:
    value = data.decode(errors="replace")
    document = json.dumps({value: [value]}, ensure_ascii=False)
    shown = escape_json(document)
    assert json.loads(shown) == json.loads(document)
    assert not CONTROLS & {*shown}


def decode_arguments(data: bytes) -> Any:
    return _parse_arguments((data.decode(errors="replace"),), None)  # others are refused before


def decode_args(data: bytes) -> Any:
    return _parse_arguments((), data.decode(errors="replace"))


def decode_backoff(data: bytes) -> None:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return
    parse_backoff(value)


def decode_trace(data: bytes) -> None:
    read_trace(io.StringIO(os.fsdecode(data), newline=""))


def decode_trace_context(data: bytes) -> None:
    parent, state = [*os.fsdecode(data).split("\n", 1), ""][:2]
    found = trace_context.read_trace(parent, state)
    if found is not None:
        trace_context.checked_trace(found)
        assert len(found.parent) == 55
        assert len(found.state) <= trace_context.STATE_LIMIT


def text_targets() -> list[Target]:
    """Return the targets of what people write. Their mistakes are usage errors."""
    usage = (UsageError,)
    return [
        Target("settings file", decode_settings_file, [TOML], usage),
        Target("environment", decode_environment,
               [b"URL=jobs.db\nCONCURRENCY=5\nLEASE=60\nQUEUES=a,b:2\nDRAIN=1m"], usage),
        Target("token file", decode_token_file, [b"cvy_a_b\n"], usage),
        Target("scaler file", lambda data: parse_config(data.decode()), [CONFIG.encode()],
               (UsageError, UnicodeDecodeError)),
        Target("trace", decode_trace, [b"at,duration,labels\n1,5m,gpu\n2024-01-01T00:00,1,\n"],
               usage),
        Target("trace of a job", decode_trace_context, [TRACE_CONTEXT]),
        Target("schedule", decode_cron,
               [b"30 3 * * 1-5\nEurope/Berlin", b"*/5 0-6,8 1,15 * *", b"@daily", b"every 5m",
                b"0 0 29 2 *\nAmerica/New_York", b"0 9 * * 1#1"], usage),
        Target("duration", text(parse_duration), [b"90", b"1h30m", b"2.5s", b"1h 5ms"], usage),
        Target("size", text(parse_size), [b"256M", b"1.5GiB", b"500000"], usage),
        Target("limits", text(lambda given: read_limits(given.split("\n"))),
               [b"memory=2G\ncpu=10m\nfiles=256M", b"processes=200\nopen=1024"], usage),
        Target("queue of a worker", text(parse_weighted_queue), [b"mail:4", b"mail"], usage,
               lambda found: os.fsencode(f"{found[0]}:{found[1]}")),
        Target("name", text(validate_name), [b"mail", "é".encode()], usage, os.fsencode),
        Target("queue as an argument", text(lambda name: weighted_queue(validate_name(name))),
               [b"mail:4"], usage),
        Target("file name", text(file_name), [b"a/b.txt"], usage, os.fsencode),
        Target("file names", text(lambda names: file_names(names.split("\n"))),
               [b"a/b\na/c\nd"], usage),
        Target("artifact pattern", decode_pattern, [b"**/*.txt\na/b/c.txt", b"a/[a-c]?/**\na/b"],
               usage),
        Target("backoff", decode_backoff, [b"[1, 2.5]", b"5"], usage),
        Target("retry_on", text(parse_retry_on), [b"OSError", b"json.JSONDecodeError", b"a.b.C"],
               usage),
        Target("arguments on the command line", decode_arguments,
               [b"a=1", b'a={"b":[1]}'], usage),
        Target("--args", decode_args, [b'{"a":[1]}'], usage),
        Target("address of a store", text(check_store_exists), [b"https://h"],
               (UsageError, UnavailableError)),
        Target("password in an address", text(has_password_in), [b"https://a:b@c"]),
        Target("output on a terminal", decode_output,
               [b"a\x1b[31mred\x1b[0m\r\nb\tc", "é\x1b]0;t\x07".encode()]),
        Target("masked arguments", decode_masked, [MASKED]),
        Target("unique key", decode_key, [b'a:{u}:{o.id}{{}}\0{"u":17,"o":{"id":"x"}}'], usage),
        Target("kind of an error", decode_error, [b"E\0job 17 'x' 0xff\0" + TRACEBACK]),
        Target("sentence in parts", decode_sentence, [b"q\0Queue 'q': `c` job 1, w waits."]),
        Target("output to search", decode_searched, [b"b\0a\r\nb\0\xc3", b"\xc3\0\xa4"]),
        Target("text on a terminal", decode_shown, ["a\u202e\x1b[2Jb\u200d".encode()]),
        Target("JSON on a terminal", decode_json_shown, ["a\u202e\x1b[2Jb\x9b".encode()]),
    ]  # fmt: skip
