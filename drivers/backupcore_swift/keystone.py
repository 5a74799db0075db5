"""The login by Keystone, as clouds.yaml or the OS_ variables describe it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openstack.config
import yaml  # type: ignore[import-untyped]
from keystoneauth1 import exceptions as ksa
from openstack.exceptions import SDKException

from backupcore.errors import AccessDenied, Refused, StoreError, Unavailable
from backupcore_swift.login import LOGIN_S_MAX, Trust, Way
from backupcore_swift.option import Settings
from backupcore_swift.translation import answer_error, transport_error

__all__ = ["Keystone"]

SERVICE = "object-store"


class Keystone(Way):
    """A login that Keystone's session keeps and repeats."""

    def __init__(self, settings: Settings, cloud: str) -> None:
        self._what = f"login to cloud {cloud}" if cloud else "login with OS_AUTH_URL"
        chosen: dict[str, Any] = {
            "region_name": settings.region,
            "interface": settings.interface,
            "cloud": cloud,
        }
        try:
            self._region = openstack.config.get_cloud_region(
                load_yaml_config=bool(cloud),
                **{name: value for name, value in chosen.items() if value},
            )
            self._session = self._region.get_session()
        except yaml.YAMLError:
            # the error shows lines of the file, perhaps those with the password
            raise Refused(f"{self._what}: clouds.yaml or secure.yaml is no YAML") from None
        except (SDKException, ksa.ClientException, OSError, ValueError) as error:
            raise Refused(f"{self._what}: {_words(error)}: check the configuration") from error
        if self._session.timeout is None:
            self._session.timeout = LOGIN_S_MAX
        self.trust = Trust(self._session.verify or False, self._session.cert)
        self._token = ""

    def ask(self) -> tuple[str, str]:
        """Log in unless the session has a token that is good for a while."""
        with self._translated():
            self._token = self._session.get_token() or ""
            storage_url = self._region.get_session_endpoint(SERVICE) or ""
        if not self._token:
            raise AccessDenied(f"{self._what}: gave no token: check auth_type")
        if not storage_url:
            region = self._region.get_region_name(SERVICE) or "any"
            interface = self._region.get_interface(SERVICE)
            raise StoreError(
                f"{self._what}: the catalogue has no {SERVICE} in region {region} with interface "
                f"{interface}: write region=… or interface=…"
            )
        return storage_url.rstrip("/"), self._token

    def renew(self) -> tuple[str, str]:
        """Forget the token and log in."""
        self._session.invalidate()
        return self.ask()

    def is_ending(self) -> bool:
        """Return whether the session has replaced the token, as it does two minutes ahead."""
        with self._translated():
            return bool(self._session.get_token() != self._token)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except ksa.ClientException as error:
            raise self._meaning(error) from error

    def _meaning(self, error: ksa.ClientException) -> StoreError:
        reason = error
        # what discovery failed of says whether it may work later
        if isinstance(error, ksa.DiscoveryFailure) and isinstance(
            error.__context__, (ksa.ConnectionError, ksa.HttpError)
        ):
            reason = error.__context__
        fact = f"{self._what}: {_words(reason)}"
        if isinstance(reason, ksa.NotFound) and "application credential" in fact.lower():
            return AccessDenied(f"{fact}: it was deleted or has ended: make another")
        if isinstance(reason, ksa.HttpError):
            headers = getattr(reason.response, "headers", None) or {}
            lower = {name.lower(): value for name, value in headers.items()}
            return answer_error(int(reason.http_status or 0), fact, lower)
        if isinstance(reason, ksa.ConnectionError):
            found = transport_error(reason, self._what)
            is_refused = isinstance(reason, ksa.SSLError) and not isinstance(found, Unavailable)
            return found if is_refused else Unavailable(f"{fact}: try again later")
        return StoreError(f"{fact}: check OS_AUTH_URL, or auth_url in clouds.yaml")


def _words(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
