"""One server of Swift as a process of its own: swift_process.py SWIFT_CONF SERVER SERVER_CONF.

Stands alone, so that a server imports nothing else of the tests.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

MODULES = {
    "proxy": "swift.proxy.server",
    "account": "swift.account.server",
    "container": "swift.container.server",
    "object": "swift.obj.server",
}


class Cache:
    """Stands in for memcached, which is right as long as there is one proxy process."""

    def __init__(self) -> None:
        self._values: dict[str, tuple[Any, float]] = {}

    def get(self, key: str, raise_on_error: bool = False) -> Any:
        value, until = self._values.get(key, (None, 0.0))
        return value if not until or until > time.time() else None

    def set(self, key: str, value: Any, serialize: bool = True, time: float = 0, **_: Any) -> None:
        self._values[key] = (value, _now() + time if time else 0.0)

    def incr(self, key: str, delta: int = 1, time: float = 0) -> int:
        value = max(0, int(self.get(key) or 0) + int(delta))
        self.set(key, value, time=time)
        return value

    def decr(self, key: str, delta: int = 1, time: float = 0) -> int:
        return self.incr(key, -int(delta), time)

    def delete(self, key: str, server_key: object = None) -> None:
        self._values.pop(key, None)

    def set_multi(
        self, mapping: Mapping[str, Any], server_key: object, time: float = 0, **_: Any
    ) -> None:
        for key, value in mapping.items():
            self.set(key, value, time=time)

    def get_multi(self, keys: list[str], server_key: object, **_: Any) -> list[Any]:
        return [self.get(key) for key in keys]


def _now() -> float:
    return time.time()


def cache_filter(global_conf: Mapping[str, str], **_: str) -> Callable[[Any], Any]:
    """Return the filter that gives every request the cache (`paste.filter_factory`)."""
    cache = Cache()

    def around(application: Any) -> Any:
        def answer(environment: dict[str, Any], start_response: Any) -> Any:
            environment.setdefault("swift.cache", cache)
            return application(environment, start_response)

        return answer

    return around


def main() -> None:
    """Run a server until it is told to end."""
    swift_conf, name, server_conf = sys.argv[1:]
    os.setsid()  # a server that signals its whole group must not reach the tests
    utils = importlib.import_module("swift.common.utils")
    # its limits are read while modules are imported, before `swift_dir` is known
    utils.SWIFT_CONF_FILE = swift_conf  # type: ignore[attr-defined]
    sys.argv[1:] = [server_conf, "-v"]
    importlib.import_module(MODULES[name]).main()


if __name__ == "__main__":
    main()
