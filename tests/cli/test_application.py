"""An application that cannot be loaded is an error that names the line at fault."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from shell import Command

from conveyor.system.own_program import HOME, STANDARD_ZIP, application_path, own_path


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
        # The line of the application, not that of the installed package which it calls.
        ("import click\nclick.Option([])\n", "({}, line 2)"),
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


def test_an_interrupt_during_the_import_ends_with_130(conveyor: Command, folder: Path) -> None:
    (folder / "app.py").write_text("raise KeyboardInterrupt\n")
    ran = conveyor("worker", "app:belt")
    assert (ran.code, ran.err.strip()) == (130, "interrupted")


def test_an_import_that_fails_in_another_module_names_that_module(
    conveyor: Command, folder: Path
) -> None:
    (folder / "app.py").write_text("import shop_settings\n")
    (folder / "shop_settings.py").write_text("import os\n\nSECRET = os.environ['SHOP_SECRET']\n")
    ran = conveyor("worker", "app:belt")
    assert f"KeyError: 'SHOP_SECRET' ({folder / 'shop_settings.py'}, line 3)" in ran.err


def test_a_module_that_the_application_itself_misses_names_the_line_that_imports_it(
    conveyor: Command, folder: Path
) -> None:
    (folder / "shop").mkdir()
    (folder / "shop" / "__init__.py").write_text("\nfrom shop.tasks import belt\n")
    ran = conveyor("worker", "shop.tasks:belt")
    assert ran.code == 2
    where = folder / "shop" / "__init__.py"
    assert f"ModuleNotFoundError: No module named 'shop.tasks' ({where}, line 2)" in ran.err


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


SHADOWS = ("queue", "token", "secrets", "random", "uuid", "socket", "ssl", "platform", "calendar")


def test_files_named_like_the_standard_library_beside_the_application_do_no_harm(
    folder: Path,
) -> None:
    for name in SHADOWS:
        (folder / f"{name}.py").write_text("raise SystemExit('this is not the standard library')")
    # As a program: `python -m conveyor` has the current directory on its path from the start.
    program = [str(Path(sys.executable).with_name("conveyor"))]
    enqueue = [*program, "enqueue", "--app", "app:belt", "send", "to=ann"]
    ran = subprocess.run(enqueue, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    listed = subprocess.run([*program, "ps", "--json"], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() in listed.stdout


def test_an_application_that_exits_later_is_an_error_and_not_a_success(
    folder: Path, conveyor: Command
) -> None:
    (folder / "exiting.py").write_text(
        "from conveyor import Conveyor\n"
        "class Exiting(Conveyor):\n"
        "    def choose_store(self, settings):\n"
        "        raise SystemExit('not today')\n"
        "belt = Exiting()\n"
    )
    ran = conveyor("enqueue", "--app", "exiting:belt", "send")
    assert (ran.code, ran.err) == (1, "conveyor: the application exited: not today\n")


IMPORTS = ("queue", "token", "secrets", "random", "uuid", "socket", "asyncio", "logging", "click")


@pytest.mark.parametrize("how", ["as a module", "by PYTHONPATH"])
def test_files_named_like_the_standard_library_do_no_harm_wherever_they_are_searched(
    folder: Path, tmp_path: Path, how: str
) -> None:
    for name in IMPORTS:
        (folder / f"{name}.py").write_text("raise SystemExit('this is not the standard library')")
    (folder / "app.py").write_text(
        "from conveyor import Conveyor\n"
        f"belt = Conveyor({str(tmp_path / 'jobs.db')!r})\n"
        "@belt.task(name='plain', run='process')\n"
        "def plain() -> int:\n"
        "    return 7\n"
    )
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    program = [sys.executable, "-m", "conveyor"]
    where, environment = folder, dict(os.environ)
    if how == "by PYTHONPATH":
        program = [str(Path(sys.executable).with_name("conveyor"))]
        where, environment = elsewhere, os.environ | {"PYTHONPATH": str(folder)}

    def run(*arguments: str) -> str:
        ran = subprocess.run(
            [*program, *arguments],
            cwd=where, env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (ran.returncode, ran.stderr) == (0, ""), ran
        return ran.stdout

    job = run("enqueue", "--app", "app:belt", "plain").strip()
    worker = subprocess.Popen(
        [*program, "worker", "app:belt"], cwd=where, env=environment, stderr=subprocess.PIPE
    )
    with worker:
        run("wait", job, "--timeout", "50", "--url", str(tmp_path / "jobs.db"))
        worker.terminate()
        assert worker.wait(60) == 0


def test_an_application_is_searched_before_what_is_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = ["/bin", "/added", f"/lib/{STANDARD_ZIP}", "/lib/python3", "/lib/dynload", "/site"]
    own = own_path(given)
    assert own == [*given[2:5], HOME, "/site", "/bin", "/added"]
    assert Path(HOME, "conveyor", "__main__.py").exists()
    assert own_path(["/odd"]) == [HOME, "/odd"]
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.pathsep}relative")
    relative = os.path.abspath("relative")
    path = application_path(["/site", "/here", str(tmp_path)], "/here")
    assert path == ["/here", str(tmp_path), relative, "/site"]
