from __future__ import annotations

import random
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backupcore.errors import Damaged
from backupcore.repository.index.build import RunBuilder
from backupcore.repository.index.run import KEYS, ROWS, Run, seal_keys, seal_rows
from tests.repository.index.shelves import IDENTITY, PACKS, as_ids, build, rows

COUNTS = st.sampled_from([0, 1, ROWS - 1, ROWS, ROWS + 1, KEYS, KEYS + 1, 5 * KEYS, 2000])


def some_ids(seed: int, count: int) -> list[bytes]:
    chance = random.Random(seed)
    return [chance.randbytes(32) for _ in range(count)]


def one_run(folder: Path, count: int = 1000) -> tuple[Run, list[bytes]]:
    wanted = some_ids(1, count)
    return build(folder / "one.run", rows(wanted)), wanted


@given(
    counts=st.lists(COUNTS, max_size=4),
    seed=st.integers(0, 99),
    sorted_rows=st.sampled_from([1, 100, 1 << 20]),
)
@settings(max_examples=60, deadline=None)
def test_a_run_finds_what_a_dict_would(counts: list[int], seed: int, sorted_rows: int) -> None:
    batches = [some_ids(seed * 10 + number, count) for number, count in enumerate(counts)]
    model: dict[bytes, np.void] = {}
    for batch in batches:
        model.update(zip(batch, rows(batch), strict=True))
    asked = [*model, *some_ids(12345, 50)]
    random.Random(seed).shuffle(asked)
    with TemporaryDirectory() as folder:
        made = build(Path(folder, "a.run"), *map(rows, batches), sorted_rows=max(sorted_rows, 1))
        with made as run:
            at, found = run.find(as_ids(asked))
    assert [asked[position] for position in at] == [one for one in asked if one in model]
    for position, row in zip(at.tolist(), found, strict=True):
        wanted = model[asked[position]]
        assert PACKS[wanted["pack"]].tobytes() == run.packs[row["pack"]].tobytes()
        for name in ("offset", "stored_length", "plain_length", "checksum", "slot"):
            assert row[name] == wanted[name]


def test_an_id_that_begins_alike_is_not_taken_for_another(tmp_path: Path) -> None:
    run, wanted = one_run(tmp_path)
    for at in range(8, 32):
        other = bytearray(wanted[500])
        other[at] ^= 1
        assert not len(run.find(as_ids([bytes(other)]))[0])
    run.close()


@pytest.mark.parametrize("edge", [bytes(32), b"\xff" * 32])
def test_ids_at_the_edges_of_the_range_are_found(tmp_path: Path, edge: bytes) -> None:
    with build(tmp_path / "a.run", rows([*some_ids(1, 300), edge])) as run:
        assert len(run.find(as_ids([edge]))[0]) == 1


@pytest.mark.parametrize("edge", [bytes(32), b"\xff" * 32])
def test_ids_at_the_edges_of_the_range_are_missed(tmp_path: Path, edge: bytes) -> None:
    with build(tmp_path / "a.run", rows(some_ids(1, 300))) as run:
        assert not len(run.find(as_ids([edge]))[0])


def test_what_was_added_first_is_found(tmp_path: Path) -> None:
    wanted = some_ids(1, 200)
    later = rows(wanted)
    later["offset"] += 7777
    with build(tmp_path / "a.run", rows(wanted), later, sorted_rows=100) as run:
        _, found = run.find(as_ids(wanted))
    assert found["offset"].tolist() == list(range(200))


def test_packs_that_may_not_be_referred_to_are_not_found(tmp_path: Path) -> None:
    run, wanted = one_run(tmp_path)
    bad = PACKS[2].tobytes()
    run.judge(lambda pack: pack != bad)
    at, found = run.find(as_ids(wanted))
    assert bad not in {run.packs[pack].tobytes() for pack in found["pack"].tolist()}
    assert len(at) == sum(position % len(PACKS) != 2 for position in range(len(wanted)))
    run.close()


def test_nothing_is_found_before_packs_are_judged(tmp_path: Path) -> None:
    run, wanted = one_run(tmp_path)
    with Run(run.path, IDENTITY) as fresh:
        assert not len(fresh.find(as_ids(wanted))[0])
    run.close()


def test_a_run_yields_its_rows_as_they_were_added(tmp_path: Path) -> None:
    run, wanted = one_run(tmp_path)
    assert np.concatenate(list(run.rows()))["id"].tobytes() == b"".join(wanted)
    run.close()


def test_leaves_come_back_sorted_and_once(tmp_path: Path) -> None:
    path = tmp_path / "a.run"
    with path.open("xb") as file:
        builder = RunBuilder(file, IDENTITY, tmp_path)
        for leaves in ([5, 3], [], [3, 9]):
            builder.note_leaves(np.array(leaves, np.uint64))
        builder.finish()
    with Run(path, IDENTITY) as run:
        assert run.leaves().tolist() == [3, 5, 9]


def test_sorting_aside_leaves_no_file_behind(tmp_path: Path) -> None:
    build(tmp_path / "a.run", *(rows(some_ids(seed, 300)) for seed in range(9)), sorted_rows=100)
    assert [path.name for path in tmp_path.iterdir()] == ["a.run"]


@pytest.mark.parametrize("share", range(0, 100, 3))
def test_no_flipped_bit_gives_a_wrong_place(tmp_path: Path, share: int) -> None:
    run, wanted = one_run(tmp_path)
    right = {
        one: row.tobytes() for one, row in zip(wanted, run.find(as_ids(wanted))[1], strict=True)
    }
    run.close()
    data = bytearray(run.path.read_bytes())
    data[len(data) * share // 100] ^= 1 << share % 8
    run.path.write_bytes(data)
    try:
        with Run(run.path, IDENTITY) as damaged:
            damaged.judge(lambda pack: True)
            damaged.leaves()
            at, found = damaged.find(as_ids(wanted))
            for position, row in zip(at.tolist(), found, strict=True):
                assert row.tobytes() == right[wanted[position]]
            assert len(at) < len(wanted), "nothing was noticed"
    except Damaged:
        pass


@pytest.mark.parametrize("left", [0, 1, 100, -1, -1544, -3656])
def test_a_truncated_run_is_refused(tmp_path: Path, left: int) -> None:
    run, _ = one_run(tmp_path)
    run.close()
    run.path.write_bytes(run.path.read_bytes()[:left])
    with pytest.raises(Damaged):
        Run(run.path, IDENTITY)


def test_a_run_truncated_while_it_is_open_is_damaged(tmp_path: Path) -> None:
    run, wanted = one_run(tmp_path)
    with run.path.open("r+b") as file:
        file.truncate(100)
    with pytest.raises(Damaged):
        run.find(as_ids(wanted))
    run.close()


def test_a_run_of_another_index_is_refused(tmp_path: Path) -> None:
    run, _ = one_run(tmp_path)
    run.close()
    with pytest.raises(Damaged):
        Run(run.path, b"another index" + bytes(19))


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.run").write_bytes(b"something else " * 100)
    with pytest.raises(Damaged):
        Run(tmp_path / "a.run", IDENTITY)


def test_no_rows_are_no_bytes() -> None:
    none = np.zeros(0, np.uint64)
    assert seal_rows(rows([])) + seal_keys(none, none.astype(np.uint32)) == b""
