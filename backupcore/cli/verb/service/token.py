"""`backupcore token add`: tokens of a service that stands alone."""

from __future__ import annotations

import secrets
from pathlib import Path

import click

from backupcore.cli.parameter import speaking
from backupcore.cli.talk import Document, Talk
from backupcore.cli.verb.service.option import FILE, needing_service

__all__ = ["token_group"]


@click.group("token")
def token_group() -> None:
    """Work with the tokens of a service that stands alone."""


@token_group.command("add")
@click.option("--file", "path", type=FILE, required=True, help="The file of hashed tokens.")
@click.option("--user", required=True, help="Whose token it is, for logs.")
@click.option("--project", required=True, help="The only project it opens.")
@click.option(
    "--role",
    "roles",
    type=click.Choice(["admin", "member", "reader"]),
    multiple=True,
    default=["member"],
    show_default=True,
    help="What its owner may do there.",
)
@speaking
def token_add_command(
    talk: Talk, path: Path, user: str, project: str, roles: tuple[str, ...]
) -> None:
    """Make a token, keep its hash, and show it this once."""
    with needing_service():
        from backupcore.api.access import add_token  # noqa: PLC0415 - extra `service`

    token = secrets.token_hex(32)  # begins with no dash, which programs take for an option
    add_token(path, token, user=user, project=project, roles=roles)
    facts: Document = {"token": token, "user": user, "project": project, "roles": list(roles)}
    talk.tell(facts, token, quiet_text=token)
