"""Project conventions that no linter checks: sizes, names, docstrings and forbidden content."""

from __future__ import annotations

import ast
import re
import subprocess
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path

import pytest

pytestmark = pytest.mark.computes

ROOT = Path(__file__).parents[1]
LONGEST_MODULE, LONGEST_FUNCTION = 400, 60


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:  # not a checkout: an unpacked archive
        return [path for pattern in patterns for path in ROOT.glob(f"**/{pattern}")]
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


PYTHON = tracked("*.py")
SOURCE = tracked("src/conveyor/**")
# Nouns that end in -ing, and `conveyor.testing`, which is public.
NOUNS_IN_ING = {"pending", "shell_warning", "string", "testing", "tracing"}
DOCUMENTS = tracked("*.md")
# Paths in backticks: Python and SQL files, and paths below some directories.
PATH_IN_TEXT = re.compile(
    r"`((?:[\w.*-]+/)*[\w*-]+\.(?:py|sql)"
    r"|(?:src|tests|bench|scripts|examples|deploy|docs|store|server|runners|worker|cli)/[\w./*-]*)`"
)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", PYTHON, ids=name)
def test_every_module_docstring_starts_with_a_sentence(path: Path) -> None:
    sentence = (ast.get_docstring(ast.parse(path.read_text())) or "").partition("\n\n")[0]
    assert re.search(r"[.:!?]$", sentence), f"{name(path)} has no docstring sentence"


@pytest.mark.parametrize("path", PYTHON, ids=name)
def test_modules_and_functions_have_a_maximum_length(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= LONGEST_MODULE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= LONGEST_FUNCTION, f"{node.name} has {length} lines"


def test_no_class_name_is_vague() -> None:
    vague = re.compile(r"(Manager|Helper|Util|Utils|Base|Common|Impl)$")
    found = [
        f"{name(path)}: {node.name}"
        for path in PYTHON
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and vague.search(node.name)
    ]
    assert found == []


def test_modules_are_named_by_nouns() -> None:
    found = {
        path.stem if path.stem != "__init__" else path.parent.name
        for path in SOURCE
        if path.suffix == ".py"
    }
    assert {stem for stem in found if stem.endswith("ing")} <= NOUNS_IN_ING


def test_no_two_public_classes_share_a_name() -> None:
    names = Counter(
        node.name
        for path in SOURCE
        if path.suffix == ".py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert [each for each, count in names.items() if count > 1] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_documents_mention_only_existing_files(document: Path) -> None:
    paths = {"/" + name(path) for path in tracked("*")}
    paths |= {str(parent) for path in paths for parent in Path(path).parents}
    missing = [
        text
        for text in PATH_IN_TEXT.findall(document.read_text())
        if not any(fnmatch(path, f"*/{text.rstrip('/')}") for path in paths)
    ]
    assert missing == []


def test_no_file_contains_a_registry_host_or_a_local_path() -> None:
    # Written so that this file does not find itself.
    forbidden = re.compile(
        r"/(?:ro{2}t|ho{1}me/[a-z]+|wo{1}rk)/"
        r"|files\.python{1}hosted|py{1}pi\.org/simple|index-ur{1}l ="
    )
    found = [
        f"{name(path)}: {match.group()}"
        for path in tracked("*")
        if path.suffix not in (".png", ".ico")
        for match in forbidden.finditer(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert found == []


def test_requirements_are_hashed() -> None:
    for path in (ROOT / "requirements-run.txt", ROOT / "requirements-test.txt"):
        pinned = re.findall(r"^[a-z0-9-]+==", path.read_text(), re.MULTILINE)
        assert pinned
        assert path.read_text().count("--hash=sha256:") >= len(pinned)


def test_no_two_test_modules_share_a_name() -> None:
    # pytest imports them by their names alone, and collects only the first.
    names = Counter(path.name for path in tracked("tests/**") if path.name.startswith("test_"))
    assert [each for each, count in names.items() if count > 1] == []
