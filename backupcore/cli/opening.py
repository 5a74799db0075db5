"""Opening a repository the way every command does: with a cache, a stop flag, a rate."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from backupcore import Driver, Repository, open_repository
from backupcore.cli.stop import STOP
from backupcore.driver.layer import Throttled
from backupcore.url import Url

__all__ = ["cache_folder", "open_to_read", "open_to_work", "volume_url"]


def open_to_read(url: str) -> Repository:
    """Open a repository of which nothing but reading is asked."""
    return open_repository(url, read_only=True, cache_folder=cache_folder(), stop=STOP)


def open_to_work(url: str, *, rate_bytes_s: int | None = None) -> Repository:
    """Open a repository for writing, or for reading under a lease where the store takes one.

    rate_bytes_s: of what goes to the store, and as much again of what comes from it.
    """

    def throttle(driver: Driver) -> Driver:
        return Throttled(driver, up_bytes_s=rate_bytes_s, down_bytes_s=rate_bytes_s, stop=STOP)

    layers = throttle if rate_bytes_s else None
    return open_repository(url, cache_folder=cache_folder(), layers=layers, stop=STOP)


def volume_url(text: str, **asked: bool) -> Url:
    """Return where a volume is, with `name=yes` added for each option that was asked for."""
    url = Url.parse(text, default_scheme="file")
    added = {name: "yes" for name, is_asked in asked.items() if is_asked}
    return replace(url, options={**url.options, **added})


def cache_folder() -> Path | None:
    """Return where immutable objects are kept between runs; nowhere without a home.

    Source: XDG Base Directory Specification 0.8; a relative path there is to be ignored.
    """
    chosen = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not chosen.is_absolute():
        try:
            chosen = Path.home() / ".cache"
        except RuntimeError:
            return None
    return chosen / "backupcore"
