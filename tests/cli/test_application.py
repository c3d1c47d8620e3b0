"""An application that cannot be loaded is an error that names the line at fault."""

from __future__ import annotations

from pathlib import Path

import pytest
from shell import Command


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import os\nx = os.environ['SHOP_SECRET']\n", "KeyError: 'SHOP_SECRET' ({}, line 2)"),
        ("import json\n\njson.loads('{')\n", "line 1 column 2 (char 1) ({}, line 3)"),
        ("import sys\nsys.exit('no licence')\n", "SystemExit: no licence ({}, line 2)"),
        ("def broken(:\n", "({}, line 1)"),
        ("import nothere\n", "ModuleNotFoundError: No module named 'nothere' ({}, line 1)"),
        ("import app.sub\n", "'app' is not a package ({}, line 1)"),
        ("from conveyor import belt\n", "({}, line 1)"),
        (
            "import conveyor\nconveyor.Conveyor(url=3)\n",
            "got 3; pass a store as store=... ({}, line 2)",
        ),
        (
            "def __getattr__(name):\n    raise RuntimeError('lazy')\n",
            "RuntimeError: lazy ({}, line 2)",
        ),
        (
            (
                "class OddError(Exception):\n    def __str__(self):\n        raise OSError\n\n"
                "raise OddError\n"
            ),
            "OddError: (its message cannot be printed: OSError) ({}, line 5)",
        ),
    ],
)
def test_an_import_that_fails_names_file_and_line(
    conveyor: Command, folder: Path, text: str, said: str
) -> None:
    (folder / "app.py").write_text(text)
    ran = conveyor("worker", "app:belt")
    assert ran.code == 2
    assert "cannot import application 'app:belt': " in ran.err
    assert said.format(folder / "app.py") in ran.err
    assert "no module 'nothere' in" not in ran.err
    assert "Traceback" not in ran.err


def test_an_import_that_fails_in_another_module_names_that_module(
    conveyor: Command, folder: Path
) -> None:
    (folder / "app.py").write_text("import shop_settings\n")
    (folder / "shop_settings.py").write_text("import os\n\nSECRET = os.environ['SHOP_SECRET']\n")
    ran = conveyor("worker", "app:belt")
    assert f"KeyError: 'SHOP_SECRET' ({folder / 'shop_settings.py'}, line 3)" in ran.err


@pytest.mark.parametrize("where", ["nothere:belt", "shop.nothere:belt", "shop.sub.nothere:belt"])
def test_a_missing_application_is_looked_for_here(
    conveyor: Command, folder: Path, where: str
) -> None:
    (folder / "shop").mkdir()
    (folder / "shop" / "__init__.py").touch()
    ran = conveyor("worker", where)
    assert ran.code == 2
    assert f"in {folder} or on the Python path" in ran.err


@pytest.mark.parametrize(
    "where", ["app.py:belt", ".app:belt", "./app:belt", "app:", ":belt", "a b:c"]
)
def test_an_application_is_a_module_and_a_name(conveyor: Command, where: str) -> None:
    ran = conveyor("worker", where)
    assert ran.code == 2
    assert "app:belt" in ran.err
    assert "Traceback" not in ran.err
