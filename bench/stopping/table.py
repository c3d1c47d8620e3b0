"""Renders the results of the scenes as a Markdown table."""

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
    """Render the results stored beside this file."""
    return render(json.loads(RESULTS.read_text()))


def render(results: Facts) -> str:
    """Return the table, the machine, and the configuration of each peer."""
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
    """Describe how a worker stopped, and what happened to its job."""
    if seen["killed"]:
        out = f"still running after {limits['stop']:.0f} s, killed"
    else:
        out = f"exited in {seconds(seen['exit_s'])}, code {seen['exit_code']}"
    if seen["ended"]:
        return f"{out}; job finished"
    return f"{out}; {_again(seen, limits)}"


def killed(seen: Facts, limits: Facts) -> str:
    """Describe what outlived a worker, and when its job ran again."""
    left = [name for name in ("job", "child") if seen[f"{name}_left"]]
    outlived = f"{' and '.join(left)} kept running" if left else "nothing left"
    if seen["orphan_ended"] and seen["again_s"] is None:
        return f"{outlived} to the end; did not run again"
    return f"{outlived}; {_again(seen, limits)}{', **twice at once**' if seen['at_once'] else ''}"


def cancelled(seen: Facts, limits: Facts) -> str:
    """Describe what a cancel stopped, and which state was reported."""
    stopped = seen["stopped_s"]
    left = [name for name, after in stopped.items() if after is None]
    if not left:
        what = f"stopped in {seconds(max(stopped.values()))}"
    elif stopped.keys() == {"job"}:
        what = f"**keeps running** ({limits['watch']:.0f} s)"
    else:
        what = f"**{_listed(left)} keep{'s' * (len(left) == 1)} running**"
    state = seen["said"][-1][1]
    if not state:
        return what
    early = " anyway" if left and seen["said_gone_s"] is not None else ""
    return f"{what}; reported as “{state}”{early}"


SCENES: dict[str, Callable[[Facts, Facts], str]] = {
    "sigterm": sigterm,
    "killed": killed,
    "async": cancelled,
    "blocking": cancelled,
    "tree": cancelled,
}


def seconds(value: float) -> str:
    """Format a time with the precision of the measurement."""
    return "under 0.1 s" if value < 0.1 else f"{value:.1f} s"


def _row(number: int, name: str, peer: Facts) -> str:
    cells = [_cell(scene, peer.get(scene), peer["limits"]) for scene in SCENES]
    return f"| **{name}** {peer['version']} <sup>{number}</sup> | {' | '.join(cells)} |"


def _cell(scene: str, kinds: Facts | None, limits: Facts) -> str:
    if kinds is None:
        return "not run"
    if not kinds:
        return "no async jobs" if scene == "async" else "not supported"
    said = {
        kind: f"not run: {seen['error']}" if "error" in seen else SCENES[scene](seen, limits)
        for kind, seen in kinds.items()
    }
    return "<br>".join(f"{kind}: {text}" for kind, text in said.items())


def _again(seen: Facts, limits: Facts) -> str:
    after = seen["again_s"]
    if after is None:
        return f"did not run again within {limits['again']:.0f} s"
    return f"ran again after {seconds(after)}"


def _listed(names: list[str]) -> str:
    return " and ".join((", ".join(names[:-1]), names[-1]) if names[1:] else names)


def _made_on(results: Facts) -> str:
    machine = results["machine"]
    days = sorted({each["measured"] for each in results["peers"].values()})
    return (
        f"Measured on {' and '.join(days)} by `python bench/stopping/scenes.py`: "
        f"{machine['system']}, {machine['cores']} cores, "
        f"Python {machine['python']}, Valkey {machine['valkey']}, PostgreSQL {machine['postgres']}."
        " SIGTERM is sent as a container runtime does: to the main process only, then SIGKILL to "
        "all. `kill -9` kills the main process of a worker on a plain host. In both scenarios "
        "another worker starts at once, and the times include its start. Whether code keeps "
        "running is observed by its heartbeat, not taken from the peer's report."
    )
