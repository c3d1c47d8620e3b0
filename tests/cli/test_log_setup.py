"""Commands that run until stopped log to stderr, unless the application logs elsewhere."""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from shell import Start, Until, read_line

from conveyor import Conveyor, UsageError
from conveyor.cli.shared.log_setup import configure_logging
from conveyor.core.foreign_text import escape_line
from conveyor.core.log_format import JsonFormatter
from conveyor.settings import load_settings
from conveyor.system.stderr_pipe import DroppingHandler

log = logging.getLogger("conveyor.job")


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """The root logger as in a new process."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.setLevel(logging.WARNING)
    yield root
    root.handlers[:] = before
    root.setLevel(level)
    logging.getLogger("conveyor").setLevel(logging.NOTSET)


def configure(*handlers: logging.Handler, **flags: object) -> None:
    """Configure logging where the root logger has these handlers, and none of pytest's."""
    logging.getLogger().handlers[:] = handlers
    configure_logging(load_settings(flags, environment={}, folder=Path("/")))


def test_the_handlers_and_the_level_of_the_application_stay(root: logging.Logger) -> None:
    mine = logging.NullHandler()
    configure(mine)
    assert root.handlers == [mine]
    assert root.level == logging.WARNING
    assert not log.isEnabledFor(logging.INFO)


def test_a_level_that_is_asked_for_counts_for_conveyor_only(root: logging.Logger) -> None:
    configure(logging.NullHandler(), log_level="debug")
    assert root.level == logging.WARNING
    assert log.isEnabledFor(logging.DEBUG)


def test_a_format_that_cannot_be_had_is_a_warning(
    root: logging.Logger, caplog: pytest.LogCaptureFixture
) -> None:
    configure(caplog.handler, log_format="json")
    assert "the application configures logging itself" in caplog.text


def test_loggers_that_the_application_has_disabled_by_accident_log_again(
    root: logging.Logger,
) -> None:
    from logging.config import dictConfig

    theirs = logging.getLogger("shop")
    dictConfig({"version": 1, "root": {"handlers": []}})
    assert (log.disabled, theirs.disabled) == (True, True)
    configure()
    assert (log.disabled, theirs.disabled) == (False, True)
    theirs.disabled = False


@pytest.mark.parametrize(
    ("flags", "said"),
    [({"log_format": "xml"}, "must be text or json"), ({"log_level": "LOUD"}, "'LOUD'")],
)
def test_an_unknown_format_or_level_is_refused(flags: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        configure(**flags)


def test_a_line_of_text_cannot_control_a_terminal(
    root: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    configure()
    assert root.level == logging.INFO
    logging.getLogger("not_disabled").error("two\nlines \x1b]0;title\a")
    assert "not_disabled two\n  lines \\x1b]0;title\\x07\n" in capsys.readouterr().err


def raised(text: str) -> LookupError:
    """Return an error with a traceback."""
    try:
        raise LookupError(text)
    except LookupError as error:
        return error


def test_names_and_errors_cannot_forge_a_record(
    root: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    configure()
    evil = "a\n2026-01-01 00:00:00,000 INFO conveyor.job all is well"
    error = raised(evil)
    log.error("job.lost task=%s error=%s", evil, error, exc_info=error)
    first, *rest = capsys.readouterr().err.splitlines()
    assert first.endswith(f"task={escape_line(evil)} error={escape_line(evil)}")
    assert all(line.startswith("  ") for line in rest)


def test_handlers_of_the_application_get_escaped_records(
    root: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    configure(handler)
    error = raised("\x1b[2J\u202e")
    log.error("job.lost task=%s error=%s", "\x1b]0;title\a", error, exc_info=error)
    printed = capsys.readouterr().err
    assert "task=\\x1b]0;title\\x07 error=\\x1b[2J\\u202e\n" in printed
    assert "LookupError: \\x1b[2J\\u202e\n" in printed
    assert "\x1b" not in printed


class Odd:
    def __repr__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize("odd", [object(), "\udce9", {1: 2}, Odd(), float("nan"), b"\xff"])
def test_json_is_one_line_whatever_is_logged(odd: object) -> None:
    given = {"msg": "a\nb", "levelname": "ERROR", "job_id": "j", "odd": odd, "stack_info": "s\nt"}
    record = logging.makeLogRecord(given)
    line = JsonFormatter().format(record)
    assert "\n" not in line
    data: dict[str, Any] = json.loads(line)
    assert {"time", "level", "logger", "message", "job_id", "odd"} <= set(data)
    assert dt.datetime.fromisoformat(data["time"]).timestamp() == pytest.approx(record.created)
    assert data["stack"] == "s\nt"


def test_records_that_nobody_could_read_are_counted() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    size = 0
    with suppress(BlockingIOError):
        while True:
            size += os.write(writing, bytes(4096))
    handler = DroppingHandler()
    handler.stream = os.fdopen(writing, "w")
    began = monotonic()
    for _ in range(30):
        handler.emit(logging.makeLogRecord({"msg": "lost"}))
    # Only the first has waited for a reader: 30 would have taken 30 s.
    assert monotonic() - began < 15.0
    assert len(os.read(reading, size)) == size
    handler.emit(logging.makeLogRecord({"msg": "read"}))
    handler.stream.close()
    told = os.read(reading, 1000).decode()
    os.close(reading)
    assert told == "30 log records were dropped: nobody read stderr\nread\n"


def test_a_worker_logs_a_failing_job_as_json(start: Start, belt: Conveyor, folder: Path) -> None:
    worker = start("worker", "app:belt", "--log-format", "json")
    job = belt.functions["send"].enqueue("nobody")
    data = json.loads(read_line(worker, '{"time"'))
    assert (data["level"], data["job_id"], data["task"]) == ("ERROR", job.id, "send")
    assert (data["queue"], data["attempt"]) == ("mail", 1)
    assert "LookupError: no such person" in data["exception"]


def test_a_worker_leaves_the_logging_of_its_application_alone(
    start: Start, belt: Conveyor, folder: Path, until: Until
) -> None:
    app = folder / "app.py"
    app.write_text(
        "import logging.config\n"
        "logging.config.dictConfig({'version': 1, 'root': {'handlers': ['f']}, 'handlers':"
        "{'f': {'class': 'logging.FileHandler', 'filename': 'app.log'}}})\n" + app.read_text()
    )
    job = belt.functions["send"].enqueue("nobody")
    worker = start("worker", "app:belt")
    until(lambda: job.refresh().record.is_final)
    worker.terminate()
    _, stderr = worker.communicate(timeout=30)
    written = (folder / "app.log").read_text()
    assert f"job.discarded id={job.id}" in written
    assert "LookupError: no such person" in written
    assert "job.discarded" not in stderr


def test_what_remains_of_a_dead_worker_logs_in_the_format_of_that_worker(
    start: Start, belt: Conveyor, folder: Path
) -> None:
    deadly = "@mail.task(name='deadly')\ndef deadly():\n    os.kill(os.getpid(), 9)\n"
    (folder / "app.py").write_text(f"import os\n{(folder / 'app.py').read_text()}{deadly}")
    worker = start("worker", "app:belt", "--log-format", "json")
    job = belt.send("deadly", queue="mail", crash_limit=1)
    line = read_line(worker, '{"time"')
    while "job.discarded" not in line:
        line = read_line(worker, '{"time"')
    data = json.loads(line)
    assert (data["level"], data["job_id"], data["task"]) == ("ERROR", job.id, "deadly")
