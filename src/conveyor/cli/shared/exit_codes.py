"""The exit codes of commands."""

OK, FAILED, USAGE, NOT_FOUND, UNREACHABLE, TIMEOUT, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130
# A worker that returned jobs to the queue: EX_TEMPFAIL of sysexits.h.
RELEASED = 75
