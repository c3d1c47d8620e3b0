"""Every code block of the documentation runs, and every public name is documented."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from blocks import POSTGRES, ROOT, Block, Reader, blocks, matches

import conveyor
from conveyor.client.options import RULES
from conveyor.core.job import State
from conveyor.settings import SETTINGS
from postgres_schema import Schemas

sys.path.insert(0, str(ROOT / "scripts"))
import generated

DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\(([^)#]*)(?:#([^)]*))?\)")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.fixture
def database(schemas: Schemas) -> Iterator[tuple[str, str]]:
    """Return the address of an empty database, and the folder with the server's socket."""
    made = f"docs_{os.getpid()}"
    with psycopg.connect(schemas.server, autocommit=True) as session:
        session.execute(f"CREATE DATABASE {made}".encode())
        yield f"postgresql://postgres@/{made}", str(session.info.host)
        session.execute(f"DROP DATABASE {made} WITH (FORCE)".encode())


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if blocks(path)], ids=name)
def test_every_code_block_of_a_document_works(
    path: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    needs_database = any(POSTGRES in block.text for block in blocks(path))
    address = request.getfixturevalue("database") if needs_database else ("", "")
    reader = Reader(tmp_path, *address)
    try:
        for block in blocks(path):
            try:
                reader.follow(block)
            except AssertionError as error:
                raise AssertionError(f"{name(path)}:{block.line}: {error}") from error
    finally:
        reader.close()


@pytest.mark.parametrize("path", generated.documents(), ids=name)
def test_generated_parts_are_up_to_date(path: Path) -> None:
    assert generated.render(path.read_text()) == path.read_text(), "run scripts/generated.py"


def test_the_openapi_document_is_up_to_date() -> None:
    assert generated.API.read_bytes() == generated.api(), "run scripts/generated.py"


@pytest.mark.parametrize("path", DOCUMENTS, ids=name)
def test_every_relative_link_has_a_target(path: Path) -> None:
    links = [link for link in LINK.findall(path.read_text()) if "://" not in link[0]]
    targets = [(path.parent / file if file else path, anchor) for file, anchor in links]
    assert [target for target, _ in targets if not target.exists()] == []
    missing = [
        (target.name, anchor)
        for target, anchor in targets
        if anchor and anchor not in slugs(target)
    ]
    assert missing == []


def slugs(path: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    return {
        re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")
        for heading in HEADING.findall(path.read_text())
    }


def test_every_public_name_is_documented() -> None:
    reference = (ROOT / "docs" / "reference.md").read_text()
    text = "\n".join(path.read_text() for path in DOCUMENTS)
    assert [option for option in RULES if f"| `{option}` |" not in reference] == []
    assert [state for state in State if str(state) not in reference] == []
    assert [each for each in SETTINGS if f"`{each}`" not in text] == []
    assert [each for each in conveyor.__all__ if not re.search(rf"\b{each}\b", text)] == []


def test_a_wrong_output_in_a_document_fails(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    for language, text in (
        ("python", "print(1 + 1)  # 3\n"),
        ("python", "raise SystemExit(1)\n"),
        ("console", "$ echo yes\nno\n"),
        ("console", "$ false\n"),
        ("text", "whatever\n"),
    ):
        with pytest.raises(AssertionError):
            reader.follow(Block(1, language, text))


def test_only_an_ellipsis_matches_any_output() -> None:
    assert matches("a 1\nb\nc\nd\n", "a …\n…\nd\n")
    assert not matches("a 1\nb\n", "a …\n")
    assert not matches("a.1\n", "a+1\n")


@pytest.mark.parametrize(
    ("program", "options"),
    {
        "compare.py": ["--jobs", "50", "--rounds", "1"],
        "waiting.py": ["--jobs", "300", "--looks", "1"],
        "queues.py": ["--queues", "5", "--jobs", "5"],
        "history.py": ["--finished", "100", "--jobs", "50", "--rounds", "1"],
        "minutes.py": ["--stores", "memory,sqlite", "--turns", "2", "--jobs", "1000"],
        "overview.py": [
            *("--stores", "memory,sqlite", "--queues", "5", "--jobs", "300", "--looks", "1"),
        ],
        "start.py": ["--runs", "1", "--idle", "0"],
        "across.py": ["--probes", "5", "--jobs", "100"],
        "remote.py": [
            *("--jobs", "200", "--singles", "5", "--probes", "5", "--idle", "5"),
            *("--seconds", "0.5", "--megabytes", "8"),
        ],
        "http_clients.py": ["--rounds", "1", "--calls", "5"],
        "scaling.py": ["--hours", "2"],
        "postgres/rows.py": [
            *("--only", "insert,conveyor", "--rows", "one,drain", "--rounds", "1"),
            *("--jobs", "20", "--singles", "64"),
        ],
        "stopping/scenes.py": ["--only", "conveyor", "--scenes", "sigterm", "--stop", "2"],
    }.items(),
)
def test_the_benchmarks_run(tmp_path: Path, program: str, options: list[str]) -> None:
    command = [sys.executable, str(ROOT / "bench" / program), *options]
    ran = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert ran.returncode == 0, ran.stderr
