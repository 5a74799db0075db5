"""`backupcore catalog`: bring a catalog to this release, or fill one from the repositories."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import click

from backupcore import Backup
from backupcore.cli.parameter import speaking
from backupcore.cli.stop import STOP
from backupcore.cli.talk import Talk, table_text
from backupcore.cli.verb.service.option import config_option, needing_service
from backupcore.errors import Refused
from backupcore.repository.label import ServiceLabels
from backupcore.runtime import Runtime

__all__ = ["catalog_group"]


@click.group("catalog")
def catalog_group() -> None:
    """Keep the service's catalog."""


@catalog_group.command("upgrade")
@config_option
@speaking
def catalog_upgrade_command(talk: Talk, path: Path) -> None:
    """Bring the catalog's tables to this release, or make them; back it up before."""
    with needing_service():
        from backupcore.catalog import Catalog  # noqa: PLC0415 - extra `service`
        from backupcore.service.settings import read_settings  # noqa: PLC0415 - extra `service`

    settings = read_settings(path)
    settings.path("").mkdir(mode=0o700, parents=True, exist_ok=True)
    with Catalog.open(settings.catalog_url) as catalog:
        name, version = catalog.name, catalog.schema_version()
    talk.tell({"catalog": name, "version": version}, f"{name}: version {version}")


@catalog_group.command("rebuild")
@config_option
@click.option("--container", "only", help="Only what this configured container's repository holds.")
@click.option("--project", help="Whose backups are of which the repository does not tell it.")
@speaking
def catalog_rebuild_command(talk: Talk, path: Path, only: str | None, project: str | None) -> None:
    """Add a row for each backup of the repositories that the catalog does not know."""
    with needing_service():
        from backupcore.catalog import Catalog  # noqa: PLC0415 - extra `service`
        from backupcore.catalog.rebuild import rebuild  # noqa: PLC0415 - extra `service`
        from backupcore.service.settings import read_settings  # noqa: PLC0415 - extra `service`
        from backupcore.service.store import Stores  # noqa: PLC0415 - extra `service`

    settings = read_settings(path)
    if only is not None and only not in settings.containers:
        raise Refused(f"{path}: container {only} is none of: {', '.join(settings.containers)}")
    names = [only] if only is not None else list(settings.containers)
    settings.path("").mkdir(mode=0o700, parents=True, exist_ok=True)
    stores = Stores(settings, Runtime())
    found: dict[str, dict[str, int]] = {}
    with Catalog.open(settings.catalog_url) as catalog, STOP.heard():
        for name in names:
            with stores.open(name, stop=STOP, read_only=True) as repository:
                rebuilt = rebuild(
                    catalog,
                    repository,
                    container=stores.label_of(name),
                    project_of=_project_of(project),
                    repository_name=name,
                    availability_zone=settings.availability_zone,
                )
            found[name] = asdict(rebuilt)
    counts = list(next(iter(found.values())))
    rows = [[name, *map(str, counted.values())] for name, counted in found.items()]
    documents = [{"container": name, **counted} for name, counted in found.items()]
    right = "l" + "r" * len(counts)
    talk.tell({"containers": documents}, table_text(["container", *counts], rows, right=right))


def _project_of(project: str | None) -> Callable[[Backup], str]:
    def find(backup: Backup) -> str:
        found = ServiceLabels.read(backup.labels).project or project
        if found is None:
            raise Refused(
                f"backup {backup.id} was not made by a service and tells no project: "
                "say whose it shall be: --project ID"
            )
        return found

    return find
