"""`backupcore token add`: tokens of a service that stands alone."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path

import click

from backupcore.cli.parameter import speaking
from backupcore.cli.talk import Document, Talk
from backupcore.cli.verb.service.option import FILE, needing_service
from backupcore.errors import Refused

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
        from backupcore.api.access import hash_token  # noqa: PLC0415 - extra `service`

    for text in (user, project):
        if not text.isprintable() or '"' in text or "\\" in text:
            raise Refused(f"{text!r}: use letters, digits and plain signs")
    token = secrets.token_urlsafe(32)
    fields = {"sha256": hash_token(token), "user": user, "project": project, "roles": list(roles)}
    lines = [f"{name} = {json.dumps(value)}" for name, value in fields.items()]  # TOML too
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "a", encoding="utf-8") as file:
            file.write("\n".join(["", "[[token]]", *lines, ""]))
    except OSError as error:
        raise Refused(f"{path}: cannot be written: {error.strerror}") from error
    facts: Document = {"token": token, "user": user, "project": project, "roles": list(roles)}
    talk.tell(facts, token, quiet_text=token)
