"""Failures are alike if their class and the application's own frames are."""

from __future__ import annotations

import pytest

from conveyor.core.error_info import error_info
from conveyor.core.fingerprint import (
    LENGTH,
    failure_fingerprint,
    fingerprint,
    normalized,
    own_frames,
)
from conveyor.core.job import ErrorInfo, State

FRAMES = """Traceback (most recent call last):
  File "{folder}/app/mail.py", line {line}, in send
    connect(host)
  File "/usr/lib/python3/dist-packages/net.py", line 9, in connect
    raise OSError(host)
OSError: down"""


def failure(message: str = "down", folder: str = "/srv/a", line: int = 3) -> ErrorInfo:
    return ErrorInfo("OSError", message, FRAMES.format(folder=folder, line=line))


def test_neither_the_line_nor_the_folder_nor_the_message_matters_if_there_are_own_frames() -> None:
    first = fingerprint(failure())
    assert first == fingerprint(failure("up", "/opt/release-7", 99))
    assert len(first) == LENGTH
    assert int(first, 16) >= 0


def test_another_class_or_another_function_is_another_failure() -> None:
    other = ErrorInfo("OSError", "down", failure().traceback.replace("in send", "in receive"))
    kind = ErrorInfo("KeyError", "down", failure().traceback)
    assert len({fingerprint(each) for each in (failure(), other, kind)}) == 3


def test_of_a_chain_only_the_last_exception_counts() -> None:
    cause = failure().traceback.replace("in send", "in first")
    chained = f"{cause}\n\nDuring handling of the above exception, another exception occurred:\n\n"
    assert own_frames(chained + failure().traceback) == ["mail.py:send"]


def test_a_function_that_calls_itself_counts_once() -> None:
    frame = '  File "/srv/a.py", line 1, in f\n    f()\n'
    assert own_frames(frame * 9) == ["a.py:f"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("job 17 took 3.5 s", "job 99 took 12.25 s"),
        ("no key 'ann'", "no key 'bob'"),
        ('"a" is no number', '"b" is no number'),
        ("at 0x7f3a of 1", "at 0xdead of 2"),
        ("id 0b54c1f2-1111-4222-8333-944445555566", "id ffffffff-2222-4222-8333-944445555566"),
        ("commit 3f9ab1c2d4e5", "commit 00ab12cd34ef"),
        ("failed\nat line 1", "failed\nbecause"),
    ],
)
def test_without_frames_messages_that_differ_in_values_are_alike(one: str, other: str) -> None:
    assert normalized(one) == normalized(other)
    assert fingerprint(ErrorInfo("E", one)) == fingerprint(ErrorInfo("E", other))


def test_without_frames_another_message_is_another_failure() -> None:
    assert fingerprint(ErrorInfo("E", "disk full")) != fingerprint(ErrorInfo("E", "no such file"))


def test_a_cancel_is_no_failure() -> None:
    assert failure_fingerprint(State.CANCELLED, ErrorInfo("Cancelled", "r")) is None
    assert failure_fingerprint(State.AVAILABLE, failure()) == fingerprint(failure())


def test_a_real_traceback_names_this_file() -> None:
    def fail(depth: int) -> None:
        if depth:
            fail(depth - 1)
        raise ValueError("x")

    try:
        fail(3)
    except ValueError as error:
        frames = own_frames(error_info(error).traceback)
    assert frames[-1] == "test_fingerprint.py:fail"
