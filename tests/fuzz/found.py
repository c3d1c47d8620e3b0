"""Inputs that fuzzing has found, or reading the code for it, and the targets that stumbled."""

from __future__ import annotations

TOO_DEEP = b'{"x":' + b"[" * 5000

FOUND: list[tuple[str, bytes]] = [
    ("message of a child", b'{"type":"wait","what":"\xff"}'),
    ("message of a child", b'{"type":"ready","x":' + b"[" * 5000),
    ("event of a guard", b"failed exec two"),
    ("hint", b'{"kind":"\xff"}'),
    ("hint", TOO_DEEP),
    ("HTTP response", b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n"),
    ("exit code", b"[]"),
    ("exit code", b'{"exit_code":null}'),
    ("arguments", b'{"a":1,"\xff":1}'),
    ("command", TOO_DEEP),
    ("JSON to show", TOO_DEEP),
    ("row of a job", b'{"id":"j","task":"t","args":{"a":Infinity},"options":{}}'),
    ("row of a worker", b'{"worker":"w","beat_at":1.0,"info":{},"number":1.0}'),
    ("note of a machine", b'{"id":"\xff"}'),
    ("note of a machine", TOO_DEEP),
    ("machines of a command", b'{"machines":[{"id":"\xff"}]}'),
    ("containers of Docker", b'[{"Id":"\xff"}]'),
    ("Jobs of Kubernetes", TOO_DEEP),
    ("Retry-After", "\u00b2".encode()),
    ("request", b"POST /api/v1/queues/q/jobs\ncontent-length: " + b"9" * 5000 + b"\n\n{}"),
    ("error of an API", b"[" * 5000),
    ("note of a scaler", TOO_DEEP),
    ("health file", b'{"worker":"\xff"}'),
    ("settings file", b"url = " + b"[" * 5000),
    ("scaler file", b"name = " + b"[" * 5000),
    ("trace", b"at,duration\n1," + b"5" * 200_000),
    ("schedule", b"@daily\n" + b"a/" * 2000),
    ("schedule", b"every " + b"9" * 200_000),
    ("duration", b"9" * 200_000),
    ("size", b"9" * 400),
    ("limits", b"processes=" + b"9" * 5000),
    ("queue of a worker", b"mail:" + b"9" * 5000),
    ("password in an address", b"http://["),
    ("address of a PostgreSQL store", b"postgresql://h/d?connections=" + b"9" * 5000),
    ("address of a PostgreSQL store", b"postgresql://h/d?x=\xff"),
    ("address of a SQLite store", b"sqlite:///x?" + b"a=&" * 2000),
]
