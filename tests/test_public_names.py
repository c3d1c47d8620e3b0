"""The package exports every error that it raises."""

from __future__ import annotations

import conveyor
from conveyor import errors


def test_every_error_is_importable_from_the_package() -> None:
    raised = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, Exception)
    }
    assert raised <= set(conveyor.__all__)
    assert conveyor.BusyError is errors.BusyError
