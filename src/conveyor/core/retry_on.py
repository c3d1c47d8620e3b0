"""Which errors of a job are retried: the exception classes of `retry_on`, as names."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from types import ModuleType
from typing import Any, TypeGuard, cast

from ..errors import UsageError
from .bounds import CLASS_NAME_LIMIT, check_size
from .class_names import class_name, find_loaded

NAME = re.compile(r"[^\W\d]\w*(\.([^\W\d]\w*|<locals>))*")
LOCAL = "<locals>"
MAX_CLASSES = 100_000


def parse_retry_on(value: object) -> tuple[str, ...]:
    """Return the names of exception classes, given as classes or names; UsageError otherwise."""
    listed = [value] if isinstance(value, str | type) else list(cast("Iterable[object]", value))
    check_size("retry_on", listed)
    return tuple(map(_parse_name, listed))


def is_listed(retry_on: Sequence[str], names: Iterable[str]) -> bool:
    """Whether an error may be retried that has these class names, its own and those of its bases.

    An empty `retry_on` lists every error.
    """
    return not retry_on or not frozenset(retry_on).isdisjoint(names)


def other_names(error: BaseException, retry_on: Iterable[str]) -> list[str]:
    """Return the names in `retry_on` by which the error's class can be imported from elsewhere.

    A class has one name of its own, but "requests.ConnectionError" is also a way to write it.
    """
    return [name for name in retry_on if _loaded_exception(name) in type(error).__mro__]


def unknown_name(name: str) -> str | None:
    """Return why a name in `retry_on` is probably misspelled, or None if it is not.

    To be asked when the application is loaded. A class that is not loaded yet may still come.
    """
    if LOCAL in name or _loaded_exception(name) is not None:
        return None
    module, path, _ = find_loaded(name)
    if "." in name:
        return None if module is None else _no_such_class(module, path)
    known = {each.__qualname__ for each in _exception_classes()}
    near = [] if name in known else difflib.get_close_matches(name, known, 1, 0.8)
    return f"no exception class has that name; did you mean {near[0]!r}?" if near else None


def _parse_name(each: object) -> str:
    if _is_exception_class(each):
        return class_name(each)
    if not isinstance(each, str):
        raise UsageError(f"must be exception classes or their names, got {each!r}")
    if len(each) > CLASS_NAME_LIMIT or not NAME.fullmatch(each):
        raise UsageError(f"{each!r:.100} cannot be the name of an exception class")
    module, path, found = find_loaded(each)
    if _is_exception_class(found):
        return class_name(found)
    if found is not None:
        raise UsageError(f"{each!r} is not an exception class, but {found!r}")
    if module is not None and _is_complete(module, path):
        raise UsageError(f"{each!r} is not an exception class: {_no_such_class(module, path)}")
    return each


def _is_complete(module: ModuleType, path: str) -> bool:
    """Whether a module has all that it will have, so that the path cannot be found in it later."""
    may_be_submodule = "." in path and hasattr(module, "__path__")
    # A task may name a class that its own module defines below it.
    initializing = getattr(getattr(module, "__spec__", None), "_initializing", True)
    is_builtin = module.__name__ == "builtins"
    return not (may_be_submodule or initializing or is_builtin or LOCAL in path)


def _no_such_class(module: ModuleType, path: str) -> str:
    names = [name for name, each in vars(module).items() if _is_exception_class(each)]
    near = difflib.get_close_matches(path, names, 1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"module {module.__name__!r} has no {path!r}{hint}"


def _loaded_exception(name: str) -> type[BaseException] | None:
    found = find_loaded(name)[2]
    return found if _is_exception_class(found) else None


def _is_exception_class(each: object) -> TypeGuard[type[BaseException]]:
    return isinstance(each, type) and issubclass(cast("type[Any]", each), BaseException)


def _exception_classes() -> Iterator[type[BaseException]]:
    pending: list[type[BaseException]] = [BaseException]
    seen: set[type[BaseException]] = set()
    while pending and len(seen) < MAX_CLASSES:
        each = pending.pop()
        if each not in seen:
            seen.add(each)
            yield each
            pending.extend(each.__subclasses__())
