"""Restores backups from a folder, knowing docs/design/format.md and nothing else of ours.

    python tests/format/reader.py FOLDER list
    python tests/format/reader.py FOLDER BACKUP_ID OUTPUT

It needs blake3, xxhash and zstandard. It is the way out when all else fails, and the proof that
the document suffices. It restores leaf by leaf and writes nothing it has not checked.
"""

from __future__ import annotations

import json
import os
import re
import struct
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeAlias

import xxhash
import zstandard
from blake3 import blake3

MAGIC = b"\x89BKC\r\n\x1a\n"
FRAME_MAGIC = b"\xf5BKF"
FAN_OUT = 1024
FRAME_SIZE_BYTES_MAX = 4 << 20
MAP_ITEM_SIZE_BYTES_MAX = 64 << 20
KNOWN_FEATURES: frozenset[str] = frozenset()
NULL_ROW = struct.pack("<IIIHH56x", 0, 0, 0, 0xFFFF, 0)

Header: TypeAlias = dict[str, Any]


class Damaged(Exception):
    """The repository is not what the document says."""


@dataclass(frozen=True, slots=True)
class Row:
    """Where a leaf or node lies, and what it must be."""

    pack: str
    offset: int
    stored_length: int
    plain_length: int
    digest: bytes
    cell_count: int


@dataclass(frozen=True, slots=True)
class Source:
    """The facts of one manifest that a restore needs."""

    folder: Path
    id_key: bytes
    size_bytes: int
    chunk_size_bytes: int

    @property
    def cell_count(self) -> int:
        return -(-self.size_bytes // self.chunk_size_bytes)


def refuse(what: str) -> NoReturn:
    raise Damaged(what)


def check(is_right: bool, what: str) -> None:
    if not is_right:
        refuse(what)


def open_envelope(data: bytes, kind: bytes, key: str) -> tuple[Header, list[bytes]]:
    """Return header and sections of a whole object."""
    check(len(data) >= 68, f"{key}: too short")
    start = struct.unpack_from("<8s4sHHI", data)
    check(start[:4] == (MAGIC, kind, 1, 0), f"{key}: not an object of kind {kind!r}, version 1")
    section_count, reserved, total, digest = struct.unpack_from("<IIQ32s", data, len(data) - 48)
    check(blake3(data[:-32]).digest() == digest, f"{key}: digest differs")
    check((total, reserved) == (len(data), 0), f"{key}: length differs")
    check(start[4] <= 65536 and section_count <= 8, f"{key}: header or sections too many")
    table = len(data) - 48 - 8 * section_count
    check(table >= 20 + start[4], f"{key}: parts overlap")
    lengths = struct.unpack_from(f"<{section_count}Q", data, table)
    check(20 + start[4] + sum(lengths) == table, f"{key}: sections do not fill it")
    sections, offset = [], 20 + start[4]
    for length in lengths:
        sections.append(data[offset : offset + length])
        offset += length
    return parse_header(data[20 : 20 + start[4]], key), sections


def parse_header(data: bytes, key: str) -> Header:
    """Return the canonical JSON object."""
    try:
        header = json.loads(data.decode("utf-8"), parse_float=refuse, parse_constant=refuse)
        again = json.dumps(header, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        is_canonical = isinstance(header, dict) and again.encode("utf-8") == data
    except (ValueError, RecursionError, Damaged) as error:
        raise Damaged(f"{key}: header is no canonical JSON: {error}") from error
    check(is_canonical, f"{key}: header is no canonical JSON")
    return dict(header)


def open_frame(stored: bytes, plain_length: int, what: str) -> bytes:
    """Return the plain bytes of a frame; nothing is unpacked whose length is another."""
    check(len(stored) > 40, f"{what}: frame too short")
    magic, codec, cipher, reserved, plain, payload_length = struct.unpack_from("<4sBBHII", stored)
    check((magic, cipher, reserved) == (FRAME_MAGIC, 0, 0), f"{what}: no frame")
    check(plain == plain_length and plain > 0, f"{what}: frame of another length")
    payload = stored[40:]
    check(payload_length == len(payload) <= plain, f"{what}: frame cut or too long")
    if codec == 0:
        check(plain == payload_length, f"{what}: plain frame of another length")
        return payload
    check(codec == 1, f"{what}: unknown codec {codec}")
    try:
        declared = zstandard.get_frame_parameters(payload).content_size
        check(declared == plain, f"{what}: zstd declares {declared} bytes")
        return zstandard.ZstdDecompressor().decompress(payload, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise Damaged(f"{what}: {error}") from error


def read_object(folder: Path, key: str, kind: bytes) -> tuple[Header, list[bytes]]:
    return open_envelope((folder / key).read_bytes(), kind, key)


def read_range(folder: Path, key: str, offset: int, length: int) -> bytes:
    """Return exactly that range of an object."""
    path = folder / key
    check(path.is_file(), f"{key}: missing")
    check(offset + length <= path.stat().st_size, f"{key}: ends before {offset + length}")
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length)


def check_repository(folder: Path) -> None:
    """Refuse a repository of another format or with features unknown here."""
    config, _ = read_object(folder, "config", b"conf")
    check(config["format"] == 1, f"config: format {config['format']}, not 1")
    unknown = set(config["features_required"]) - KNOWN_FEATURES
    check(not unknown, f"config: needs {sorted(unknown)}")


def read_id_key(folder: Path, domain_id: str) -> bytes:
    key = f"domains/{domain_id}"
    domain, _ = read_object(folder, key, b"doma")
    known = (domain["domain_id"], domain["digest"], domain["cipher"])
    check(known == (domain_id, "blake3-256", "none"), f"{key}: {known} is not known here")
    return bytes.fromhex(domain["id_key"])


def backups(folder: Path) -> Iterator[Header]:
    """Yield the manifest of each backup whose highest register, but for aborted ones, is one."""
    for place in sorted((folder / "backups").glob("*/*")):
        decided: Header = {}
        for path in sorted(place.iterdir()):
            key = path.relative_to(folder).as_posix()
            register, _ = read_object(folder, key, b"regi")
            check(re.fullmatch(r"\d{10}", path.name) is not None, f"{key}: no number")
            named = (register["backup_id"], register["register"])
            check(named == (place.name, int(path.name)), f"{key}: register of another name")
            check(register["state"] in ("manifest", "aborted", "deleted"), f"{key}: no state")
            decided = decided if register["state"] == "aborted" else register
        if decided.get("state") == "manifest":
            check(decided["volume"]["tag"] == place.parent.name, f"{place.name}: another volume")
            yield decided


def pack_keys(data: bytes, kind: str, width: int) -> list[str]:
    """Return the key of each pack of a table whose entries begin with a pack reference."""
    entries = (data[start : start + width] for start in range(0, len(data), width))
    numbered = ((entry, int.from_bytes(entry[32:36], "little")) for entry in entries)
    return [
        f"{kind}/{entry[:16].hex()}/{entry[16:32].hex()}-{number:010d}"
        for entry, number in numbered
    ]


def leaves(source: Source, row: Row, level: int, first_cell: int) -> Iterator[tuple[int, bytes]]:
    """Yield first cell and plain bytes of each leaf below a row, in order."""
    what = f"{row.pack} at {row.offset}"
    check(first_cell < source.cell_count, f"{what}: lies beyond the volume's end")
    check(row.plain_length <= MAP_ITEM_SIZE_BYTES_MAX, f"{what}: {row.plain_length} bytes")
    stored = read_range(source.folder, row.pack, row.offset, row.stored_length)
    check(blake3(stored).digest() == row.digest, f"{what}: digest differs")
    plain = open_frame(stored, row.plain_length, what)
    check(len(plain) >= 32, f"{what}: too short")
    name, chunk_size_bytes, cell = struct.unpack_from("<4sIQ", plain)
    place = (b"node" if level else b"leaf", source.chunk_size_bytes, first_cell)
    check((name, chunk_size_bytes, cell) == place, f"{what}: belongs elsewhere")
    if level == 0:
        check(struct.unpack_from("<I", plain, 24)[0] == row.cell_count, f"{what}: other cells")
        yield first_cell, plain
        return
    for index, child in enumerate(node_rows(plain, level, what)):
        if child is not None:
            yield from leaves(source, child, level - 1, first_cell + index * FAN_OUT**level)


def node_rows(plain: bytes, level: int, what: str) -> list[Row | None]:
    """Return the 1024 rows of a node."""
    found, map_count, data_count, child_count = struct.unpack_from("<4I", plain, 16)
    check(found == level, f"{what}: level {found} in place of {level}")
    check(level == 1 or not data_count + child_count, f"{what}: data packs above level 1")
    rows_start = 32 + 36 * map_count
    starts = 4 * (FAN_OUT + 1) if level == 1 else 0
    length = rows_start + 72 * FAN_OUT + 44 * data_count + starts + 4 * child_count
    check(len(plain) == length, f"{what}: node of another length")
    packs = pack_keys(plain[32:rows_start], "map", 36)
    rows: list[Row | None] = []
    for start in range(rows_start, rows_start + 72 * FAN_OUT, 72):
        if plain[start : start + 72] == NULL_ROW:
            rows.append(None)
            continue
        offset, stored, size, pack, reserved = struct.unpack_from("<IIIHH", plain, start)
        check(pack < map_count and not reserved, f"{what}: row names no pack")
        digest, cell_count = struct.unpack_from("<32sQ", plain, start + 16)
        rows.append(Row(packs[pack], offset, stored, size, digest, cell_count))
    return rows


def chunks(source: Source, first_cell: int, leaf: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield each cell that is not zero with its checked bytes, frame by frame."""
    pack_count, frame_count, cell_count, reserved = struct.unpack_from("<4I", leaf, 16)
    frames = 32 + 36 * pack_count
    presence = frames + 24 * frame_count
    ids = presence + 128
    check(not reserved and len(leaf) == ids + 35 * cell_count, f"leaf {first_cell}: length")
    bits = int.from_bytes(leaf[presence:ids], "little")
    cells = [first_cell + index for index in range(FAN_OUT) if bits >> index & 1]
    check(len(cells) == cell_count > 0, f"leaf {first_cell}: presence differs")
    check(cells[-1] < source.cell_count, f"leaf {first_cell}: cells beyond the volume's end")
    packs = pack_keys(leaf[32:frames], "data", 36)
    frame_of = struct.unpack_from(f"<{cell_count}H", leaf, ids + 32 * cell_count)
    users: dict[int, list[int]] = defaultdict(list)
    for position, frame in enumerate(frame_of):
        check(frame < frame_count, f"leaf {first_cell}: no frame {frame}")
        users[frame].append(position)
    for frame, positions in users.items():
        plain = read_frame(source, packs, leaf[frames + 24 * frame :][:24])
        for position in positions:
            slot = leaf[ids + 34 * cell_count + position]
            chunk = plain[slot * source.chunk_size_bytes :][: source.chunk_size_bytes]
            check_chunk(source, cells[position], chunk, leaf[ids + 32 * position :][:32])
            yield cells[position], chunk


def read_frame(source: Source, packs: list[str], entry: bytes) -> bytes:
    """Return the plain bytes of a data frame whose checksum is right."""
    offset, stored_length, plain_length, pack, reserved, checksum = struct.unpack("<3IHHQ", entry)
    check(pack < len(packs) and not reserved, "leaf: frame names no pack")
    what = f"{packs[pack]} at {offset}"
    longest = min(FRAME_SIZE_BYTES_MAX, 256 * source.chunk_size_bytes)
    check(plain_length <= longest, f"{what}: frame of {plain_length} bytes")
    stored = read_range(source.folder, packs[pack], offset, stored_length)
    check(xxhash.xxh3_64_intdigest(stored) == checksum, f"{what}: checksum differs")
    return open_frame(stored, plain_length, what)


def check_chunk(source: Source, cell: int, chunk: bytes, chunk_id: bytes) -> None:
    length = source.size_bytes - cell * source.chunk_size_bytes
    check(len(chunk) == min(length, source.chunk_size_bytes), f"cell {cell}: length differs")
    check(blake3(chunk, key=source.id_key).digest() == chunk_id, f"cell {cell}: id differs")


def restore(folder: Path, backup_id: str, output: Path) -> None:
    """Write a backup to a new file; cells of zeros stay holes."""
    check_repository(folder)
    found = [manifest for manifest in backups(folder) if manifest["backup_id"] == backup_id]
    check(len(found) == 1, f"backup {backup_id}: {len(found)} manifests")
    manifest = found[0]
    volume, root = manifest["volume"], manifest["root"]
    id_key = read_id_key(folder, manifest["domain_id"])
    named = b"backupcore volume tag 1\0" + volume["id"].encode("utf-8")
    check(blake3(named, key=id_key).hexdigest()[:32] == volume["tag"], f"{backup_id}: volume tag")
    source = Source(folder, id_key, volume["size_bytes"], manifest["chunk_size_bytes"])
    with output.open("xb") as file:
        file.truncate(source.size_bytes)
        if root is None:
            return
        check(root["level"] == root_level(source.cell_count), f"{backup_id}: level of the root")
        lengths = (root["offset"], root["stored_length"], root["plain_length"])
        row = Row(root["pack"], *lengths, bytes.fromhex(root["digest"]), root["cells"])
        for first_cell, leaf in leaves(source, row, root["level"], 0):
            for cell, chunk in chunks(source, first_cell, leaf):
                os.pwrite(file.fileno(), chunk, cell * source.chunk_size_bytes)


def root_level(cell_count: int) -> int:
    level = 0
    while FAN_OUT ** (level + 1) < cell_count:
        level += 1
    return level


def main(arguments: list[str]) -> int:
    """List or restore; the exit code is 1 when something is not what it should be."""
    try:
        if len(arguments) == 2 and arguments[1] == "list":
            check_repository(Path(arguments[0]))
            for manifest in backups(Path(arguments[0])):
                volume = manifest["volume"]
                facts = (manifest["backup_id"], manifest["at"], volume["size_bytes"], volume["id"])
                sys.stdout.write("\t".join(map(str, facts)) + "\n")
            return 0
        if len(arguments) == 3:
            restore(Path(arguments[0]), arguments[1], Path(arguments[2]))
            return 0
    except (Damaged, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stderr.write(__doc__ or "")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
