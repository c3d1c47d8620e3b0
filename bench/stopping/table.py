"""Shows the results of the scenes as a table in Markdown: facts in, text out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from notes import NOTES

Facts = Mapping[str, Any]
RESULTS = Path(__file__).with_name("results.json")
TITLES = {
    "sigterm": "SIGTERM, a job of 60 s",
    "killed": "`kill -9`, a job with a child",
    "async": "cancel, async",
    "blocking": "cancel, blocking",
    "tree": "cancel, process tree",
}


def stored() -> str:
    """Render the results that are kept beside this file."""
    return render(json.loads(RESULTS.read_text()))


def render(results: Facts) -> str:
    """Return the table, what it was made on, and how each peer was configured."""
    peers = results["peers"]
    lines = [
        "| | " + " | ".join(TITLES.values()) + " |",
        "|---" * (1 + len(TITLES)) + "|",
        *(_row(number, name, peers[name]) for number, name in enumerate(peers, 1)),
        "",
        _made_on(results),
        "",
        *(f"{number}. **{name}**: {NOTES[name]}" for number, name in enumerate(peers, 1)),
    ]
    return "\n".join(lines) + "\n"


def sigterm(seen: Facts, limits: Facts) -> str:
    """Say how a worker stopped, and what became of its job."""
    if seen["killed"]:
        out = f"not out in {limits['stop']:.0f} s, killed"
    else:
        out = f"out in {seconds(seen['exit_s'])}, exit {seen['exit_code']}"
    if seen["ended"]:
        return f"{out}; job finished"
    return f"{out}; {_again(seen, limits)}"


def killed(seen: Facts, limits: Facts) -> str:
    """Say what outlived a worker, and when its job ran again."""
    left = [name for name in ("job", "child") if seen[f"{name}_left"]]
    outlived = f"{' and '.join(left)} went on" if left else "nothing left"
    if seen["orphan_ended"] and seen["again_s"] is None:
        return f"{outlived} to the end; not run again"
    return f"{outlived}; {_again(seen, limits)}{', **twice at once**' if seen['at_once'] else ''}"


def cancelled(seen: Facts, limits: Facts) -> str:
    """Say what a cancel stopped, and what was said of it."""
    stopped = seen["stopped_s"]
    left = [name for name, after in stopped.items() if after is None]
    if not left:
        what = f"stopped in {seconds(max(stopped.values()))}"
    elif stopped.keys() == {"job"}:
        what = f"**runs on** ({limits['watch']:.0f} s)"
    else:
        what = f"**{_listed(left)} run{'s' * (len(left) == 1)} on**"
    state = seen["said"][-1][1]
    if not state:
        return what
    early = " all the same" if left and seen["said_gone_s"] is not None else ""
    return f"{what}; says “{state}”{early}"


SCENES: dict[str, Callable[[Facts, Facts], str]] = {
    "sigterm": sigterm,
    "killed": killed,
    "async": cancelled,
    "blocking": cancelled,
    "tree": cancelled,
}


def seconds(value: float) -> str:
    """Write a time, no finer than it was measured."""
    return "under 0.1 s" if value < 0.1 else f"{value:.1f} s"


def _row(number: int, name: str, peer: Facts) -> str:
    cells = [_cell(scene, peer.get(scene), peer["limits"]) for scene in SCENES]
    return f"| **{name}** {peer['version']} <sup>{number}</sup> | {' | '.join(cells)} |"


def _cell(scene: str, kinds: Facts | None, limits: Facts) -> str:
    if kinds is None:
        return "not played"
    if not kinds:
        return "no async jobs" if scene == "async" else "no way"
    said = {
        kind: f"not played: {seen['error']}" if "error" in seen else SCENES[scene](seen, limits)
        for kind, seen in kinds.items()
    }
    return "<br>".join(f"{kind}: {text}" for kind, text in said.items())


def _again(seen: Facts, limits: Facts) -> str:
    after = seen["again_s"]
    if after is None:
        return f"not run again in {limits['again']:.0f} s"
    return f"ran again after {seconds(after)}"


def _listed(names: list[str]) -> str:
    return " and ".join((", ".join(names[:-1]), names[-1]) if names[1:] else names)


def _made_on(results: Facts) -> str:
    machine = results["machine"]
    days = sorted({each["measured"] for each in results["peers"].values()})
    return (
        f"Played on {' and '.join(days)} by `python bench/stopping/scenes.py`: "
        f"{machine['system']}, {machine['cores']} cores, "
        f"Python {machine['python']}, Valkey {machine['valkey']}, PostgreSQL {machine['postgres']}."
        " SIGTERM is sent as a container's end would: to the main process alone, then SIGKILL to "
        "all. `kill -9` hits the main process of a worker on a plain host. Another worker starts "
        "at once in both, and its start is part of the seconds. What runs on was seen by its "
        "heartbeat, not by what the peer says."
    )
