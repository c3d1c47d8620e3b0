"""The names under which functions and exception classes are stored, so that any process finds them.

A script's module is `__main__` where it runs and has another name where a worker imports it. Both
must store the same name.
"""

from __future__ import annotations

import builtins
import sys
from pathlib import Path
from types import ModuleType

# The name of the script's module where it runs, and in its child processes.
SCRIPT = ("__main__", "__mp_main__")


def module_name(module: str) -> str:
    """Return the name to import a module by, also for the script that runs."""
    if module not in SCRIPT:
        return module
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    file = getattr(main, "__file__", None)
    return spec.name if spec else Path(file).stem if file else "__main__"


def class_name(kind: type) -> str:
    """Return "module.Name", or just "Name" for a builtin."""
    if kind.__module__ == builtins.__name__:
        return kind.__qualname__
    return f"{module_name(kind.__module__)}.{kind.__qualname__}"


def find_loaded(name: str) -> tuple[ModuleType | None, str, object]:
    """Look "module.Name", or the builtin "Name", up without importing anything.

    Return the innermost loaded module, the path of the object in it, and the object; the module or
    the object is None if it is not loaded.
    """
    if "." not in name:
        return builtins, name, getattr(builtins, name, None)
    parts = name.split(".")
    for count in range(len(parts) - 1, 0, -1):
        module = _loaded_module(".".join(parts[:count]))
        if module is not None:
            return module, ".".join(parts[count:]), _attribute(module, parts[count:])
    return None, name, None


def _loaded_module(name: str) -> ModuleType | None:
    main = sys.modules.get("__main__")
    return sys.modules.get(name) or (main if module_name("__main__") == name else None)


def _attribute(found: object, path: list[str]) -> object:
    try:
        for part in path:
            found = getattr(found, part)
    except Exception:  # noqa: BLE001 - a module's own __getattr__ may raise anything
        return None
    return found
