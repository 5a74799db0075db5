"""Bytes that look like what disks hold: text, programs, packed data, database pages.

Everything follows from the generator that is handed in.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

__all__ = ["database_pages", "mixed_file", "random_bytes"]

_PAGE_SIZE_BYTES = 8192
_PHRASE_COUNT = 1 << 14
_LETTERS = np.frombuffer(b"etaoinshrdlucmfwypvbgkjqxz", np.uint8)


def random_bytes(random: np.random.Generator, length: int) -> bytes:
    """Return bytes that do not compress, as archives, pictures and ciphers are."""
    return random.bytes(length)


def mixed_file(random: np.random.Generator, length: int) -> bytes:
    """Return the content of one file: text, a program, packed data or mostly zeros."""
    fill = random.choice(4, p=(0.4, 0.3, 0.25, 0.05))
    return (_text, _program, random_bytes, _mostly_zeros)[fill](random, length)


def _text(random: np.random.Generator, length: int) -> bytes:
    phrases = _phrases()
    picks = random.zipf(1.15, length // 12 + 1) % _PHRASE_COUNT
    return b" ".join([phrases[pick] for pick in picks.tolist()])[:length].ljust(length)


@cache
def _phrases() -> list[bytes]:
    """Return phrases of one to six words; the same in every run."""
    random = np.random.Generator(np.random.PCG64(0))
    letters = _LETTERS[np.minimum(random.geometric(0.12, (_PHRASE_COUNT, 64)) - 1, 25)]
    words = random.random((_PHRASE_COUNT, 64)) < 0.17
    letters[words] = ord(" ")
    lengths = random.integers(6, 40, _PHRASE_COUNT).tolist()
    return [row.tobytes()[:length] for row, length in zip(letters, lengths, strict=True)]


def _program(random: np.random.Generator, length: int) -> bytes:
    """Return records of 16 bytes whose columns vary little, as instructions and tables do."""
    mask = np.frombuffer(random.bytes(8) + bytes(4) + b"\xff\x0f\x03\xff", np.uint8)
    rows = np.frombuffer(random.bytes(-(-length // 16) * 16), np.uint8).reshape(-1, 16)
    return (rows & mask).tobytes()[:length]


def _mostly_zeros(random: np.random.Generator, length: int) -> bytes:
    content = np.zeros(length, np.uint8)
    spots = random.integers(0, length, length // 256 + 1)
    content[spots] = random.integers(1, 256, len(spots))
    return content.tobytes()


def database_pages(random: np.random.Generator, length: int) -> bytes:
    """Return pages of 8 KiB: a header, rows with a key, a time, a small number and a name."""
    row_type = np.dtype([("key", "<u8"), ("time", "<u8"), ("count", "<u2"), ("name", "S46")])
    count = -(-length // _PAGE_SIZE_BYTES)
    rows_per_page = (_PAGE_SIZE_BYTES - 24) // row_type.itemsize
    pages = np.zeros((count, _PAGE_SIZE_BYTES), np.uint8)
    rows = np.zeros((count, rows_per_page), row_type)
    first_key = int(random.integers(0, 1 << 40))
    rows["key"] = np.arange(first_key, first_key + rows.size).reshape(rows.shape)
    rows["time"] = 1_700_000_000_000 + np.cumsum(random.integers(0, 5000, rows.shape), axis=1)
    rows["count"] = random.integers(0, 200, rows.shape)
    names: npt.NDArray[np.bytes_] = np.array(_phrases(), "S46")
    rows["name"] = names[random.integers(0, _PHRASE_COUNT, rows.shape)]
    is_free = (
        np.arange(rows_per_page)
        >= random.integers(rows_per_page // 3, rows_per_page, count)[:, np.newaxis]
    )
    rows[is_free] = np.zeros(1, row_type)
    pages[:, :24] = np.frombuffer(random.bytes(count * 24), np.uint8).reshape(count, 24)
    body = rows.view(np.uint8).reshape(count, -1)
    pages[:, 24 : 24 + body.shape[1]] = body
    return pages.tobytes()[:length]
