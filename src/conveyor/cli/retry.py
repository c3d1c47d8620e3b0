"""`conveyor retry`: runs jobs again."""

from __future__ import annotations

import click

from ..errors import InvalidTransitionError
from .shared.audit_trail import audited
from .shared.exit_codes import FAILED, OK
from .shared.options import json_option, url_option
from .shared.output import print_job_states, print_stderr
from .shared.store_access import find_job, open_configured_store


@click.command("retry")
@click.argument("job_ids", nargs=-1, required=True)
@json_option
@url_option
def retry_command(job_ids: tuple[str, ...], as_json: bool, url: str | None) -> int:
    states: dict[str, str] = {}
    refused = False
    with open_configured_store(url) as store, audited(store) as record:
        for job_id in job_ids:
            found = find_job(store, job_id)
            try:
                states[found.id] = store.retry(found.id).result().state
                record("retry", found.id)
            except InvalidTransitionError as error:
                print_stderr(f"conveyor: {error}")
                refused = True
    print_job_states(states, as_json=as_json)
    return FAILED if refused else OK
