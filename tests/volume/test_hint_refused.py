"""What a file of changed extents must not be; whatever is not understood is refused."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from backupcore.errors import Refused
from backupcore.extents import melt_extents
from backupcore.volume.hint import ChangedExtents, read_changed_extents

DATA = Path(__file__).parent / "data"
OWN = b'{"format": 1, "extents": [[0, 512], [4096, 8192]], "since": "a", "size_bytes": 65536}'
RBD = (
    b'[{"offset":0,"length":4194304,"exists":"true"},'
    b'{"offset":8388608,"length":9,"exists":"false"}]'
)
SAMPLES = {
    "own": OWN,
    "rbd": RBD,
    **{path.name: path.read_bytes() for path in sorted(DATA.glob("*[ay].*"))},
    "thin_delta_verbose": (DATA / "thin_delta_verbose.xml").read_bytes(),
}
EACH_SAMPLE = pytest.mark.parametrize("name", sorted(SAMPLES))


def read(content: bytes) -> ChangedExtents:
    return read_changed_extents(io.BytesIO(content))


def refusal(content: bytes) -> str:
    with pytest.raises(Refused) as caught:
        read(content)
    return str(caught.value)


class Dribble:
    """A pipe that hands out a few bytes at a time, for ever when told so."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self.count = 0
        self._pieces = pieces

    def read(self, size: int, /) -> bytes:
        self.count += 1
        return next(self._pieces, b"")


@EACH_SAMPLE
def test_bytes_that_come_in_small_pieces_say_the_same(name: str) -> None:
    content = SAMPLES[name]
    pieces = (content[start : start + 3] for start in range(0, len(content), 3))
    try:
        expected = read(content).extents.tolist()
    except Refused:
        with pytest.raises(Refused):
            read_changed_extents(Dribble(pieces))
    else:
        assert read_changed_extents(Dribble(pieces)).extents.tolist() == expected


@pytest.mark.parametrize(
    "make",
    [
        lambda: chain([b'{"format": 1, "since": "'], repeat(b"x" * 1000)),
        lambda: chain([b"[["], repeat(b"1" * 1000)),
        lambda: repeat(b"[" * 1000),
        lambda: chain([b'<superblock uuid="'], repeat(b"x" * 1000)),
        lambda: chain([b"<!--"], repeat(b"x" * 1000)),
        lambda: repeat(b"<" + b"x" * 1000),
        lambda: repeat(b" " * 1000),
    ],
)
def test_a_value_without_end_is_refused_before_it_fills_memory(
    make: Callable[[], Iterator[bytes]],
) -> None:
    pipe = Dribble(make())
    with pytest.raises(Refused):
        read_changed_extents(pipe)
    assert pipe.count < 1000


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\x1f\x8b\x08\x00", "neither JSON nor XML"),
        (b"Offset  Length  Type\n0  4096  data\n", "rbd diff --format json"),
        (b"NaN", "neither JSON nor XML"),
        (b"{}", "has no extents and no format"),
        (b'{"format": 1}', "has no extents"),
        (b'{"extents": []}', "has no format"),
        (b'{"format": 2, "extents": []}', "is of format 2"),
        (b'{"format": true, "extents": []}', "is of format True"),
        (b'{"format": 1.0, "extents": []}', "is of format 1.0"),
        (b'{"format": 1, "extent": []}', "unknown key 'extent': known are format"),
        (b'{"format": 1, "format": 1, "extents": []}', "'format' twice"),
        (b'{"format": 1, "extents": 5}', "has '5' at character 25, where [ must be"),
        (b'{"format": 1, "extents": []} {}', "has '{' at character 29, where the end must be"),
        (b'{"format": 1, "extents": [[0, 1]', "is cut off at character 32"),
        (b'{1: 2}', "has the key 1"),
        (b'{"format": 1, "extents": [], "since": ""}', "has since ''"),
        (b'{"format": 1, "extents": [], "since": "\\ud800"}', "has since '\\ud800'"),
        (b'{"format": 1, "extents": [], "volume_id": 5}', "has volume_id 5"),
        (b'{"format": 1, "extents": [], "size_bytes": -1}', "has size_bytes -1"),
        (b'{"format": 1, "extents": [], "size_bytes": "1"}', "has size_bytes '1'"),
        (b'{"format": 1, "extents": [[9, 2]], "size_bytes": 10}', "ends at 11, beyond"),
        (b'{"format": 1, "extents": [[0, 1], [5]]}', "extent 1: is [5]"),
        (b'{"format": 1, "extents": [[0, 1], [-1, 5]]}', "extent 1: offset -1, length 5: is"),
        (b'{"format": 1, "extents": [[0, -5]]}', "length -5: is negative"),
        (b'{"format": 1, "extents": [[0, 1.5]]}', "length 1.5: both must be whole"),
        (b'{"format": 1, "extents": [["0", 1]]}', "offset '0'"),
        (b'{"format": 1, "extents": [[true, 1]]}', "offset True"),
        (b'{"format": 1, "extents": [[0, null]]}', "length None"),
        (b'{"format": 1, "extents": [[0, NaN]]}', "NaN is no number"),
        (b'{"format": 1, "extents": [[0, Infinity]]}', "Infinity is no number"),
        (b'{"format": 1, "extents": [[0, 1e400]]}', "length inf: both must be whole"),
        (b'{"format": 1, "extents": [[4611686018427387904, 1]]}', "beyond 2^62"),
        (b'{"format": 1, "extents": [[9223372036854775808, 1]]}', "beyond 2^62"),
        (b'{"format": 1, "extents": [[1, 18446744073709551616]]}', "beyond 2^62"),
        (b'{"format": 1, "extents": [[1, 2],]}', "is no JSON at character 33"),
        (b'{"format": 1, "extents": [[' + b"9" * 5000 + b", 1]]}", "no usable value at character"),
        (b"[" * 60_000, "no usable value"),
        (b'{"format": "\xff"}', "is no UTF-8 text"),
        (b"[[0, 4096]]", 'pairs belong in {"format": 1'),
        (b"[{}]", "extent 0: has the keys []"),
        (b'[{"offset":0,"length":1}]', "extent 0: has the keys ['length', 'offset']"),
        (b'[{"offset":0,"length":1,"exists":"true","type":1}]', "extent 0: has the keys"),
        (b'[{"offset":0,"length":1,"exists":"maybe"}]', "has exists 'maybe'"),
        (b'[{"offset":"0x10","length":1,"exists":"true"}]', "offset '0x10'"),
        (b'[{"offset":"-1","length":1,"exists":"true"}]', "offset '-1'"),
        (b'[{"offset":true,"length":1,"exists":"true"}]', "offset True"),
        (b'[{"offset":0,"length":1,"type":1}]', "description None"),
        (b'[{"offset":0,"length":1,"type":0,"description":"data"}]', "qemu:dirty-bitmap"),
        (b'[{"offset":0,"length":1,"type":1,"description":"clean"}]', "qemu:dirty-bitmap"),
        (b'[{"offset":0,"length":1,"type":true,"description":"dirty"}]', "has type True"),
        (b'[{"offset":0,"length":1,"type":3,"description":"dirty"}]', "has type 3"),
        (b'[{"offset":0,"length":-1,"type":0,"description":"clean"}]', "length -1: is negative"),
    ],
)  # fmt: skip
def test_json_that_is_not_understood_is_refused(content: bytes, said: str) -> None:
    assert said in refusal(content)


@pytest.mark.parametrize("bad", [b'["5", 1]', b"[5, 1", b"[5, 01]"])
def test_a_bad_row_far_inside_is_named_by_its_place(bad: bytes) -> None:
    content = b'{"format": 1, "extents": [' + b"[5, 1]," * 200_000 + bad + b",[5, 1]" * 9 + b"]}"
    said = refusal(content)
    assert "character 1400031: " in said if bad == b"[5, 01]" else "extent 200000: " in said


def thin(inside: str, block: str = ' data_block_size="128"') -> bytes:
    return f"<superblock{block}>\n<diff>\n{inside}\n</diff></superblock>".encode()


BOMB = b"""<!DOCTYPE a [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>
<superblock data_block_size="&b;"/>"""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<", "is no XML"),
        (b"<superblock>", "has data_block_size None"),
        (b'<superblock data_block_size="128"/>', "has no <diff>"),
        (b"<extents><extent/></extents>", "line 1: has <extents> as the root"),
        (BOMB, "line 1: declares a document type"),
        (b'<?xml version="1.0"?><!DOCTYPE superblock SYSTEM "file:///etc/passwd"><a/>', "declares"),
        (thin("&a;"), "is no XML: undefined entity"),
        (thin('<different begin="0" length="1">'), "is no XML: mismatched tag: line 4"),
        (thin("<changed/>"), "line 3: has <changed> in <diff>"),
        (thin("<different/>"), "line 3: has <different> without begin and length"),
        (thin("<different><range/></different>"), "line 3: has begin None"),
        (thin('<different begin="0"/>'), "has length None"),
        (thin('<different begin="-1" length="1"/>'), "has begin '-1'"),
        (thin('<different begin="1.0" length="1"/>'), "has begin '1.0'"),
        (thin('<different begin="٣" length="1"/>'), "has begin '٣'"),
        (thin('<same begin="0" length="nan"/>'), "has length 'nan'"),
        (thin('<same begin="9223372036854775808" length="1"/>'), "beyond 2^62"),
        (thin('<same begin="0" length="' + "9" * 5000 + '"/>'), "has length '99"),
        (thin("", ' data_block_size="0"'), "has data_block_size '0', no number from 1"),
        (thin("</diff><diff>"), "has a second <diff>"),
        (thin("") + b"<superblock/>", "is no XML: junk after document element"),
        ("<superblock/>".encode("utf-16"), "neither JSON nor XML"),
    ],
)
def test_xml_that_is_not_understood_is_refused(content: bytes, said: str) -> None:
    assert said in refusal(content)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nbdinfo_allocation.json", "'hole,zero'.*qemu:dirty-bitmap"),
        ("nbdinfo_totals.json", "has the keys"),
        ("thin_pool.xml", "has <device> in <superblock>"),
    ],
)
def test_what_the_same_programs_write_of_other_things_is_refused(name: str, said: str) -> None:
    with pytest.raises(Refused, match=said):
        read_changed_extents(DATA / name)


@EACH_SAMPLE
def test_a_file_that_is_cut_off_anywhere_is_refused(name: str) -> None:
    content = SAMPLES[name].rstrip()
    for length in range(len(content)):
        refusal(content[:length])


@pytest.mark.parametrize(
    "name", ["gone.json", ".", "nul\0", ""], ids=["missing", "folder", "nul", "no_name"]
)
def test_a_path_that_is_no_file_is_refused_by_name(tmp_path: Path, name: str) -> None:
    path = os.path.join(tmp_path, name) if name else ""
    with pytest.raises(Refused, match="cannot be read: ") as caught:
        read_changed_extents(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_refusal_begins_with_the_name_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"[5]")
    with path.open("rb") as file, pytest.raises(Refused, match=f"^{path}: extent 0: "):
        read_changed_extents(file)


def test_a_file_open_as_text_is_refused() -> None:
    class Text:
        def read(self, size: int, /) -> bytes:
            return "{}"  # type: ignore[return-value]  # pyright: ignore[reportReturnType]

    with pytest.raises(Refused, match="binary mode"):
        read_changed_extents(Text())


def test_a_file_that_fails_while_it_is_read_is_refused() -> None:
    class Broken:
        def read(self, size: int, /) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(Refused, match="changed extents: cannot be read: Input/output error"):
        read_changed_extents(Broken())


def is_clean_or_refused(content: bytes) -> bool:
    try:
        extents = read(content).extents
    except Refused as error:
        return len(str(error)) < 400
    return np.array_equal(extents, melt_extents(extents)) and bool((extents >= 0).all())


@settings(deadline=None)
@given(st.binary() | st.text("[]{}<>/\"':, 019.eE+-\\ntrueNaN\ufeff\x00").map(str.encode))
def test_any_bytes_are_understood_or_refused(content: bytes) -> None:
    assert is_clean_or_refused(content)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["format", "extents", "offset", "length", "exists", "type", "since"]),
            inner,
        )
    ),
)


@settings(deadline=None)
@given(JSON)
@example({"format": 1, "extents": [[0, 0]]})
def test_any_json_is_understood_or_refused(value: object) -> None:
    assert is_clean_or_refused(json.dumps(value).encode())


@EACH_SAMPLE
@settings(deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_understood_or_refused(name: str, data: st.DataObject) -> None:
    content = bytearray(SAMPLES[name])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(content)))
        end = data.draw(st.integers(at, min(at + 4, len(content))))
        content[at:end] = data.draw(st.binary(max_size=4))
    assert is_clean_or_refused(bytes(content))
