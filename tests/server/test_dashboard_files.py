"""The files of the dashboard: policy, caching, prefix, and that the wheel has them."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from served import Serving

from conveyor.server.dashboard.pages import load_pages

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "src/conveyor/server/dashboard/static"


def fetch(server: Serving, path: str, method: str = "GET", **headers: str) -> HTTPResponse:
    connection = HTTPConnection(urlsplit(server.url).netloc)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request(method, path, headers=named)
    response = connection.getresponse()
    response.body = response.read()  # type: ignore[attr-defined]
    connection.close()
    return response


def body(response: HTTPResponse) -> bytes:
    return response.body  # type: ignore[attr-defined, no-any-return]


def test_the_page_needs_no_token_and_allows_nothing_but_this_server(server: Serving) -> None:
    page = fetch(server, "/")
    policy = page.headers["content-security-policy"]
    assert page.status == 200
    assert page.headers.get_all("content-security-policy") == [policy]
    for rule in ("default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"):
        assert rule in policy
    assert "unsafe" not in policy
    assert "http:" not in policy
    assert page.headers["referrer-policy"] == "no-referrer"
    assert b"<script>" not in body(page)
    assert b" style=" not in body(page)


def test_data_keeps_its_own_policy(server: Serving) -> None:
    answer = fetch(server, "/api/v1/health")
    assert answer.headers.get_all("content-security-policy") == [
        "default-src 'none'; frame-ancestors 'none'"
    ]


def test_a_browser_keeps_the_files_and_asks_again_only_for_the_page(server: Serving) -> None:
    page = fetch(server, "/")
    script = re.search(rb'src="\./(static/\w+/app\.js)"', body(page))
    assert script is not None
    path = "/" + script[1].decode()
    found = fetch(server, path)
    assert (page.headers["cache-control"], found.status) == ("no-cache", 200)
    assert "immutable" in found.headers["cache-control"]
    again = fetch(server, path, if_none_match=found.headers["etag"])
    assert (again.status, body(again)) == (304, b"")
    weak = fetch(server, "/", if_none_match=f"W/{page.headers['etag']}")
    assert weak.status == 304


def test_a_file_of_another_version_is_not_kept(server: Serving) -> None:
    found = fetch(server, "/static/0123456789abcdef/app.js")
    assert (found.status, found.headers["cache-control"]) == (200, "no-store")


def test_files_are_compressed_for_who_takes_that(server: Serving) -> None:
    path = f"/static/{load_pages().version}/vendor/uplot.mjs"
    packed = fetch(server, path, accept_encoding="gzip, br")
    plain = fetch(server, path)
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["vary"] == "accept-encoding"
    assert len(body(packed)) < len(body(plain)) / 2
    assert fetch(server, "/", "HEAD").status == 200


def test_nothing_beside_the_files_can_be_fetched(server: Serving) -> None:
    for path in ("/static/x/../pages.py", "/static/x/%2e%2e/pages.py", "/static/x/", "/index.html"):
        assert fetch(server, path).status == 404


def test_every_address_in_the_files_is_relative_and_exists() -> None:
    """Below a prefix, an address that begins with a slash would leave it."""
    pages = load_pages()
    for path, file in pages.files.items():
        text = file.plain.decode()
        if path == "index.html":
            named = re.findall(r'(?:href|src)="([^"#]+)"', text)
            assert all(each.startswith("./static/") for each in named)
            assert {each.split("/", 3)[3] for each in named} <= set(pages.files)
        elif path.endswith((".js", ".mjs")):
            imported = re.findall(r'(?:from|import)\s*"([^"]+)"', text)
            assert all(each.startswith(".") for each in imported), path
            assert {urljoin(path, each) for each in imported} <= set(pages.files), path


def test_no_file_of_ours_makes_markup_of_text_or_names_another_host() -> None:
    ours = [path for path in STATIC.rglob("*.js") if "vendor" not in path.parts]
    assert len(ours) > 30
    for path in ours:
        text = path.read_text()
        for word in ("innerHTML", "outerHTML", "insertAdjacent", "eval(", "http://", "https://"):
            assert word not in text, f"{path.name}: {word}"
        assert len(text.splitlines()) <= 260, path.name


def test_every_vendored_library_has_its_licence() -> None:
    libraries = {path.stem for path in (STATIC / "vendor").glob("*.mjs")} - {"hooks"}
    licences = {path.stem for path in (STATIC / "vendor/licences").glob("*.txt")}
    assert libraries == licences


def test_a_wheel_and_a_source_archive_have_every_file(tmp_path: Path) -> None:
    build = "import hatchling.build as b; b.build_wheel({0!r}); b.build_sdist({0!r})"
    subprocess.run([sys.executable, "-c", build.format(str(tmp_path))], cwd=ROOT, check=True)
    [wheel] = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {f"conveyor/server/dashboard/static/{path}" for path in load_pages().files}
    assert expected <= names
    subprocess.run([sys.executable, "-m", "zipfile", "-e", wheel, tmp_path / "here"], check=True)
    load = (
        "from conveyor.server.dashboard import pages\n"
        "print(pages.load_pages().version, pages.__file__)"
    )
    found = subprocess.run(
        [sys.executable, "-c", load],
        cwd=tmp_path / "here",
        env={"PYTHONPATH": str(tmp_path / "here")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert found.split()[0] == load_pages().version
    assert found.split()[1].startswith(str(tmp_path))
    [archive] = tmp_path.glob("*.tar.gz")
    listed = subprocess.run(["tar", "tf", archive], capture_output=True, text=True, check=True)
    assert all(f"src/{path}" in listed.stdout for path in expected)
