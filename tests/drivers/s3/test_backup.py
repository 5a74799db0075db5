"""A volume goes to S3 and comes back, byte for byte."""

from __future__ import annotations

import random

import pytest

from backupcore import (
    Access,
    BackupRequest,
    Depth,
    MemoryVolume,
    backup,
    create_repository,
    delete,
    open_repository,
    open_volume,
    restore,
    verify,
)
from tests.drivers.s3.stage.place import Place

SIZE_BYTES = 12 << 20
STORES = [
    pytest.param("gateway", {}, marks=pytest.mark.xdist_group("radosgw")),
    pytest.param(
        "gateway", {"checksums": "when_required"}, marks=pytest.mark.xdist_group("radosgw")
    ),
    pytest.param("swift", {"conditional_put": "no"}, marks=pytest.mark.xdist_group("swift")),
]


@pytest.mark.parametrize(("server", "options"), STORES)
def test_a_backup_and_an_incremental_one_are_restored_byte_for_byte(
    server: str, options: dict[str, str], request: pytest.FixtureRequest, tmp_path: object
) -> None:
    place: Place = request.getfixturevalue(server)
    prefix = f"repository/{'-'.join(options) or 'plain'}"
    url = place.url(prefix=prefix, **options)
    content = bytearray(random.Random(7).randbytes(SIZE_BYTES))
    content[3 << 20 : 5 << 20] = bytes(2 << 20)
    volume = MemoryVolume(content, name="disk")
    with create_repository(url) as repository:
        first, before = backup(volume, repository), bytes(content)
    content[6_000_000:6_000_005] = b"hello"
    with open_repository(url) as repository:
        second = backup(volume, repository, request=BackupRequest(name="later"))
        assert second.new_bytes < 1 << 20 < first.new_bytes
        for done, wanted in ((first, before), (second, bytes(content))):
            target = f"{tmp_path}/{done.id}.img"
            with open_volume(target, access=Access.CREATE, size_bytes=SIZE_BYTES) as restored:
                restore(repository, done.id, restored)
            with open(target, "rb") as file:
                assert file.read() == wanted
        delete(repository, first.id)
        assert verify(repository, depth=Depth.DATA).is_sound
