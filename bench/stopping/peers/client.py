"""Controls one peer for the scenes, inside its environment: `client.py MODULE`.

Each request is a line of JSON: `["prepare"]`, `["enqueue", task, folder]`, `["cancel", id]` or
`["state", id]`. Each response is a line of JSON. The first line printed describes the peer: what it
supports, and how to start its worker.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from importlib.metadata import version


def main() -> None:
    """Answer requests until end of input."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # keeps the peer's output apart from responses
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
        except Exception as error:  # noqa: BLE001 - any error is a response
            answer = {"error": repr(error)}
        print(json.dumps(answer, default=str), file=out, flush=True)


if __name__ == "__main__":
    main()
