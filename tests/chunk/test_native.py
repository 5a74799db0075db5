from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backupcore.chunk import digest, native
from backupcore.chunk.native.build import FLAGS
from backupcore.model import ByteArray
from backupcore.units import KIB, MIB

KEY = bytes(range(32))
SOURCE = native.LIBRARY.with_name("names.c")
COMPILER = shutil.which("cc")

needs_native = pytest.mark.skipif(
    native.load() is None, reason="the part in C is not built: apt-get install gcc, pip install ."
)


def run_of(count: int, chunk: int, zero: set[int]) -> ByteArray:
    run = np.random.default_rng(count * chunk).integers(0, 256, count * chunk, np.uint8)
    for position in zero:
        run[position * chunk : (position + 1) * chunk] = 0
    return run


def by_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digest, "_native", None)


@pytest.fixture(params=[4, 8, 16], scope="module")
def lanes(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library built for so many lanes at most."""
    if COMPILER is None:
        pytest.skip("no C compiler: apt-get install gcc")
    library = tmp_path_factory.mktemp("native") / "names.so"
    limit = f"-DLANES_USABLE={request.param}"
    subprocess.run([COMPILER, *FLAGS, limit, "-o", library, SOURCE], check=True)
    return library


@pytest.mark.parametrize("chunk", [4 * KIB, 8 * KIB, 32 * KIB, 512 * KIB, MIB])
@pytest.mark.parametrize("count", [1, 3, 17])
def test_every_width_of_vectors_names_chunks_as_the_package_does(
    monkeypatch: pytest.MonkeyPatch, lanes: Path, chunk: int, count: int
) -> None:
    run = run_of(count, chunk, {1})
    monkeypatch.setattr(native, "LIBRARY", lanes)
    monkeypatch.setattr(digest, "_native", native.load())
    nonzero, ids = digest.name_chunks(run, chunk, KEY)
    all_ids = digest.chunk_ids(run.data, chunk, KEY)
    by_package(monkeypatch)
    expected_nonzero, expected = digest.name_chunks(run, chunk, KEY)
    assert nonzero.tolist() == expected_nonzero.tolist()
    assert ids.tobytes() == expected.tobytes()
    assert all_ids.tobytes() == digest.chunk_ids(run.data, chunk, KEY).tobytes()


@needs_native
@given(
    count=st.integers(1, 40),
    zero=st.sets(st.integers(0, 39)),
    positions=st.lists(st.integers(0, 39), max_size=50),
    tail=st.integers(0, 4095),
)
def test_with_and_without_the_compiled_part_names_are_the_same(
    count: int, zero: set[int], positions: list[int], tail: int
) -> None:
    run = run_of(count, 4096, zero)[: count * 4096 - tail]
    chosen = np.array([at % count for at in positions], np.int64)
    nonzero, ids = digest.name_chunks(run, 4096, KEY)
    some = digest.chunk_ids(run.data, 4096, KEY, chosen)
    with pytest.MonkeyPatch.context() as monkeypatch:
        by_package(monkeypatch)
        expected_nonzero, expected = digest.name_chunks(run, 4096, KEY)
        assert nonzero.tolist() == expected_nonzero.tolist()
        assert ids.tobytes() == expected.tobytes()
        assert some.tobytes() == digest.chunk_ids(run.data, 4096, KEY, chosen).tobytes()


@needs_native
@pytest.mark.parametrize("position", [-1, 2, 1 << 40])
def test_a_position_outside_the_run_is_named_as_no_bytes_at_all(position: int) -> None:
    outside = np.array([0, position], np.int64)
    ids = digest.chunk_ids(memoryview(bytes(range(256)) * 32), 4096, KEY, outside)
    assert ids[1].tobytes() == digest.chunk_ids(memoryview(b"x")[1:], 1, KEY, outside[:1]).tobytes()


@needs_native
@pytest.mark.parametrize("chunk", [0, 1024, 5000, 2 * MIB])
def test_a_chunk_size_it_is_not_written_for_is_refused(chunk: int) -> None:
    function = native.load()
    assert function is not None
    room = ctypes.create_string_buffer(64)
    place = ctypes.addressof(room)
    assert function(place, 0, 1, chunk, KEY, 0, place) == -1


def test_without_the_library_there_is_no_function(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(native, "LIBRARY", tmp_path / "none.so")
    assert native.load() is None


def test_the_environment_leaves_it_out() -> None:
    program = "from backupcore.chunk import digest; print(digest._native)"
    environment = {"BACKUPCORE_NATIVE": "no"}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "None\n"
