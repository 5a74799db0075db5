"""The repositories that containers stand for; nobody but the operator names a URL."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from backupcore.errors import BackupError, Refused, RepositoryMissing
from backupcore.repository import Repository, create_repository, open_repository
from backupcore.runtime import Runtime, StopFlag
from backupcore.service.error import Invalid
from backupcore.service.settings import ANY_CONTAINER, Container, Settings
from backupcore.url import Url

__all__ = ["Stores"]

log = logging.getLogger(__name__)


class Stores:
    """Opens a repository for each job, so that jobs share nothing."""

    def __init__(self, settings: Settings, runtime: Runtime) -> None:
        self._settings = settings
        self._runtime = runtime
        self._names: dict[str, str] = {}
        self._any = ANY_CONTAINER

    def prepare(self) -> None:
        """Make the repositories that are not there yet.

        A repository has one name in the catalog, or rows that name the same stored backup would
        not know of each other. Raises: StoreError, Refused.
        """
        containers = self._settings.containers
        for name in sorted(containers, key=lambda name: name == ANY_CONTAINER):
            with _naming(name), self._prepared(name, containers[name]) as repository:
                first = self._names.setdefault(repository.config.repository_id, name)
            if name == ANY_CONTAINER:
                self._any = first
            elif first != name:
                raise Refused(
                    f"containers.{name} and containers.{first} are the same repository: keep one, "
                    f'or use containers."{ANY_CONTAINER}" for other names of it'
                )

    def _prepared(self, name: str, container: Container) -> Repository:
        try:
            return open_repository(container.url, runtime=self._runtime)
        except RepositoryMissing:
            if not container.create:
                raise
            log.info("repository made", extra={"container": name})
            return create_repository(container.url, runtime=self._runtime)

    def has(self, name: str) -> bool:
        """Return whether a container is still configured."""
        return name in self._settings.containers

    def name_of(self, repository_id: str) -> str | None:
        """Return the configured container of a repository; None when there is none."""
        return self._names.get(repository_id)

    def label_of(self, name: str) -> str:
        """Return what backups of a configured container show as theirs."""
        return self._settings.default_container if name == ANY_CONTAINER else name

    def resolve(self, container: str | None) -> tuple[str, str]:
        """Return the label a backup gets and the configured name it leads to. Raises: Invalid."""
        label = container or self._settings.default_container
        name = self._settings.container_of(label)
        if name is None:
            raise Invalid(f"Invalid input received: container {label} is not configured")
        return label, self._any if name == ANY_CONTAINER else name

    def service_scheme(self, name: str) -> str:
        """Return the URL scheme of a configured container's repository."""
        return Url.parse(self._container(name).url, default_scheme="posix").scheme

    def lane_limits(self) -> dict[str, int]:
        """Return how many jobs may use each repository at once, where that is limited."""
        return {
            name: container.jobs
            for name, container in self._settings.containers.items()
            if container.jobs is not None
        }

    @contextmanager
    def open(
        self, name: str, *, stop: StopFlag | None = None, read_only: bool = False
    ) -> Iterator[Repository]:
        """Open the repository of a configured container. Raises: as `open_repository`, Invalid."""
        url = self._container(name).url
        cache = self._settings.path("cache")
        with open_repository(
            url, read_only=read_only, cache_folder=cache, runtime=self._runtime, stop=stop
        ) as repository:
            yield repository

    def _container(self, name: str) -> Container:
        try:
            return self._settings.containers[name]
        except KeyError:
            raise Invalid(f"Invalid input received: container {name} is not configured") from None


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Say in errors which container's URL they are about."""
    try:
        yield
    except BackupError as error:
        error.args = (f"containers.{name}: {error}", *error.args[1:])
        raise
