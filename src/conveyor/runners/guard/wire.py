"""The protocol between a worker and the process that guards its programs.

To the spawner, on its fd 0: one byte together with the socket of a new guard.

To a guard: RUN, the length of the rest in LENGTH bytes, and these fields, separated by NUL: the
number of paths to try, the number of arguments, the directory, the user, the limits, the paths, the
arguments, the environment. The user is the ids of the user, its group and all its groups, separated
by spaces, or empty for the worker's user. The limits are triples of resource, soft and hard limit,
separated likewise. The message carries the descriptors that the program gets as 0, 1, 2 and so on.
Then TERM or KILL, one byte each.

From a guard, one line each:
    started             the program runs
    failed STEP ERRNO   it could not be started; STEP is start, user, chdir, limits or exec
    signalled PID...    reply to TERM and KILL: the processes that were there
    frozen SECONDS      the worker was frozen for too long, so all processes are being killed
    exited CODE         the program itself has ended; negative for a signal
    empty KILLED        no process is left; KILLED were killed after the program had ended
"""

from __future__ import annotations

RUN, TERM, KILL = b"R", b"T", b"K"
LENGTH = 4
MAX_FDS = 16
READ_SIZE = 1 << 16
