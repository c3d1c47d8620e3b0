"""Errors as data, as stores and the HTTP API write them down."""

from __future__ import annotations

import msgspec
import pytest

from conveyor.core.error_info import error_info
from conveyor.core.job import ErrorInfo


class SilentError(LookupError):
    def __str__(self) -> str:
        raise SystemExit


class NotedError(LookupError):
    @property
    def __notes__(self) -> list[str]:  # type: ignore[override]
        raise SystemExit


class NamelessType(type):
    @property
    def __module__(cls) -> str:  # type: ignore[override]
        raise SystemExit


class NamelessError(LookupError, metaclass=NamelessType):
    pass


def test_an_error_that_was_stored_before_there_were_exit_codes_can_be_read() -> None:
    stored = b'{"type":"CommandFailed","message":"sh exited with 3"}'
    error = msgspec.json.decode(stored, type=ErrorInfo)
    assert error == ErrorInfo("CommandFailed", "sh exited with 3", exit_code=None)


def test_an_error_without_an_exit_code_is_written_without_that_field() -> None:
    assert msgspec.json.encode(ErrorInfo("E", "no")) == b'{"type":"E","message":"no"}'


@pytest.mark.parametrize(
    ("kind", "message"),
    [(SilentError, "(its message cannot be printed: SystemExit)"), (NotedError, "no")],
)
def test_an_error_that_cannot_be_printed_keeps_its_classes_and_its_traceback(
    kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind) as raised:
        raise kind("no")
    told = error_info(raised.value)
    assert told.type == f"{__name__}.{kind.__name__}"
    assert told.message == message
    assert "LookupError" in told.bases
    assert "raise kind" in told.traceback


def test_an_error_whose_class_cannot_be_named_is_an_error_all_the_same() -> None:
    told = error_info(NamelessError("no"))
    assert told.message == "(it cannot be described: <class 'SystemExit'>)"
    assert told.type.endswith("NamelessError")
