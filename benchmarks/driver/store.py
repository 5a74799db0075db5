"""Stores to measure: a real server on one processor, and how to reach it from the other."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from tests.servers.fault_proxy import FaultProxy
from tests.servers.swift_server import SwiftServer, swift_server

__all__ = ["STORES", "Store", "on_processors"]

CONTAINER = "benchmark"


@dataclass(frozen=True, slots=True)
class Store:
    """A store that runs.

    port: where it listens, None for a folder. make_url: of a repository, given a name that no
    other has and the port to go through. environment: the client's credentials.
    """

    kind: str
    port: int | None
    make_url: Callable[[str, int | None], str]
    make_environment: Callable[[int | None], Mapping[str, str]] = field(default=lambda port: {})

    @contextmanager
    def through_proxy(self, latency_s: float) -> Iterator[FaultProxy]:
        """Yield a proxy before the server that makes every request take longer."""
        if self.port is None:
            raise ValueError(f"{self.kind}: there is no server")
        with FaultProxy(self.port, latency_s=latency_s) as proxy:
            yield proxy


@contextmanager
def on_processors(*numbers: int) -> Iterator[None]:
    """Run, and start processes, on these processors only, if there are so many."""
    before = os.sched_getaffinity(0)
    all_numbers = sorted(before)
    wanted = {all_numbers[number] for number in numbers if number < len(all_numbers)}
    os.sched_setaffinity(0, wanted or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def _posix(folder: Path) -> Iterator[Store]:
    yield Store("posix", None, lambda name, port: f"posix:{folder}/{name}?create_container=yes")


@contextmanager
def _swift(folder: Path) -> Iterator[Store]:
    with on_processors(0):
        running = swift_server(folder / "swift")
        server = running.__enter__()
    try:
        yield Store(
            "swift",
            _port(server.auth_url),
            lambda name, port: f"swift://{CONTAINER}/{name}?create_container=yes",
            lambda port: _swift_login(server, port),
        )
    finally:
        running.__exit__(None, None, None)


@contextmanager
def _s3(folder: Path) -> Iterator[Store]:
    with on_processors(0):
        running = swift_server(folder / "s3")
        server = running.__enter__()
    own_port = _port(server.s3_endpoint)
    try:
        yield Store(
            "s3",
            own_port,
            lambda name, port: (
                f"s3://{CONTAINER}/{name}?endpoint_url=http://127.0.0.1:{port or own_port}"
                "&region=us-east-1&addressing_style=path&create_container=yes"
            ),
            lambda port: {
                "AWS_ACCESS_KEY_ID": server.access_key,
                "AWS_SECRET_ACCESS_KEY": server.secret_key,
            },
        )
    finally:
        running.__exit__(None, None, None)


def _swift_login(server: SwiftServer, port: int | None) -> dict[str, str]:
    auth_url = server.auth_url
    if port is not None:
        auth_url = auth_url.replace(str(_port(auth_url)), str(port))
    return {"ST_AUTH": auth_url, "ST_USER": server.user, "ST_KEY": server.key}


def _port(url: str) -> int:
    port = urlsplit(url).port
    if port is None:
        raise ValueError(f"{url}: names no port")
    return port


STORES = {"posix": _posix, "s3": _s3, "swift": _swift}
