"""All targets, by name: the decoders of whatever comes from outside of this process."""

from __future__ import annotations

from client_targets import client_targets
from harness import Target
from process_targets import process_targets
from server_targets import server_targets
from session_targets import session_targets
from store_targets import store_targets
from text_targets import text_targets

TARGETS: dict[str, Target] = {}
for _made in (
    server_targets,
    session_targets,
    client_targets,
    store_targets,
    process_targets,
    text_targets,
):
    for _target in _made():
        assert _target.name not in TARGETS, f"two targets are called {_target.name!r}"
        TARGETS[_target.name] = _target
