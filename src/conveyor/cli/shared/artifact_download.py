"""Downloads the artifacts of a job."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from ...client.job_handle import Job
from ...core.files import FileInfo, file_name, file_names
from ...errors import UsageError
from ...system.confined_files import confined_directory
from .output import print_stderr


def make_output_directory(path: str) -> None:
    """Create a directory and its parents; UsageError if that fails."""
    try:
        os.makedirs(path or ".", exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot create the directory {path!r}: {error}") from error


def download_artifacts(
    job: Job[Any], artifacts: Sequence[FileInfo], output: str | None, *, one: bool = False
) -> None:
    """Download artifacts into a directory (None: the current one), or `one` into a file."""
    for artifact, path in _targets(artifacts, output, one=one):
        job.download(artifact.name, path)
        print_stderr(f"{path}: {artifact.size:,} bytes")


def _targets(
    artifacts: Sequence[FileInfo], output: str | None, *, one: bool
) -> list[tuple[FileInfo, str]]:
    """Return the path of each: one goes to a file, several into a directory under their names."""
    if one:
        [artifact] = artifacts
        last = os.path.basename(file_name(artifact.name))
        if output is None or os.path.isdir(output):
            return [(artifact, os.path.join(output or "", last))]
        return [(artifact, output)]
    names = file_names([each.name for each in artifacts])
    make_output_directory(output or ".")
    for name in names:
        _make_directories(output or ".", os.path.dirname(name))
    return [(each, os.path.join(output or "", each.name)) for each in artifacts]


def _make_directories(output: str, name: str) -> None:
    """Create a directory within the output directory, unless a link would lead out of it."""
    try:
        with confined_directory(output, name, create=True, mode=0o777):
            return
    except OSError as error:
        raise UsageError(
            f"cannot create the directory {os.path.join(output, name)!r}: {error}. No part of it "
            "may be a file or a link; use another directory with -o"
        ) from error
