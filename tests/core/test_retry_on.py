"""Which errors are retried: names of exception classes, checked as far as they can be known."""

from __future__ import annotations

import asyncio
import concurrent.futures
import sys
import types
from typing import Any

import pytest
from records import job

from conveyor.core.error_info import error_info
from conveyor.core.lifecycle import Failed, settle
from conveyor.core.retry_on import is_listed, other_names, parse_retry_on, unknown_name
from conveyor.errors import UsageError


class Outer:
    class FlakyError(Exception):
        pass


class WorseError(Outer.FlakyError):
    pass


@pytest.mark.parametrize(
    ("given", "names"),
    [
        (OSError, ("OSError",)),
        ("OSError", ("OSError",)),
        (IOError, ("OSError",)),
        ([Outer.FlakyError, "ValueError"], (f"{__name__}.Outer.FlakyError", "ValueError")),
        (iter([KeyError]), ("KeyError",)),
        # Not loaded, so nobody can know yet.
        ("not_imported.Error", ("not_imported.Error",)),
        ("FlakyError", ("FlakyError",)),
        # Another way to write the name of a class.
        ("asyncio.TimeoutError", ("TimeoutError",)),
        ("concurrent.futures.CancelledError", ("concurrent.futures._base.CancelledError",)),
        (f"{__name__}.f.<locals>.LocalError", (f"{__name__}.f.<locals>.LocalError",)),
        ("email.not_imported.Error", ("email.not_imported.Error",)),
    ],
)
def test_classes_and_names_become_the_names_that_errors_are_stored_with(
    given: Any, names: tuple[str, ...]
) -> None:
    assert parse_retry_on(given) == names


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (int, "exception classes or their names, got <class 'int'>"),
        ([5], "exception classes or their names, got 5"),
        ([ValueError("x")], r"exception classes or their names, got ValueError\('x'\)"),
        ([None], "got None"),
        ("", "'' cannot be the name"),
        ("Connection Error", "'Connection Error' cannot be the name"),
        ("5Error", "cannot be the name"),
        ("os.", "cannot be the name"),
        ("print", "'print' is not an exception class, but <built-in function print>"),
        ("os.path", "'os.path' is not an exception class, but <module"),
        ("asyncio.TimeoutErorr", r"module 'asyncio' has no 'TimeoutErorr'; did you mean 'TimeoutE"),
        ("asyncio.zzz", r"module 'asyncio' has no 'zzz'$"),
    ],
)
def test_what_cannot_be_an_exception_class_is_refused(given: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_retry_on(given)


def test_a_class_that_its_module_defines_later_is_accepted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = types.ModuleType("half")
    module.__spec__ = spec = type(sys.__spec__)("half", None)  # type: ignore[arg-type,misc]
    spec._initializing = True  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "half", module)
    assert parse_retry_on("half.LaterError") == ("half.LaterError",)
    spec._initializing = False  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match="module 'half' has no 'LaterError'"):
        parse_retry_on("half.LaterError")


@pytest.mark.parametrize(
    "listed",
    [
        Outer.FlakyError,
        WorseError,
        Exception,
        "Outer.FlakyError",
        "WorseError",
        f"{__name__}.WorseError",
        "BaseException",
    ],
)
def test_an_error_is_listed_by_its_class_or_a_base_with_or_without_the_module(listed: Any) -> None:
    info = error_info(WorseError("no"))
    assert is_listed(parse_retry_on(listed), (info.type, *info.bases))


def test_an_error_of_another_class_is_not_listed() -> None:
    info = error_info(Outer.FlakyError("no"))
    assert not is_listed(parse_retry_on([WorseError, ValueError]), (info.type, *info.bases))
    assert is_listed((), (info.type, *info.bases))


def test_another_way_to_write_the_name_of_a_class_means_the_class() -> None:
    # As it was stored by a process in which the module was not loaded.
    stored = ("asyncio.TimeoutError", "asyncio.nothing", "concurrent.futures.CancelledError")
    error = TimeoutError()
    assert other_names(error, stored) == ["asyncio.TimeoutError"]
    assert "asyncio.TimeoutError" in error_info(error, stored).bases
    lost = error_info(concurrent.futures.CancelledError(), stored)
    assert is_listed(stored, (lost.type, *lost.bases))
    assert not is_listed(stored, error_info(asyncio.QueueFull(), stored).bases)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("WorseErorr", "did you mean 'WorseError'"),
        ("ConectionError", "did you mean 'ConnectionError'"),
        (f"{__name__}.WorsError", "has no 'WorsError'; did you mean 'WorseError'"),
        ("WorseError", None),
        ("Outer.FlakyError", None),
        ("Timeout", None),
        ("ProcessDied", None),
        ("not_imported.Error", None),
        (f"{__name__}.f.<locals>.LocalError", None),
        ("OSError", None),
    ],
)
def test_a_name_that_is_nearly_that_of_a_class_is_probably_misspelled(
    name: str, said: str | None
) -> None:
    found = unknown_name(name)
    assert found is None if said is None else said in str(found)


def test_a_class_of_the_script_is_known_by_the_name_that_workers_import_it_by(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script = types.ModuleType("__main__")
    script.__file__ = "/srv/shop_script.py"
    script.__dict__["FlakyError"] = type("FlakyError", (Exception,), {"__module__": "__main__"})
    monkeypatch.setitem(sys.modules, "__main__", script)
    assert parse_retry_on(script.FlakyError) == ("shop_script.FlakyError",)
    assert unknown_name("shop_script.FlakyError") is None
    assert "did you mean 'FlakyError'?" in str(unknown_name("shop_script.FlakeyError"))


def test_an_error_that_is_not_retried_because_of_its_class_says_so() -> None:
    picky = job(retries=3, retry_on=("app.FlakeyError", "OSError"))
    ended = settle(picky, Failed(error_info(WorseError("no"))))
    assert ended.error is not None
    assert ended.error.message == (
        "no (not retried, because retry_on lists only app.FlakeyError, OSError)"
    )


def test_an_error_after_the_last_retry_says_nothing_about_its_class() -> None:
    tired = job(attempt=4, retries=3, retry_on=("ValueError",))
    ended = settle(tired, Failed(error_info(OSError("x"))))
    assert ended.error is not None
    assert ended.error.message == "x"
