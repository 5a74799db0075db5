from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any


def raising(number: int) -> Callable[..., Any]:
    """Return a system call that always fails with an error number."""

    def fail(*given: object, **named: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail
