"""How each peer was configured for the scenes, as its documentation recommends, and why."""

from __future__ import annotations

NOTES = {
    "conveyor": (
        "SQLite, defaults. A thread that ignores cancellation cannot be stopped: the job is shown "
        "as running until it ends, never as cancelled. "
        '`run="process"` and commands can be stopped.'
    ),
    "celery": (
        "prefork, Redis; `task_acks_late`, `task_reject_on_worker_lost`, prefetch 1, "
        "`REMAP_SIGTERM=SIGQUIT` with `worker_soft_shutdown_timeout=25`, `visibility_timeout=90` "
        "(default 3,600; must be longer than the longest job); "
        "`control.revoke(id, terminate=True)`."
    ),
    "rq": (
        "a work horse per job, Redis; `Retry(max=3)`, `--job-monitoring-interval 5` "
        "(default 30), `--maintenance-interval 10` (600) and `--worker-ttl 30` (420), without "
        "which an idle worker checks for abandoned jobs only every 405 s; `send_stop_job_command`. "
        "Its warm shutdown has no time limit."
    ),
    "dramatiq": (
        "one process, one thread, Redis; `ShutdownNotifications(notify_shutdown=True)`, "
        "`--worker-shutdown-timeout 25000`. Cancelled by the plug-in dramatiq-abort, which its "
        "cookbook names: it raises an exception in the thread, which takes effect between two "
        "Python instructions, not during a system call. It keeps no states. An interrupted job "
        "is a retry, after 15 s or more."
    ),
    "huey": (
        "one worker process, Redis; `-g TERM -t 25`, and a handler of `SIGNAL_INTERRUPTED` that "
        "enqueues the task again, as its documentation shows. Only tasks that have not started can "
        "be revoked. It keeps no states."
    ),
    "arq": (
        "coroutines, Redis; `job_completion_wait=25`, `job_timeout=90` (300; an abandoned job "
        "waits for this plus 10 s), `allow_abort_jobs`, `Job.abort()`. Blocking code in a "
        "`ProcessPoolExecutor`, as its documentation shows."
    ),
    "procrastinate": (
        "PostgreSQL; `--shutdown-graceful-timeout 25`, retries for interrupted jobs, and "
        "its documentation's periodic task `retry_stalled_jobs`, but every minute, which "
        "determines its times; "
        "`cancel_job_by_id(id, abort=True)`. A blocking function must check `should_abort()`."
    ),
}
