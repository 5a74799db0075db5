"""Which request this thread works for: log lines name it, and orders remember it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["current_request", "working_for"]

_REQUEST: ContextVar[str | None] = ContextVar("backupcore_request", default=None)


def current_request() -> str | None:
    """Return the id of the request that is worked for, None when it is none's."""
    return _REQUEST.get()


@contextmanager
def working_for(request_id: str | None) -> Iterator[None]:
    """Work for a request; the threads of `open_pool` inherit it from who submits to them."""
    token = _REQUEST.set(request_id)
    try:
        yield
    finally:
        _REQUEST.reset(token)
