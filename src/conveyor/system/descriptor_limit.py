"""How many descriptors this process may have: files, sockets and pipes together."""

from __future__ import annotations

import resource
from contextlib import suppress

# Where the system sets no limit.
UNLIMITED = 1 << 20


def descriptor_limit() -> int:
    """Return how many descriptors this process may have."""
    return _number(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def raise_descriptor_limit(wanted: int) -> None:
    """Raise the soft limit to `wanted`, or to the hard limit if that is lower."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    raised = min(wanted, _number(hard))
    if raised > _number(soft):
        with suppress(OSError, ValueError):  # a system may allow less than its hard limit
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))


def _number(limit: int) -> int:
    return UNLIMITED if limit == resource.RLIM_INFINITY else limit
