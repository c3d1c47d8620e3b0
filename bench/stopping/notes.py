"""How each peer was set up for the scenes: what its documentation offers, and why it was chosen."""

from __future__ import annotations

NOTES = {
    "conveyor": (
        "SQLite, defaults. A thread that does not listen cannot be stopped: the job is shown as "
        'running until it ends, never as cancelled. `run="process"` and commands can be stopped.'
    ),
    "celery": (
        "prefork, Redis; `task_acks_late`, `task_reject_on_worker_lost`, prefetch 1, "
        "`REMAP_SIGTERM=SIGQUIT` with `worker_soft_shutdown_timeout=25`, `visibility_timeout=90` "
        "(default 3,600; it has to be longer than the longest job); "
        "`control.revoke(id, terminate=True)`."
    ),
    "rq": (
        "a work horse for each job, Redis; `Retry(max=3)`, `--job-monitoring-interval 5` "
        "(default 30), `--maintenance-interval 10` (600) and `--worker-ttl 30` (420), without "
        "which an idle worker looks for abandoned jobs only every 405 s; `send_stop_job_command`. "
        "Its warm shutdown has no limit of its own."
    ),
    "dramatiq": (
        "one process, one thread, Redis; `ShutdownNotifications(notify_shutdown=True)`, "
        "`--worker-shutdown-timeout 25000`. Cancelled by the plug-in dramatiq-abort, which its "
        "cookbook names: it raises an exception in the thread, which comes out between two "
        "instructions of Python, not out of a system call. No states are kept. What was "
        "interrupted is a retry, after 15 s or more."
    ),
    "huey": (
        "one worker process, Redis; `-g TERM -t 25`, and a handler of `SIGNAL_INTERRUPTED` that "
        "enqueues the task again, as its documentation shows. Revoking is for tasks that have not "
        "begun. No states are kept."
    ),
    "arq": (
        "coroutines, Redis; `job_completion_wait=25`, `job_timeout=90` (300; what an abandoned "
        "job waits for, plus 10 s), `allow_abort_jobs`, `Job.abort()`. Blocking code in a "
        "`ProcessPoolExecutor`, as its documentation shows."
    ),
    "procrastinate": (
        "PostgreSQL; `--shutdown-graceful-timeout 25`, retries for what is to be handed back, its "
        "documentation's periodic task `retry_stalled_jobs`, but every minute, "
        "on which its seconds depend; "
        "`cancel_job_by_id(id, abort=True)`. A blocking function has to ask `should_abort()`."
    ),
}
