"""What msgspec raises for JSON or MessagePack that it cannot read, whoever wrote it.

Besides its own errors: strings that are not UTF-8 raise UnicodeDecodeError, and data that is nested
too deeply raises RecursionError, also in a field that no type has.
"""

from __future__ import annotations

import msgspec

UNREADABLE = (msgspec.MsgspecError, UnicodeError, RecursionError)
