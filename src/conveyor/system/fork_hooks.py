"""Releases in a forked child what it must not inherit: the worker's locks."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable
from functools import partial


def call_in_forked_child(method: Callable[[], None]) -> None:
    """Call a bound method in every child that this process forks, while its object lives."""
    os.register_at_fork(after_in_child=partial(_call_if_alive, weakref.WeakMethod(method)))


def _call_if_alive(reference: weakref.WeakMethod[Callable[[], None]]) -> None:
    method = reference()
    if method is not None:
        method()
