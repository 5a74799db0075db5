"""The application behind a port, in this process and its threads; jobs run beside it."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from waitress.server import create_server

from backupcore.api import OPEN_PATHS, Addition, create_app
from backupcore.api.access import (
    Access,
    KeystoneAccess,
    OpenAccess,
    TokenAccess,
    check_keystone,
    with_keystone,
)
from backupcore.api.operator.door import REQUEST_ID, OperatorDoor, Trail
from backupcore.api.operator.metrics import Metrics
from backupcore.driver.registry import DEFAULT_SCHEME, driver_schemes
from backupcore.errors import Refused
from backupcore.provider.registry import provider_kinds
from backupcore.service import Policy, Service, Settings
from backupcore.url import Url

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

__all__ = ["check_settings", "guarded", "serve"]

log = logging.getLogger(__name__)


def serve(settings: Settings, *, ready: Callable[[str], None]) -> None:
    """Serve until the process is interrupted, then end what runs in good order.

    ready: hears the address when the service is open. The port is taken before anything is
    settled, so that a second service of the same settings changes nothing.
    Raises: Refused when the address or the data folder is taken, or a file of the settings cannot
    be used; StoreError when a repository is away.
    """
    metrics = Metrics()
    with (
        _sole_user(settings),
        Service(settings, observer=metrics) as service,
        closing(_listen(guarded(service, settings, metrics), settings)) as server,
    ):
        service.start()
        metrics.look_at(service)
        try:
            ready(f"http://{_address(server)}")
            server.run()
        except KeyboardInterrupt:  # before the server listened to it
            log.debug("interrupted at once")
        log.info("stopping", extra={"jobs": len(service.engine.jobs())})


def check_settings(settings: Settings) -> None:
    """Check what can be told without a store, a volume or a port. Raises: Refused."""
    auth = settings.api.auth
    if auth.kind == "tokens":
        TokenAccess(settings.path(auth.file))
    elif auth.kind == "keystone":
        check_keystone(auth.keystone)
    Policy(settings.path(auth.policy_file) if auth.policy_file else None)
    known = driver_schemes()
    for name, container in settings.containers.items():
        scheme = Url.parse(container.url, default_scheme=DEFAULT_SCHEME).scheme
        if scheme not in known:
            raise Refused(
                f"containers.{name}: no driver for {scheme}: there are {', '.join(known)}"
            )
    kinds = provider_kinds()
    for name, provider in settings.providers.items():
        if provider.kind not in kinds:
            raise Refused(
                f"providers.{name}: no provider of kind {provider.kind}: there are "
                f"{', '.join(kinds)}"
            )


def guarded(service: Service, settings: Settings, metrics: Metrics) -> WSGIApplication:
    """Return the application with what proves callers before it. Raises: Refused."""
    auth = settings.api.auth
    trail = Addition(middleware=[Trail()])
    if auth.kind == "keystone":
        inner = create_app(service, KeystoneAccess(), additions=[trail])
        checked = with_keystone(
            inner, auth.keystone, OPEN_PATHS, lambda environ: str(environ[REQUEST_ID])
        )
        return OperatorDoor(checked, service, metrics)
    access: Access = OpenAccess() if auth.kind == "none" else TokenAccess(settings.path(auth.file))
    return OperatorDoor(create_app(service, access, additions=[trail]), service, metrics)


@contextmanager
def _sole_user(settings: Settings) -> Iterator[None]:
    """Keep the data folder from a second service, which would settle our jobs as left behind."""
    folder = settings.path("")
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        lock = os.open(settings.path("lock"), flags, 0o600)
    except OSError as error:
        raise Refused(f"data_folder {folder}: cannot be written: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise Refused(
            f"data_folder {folder}: another service uses it: end that one or name another folder"
        ) from error
    finally:
        os.close(lock)


def _listen(application: WSGIApplication, settings: Settings) -> Any:
    """Return a server that has the port and does not answer yet. Raises: Refused."""
    try:
        return create_server(
            application,
            listen=settings.api.listen,
            threads=settings.api.threads,
            # beyond that the server cuts in; up to it the application refuses in its own words
            max_request_body_size=4 * settings.api.body_bytes_max,
            max_request_header_size=65_536,
            channel_timeout=60,
            ident=None,
            clear_untrusted_proxy_headers=True,
        )
    except OSError as error:
        raise Refused(f"{settings.api.listen}: cannot listen: {error.strerror}") from error
    except ValueError as error:  # a name that nobody knows, a port there cannot be
        raise Refused(f"{settings.api.listen}: cannot listen: {error}") from error


def _address(server: Any) -> str:
    """Return where a server listens; port 0 of the settings has become one."""
    found = getattr(server, "effective_listen", None)
    host, port = found[0] if found else (server.effective_host, server.effective_port)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
