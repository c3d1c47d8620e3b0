"""`conveyor token`: creates, lists and revokes access tokens for a server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
import msgspec

from ..core.access import SCOPES, Token, describe_rights, issue_token, token_status
from ..core.duration import parse_duration
from ..store.protocol import Store
from .shared.audit_trail import audited
from .shared.options import json_option, queues_option, url_option
from .shared.output import format_time, print_json, print_line, print_stderr, print_table
from .shared.store_access import open_configured_store

PAGE = 1000
HEADINGS = ("ID", "NAME", "STATUS", "SCOPES", "QUEUES", "CREATED", "EXPIRES")


@click.group("token")
def token_command() -> None: ...


@token_command.command("create", help="Create a token and print it once.")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    type=click.Choice(SCOPES),
    help="Permission to grant; repeatable. admin includes all others.",
)
@queues_option("Limit the token to this queue; repeatable.")
@click.option("--expires", metavar="DURATION", help="Lifetime, like 90d (default: unlimited).")
@json_option
@url_option
def create_command(
    name: str,
    scopes: tuple[str, ...],
    queues: tuple[str, ...],
    expires: str | None,
    as_json: bool,
    url: str | None,
) -> None:
    with open_configured_store(url, create=True) as store, audited(store) as record:
        now = store.now()
        expires_at = None if expires is None else now + parse_duration(expires, name="--expires")
        text, token = issue_token(name, scopes, queues, now=now, expires_at=expires_at)
        store.add_token(token).result()
        record("create token", token.id, describe_rights(token))
    if as_json:
        print_json({"token": text, **_as_json(token, now)})
    else:
        print_line(text)
    until = "revoked" if expires_at is None else format_time(expires_at)
    print_stderr(f"token {token.id} is valid until {until}. Keep it secret; it is not shown again.")


@token_command.command("list", help="List tokens, without their secrets.")
@json_option
@url_option
def list_command(as_json: bool, url: str | None) -> None:
    with open_configured_store(url) as store:
        tokens = list(_find_all(store))
        now = store.now()
    if as_json:
        print_json([_as_json(token, now) for token in tokens])
        return
    rows = [
        (
            token.id,
            token.name,
            token_status(token, now),
            ",".join(sorted(token.scopes)),
            ",".join(token.queues) or "all",
            format_time(token.created_at),
            format_time(token.expires_at),
        )
        for token in tokens
    ]
    print_table(HEADINGS, rows)


@token_command.command("revoke", help="Revoke tokens.")
@click.argument("token_ids", nargs=-1, required=True, metavar="ID...")
@url_option
def revoke_command(token_ids: tuple[str, ...], url: str | None) -> None:
    with open_configured_store(url) as store, audited(store) as record:
        for token_id in token_ids:
            token = store.revoke_token(token_id).result()
            record("revoke token", token.id, token.name)
            print_stderr(
                f"token {token.id} ({token.name}) revoked at {format_time(token.revoked_at)}"
            )


def _find_all(store: Store) -> Iterator[Token]:
    page = store.tokens(limit=PAGE).result()
    while page:
        yield from page
        page = store.tokens(after=page[-1].id, limit=PAGE).result()


def _as_json(token: Token, now: float) -> dict[str, Any]:
    """Return a token as JSON shows it, without its digest."""
    data: dict[str, Any] = msgspec.to_builtins(token)
    del data["digest"]
    return {**data, "scopes": sorted(token.scopes), "standing": token_status(token, now)}
