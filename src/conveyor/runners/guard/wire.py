"""What a worker says to the process that guards its programs, and what it hears.

To the spawner, on its fd 0: one byte together with the socket of a new guard.

To a guard: RUN, the length of the rest in LENGTH bytes, and as texts separated by NUL: how many
paths to try, how many arguments, the directory, the user, the limits, the paths, the arguments,
the environment. The user is the numbers of the user, its group and all its groups, with a blank
between them, or nothing for the worker's own; the limits are a resource, the soft and the hard
limit, and so on, likewise. With it come the descriptors that the program gets as 0, 1, 2 and so
on. Then TERM or KILL, a byte each.

From a guard, a line each:
    started             the program runs
    failed STEP ERRNO   it could not be started; STEP is start, user, chdir, limits or exec
    signalled PID...    answers TERM and KILL: who was there
    frozen SECONDS      the worker was frozen for too long, so all are being killed
    exited CODE         the program itself has ended; negative for a signal
    empty KILLED        nothing is left; so many had to be killed after the program had ended
"""

from __future__ import annotations

RUN, TERM, KILL = b"R", b"T", b"K"
LENGTH = 4
MOST_FDS = 16
READ = 1 << 16
