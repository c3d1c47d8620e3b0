"""Errors as data, as stores and the HTTP API write them down."""

from __future__ import annotations

import msgspec

from conveyor.core.job import ErrorInfo


def test_an_error_that_was_stored_before_there_were_exit_codes_can_be_read() -> None:
    stored = b'{"type":"CommandFailed","message":"sh exited with 3"}'
    error = msgspec.json.decode(stored, type=ErrorInfo)
    assert error == ErrorInfo("CommandFailed", "sh exited with 3", exit_code=None)


def test_an_error_without_an_exit_code_is_written_without_that_field() -> None:
    assert msgspec.json.encode(ErrorInfo("E", "no")) == b'{"type":"E","message":"no"}'
