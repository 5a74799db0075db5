"""Reading a small object whole: what is damaged is read once more before that is believed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from backupcore.driver import Driver
from backupcore.errors import Damaged

__all__ = ["get_opened"]

log = logging.getLogger(__name__)
T = TypeVar("T")


def get_opened(driver: Driver, key: str, open_it: Callable[[bytes], T]) -> T:
    """Get an object and return what a function makes of it.

    A bit that flips on the way looks like damage at rest, which stays: so the object is got again
    when the function raises Damaged. Raises: what the function raises of the second one, and what
    the driver raises.
    """
    try:
        return open_it(driver.get(key))
    except Damaged as error:
        log.warning("read again", extra={"key": key, "error": str(error)})
    return open_it(driver.get(key))
