"""Loads the application that a command names, and the settings in force."""

from __future__ import annotations

import importlib
import os
import sys

from ...client.app import Conveyor
from ...errors import UsageError
from ...settings import Settings, load_settings


def load_app(where: str) -> Conveyor:
    """Import "module:name" with the current folder on the path; UsageError says what is wrong."""
    module_name, colon, name = where.partition(":")
    if not colon or not module_name or not name:
        raise UsageError(f"the application {where!r} is written module:name, like app:belt")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the application {where!r}: there is no module {error.name!r}. "
            f"Run this in its folder ({os.getcwd()} was searched), or set PYTHONPATH."
        ) from error
    except Exception as error:
        raise UsageError(
            f"the application {where!r} does not import: {type(error).__name__}: {error}"
        ) from error
    found = getattr(module, name, None)
    if not isinstance(found, Conveyor):
        what = "nothing" if found is None else f"a {type(found).__name__}"
        raise UsageError(f"{where!r} is {what}; a Conveyor is wanted")
    return found


def load_app_and_settings(app: str | None, flags: dict[str, object]) -> tuple[Conveyor, Settings]:
    """Return the application and the settings in force; the url of a flag or file wins."""
    settings = load_settings({"app": app, **flags})
    if not settings["app"]:
        raise UsageError("name the application: conveyor worker module:name")
    if settings.sources["url"] == "the command line":
        os.environ["CONVEYOR_URL"] = str(settings["url"])
    return load_app(str(settings["app"])), settings
