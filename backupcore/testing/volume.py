"""The kit that proves a volume: subclass, give the fixtures, run pytest.

    class TestMyVolume(ReadOnlyVolumeConformance):
        @pytest.fixture
        def content(self) -> bytes: ...      # at least 192 KiB + 1 byte
        @pytest.fixture
        def volume(self, content: bytes) -> Iterator[Volume]: ...   # reads as content

`WritableVolumeConformance` takes the same fixtures with a volume opened for writing.
`CreatedVolumeConformance` takes two functions: `create(size_bytes)`, which opens a new volume,
always under the same name, and `reopen()`, which opens that name for reading. Each test is one
promise of the contract; its docstring says what breaks without it.
"""
# ruff: noqa: S101 - a kit is made of assertions

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from backupcore.errors import BackupError, ReadOnly, TargetTooSmall, VolumeShrunk
from backupcore.extents import Extents, clip_extents, melt_extents, total_length
from backupcore.volume import SIZE_BYTES_MAX, Volume

__all__ = [
    "CreatedVolumeConformance",
    "ReadOnlyVolumeConformance",
    "VolumeConformance",
    "WritableVolumeConformance",
]

KIB = 1024
CREATED_SIZE_BYTES = 256 * KIB + 3


def read_volume(volume: Volume, offset: int, length: int) -> bytes:
    """Return bytes of a volume, read into a buffer full of rubbish."""
    buffer = bytearray(b"\xa5" * length)
    volume.read_into(offset, buffer)
    return bytes(buffer)


def assert_clean(extents: Extents, offset: int, length: int) -> None:
    """Fail unless extents are int64[n, 2], sorted, disjoint and inside a window."""
    assert extents.dtype == np.int64, "extents are int64"
    assert extents.shape == (len(extents), 2), "a row is (offset, length)"
    assert np.array_equal(extents, melt_extents(extents)), "sorted, disjoint, not touching"
    assert np.array_equal(extents, clip_extents(extents, offset, length)), "inside the window"


class VolumeConformance:
    """What every volume promises a reader."""

    def test_size_is_the_true_size_in_bytes(self, volume: Volume, content: bytes) -> None:
        """A size rounded to sectors would add or lose bytes of the last sector."""
        assert volume.size_bytes == len(content)
        assert 0 < volume.size_bytes <= SIZE_BYTES_MAX

    def test_current_size_of_an_untouched_volume_is_its_size(self, volume: Volume) -> None:
        """A backup asks at its end whether it saw one point in time."""
        assert volume.current_size_bytes() == volume.size_bytes

    def test_sector_size_is_a_power_of_two(self, volume: Volume) -> None:
        """Narrowing down a read error goes sector by sector."""
        assert volume.sector_size_bytes > 0
        assert volume.sector_size_bytes & (volume.sector_size_bytes - 1) == 0

    def test_name_and_identity_are_given(self, volume: Volume) -> None:
        """Messages and the default volume id need them."""
        assert volume.name
        assert volume.identity

    def test_whole_volume_reads_as_its_content(self, volume: Volume, content: bytes) -> None:
        """One big read must go through however the source splits it."""
        assert read_volume(volume, 0, len(content)) == content

    @pytest.mark.parametrize(
        ("offset", "length"),
        [
            (0, 1),
            (1, 1),
            (511, 2),
            (512, 512),
            (4095, 4098),
            (65535, 65537),
            (131071, 3),
            (3, 191 * KIB),
        ],
    )
    def test_odd_ranges_read_as_the_content_there(
        self, volume: Volume, content: bytes, offset: int, length: int
    ) -> None:
        """Callers need not know about sectors, pages or chunks."""
        assert read_volume(volume, offset, length) == content[offset : offset + length]

    @pytest.mark.parametrize("length", [1, 2, 511, 513, 4097, 65537])
    def test_last_bytes_can_be_read(self, volume: Volume, content: bytes, length: int) -> None:
        """A volume's size need not be a multiple of anything."""
        assert read_volume(volume, len(content) - length, length) == content[-length:]

    def test_nothing_can_be_read_at_the_end(self, volume: Volume, content: bytes) -> None:
        """Reading no bytes at the very end is no error."""
        assert read_volume(volume, len(content), 0) == b""

    @pytest.mark.parametrize("excess", [1, 4096])
    def test_reading_past_the_end_is_an_error(
        self, volume: Volume, content: bytes, excess: int
    ) -> None:
        """A short read taken for a whole one would back up rubbish."""
        with pytest.raises(VolumeShrunk):
            read_volume(volume, len(content) - 1, 1 + excess)

    def test_reading_beyond_the_end_is_an_error(self, volume: Volume, content: bytes) -> None:
        """A position far outside must not read as zeros either."""
        with pytest.raises(VolumeShrunk):
            read_volume(volume, len(content) + 65536, 512)

    def test_reads_fill_a_part_of_a_bigger_buffer(self, volume: Volume, content: bytes) -> None:
        """The pipeline reads into slices of reused memory; neighbours stay as they are."""
        buffer = bytearray(b"\xa5" * 1024)
        volume.read_into(100, memoryview(buffer)[10:1000])
        assert bytes(buffer) == b"\xa5" * 10 + content[100:1090] + b"\xa5" * 24

    def test_eight_threads_read_at_once(self, volume: Volume, content: bytes) -> None:
        """Readers share one volume; a shared position would mix up their bytes."""
        length = 1031
        offsets = [index * 7919 % (len(content) - length) for index in range(400)]
        with ThreadPoolExecutor(8) as pool:
            results = list(pool.map(lambda offset: read_volume(volume, offset, length), offsets))
        expected = [content[offset : offset + length] for offset in offsets]
        assert results == expected

    @pytest.mark.parametrize(
        ("offset", "length"), [(0, 0), (0, 1), (511, 1025), (4097, 8191), (65536, 126 * KIB)]
    )
    def test_extents_are_clean_and_inside_the_window(
        self, volume: Volume, offset: int, length: int
    ) -> None:
        """The plan merges extents without sorting them again."""
        assert_clean(volume.extents(offset, length), offset, length)

    def test_what_extents_leave_out_reads_as_zeros(self, volume: Volume, content: bytes) -> None:
        """Holes are never read: a byte lost here is lost in every backup."""
        extents = volume.extents(0, len(content))
        masked = bytearray(content)
        for offset, length in extents.tolist():
            masked[offset : offset + length] = bytes(length)
        assert not any(masked)

    def test_windows_agree_with_the_whole(self, volume: Volume, content: bytes) -> None:
        """A big volume is asked window by window; bytes at their borders must not get lost."""
        whole = volume.extents(0, len(content))
        step = 50_001
        windows = [
            volume.extents(offset, min(step, len(content) - offset))
            for offset in range(0, len(content), step)
        ]
        covered = melt_extents(np.concatenate(windows))
        assert total_length(covered) >= sum(1 for byte in content if byte)
        assert np.array_equal(covered, whole)

    def test_extents_past_the_end_are_an_error(self, volume: Volume, content: bytes) -> None:
        """What lies beyond must not count as a hole."""
        with pytest.raises(VolumeShrunk):
            volume.extents(len(content) - 1, 2)

    def test_closing_twice_is_fine(self, volume: Volume) -> None:
        """An error path may close what a `with` closes again."""
        volume.close()
        volume.close()


class ReadOnlyVolumeConformance(VolumeConformance):
    """What a volume opened for reading promises besides."""

    def test_writing_is_refused(self, volume: Volume) -> None:
        """A source must be safe from a caller that mixes up source and target."""
        with pytest.raises(ReadOnly):
            volume.write(0, b"x")

    def test_zeroing_is_refused(self, volume: Volume) -> None:
        """Zeroing is writing."""
        with pytest.raises(ReadOnly):
            volume.zero(0, 1)


class WritableVolumeConformance(VolumeConformance):
    """What a volume opened for writing promises besides."""

    @pytest.mark.parametrize(("offset", "length"), [(0, 1), (511, 1026), (65535, 70000), (9, 0)])
    def test_written_bytes_read_back_and_neighbours_stay(
        self, volume: Volume, content: bytes, offset: int, length: int
    ) -> None:
        """Restored cells need not be aligned to the target's sectors."""
        data = bytes(range(1, 252)) * (length // 251 + 1)
        volume.write(offset, data[:length])
        expected = content[:offset] + data[:length] + content[offset + length :]
        assert read_volume(volume, 0, len(content)) == expected

    @pytest.mark.parametrize(("offset", "length"), [(0, 1), (100, 0), (1000, 9000), (1, 180 * KIB)])
    def test_zeroed_bytes_read_as_zeros_and_neighbours_stay(
        self, volume: Volume, content: bytes, offset: int, length: int
    ) -> None:
        """Old bytes of a used target must not shine through a backup's zeros."""
        volume.zero(offset, length)
        expected = content[:offset] + bytes(length) + content[offset + length :]
        assert read_volume(volume, 0, len(content)) == expected

    def test_extents_show_what_was_written_into_zeros(self, volume: Volume, content: bytes) -> None:
        """A hole that got filled is data, whoever looks."""
        volume.zero(0, len(content))
        volume.write(70_000, b"x")
        covered = clip_extents(volume.extents(0, len(content)), 70_000, 1)
        assert total_length(covered) == 1

    @pytest.mark.parametrize("excess", [1, 65536])
    def test_writing_past_the_end_is_refused_whole(
        self, volume: Volume, content: bytes, excess: int
    ) -> None:
        """A target never grows by itself, and half a write is worse than none."""
        with pytest.raises(TargetTooSmall):
            volume.write(len(content) - 1, bytes(1 + excess))
        assert read_volume(volume, len(content) - 1, 1) == content[-1:]

    def test_zeroing_past_the_end_is_refused(self, volume: Volume, content: bytes) -> None:
        """As writing."""
        with pytest.raises(TargetTooSmall):
            volume.zero(len(content) - 1, 2)

    def test_eight_threads_write_at_once(self, volume: Volume) -> None:
        """Restore writes cells from several threads; each must land at its own offset."""
        cells = [(index * 1500, bytes([index + 1]) * 1500) for index in range(120)]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda cell: volume.write(*cell), cells))
        assert read_volume(volume, 0, 180_000) == b"".join(data for _, data in cells)

    def test_finishing_keeps_what_was_written(self, volume: Volume) -> None:
        """Finishing twice, or before closing, loses nothing."""
        volume.write(5, b"kept")
        volume.finish()
        volume.finish()
        assert read_volume(volume, 5, 4) == b"kept"


class CreatedVolumeConformance:
    """What creating promises: all of it under its name, or nothing."""

    def test_new_volume_has_the_asked_size_and_reads_as_zeros(
        self, create: Callable[[int], Volume]
    ) -> None:
        """Restore relies on it to skip zero cells."""
        with create(CREATED_SIZE_BYTES) as volume:
            assert volume.is_known_zero
            assert read_volume(volume, 0, CREATED_SIZE_BYTES) == bytes(CREATED_SIZE_BYTES)

    def test_finished_volume_is_found_with_its_bytes(
        self, create: Callable[[int], Volume], reopen: Callable[[], Volume]
    ) -> None:
        """Written bytes, skipped zeros and the last odd byte are all there."""
        with create(CREATED_SIZE_BYTES) as volume:
            volume.write(CREATED_SIZE_BYTES - 1, b"z")
            volume.finish()
        with reopen() as volume:
            expected = bytes(CREATED_SIZE_BYTES - 1) + b"z"
            assert read_volume(volume, 0, CREATED_SIZE_BYTES) == expected

    def test_volume_is_not_found_before_it_is_finished(
        self, create: Callable[[int], Volume], reopen: Callable[[], Volume]
    ) -> None:
        """Half a volume under its final name would be taken for a whole one."""
        with create(CREATED_SIZE_BYTES) as volume:
            volume.write(0, b"half")
            with pytest.raises(BackupError):
                reopen()

    def test_volume_closed_without_finishing_never_existed(
        self, create: Callable[[int], Volume], reopen: Callable[[], Volume]
    ) -> None:
        """A failed restore leaves nothing behind and can be asked for again."""
        create(CREATED_SIZE_BYTES).close()
        with pytest.raises(BackupError):
            reopen()

    def test_second_volume_of_the_name_is_refused(self, create: Callable[[int], Volume]) -> None:
        """Nothing that exists is overwritten."""
        with create(CREATED_SIZE_BYTES) as volume:
            volume.finish()
        with pytest.raises(BackupError):
            create(CREATED_SIZE_BYTES)
