"""The process beside a worker that starts programs, and guards what they start until it is gone.

It has a single thread, so that it may fork, and imports nothing of ours but this folder, so that
it starts soon and its forks are cheap. A *spawner* forks *guards*; a guard runs one program after
another. Whatever a program starts stays below its guard, a subreaper, even if it is forked twice
in a session of its own with an empty environment: so the guard can find it, and the kernel's
ECHILD is the proof that nothing of it is left.
"""
