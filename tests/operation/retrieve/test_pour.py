"""What a restore to a stream gets from the store."""

from __future__ import annotations

import io

from backupcore.operation.restore import restore_to_stream
from backupcore.volume.memory import MemoryVolume
from tests.operation.scene import CHUNK, INLINE, Scene, back_up, chunks


def test_an_extent_to_a_stream_gets_only_the_frames_it_lies_in() -> None:
    scene, content, stream = Scene(), chunks(*range(100)), io.BytesIO()
    with scene.open() as repository:
        back_up(repository, MemoryVolume(content))
        done = restore_to_stream(
            repository, "latest", stream, extents=[(50 * CHUNK, 10)], tuning=INLINE
        )
    assert stream.getvalue() == content[50 * CHUNK : 50 * CHUNK + 10]
    assert done.got_bytes < 5 * CHUNK
