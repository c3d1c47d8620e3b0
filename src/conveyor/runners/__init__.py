"""How a job runs: as a coroutine, in a thread, in a process or as a command."""
