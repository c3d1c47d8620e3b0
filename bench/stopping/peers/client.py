"""Speaks to one peer for the scenes, from inside its environment: `client.py MODULE`.

A line of JSON in, `["prepare"]`, `["enqueue", task, folder]`, `["cancel", id]` or `["state", id]`;
a line of JSON out. The first line out says what the peer can do and how its worker is started.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from importlib.metadata import version


def main() -> None:
    """Answer until the input ends."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a peer prints is not an answer
    peer = importlib.import_module(sys.argv[1])
    hello = {
        "version": version(peer.PACKAGE),
        "kinds": peer.KINDS,
        "gone": peer.GONE,
        "worker": peer.WORKER,
        "environment": getattr(peer, "ENVIRONMENT", {}),
    }
    prepare = getattr(peer, "prepare", bool)
    print(json.dumps(hello), file=out, flush=True)
    for line in sys.stdin:
        verb, *given = json.loads(line)
        try:
            answer = prepare() if verb == "prepare" else getattr(peer, verb)(*given)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
            answer = {"error": repr(error)}
        print(json.dumps(answer, default=str), file=out, flush=True)


if __name__ == "__main__":
    main()
