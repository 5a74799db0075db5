"""`backupcore record`: take a backup's description elsewhere, and see whether one is true here."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypedDict, Unpack

import click

from backupcore import Refused
from backupcore.cli.document import backup_document
from backupcore.cli.opening import open_to_read
from backupcore.cli.parameter import (
    backup_argument,
    speaking,
    volume_id_option,
)
from backupcore.cli.progress import showing_progress
from backupcore.cli.stop import STOP
from backupcore.cli.talk import Document, Talk, table_text
from backupcore.errors import NotFound
from backupcore.units import KIB, format_bytes

if TYPE_CHECKING:
    from backupcore.record import Facts, Record, TrustedKeys

__all__ = ["record_group"]

BODY_LENGTH_MAX = 64 * KIB
_UNITS = {"d": "days", "h": "hours"}
_FILE = click.Path(dir_okay=False, path_type=Path)
_NEVER = "never"


class ExportOptions(TypedDict):
    """Of which volume, for how long, and what a record shall say beside what is stored."""

    volume_id: str | None
    lasts: timedelta | None
    key_path: Path | None
    name: str | None
    description: str | None
    container: str | None
    project_id: str | None


def lifetime(text: str) -> timedelta | None:
    """Return how long a record holds, such as `90d` or `12h`; None for `never`."""
    if text == _NEVER:
        return None
    found = re.fullmatch(r"([1-9]\d{0,6})([dh])", text, re.ASCII)
    if not found:
        raise click.BadParameter(f"{text!r} is no time: write 90d, 12h or {_NEVER}")
    return timedelta(**{_UNITS[found[2]]: int(found[1])})


place_option = click.option(
    "-r",
    "--repository",
    "url",
    metavar="URL",
    envvar="BACKUPCORE_REPOSITORY",
    show_envvar=True,
    help="Where the repository is: a URL, or the path of a directory.",
)
service_option = click.option(
    "--config", type=_FILE, metavar="FILE", help="The settings of a service: work on its catalog."
)
key_option = click.option(
    "--key", "key_path", type=_FILE, metavar="FILE", help="The signing key; see `record key`."
)


@click.group("record")
def record_group() -> None:
    """Describe a backup for another service or deployment."""


@record_group.command("export")
@backup_argument
@place_option
@service_option
@volume_id_option
@click.option("--name", help="What the importer shall call it; as it is called here.")
@click.option("--description", help="The same of the description.")
@click.option("--container", help="What clients are shown as its container.")
@click.option("--project", "project_id", metavar="ID", help="The project it belongs to.")
@click.option(
    "--expires",
    "lasts",
    type=lifetime,
    metavar="TIME",
    default="90d",
    show_default=True,
    help="How long the record holds: days, hours or never.",
)
@key_option
@speaking
def export_command(
    talk: Talk,
    backup: str,
    url: str | None,
    config: Path | None,
    **options: Unpack[ExportOptions],
) -> None:
    """Write the signed record of BACKUP, with --json and without.

    It names what is stored, not where; nobody can restore by it who has not got the repository.
    With --config BACKUP is one of a service's catalog, and the service's key signs.
    """
    settings = _service_of(url, config, *options)
    if settings is not None:
        from backupcore.cli.verb.service.catalog_record import (  # noqa: PLC0415 - extra `service`
            export_from_catalog,
        )

        _tell_record(talk, *export_from_catalog(settings, backup))
        return
    _tell_record(talk, *_export(backup, url or "", **options))


def _export(backup: str, url: str, **options: Unpack[ExportOptions]) -> tuple[str, str]:
    """Return `backup_service` and `backup_url` of what a repository holds."""
    with _extra():
        from backupcore.record import (  # noqa: PLC0415 - extra `service`
            SigningKey,
            Wishes,
            encode,
            make_record,
        )
    with open_to_read(url) as repository:
        record = make_record(
            repository,
            repository.find_backup(backup, options["volume_id"]),
            lifetime=options["lasts"],
            project_id=options["project_id"],
            wishes=Wishes(
                name=options["name"],
                description=options["description"],
                container=options["container"],
            ),
        )
    key = SigningKey.load_or_create(_key_file(options["key_path"], is_made=True))
    return record.cover.service or "", encode(record, key)


def _tell_record(talk: Talk, service: str, url: str) -> None:
    document: Document = {"backup-record": {"backup_service": service, "backup_url": url}}
    text = json.dumps(document, indent=2)
    talk.tell(document, text, quiet_text=text)


@record_group.command("import")
@click.argument("file", type=click.File("rb"))
@place_option
@service_option
@click.option("--project", "project_id", metavar="ID", help="With --config: whose row it becomes.")
@key_option
@click.option(
    "--trusted",
    "trusted_folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Public keys of exporters, one PEM file each; your own is always trusted.",
)
@speaking
def import_command(
    talk: Talk,
    file: BinaryIO,
    url: str | None,
    config: Path | None,
    *,
    project_id: str | None,
    key_path: Path | None,
    trusted_folder: Path | None,
) -> None:
    """Verify the record in FILE (- for standard input) and show what the repository says of it.

    Nothing is written anywhere, but with --config: then the service's keys are asked, and its
    catalog gets a row.
    """
    settings = _service_of(url, config, "key_path", "trusted_folder")
    if settings is not None:
        from backupcore.cli.verb.service.catalog_record import (  # noqa: PLC0415 - extra `service`
            import_to_catalog,
        )

        if project_id is None:
            raise Refused("say whose the backup shall be in the catalog: --project ID")
        imported = import_to_catalog(settings, *_read_document(file), project_id)
        talk.tell(imported, f"{imported['id']} is {imported['status']}")
        return
    if project_id is not None:
        raise click.UsageError("--project is of a service's catalog: add --config FILE")
    with _extra():
        from backupcore.record import (  # noqa: PLC0415 - extra `service`
            check_against_store,
            check_service_name,
            decode,
            verify,
        )
    service, text = _read_document(file)
    check_service_name(service)
    unverified = decode(text)
    with open_to_read(url or "") as repository:
        now = repository.runtime.clock.now()
        record = verify(unverified, _trusted(key_path, trusted_folder), now=now)
        with STOP.heard() as stop, showing_progress(talk, "packs") as progress:
            facts = check_against_store(record, repository, progress=progress, stop=stop)
    talk.tell(
        _document(record, facts, unverified.kid),
        "" if talk.is_json or talk.is_quiet else _text(record, facts, unverified.kid),
        quiet_text=facts.backup.id,
    )


@record_group.command("key")
@key_option
@speaking
def key_command(talk: Talk, key_path: Path | None) -> None:
    """Show the signing key's kid and public half; the key is made when there is none."""
    with _extra():
        from backupcore.record import SigningKey  # noqa: PLC0415 - extra `service`
    path = _key_file(key_path, is_made=True)
    key = SigningKey.load_or_create(path)
    public_pem = key.public_pem.rstrip()
    talk.tell(
        {"kid": key.kid, "public_pem": key.public_pem, "file": str(path)},
        f"kid {key.kid} of {path}\n{public_pem}",
        quiet_text=public_pem,
    )


def _service_of(url: str | None, config: Path | None, *options: str) -> Path | None:
    """Return the settings of the service whose catalog is meant; None when a repository is.

    options: which the service's settings answer, or its rows. A repository that only the
    environment names does not stand in a service's way.
    """
    if config is None:
        if url is None:
            raise click.UsageError("say where: --repository URL, or --config FILE of a service")
        return None
    context = click.get_current_context()
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        is_given = source is click.core.ParameterSource.COMMANDLINE
        if is_given and parameter.name in ("url", *options):
            raise click.UsageError(f"{parameter.opts[-1]} and --config exclude each other")
    return config


@contextmanager
def _extra() -> Iterator[None]:
    """Say which extra brings what cannot be imported."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "cryptography":
            raise
        raise Refused(
            "records are signed, which needs the extra `service`: pip install 'backupcore[service]'"
        ) from error


def _config_folder() -> Path:
    """Return where the key and the trusted keys are unless something else is said.

    Source: XDG Base Directory Specification 0.8; a relative path there is to be ignored.
    """
    chosen = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    if not chosen.is_absolute():
        try:
            chosen = Path.home() / ".config"
        except RuntimeError as error:
            raise Refused("there is no home to keep a signing key in: name it: --key") from error
    return chosen / "backupcore"


def _key_file(chosen: Path | None, *, is_made: bool = False) -> Path:
    if chosen is not None:
        return chosen
    folder = _config_folder()
    if is_made:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise Refused(f"{folder} cannot be made: {error.strerror}: use --key") from error
    return folder / "record-key.pem"


def _trusted(key_path: Path | None, folder: Path | None) -> TrustedKeys:
    """Return whose records are believed: those of a folder, and one's own if there is a key."""
    from backupcore.record import SigningKey, TrustedKeys  # noqa: PLC0415 - extra `service`

    default = _config_folder() / "trusted" if folder is None else folder
    is_there = folder is not None or default.is_dir()
    trusted = TrustedKeys.load(default) if is_there else TrustedKeys()
    try:
        return trusted.including(SigningKey.load(_key_file(key_path)))
    except NotFound:
        if key_path is not None:
            raise
        return trusted


def _read_document(file: BinaryIO) -> tuple[str, str]:
    """Return `backup_service` and `backup_url` of what `export` or the API writes."""
    from backupcore.record import parse_json  # noqa: PLC0415 - extra `service`

    try:
        octets = file.read(BODY_LENGTH_MAX + 1)
    except OSError as error:
        raise Refused(f"record: it cannot be read: {error.strerror}") from error
    document = parse_json(octets, length_max=BODY_LENGTH_MAX)
    inner = document.get("backup-record", document)
    fields = inner if isinstance(inner, dict) else {}
    service, text = fields.get("backup_service"), fields.get("backup_url")
    if not isinstance(service, str) or not isinstance(text, str):
        raise Refused("record: it has no backup_service and backup_url: see `record export`")
    return service, text


def _document(record: Record, facts: Facts, kid: str) -> Document:
    claim, cover = record.claim, record.cover
    return {
        "id": cover.id,
        "name": cover.name,
        "description": cover.description,
        "metadata": dict(cover.metadata),
        "kid": kid,
        "issued_at": claim.issued_at.isoformat(),
        "expires_at": claim.expires_at.isoformat() if claim.expires_at else None,
        "backup": backup_document(facts.backup),
    }


def _text(record: Record, facts: Facts, kid: str) -> str:
    claim, backup = record.claim, facts.backup
    shown = {
        "record of": f"{_time_text(claim.issued_at)}, signed by {kid}",
        "expires": _time_text(claim.expires_at) if claim.expires_at else _NEVER,
        "wants to be": " ".join(filter(None, (record.cover.id, record.cover.name))),
        "backup": backup.id,
        "volume": backup.volume_id,
        "size": format_bytes(backup.size_bytes),
        "committed": _time_text(backup.committed_at),
        "packs": "all there",
    }
    return table_text(("", ""), shown.items())


def _time_text(moment: datetime) -> str:
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S %z")
