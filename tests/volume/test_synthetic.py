from __future__ import annotations

import hashlib

import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from backupcore.errors import ReadOnly, Refused
from backupcore.extents import subtract_extents, total_length
from backupcore.testing.volume import ReadOnlyVolumeConformance, assert_clean, read_volume
from backupcore.units import GIB, MIB, TIB
from backupcore.volume import Access, Volume, open_volume
from backupcore.volume.synthetic import SyntheticSpec, SyntheticVolume


def make(size_bytes: int, **options: int | float) -> SyntheticVolume:
    return SyntheticVolume(SyntheticSpec(size_bytes, **options))  # type: ignore[arg-type]


def rebuild(volume: Volume) -> bytes:
    """Return a volume's bytes, read in pieces that cut blocks."""
    step = 7777
    return b"".join(
        read_volume(volume, offset, min(step, volume.size_bytes - offset))
        for offset in range(0, volume.size_bytes, step)
    )


class TestSparse(ReadOnlyVolumeConformance):
    @pytest.fixture
    def volume(self) -> Volume:
        return make(700_001, data_bytes=300_000, extent_count=7, seed=3)

    @pytest.fixture
    def content(self) -> bytes:
        return rebuild(make(700_001, data_bytes=300_000, extent_count=7, seed=3))


class TestFull(ReadOnlyVolumeConformance):
    @pytest.fixture
    def volume(self) -> Volume:
        return make(300_001, extent_count=5, generation=3, changed=0.5)

    @pytest.fixture
    def content(self) -> bytes:
        return rebuild(make(300_001, extent_count=5, generation=3, changed=0.5))


def test_bytes_never_change_between_versions_of_this_code() -> None:
    digest = hashlib.blake2b(digest_size=8)
    digest.update(rebuild(make(MIB, seed=7, data_bytes=MIB // 2, extent_count=9)))
    digest.update(rebuild(make(MIB, seed=7, extent_count=9, generation=5, changed=0.3)))
    assert digest.hexdigest() == "fd50a7a389c3083c"


def test_other_seeds_give_other_bytes() -> None:
    assert read_volume(make(4096, seed=1), 0, 64) != read_volume(make(4096, seed=2), 0, 64)


def test_no_two_blocks_are_alike() -> None:
    volume = make(4 * MIB)
    blocks = np.frombuffer(read_volume(volume, 0, 4 * MIB), "S4096")
    assert len(set(blocks.tolist())) == 1024


def test_content_compresses_in_part_but_not_by_repetition() -> None:
    content = read_volume(make(8 * MIB), 0, 8 * MIB)
    assert 0.6 < len(zstandard.compress(content, 3)) / len(content) < 0.9


def test_hundred_tebibytes_cost_what_their_extents_cost() -> None:
    url = "synthetic:?size=100TiB&seed=7&data=1GiB&extents=10000"
    with open_volume(url) as volume:
        extents = volume.extents(0, volume.size_bytes)
        offset, length = extents[5000].tolist()
        assert volume.size_bytes == 100 * TIB
        assert any(read_volume(volume, offset, length))
    assert len(extents) == pytest.approx(10_000, rel=0.01)
    assert total_length(extents) == pytest.approx(GIB, rel=0.02)
    assert not (extents % 4096).any()


def test_window_of_a_huge_volume_has_its_share_of_extents() -> None:
    volume = make(100 * TIB, extent_count=1_000_000_000, data_bytes=8 * TIB)
    assert len(volume.extents(50 * TIB, 64 * MIB)) == pytest.approx(640, rel=0.05)


@given(
    st.integers(1, 200_000),
    st.integers(0, 250_000),
    st.integers(1, 60),
    st.integers(0, 9),
)
def test_any_layout_is_clean_and_holds_about_the_asked_data(
    size_bytes: int, data_bytes: int, extent_count: int, seed: int
) -> None:
    volume = make(size_bytes, data_bytes=data_bytes, extent_count=extent_count, seed=seed)
    extents = volume.extents(0, size_bytes)
    assert_clean(extents, 0, size_bytes)
    wanted = min(data_bytes, size_bytes)
    assert abs(total_length(extents) - wanted) <= (extent_count + 1) * 4096
    if data_bytes >= size_bytes:
        assert total_length(extents) == size_bytes


def test_volume_without_data_is_one_hole() -> None:
    volume = make(MIB, data_bytes=0)
    assert len(volume.extents(0, MIB)) == 0
    assert not any(read_volume(volume, 0, MIB))


def test_last_block_may_be_cut_off() -> None:
    whole = read_volume(make(8192, extent_count=1), 0, 8192)
    assert read_volume(make(5000, extent_count=1), 0, 5000) == whole[:5000]


@pytest.mark.parametrize("changed", [0.01, 0.3, 1.0])
def test_share_of_the_extents_changes_with_each_generation(changed: float) -> None:
    size_bytes = 10_000 * 8192
    for generation in (1, 2, 50):
        volume = make(size_bytes, extent_count=10_000, changed=changed, generation=generation)
        extents = volume.changed_extents(generation - 1, 0, size_bytes)
        assert total_length(extents) / size_bytes == pytest.approx(changed, rel=0.2)


def test_changed_extents_are_exactly_what_differs() -> None:
    options = {"extent_count": 64, "data_bytes": MIB // 2, "changed": 0.2}
    old, new = (make(MIB, generation=generation, **options) for generation in (3, 5))
    before, after = (np.frombuffer(rebuild(volume), "S4096") for volume in (old, new))
    differs = np.flatnonzero(before != after) * 4096
    changed = new.changed_extents(3, 0, MIB)
    blocks = [
        start
        for offset, length in changed.tolist()
        for start in range(offset, offset + length, 4096)
    ]
    assert blocks == differs.tolist()
    assert 0 < len(blocks) < 128


def test_changes_stay_inside_the_data() -> None:
    volume = make(MIB, extent_count=64, data_bytes=MIB // 2, changed=0.5, generation=9)
    changed = volume.changed_extents(0, 0, MIB)
    assert len(subtract_extents(changed, volume.extents(0, MIB))) == 0


def test_generations_are_of_one_volume() -> None:
    assert make(MIB, generation=1, changed=0.1).identity == make(MIB).identity


def test_url_says_it_all() -> None:
    url = "synthetic:?size=1MiB&seed=5&data=512KiB&extents=8&generation=2&changed=0.5"
    with open_volume(url) as volume:
        assert isinstance(volume, SyntheticVolume)
        assert volume.spec == SyntheticSpec(MIB, 5, MIB // 2, 8, 2, 0.5)


def test_writing_is_refused_at_opening() -> None:
    with pytest.raises(ReadOnly):
        open_volume("synthetic:?size=1MiB", access=Access.WRITE)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "size=0",
        "size=8EiB",
        "size=many",
        "size=1MiB&seed=-1",
        "size=1MiB&seed=x",
        "size=1MiB&extents=0",
        "size=1MiB&generation=-1",
        "size=1MiB&changed=1.5",
        "size=1MiB&changed=nan",
        "size=1MiB&colour=red",
    ],
)
def test_options_that_make_no_volume_are_refused(query: str) -> None:
    with pytest.raises(Refused, match="synthetic"):
        open_volume(f"synthetic:?{query}")
