"""The guard: a process that starts programs, and kills the processes that they leave behind.

It has one thread, so that it can fork, and imports nothing of Conveyor outside this directory, so
that it starts fast and its forks are cheap. A *spawner* forks *guards*; a guard runs one program
after another. Everything that a program starts remains a descendant of its guard, a subreaper, even
after a double fork into a new session with an empty environment. So the guard can find it, and the
kernel's ECHILD proves that nothing of it is left.
"""
