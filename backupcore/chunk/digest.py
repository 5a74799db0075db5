"""Chunk ids, the zero test and checksums, over runs of chunks at once."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from blake3 import blake3
from xxhash import xxh3_64

from backupcore.model import Buffer, ByteArray, Ids

__all__ = ["ID_LENGTH", "checksum", "chunk_ids", "digest", "ids_equal", "nonzero_chunks"]

ID_LENGTH = 32


def chunk_ids(
    run: memoryview, chunk_size_bytes: int, id_key: bytes, positions: Iterable[int] | None = None
) -> Ids:
    """Return uint8[n, 32]: keyed BLAKE3-256 of each chunk of a run, the last as long as it is.

    positions: of the chunks in the run, all of them unless given. BLAKE3 releases the interpreter
    for each chunk.
    """
    if positions is None:
        positions = range(-(-len(run) // chunk_size_bytes))
    digests = [
        blake3(run[at * chunk_size_bytes : (at + 1) * chunk_size_bytes], key=id_key).digest()
        for at in positions
    ]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, ID_LENGTH)


def ids_equal(first: Ids, second: Ids) -> npt.NDArray[np.bool_]:
    """Return bool[n]: which rows of two uint8[n, 32] are the same."""
    equal = np.ascontiguousarray(first).view(np.uint64) == np.ascontiguousarray(second).view(
        np.uint64
    )
    result: npt.NDArray[np.bool_] = equal.all(axis=1)
    return result


def nonzero_chunks(run: ByteArray, chunk_size_bytes: int) -> npt.NDArray[np.bool_]:
    """Return bool[n]: which chunks of a run hold anything but zeros."""
    whole = len(run) // chunk_size_bytes
    body = run[: whole * chunk_size_bytes].view(np.uint64).reshape(whole, chunk_size_bytes // 8)
    result: npt.NDArray[np.bool_] = np.asarray(body.any(axis=1))
    if whole * chunk_size_bytes < len(run):
        result = np.append(result, run[whole * chunk_size_bytes :].any())
    return result


def digest(data: Buffer) -> bytes:
    """Return the BLAKE3-256 of stored bytes, without a key."""
    return blake3(data).digest()


def checksum(parts: Iterable[Buffer]) -> int:
    """Return the XXH3-64 of the joined parts."""
    state = xxh3_64()
    for part in parts:
        state.update(part)
    return state.intdigest()
