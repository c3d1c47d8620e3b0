"""Loads the application that a command names, and the settings in force."""

from __future__ import annotations

import importlib
import os
import sys

from ...client.app import Conveyor
from ...errors import UsageError
from ...settings import FLAG, Settings, load_settings


def load_app(where: str) -> Conveyor:
    """Import "module:name" with the current directory on the path; UsageError if that fails."""
    module_name, colon, name = where.partition(":")
    if not colon or not module_name or not name:
        raise UsageError(f"invalid application {where!r}: expected module:name, like app:belt")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise UsageError(
            f"cannot load application {where!r}: no module {error.name!r} in {os.getcwd()} or on "
            "the Python path; run this in the application's directory or set PYTHONPATH"
        ) from error
    except Exception as error:
        raise UsageError(
            f"cannot import application {where!r}: {type(error).__name__}: {error}"
        ) from error
    found = getattr(module, name, None)
    if found is None:
        raise UsageError(f"cannot load application {where!r}: {module_name} has no {name!r}")
    if not isinstance(found, Conveyor):
        raise UsageError(f"{where!r} is a {type(found).__name__}, not a Conveyor")
    return found


def load_app_and_settings(app: str | None, flags: dict[str, object]) -> tuple[Conveyor, Settings]:
    """Return the application and the settings in force; --url overrides the application's store."""
    settings = load_settings({"app": app, **flags})
    if not settings["app"]:
        raise UsageError("no application given; use conveyor worker module:name")
    if settings.sources["url"] == FLAG:
        os.environ["CONVEYOR_URL"] = str(settings["url"])
    return load_app(str(settings["app"])), settings
