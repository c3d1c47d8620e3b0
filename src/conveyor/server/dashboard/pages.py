"""Serves the files of the pages from the package: from memory, compressed, and cached by browsers.

The address of every file but the first page has a digest of all files in it, so that a browser can
keep them for ever and never mixes two versions.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from ...errors import UsageError

FOLDER = "static"
INDEX = "index.html"
# In index.html, where the digest of all files is to be inserted.
VERSION_MARK = b"VERSION"
TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "mjs": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "txt": "text/plain; charset=utf-8",
}
# Nothing but what this server sends: no inline script or style, no other host, no frame, and no
# string that is turned into markup or code.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
PAGE_HEADERS = {
    "content-security-policy": PAGE_POLICY,
    "referrer-policy": "no-referrer",
    "vary": "accept-encoding",
}
# Below this many bytes, compressing a file gains nothing.
SMALL = 500
REVALIDATE = "no-cache"
FOR_EVER = "public, max-age=31536000, immutable"
NEVER = "no-store"


class PageFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file: its content, plain and compressed, and its entity tag."""

    path: str
    media: str
    plain: bytes
    packed: bytes
    etag: str


class Pages(msgspec.Struct, frozen=True):
    """All files of the pages by their path below `static`, and the digest of all of them."""

    version: str
    files: dict[str, PageFile]

    def respond(self, http: Request, path: str, version: str | None) -> Response:
        """Return the response with a file; `version` is the digest in the request's address."""
        found = self.files[path]
        headers = {**PAGE_HEADERS, "etag": found.etag}
        if version is None:
            headers["cache-control"] = REVALIDATE
        else:
            # During an upgrade, another server's page may ask this one for its files.
            headers["cache-control"] = FOR_EVER if version == self.version else NEVER
        if found.etag in _tags(http.headers.get("if-none-match", "")):
            return Response(status_code=304, headers=headers)
        body = found.plain
        if len(body) > SMALL and "gzip" in http.headers.get("accept-encoding", ""):
            headers["content-encoding"] = "gzip"
            body = found.packed
        return Response(body, headers=headers, media_type=found.media)


@cache
def load_pages() -> Pages:
    """Read all files of the package. They are the same for as long as the process runs."""
    contents = dict(sorted(_walk(files(__name__.rpartition(".")[0]) / FOLDER)))
    if INDEX not in contents:
        raise UsageError("this installation has no files of the dashboard; install it again")
    digest = hashlib.sha256()
    for path, content in contents.items():
        digest.update(b"%b\0%d\0%b" % (path.encode(), len(content), content))
    version = digest.hexdigest()[:16]
    contents[INDEX] = contents[INDEX].replace(VERSION_MARK, version.encode())
    return Pages(version, {path: _page_file(path, content) for path, content in contents.items()})


def _page_file(path: str, content: bytes) -> PageFile:
    return PageFile(
        path=path,
        media=TYPES[path.rpartition(".")[2]],
        plain=content,
        packed=gzip.compress(content, mtime=0),
        etag=f'"{hashlib.sha256(content).hexdigest()[:16]}"',
    )


def _walk(folder: Traversable, below: str = "") -> Iterator[tuple[str, bytes]]:
    for each in folder.iterdir():
        if each.is_dir():
            yield from _walk(each, f"{below}{each.name}/")
        elif each.name.rpartition(".")[2] in TYPES:
            yield below + each.name, each.read_bytes()


def _tags(header: str) -> list[str]:
    # A proxy that compresses weakens the tag.
    return [tag.strip().removeprefix("W/") for tag in header.split(",")]
