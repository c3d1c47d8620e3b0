"""What a program reads from a store, as plain data that every JSON encoder takes."""

from __future__ import annotations

from typing import Any

import msgspec

from .unreadable import UNREADABLE


class Record(msgspec.Struct, frozen=True):
    """Data read from a store."""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain data: what `json.dumps` and web frameworks encode."""
        data: dict[str, Any] = msgspec.to_builtins(self)
        return data


def decode_json(data: bytes) -> Any:
    """Return JSON as plain data. What is no JSON, in a damaged row, is returned as text."""
    try:
        return msgspec.json.decode(data)
    except UNREADABLE:
        return data.decode(errors="replace")
