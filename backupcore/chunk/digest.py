"""Chunk ids, the zero test and checksums, over runs of chunks at once."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from blake3 import blake3
from xxhash import xxh3_64

from backupcore.chunk import native
from backupcore.model import Buffer, ByteArray, Ids

__all__ = [
    "ID_LENGTH",
    "checksum",
    "chunk_ids",
    "digest",
    "ids_equal",
    "name_chunks",
    "nonzero_chunks",
]

ID_LENGTH = 32
_native = native.load()


def name_chunks(
    run: ByteArray, chunk_size_bytes: int, id_key: bytes
) -> tuple[npt.NDArray[np.bool_], Ids]:
    """Return bool[n], which chunks of a run are not zero, and uint8[n, 32], the ids of those."""
    count = -(-len(run) // chunk_size_bytes)
    ids = np.zeros((count, ID_LENGTH), np.uint8)
    if _native is None or len(run) % chunk_size_bytes:
        nonzero = nonzero_chunks(run, chunk_size_bytes)
        ids[nonzero] = chunk_ids(run.data, chunk_size_bytes, id_key, np.flatnonzero(nonzero))
        return nonzero, ids
    nonzero = np.empty(count, np.bool_)
    failed = _native(
        _address(run), 0, count, chunk_size_bytes, id_key, _address(nonzero), _address(ids)
    )
    if failed:
        raise AssertionError(f"chunks of {chunk_size_bytes} bytes cannot be named in one call")
    return nonzero, ids


def chunk_ids(
    run: memoryview,
    chunk_size_bytes: int,
    id_key: bytes,
    positions: npt.NDArray[np.int64] | None = None,
) -> Ids:
    """Return uint8[n, 32]: keyed BLAKE3-256 of each chunk of a run, the last as long as it is.

    positions: int64[n] of the chunks in the run, all of them unless given.
    """
    if positions is None:
        positions = np.arange(-(-len(run) // chunk_size_bytes))
    count, whole_count = len(positions), len(run) // chunk_size_bytes
    if _native is None or not count or positions.max() >= whole_count or positions.min() < 0:
        return _named_one_by_one(run, chunk_size_bytes, id_key, positions)
    ids = np.empty((count, ID_LENGTH), np.uint8)
    at = np.ascontiguousarray(positions, np.int64)
    place = _address(np.frombuffer(run, np.uint8))
    if _native(place, _address(at), count, chunk_size_bytes, id_key, 0, _address(ids)):
        raise AssertionError(f"chunks of {chunk_size_bytes} bytes cannot be named in one call")
    return ids


def _named_one_by_one(
    run: memoryview, chunk_size_bytes: int, id_key: bytes, positions: npt.NDArray[np.int64]
) -> Ids:
    digests = [
        blake3(run[at * chunk_size_bytes : (at + 1) * chunk_size_bytes], key=id_key).digest()
        for at in positions.tolist()
    ]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, ID_LENGTH)


def _address(array: npt.NDArray[np.generic]) -> int:
    """Return where a contiguous array lies in memory."""
    return int(array.ctypes.data)


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
