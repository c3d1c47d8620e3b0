"""A function's annotations, each resolved by itself, so that one that cannot be costs no other."""

from __future__ import annotations

import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any


class Annotations:
    """Annotations by name, as they were `written`. `reasons` tells why some cannot be resolved.

    A name that is not defined yet may be defined later, so they can be resolved again.
    """

    def __init__(self, function: Callable[..., Any], written: Mapping[str, Any]) -> None:
        self.types: dict[str, Any] = {}
        self.reasons: dict[str, str] = {}
        self._written = written
        self._module = getattr(function, "__module__", None)
        self._globals, self._locals = _namespaces(function)
        self._defined = self._count_definitions()
        self._resolve()

    def resolve_again(self) -> bool:
        """Resolve them again if anything was defined since; returns whether that is so."""
        defined = self._count_definitions()
        if defined == self._defined:
            return False
        self._defined = defined
        self._resolve()
        return True

    def written(self, name: str) -> str:
        """Return an annotation as it is written in the code; "" without one."""
        annotation = self._written[name]
        if annotation is inspect.Parameter.empty:
            return ""
        if isinstance(annotation, str):
            return annotation
        return inspect.formatannotation(annotation, self._module)

    def _resolve(self) -> None:
        self.types, self.reasons = {}, {}
        for name, annotation in self._written.items():
            if annotation is inspect.Parameter.empty:
                continue
            holder = types.SimpleNamespace(__annotations__={name: annotation})
            try:
                self.types |= typing.get_type_hints(holder, self._globals, self._locals)
            except Exception as error:  # noqa: BLE001 - an annotation is code of the user
                self.reasons[name] = str(error)

    def _count_definitions(self) -> tuple[int, int]:
        return len(self._globals), len(sys.modules)


def _namespaces(function: Callable[..., Any]) -> tuple[dict[str, Any], Mapping[str, Any]]:
    inner = inspect.unwrap(function)
    while isinstance(inner, functools.partial):
        inner = inspect.unwrap(inner.func)
    called = inner if hasattr(inner, "__globals__") else type(inner).__call__  # an object's method
    module = sys.modules.get(getattr(inner, "__module__", None) or "")
    found: dict[str, Any] = getattr(called, "__globals__", None) or getattr(module, "__dict__", {})
    return found, {each.__name__: each for each in getattr(inner, "__type_params__", ())}
