"""The command that lists what files a job has left, and gets them: artifacts."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import click

from ..client.job_handle import Job
from ..core.codec import ResultCodec
from ..core.files import FileInfo, file_name
from ..errors import NotFoundError, UsageError
from ..store.ask import Watch
from .shared.common import find_job, json_option, opened, print_json, print_table, say, url_option


@click.command("artifacts")
@click.argument("job_id")
@click.argument("action", type=click.Choice(["list", "get"]), default="list")
@click.argument("names", nargs=-1)
@click.option(
    "-o",
    "--output",
    metavar="PATH",
    help="Where to: a file for one name, else a folder (default: here).",
)
@json_option
@url_option
def artifacts_command(
    job_id: str,
    action: str,
    names: tuple[str, ...],
    output: str | None,
    as_json: bool,
    url: str | None,
) -> None:
    with opened(url) as store:
        found = find_job(store, job_id)
        job: Job[object] = Job(found.id, store=store, watch=Watch(store), results=ResultCodec())
        artifacts = job.artifacts()
        if action == "get":
            fetch(job, _wanted(artifacts, names, found.id), output, one=len(names) == 1)
            return
    if as_json:
        print_json(artifacts)
        return
    rows = [(each.name, str(each.size), str(each.lease), each.digest) for each in artifacts]
    print_table(("NAME", "BYTES", "LEASE", "SHA-256"), rows)


def fetch(
    job: Job[Any], wanted: Sequence[FileInfo], output: str | None, *, one: bool = False
) -> None:
    """Get artifacts into a folder (None: this one), or `one` into a file, and say so."""
    for artifact, path in _targets(wanted, output, one=one):
        job.download(artifact.name, path)
        say(f"{path}: {artifact.size:,} bytes")


def _wanted(artifacts: Sequence[FileInfo], names: Sequence[str], job_id: str) -> list[FileInfo]:
    """Return the artifacts that are named, or all if none is."""
    by_name = {each.name: each for each in artifacts}
    missing = [name for name in names if name not in by_name]
    if missing or not artifacts:
        known = ", ".join(by_name) or "none"
        which = f"artifact {missing[0]!r}" if missing else "artifacts"
        raise NotFoundError(f"job {job_id} has no {which}; there are: {known}")
    return [by_name[name] for name in names] or list(artifacts)


def _targets(
    wanted: Sequence[FileInfo], output: str | None, *, one: bool
) -> list[tuple[FileInfo, str]]:
    """Return where to write each: one to a file, several into a folder under their names."""
    if one:
        [artifact] = wanted
        last = os.path.basename(file_name(artifact.name))
        if output is None or os.path.isdir(output):
            return [(artifact, os.path.join(output or "", last))]
        return [(artifact, output)]
    targets = [(each, os.path.join(output or "", file_name(each.name))) for each in wanted]
    for _, path in targets:
        try:
            os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        except OSError as error:
            raise UsageError(f"{path!r} cannot be written: {error}") from error
    return targets
