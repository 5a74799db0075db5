"""Files that say which extents changed; those under data/ were written by the real programs."""

from __future__ import annotations

import io
import json
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backupcore.extents import as_extents, melt_extents, subtract_extents, total_length
from backupcore.volume.hint import ChangedExtents, read_changed_extents, row

Rows: TypeAlias = Sequence[tuple[int, int]]

DATA = Path(__file__).parent / "data"
BLOCK = 64 << 10
THIN_ROWS = [
    [begin * BLOCK, count * BLOCK] for begin, count in ((4, 1), (15, 15), (40, 5), (50, 5))
]
OWN = b'{"format": 1, "extents": [[0, 512], [4096, 8192]], "since": "a", "size_bytes": 65536}'
RBD = (
    b'[{"offset":0,"length":4194304,"exists":"true"},'
    b'{"offset":8388608,"length":9,"exists":"false"}]'
)


def read(content: bytes) -> ChangedExtents:
    return read_changed_extents(io.BytesIO(content))


def rows_of(content: bytes) -> list[list[int]]:
    rows: list[list[int]] = read(content).extents.tolist()
    return rows


def as_own(rows: Rows) -> bytes:
    return json.dumps({"format": 1, "extents": rows}).encode()


def as_rbd(rows: Rows) -> bytes:
    return json.dumps([{"offset": a, "length": b, "exists": "true"} for a, b in rows]).encode()


def as_rbd_texts(rows: Rows) -> bytes:
    return json.dumps(
        [{"offset": str(a), "length": str(b), "exists": "false"} for a, b in rows], indent=4
    ).encode()


def as_nbdinfo(rows: Rows) -> bytes:
    clean = {"offset": 7, "length": 7, "type": 0, "description": "clean"}
    dirty = [{"offset": a, "length": b, "type": 1, "description": "dirty"} for a, b in rows]
    return json.dumps([clean, *dirty, clean]).encode()


def as_thin_delta(rows: Rows) -> bytes:
    kinds = ("different", "left_only", "right_only")
    lines = [
        f'<{kinds[index % 3]} begin="{offset}" length="{length}"/><same begin="5" length="90"/>\n'
        for index, (offset, length) in enumerate(rows)
    ]
    head = '<superblock uuid="" data_block_size="1"><diff left="1" right="2">\n'
    return f"{head}{''.join(lines)}</diff></superblock>\n".encode()


EACH_FORMAT = pytest.mark.parametrize(
    ("write", "unit"),
    [(as_own, 1), (as_rbd, 1), (as_rbd_texts, 1), (as_nbdinfo, 1), (as_thin_delta, 512)],
    ids=["own", "rbd", "rbd_texts", "nbdinfo", "thin_delta"],
)
ROWS = st.lists(st.tuples(st.integers(0, 1 << 50), st.integers(0, 1 << 20)), max_size=40)


def test_our_own_format_says_extents_and_where_they_come_from() -> None:
    changed = read(
        b'{"size_bytes": 12288, "extents": [[4096, 8192]], "format": 1,'
        b' "volume_id": "db", "since": "7f3a"}'
    )
    assert changed.extents.tolist() == [[4096, 8192]]
    assert changed.extents.dtype == np.int64
    assert (changed.since, changed.volume_id, changed.size_bytes) == ("7f3a", "db", 12288)


def test_what_our_own_format_leaves_out_is_none() -> None:
    changed = read(b'{"format": 1, "extents": [], "since": null}')
    assert changed.extents.shape == (0, 2)
    assert (changed.since, changed.volume_id, changed.size_bytes) == (None, None, None)


def test_rbd_diff_counts_discarded_extents_as_changed() -> None:
    assert rows_of(RBD) == [[0, 4194304], [8388608, 9]]


def test_rbd_diff_may_write_numbers_as_texts_and_over_many_lines() -> None:
    content = b'[\n    {\n  "offset": "0",\n  "length": "4096",\n  "exists": "true"\n    }\n]\n'
    assert rows_of(content) == [[0, 4096]]


def test_rbd_diff_may_write_exists_as_a_truth_value() -> None:
    assert rows_of(b'[{"offset":1,"length":2,"exists":false}]') == [[1, 2]]


@pytest.mark.parametrize("content", [b"[]", b"[\n\n]\n", b" [ ] "])
def test_an_empty_list_says_that_nothing_changed(content: bytes) -> None:
    assert rows_of(content) == []


@pytest.mark.parametrize("name", ["thin_delta.xml", "thin_delta_verbose.xml"])
def test_what_thin_delta_wrote_changes_all_but_the_same_blocks(name: str) -> None:
    assert read_changed_extents(DATA / name).extents.tolist() == THIN_ROWS


def test_thin_delta_of_equal_devices_says_that_nothing_changed() -> None:
    assert rows_of(as_thin_delta([])) == []


def test_what_nbdinfo_wrote_changes_the_dirty_extents() -> None:
    expected = [[1048576, 65536], [5242880, 262144], [10485760, 65536]]
    assert read_changed_extents(DATA / "nbdinfo_dirty.json").extents.tolist() == expected


@EACH_FORMAT
@settings(deadline=None)
@given(rows=ROWS)
def test_extents_in_any_order_overlapping_or_empty_become_clean(
    write: Callable[[Rows], bytes], unit: int, rows: Rows
) -> None:
    assert rows_of(write(rows)) == (as_extents(rows) * unit).tolist()


@EACH_FORMAT
def test_many_rows_are_read_as_they_are(write: Callable[[Rows], bytes], unit: int) -> None:
    rows = [(index * 8192, 4096) for index in range(30_000)]
    assert np.array_equal(read(write(rows)).extents, np.array(rows) * unit)


def test_marks_inside_texts_part_no_rows() -> None:
    note = "[{}, {}],"
    rows = [{"offset": 2 * i, "length": 1, "exists": "true", "note": note} for i in range(9000)]
    assert len(rows_of(json.dumps(rows).encode())) == 9000
    text = json.dumps(rows).encode()
    assert len(rows_of(text[:-2] + b', "last": "},"}]')) == 9000


def test_rows_parted_in_an_unusual_way_are_read_as_they_are() -> None:
    rows = [(2 * index, 1) for index in range(50_000)]
    content = as_own(rows).replace(b"], [", b"]\n ,[")
    assert np.array_equal(read(content).extents, np.array(rows))


@pytest.mark.parametrize("content", [OWN, as_thin_delta([(1, 2)])], ids=["json", "xml"])
def test_a_byte_order_mark_and_blank_lines_are_passed_over(content: bytes) -> None:
    assert rows_of(b"\xef\xbb\xbf\r\n  " + content + b"\n\n") == rows_of(content)


def test_a_file_that_is_handed_over_stays_open(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(OWN)
    with (tmp_path / "a").open("rb") as file:
        read_changed_extents(file)
        assert not file.closed


def test_more_extents_than_are_kept_are_melted_on_a_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row, "EXTENT_COUNT_MAX", 100)
    monkeypatch.setattr(row, "_ROWS_AT_ONCE", 64)
    rows = [(index * 20_000, 1000) for index in range(1, 2000)]
    extents = read(as_own(rows)).extents
    assert 10 < len(extents) <= 100
    assert np.array_equal(extents, melt_extents(extents))
    assert not len(subtract_extents(as_extents(rows), extents))
    assert extents[-1].sum() == 1999 * 20_000 + 1000


def test_few_extents_are_never_widened() -> None:
    rows = [(index * 2, 1) for index in range(10_000)]
    assert total_length(read(as_own(rows)).extents) == 10_000


def run(*command: str | Path) -> bytes:
    return subprocess.run(command, check=True, capture_output=True, timeout=60).stdout


def needs(*programs: str) -> pytest.MarkDecorator:
    missing = [program for program in programs if not shutil.which(program)]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")


def thin_pool(devices: Sequence[dict[int, int]]) -> str:
    """Return a pool whose devices map blocks of the volume to blocks of the pool."""
    lines = ['<superblock uuid="" time="1" transaction="1" version="2" data_block_size="128"']
    lines.append(' nr_data_blocks="4096">')
    for number, blocks in enumerate(devices, 1):
        lines.append(f'<device dev_id="{number}" mapped_blocks="{len(blocks)}" transaction="0"')
        lines.append(' creation_time="0" snap_time="1">')
        lines += [
            f'<single_mapping origin_block="{block}" data_block="{place}" time="0"/>'
            for block, place in sorted(blocks.items())
        ]
        lines.append("</device>")
    return "\n".join([*lines, "</superblock>"])


@needs("thin_restore", "thin_delta")
@pytest.mark.parametrize("seed", range(5))
def test_thin_delta_and_we_agree_on_what_changed(seed: int, tmp_path: Path) -> None:
    choose = random.Random(seed)
    before = {block: block for block in range(500) if choose.random() < 0.6}
    after = {block: place for block, place in before.items() if choose.random() < 0.9}
    after |= {block: 1000 + block for block in range(600) if choose.random() < 0.2}
    changed = [block for block in range(600) if before.get(block) != after.get(block)]
    (tmp_path / "pool.xml").write_text(thin_pool([before, after]))
    (tmp_path / "pool").write_bytes(bytes(4 << 20))
    run("thin_restore", "-i", tmp_path / "pool.xml", "-o", tmp_path / "pool")
    for options in ([], ["--verbose"]):
        written = run("thin_delta", "--thin1", "1", "--thin2", "2", *options, tmp_path / "pool")
        expected = as_extents([(block * BLOCK, BLOCK) for block in changed])
        assert np.array_equal(read(written).extents, expected)


@needs("qemu-img", "qemu-io", "qemu-nbd", "nbdinfo")
def test_what_was_written_since_a_bitmap_was_made_is_what_nbdinfo_tells(tmp_path: Path) -> None:
    image, socket = tmp_path / "disk.qcow2", tmp_path / "s"
    run("qemu-img", "create", "-f", "qcow2", image, "8M")
    run("qemu-img", "bitmap", "--add", image, "-g", "65536", "monday")
    run("qemu-io", "-f", "qcow2", "-c", "write 1M 4k", "-c", "discard 5M 128k", image)
    command: list[str | Path] = [
        "qemu-nbd",
        "-r",
        "-t",
        "-f",
        "qcow2",
        "-B",
        "monday",
        "-k",
        socket,
        "--fork",
    ]
    run(*command, f"--pid-file={tmp_path / 'pid'}", image)
    try:
        written = run(
            "nbdinfo", "--map=qemu:dirty-bitmap:monday", "--json", f"nbd+unix:///?socket={socket}"
        )
    finally:
        os.kill(int((tmp_path / "pid").read_text()), 15)
    assert rows_of(written) == [[1 << 20, 65536], [5 << 20, 131072]]
