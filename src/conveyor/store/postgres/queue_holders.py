"""What is said about a transaction that holds a queue for which a call has waited in vain."""

from __future__ import annotations


def describe_holder(
    pid: int | None, application: str | None, state: str | None, seconds: int | None
) -> str:
    """Describe a transaction, and how to end it; what this user may not see is None."""
    if pid is None:
        return (
            "a prepared transaction has locked it: end it with COMMIT PREPARED or ROLLBACK "
            "PREPARED (SELECT gid FROM pg_prepared_xacts)"
        )
    known = ", ".join(filter(None, (application, state or "of another user")))
    since = "" if seconds is None else f" for {seconds:,} s"
    return (
        f"session {pid} ({known}) has a transaction open{since} that has enqueued or changed "
        f"queues: end it, or SELECT pg_terminate_backend({pid})"
    )
