"""The compiled part: chunk ids and the zero test in one call, where a compiler was at hand.

It does what `blake3` and NumPy do, in one call that leaves the interpreter to other threads, where
they take it and give it back for every chunk. Without it everything works, and gives the same
bytes. BACKUPCORE_NATIVE=no leaves it out.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

__all__ = ["LIBRARY", "NameChunks", "load"]

LIBRARY = Path(__file__).with_name("names.so")

# run, positions, count, chunk size, key, nonzero, ids; addresses are numbers, 0 is none
NameChunks: TypeAlias = Callable[[int, int, int, int, bytes, int, int], int]


def load() -> NameChunks | None:
    """Return the compiled function, None where there is none or it is not wanted."""
    if os.environ.get("BACKUPCORE_NATIVE") == "no":
        return None
    try:
        function = ctypes.CDLL(str(LIBRARY)).backupcore_name_chunks
    except (OSError, AttributeError):
        return None
    address, size = ctypes.c_void_p, ctypes.c_size_t
    function.argtypes = [address, address, size, size, ctypes.c_char_p, address, address]
    function.restype = ctypes.c_int
    named: NameChunks = function
    return named
