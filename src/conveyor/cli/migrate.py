"""`conveyor migrate`: brings the schema of a PostgreSQL store to this version's."""

from __future__ import annotations

import click

from ..errors import UsageError
from ..settings import POSTGRES, load_settings
from ..store.open import open_migration
from .shared.exit_codes import FAILED, OK
from .shared.options import url_option
from .shared.output import print_line, print_script
from .shared.store_access import choose_command_store


@click.command("migrate")
@click.option("--check", is_flag=True, help="Change nothing; exit with 1 if there is work to do.")
@click.option("--sql", is_flag=True, help="Change nothing; print the SQL that would run.")
@click.option("--roles", is_flag=True, help="Print SQL that creates roles with few rights.")
@url_option
def migrate_command(check: bool, sql: bool, roles: bool, url: str | None) -> int:
    chosen = choose_command_store(load_settings({"url": url}))
    if check + sql + roles > 1:
        raise UsageError("give only one of --check, --sql and --roles")
    if chosen.url.partition(":")[0] not in POSTGRES:
        raise UsageError(
            "only a PostgreSQL store is migrated by hand, at an address like "
            "postgresql://user@host/db; a SQLite file is migrated when it is opened"
        )
    migration = open_migration(chosen.url)
    if sql or roles:
        print_script(migration.script() if sql else migration.role_script())
        return OK
    version, newest = migration.versions() if check else migration.run()
    if version >= newest:
        print_line(f"{migration.place} has schema version {version}: nothing to do")
        return OK
    told = "needs a migration" if check else "was migrated"
    print_line(f"{migration.place} {told} from schema version {version} to {newest}")
    return FAILED if check else OK
