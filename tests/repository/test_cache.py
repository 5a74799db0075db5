from __future__ import annotations

import os
from pathlib import Path

import pytest

from backupcore.repository.cache import Cache
from tests.format.world import Chance
from tests.repository.sample import ID, NAME, OTHER_ID

DIGEST = bytes(range(32))


def open_cache(folder: Path, *, limit_bytes: int = 1 << 20, name: str = ID) -> Cache:
    return Cache(folder, name, random_bytes=Chance("cache"), limit_bytes=limit_bytes)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_what_was_put_is_got(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    cache.put_node(DIGEST, b"node")
    cache.put_register(NAME.key, b"register")
    assert (cache.get_node(DIGEST), cache.get_register(NAME.key)) == (b"node", b"register")


def test_what_was_not_put_is_none(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    assert (cache.get_node(DIGEST), cache.get_register(NAME.key)) == (None, None)


def test_another_process_finds_what_was_put(tmp_path: Path) -> None:
    open_cache(tmp_path).put_node(DIGEST, b"node")
    assert open_cache(tmp_path).get_node(DIGEST) == b"node"


def test_repositories_do_not_share_a_cache(tmp_path: Path) -> None:
    open_cache(tmp_path).put_register(NAME.key, b"register")
    assert open_cache(tmp_path, name=OTHER_ID).get_register(NAME.key) is None


def test_the_folder_stays_within_its_limit(tmp_path: Path) -> None:
    cache = open_cache(tmp_path, limit_bytes=10_000)
    for number in range(600):
        cache.put_node(number.to_bytes(32, "big"), bytes(100))
    cache = open_cache(tmp_path, limit_bytes=10_000)
    cache.put_node(DIGEST, bytes(100))
    assert sum(path.stat().st_size for path in files(tmp_path)) <= 10_000


def test_a_process_that_goes_on_keeps_the_folder_near_its_limit(tmp_path: Path) -> None:
    cache, most = open_cache(tmp_path, limit_bytes=10_000), 0
    for number in range(600):
        cache.put_node(number.to_bytes(32, "big"), bytes(100))
        most = max(most, len(files(tmp_path)) * 100) if number % 50 == 0 else most
    assert most <= 10_000 + 256 * 100


def test_what_was_read_lately_stays_longest(tmp_path: Path) -> None:
    cache = open_cache(tmp_path, limit_bytes=250)
    for number in range(3):
        cache.put_node(bytes([number]) * 32, bytes(100))
    for age, path in enumerate(sorted(files(tmp_path))):
        os.utime(path, (1000 + age, 1000 + age))
    cache.get_node(bytes(32))
    open_cache(tmp_path, limit_bytes=250).put_node(DIGEST, b"")
    found = [cache.get_node(bytes([number]) * 32) is not None for number in range(3)]
    assert found == [True, False, True]


def test_an_unfinished_file_of_a_dead_process_is_swept(tmp_path: Path) -> None:
    open_cache(tmp_path).put_node(DIGEST, b"node")
    orphan = files(tmp_path)[0].with_suffix(".0011223344556677")
    orphan.write_bytes(bytes(5000))
    os.utime(orphan, (1, 1))
    open_cache(tmp_path, limit_bytes=1000).put_node(bytes(32), b"other")
    assert not orphan.exists()


def test_garbage_in_the_folder_is_no_error(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    cache.put_node(DIGEST, b"node")
    place = files(tmp_path)[0]
    place.unlink()
    place.mkdir()
    (tmp_path / ID / "nodes" / "zz").write_bytes(b"garbage")
    (tmp_path / ID / "dangling").symlink_to("nowhere")
    cache.put_node(DIGEST, b"node")
    cache.put_register(NAME.key, b"register")
    open_cache(tmp_path, limit_bytes=0).put_node(bytes(32), b"other")
    assert cache.get_node(DIGEST) is None


@pytest.mark.parametrize("shape", ["a file", "below a file", "missing parent"])
def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path, shape: str) -> None:
    blocked = tmp_path / "blocked"
    if shape != "missing parent":
        blocked.write_bytes(b"")
    folder = blocked if shape == "a file" else blocked / "inner" / "cache"
    cache = open_cache(folder)
    cache.put_node(DIGEST, b"node")
    assert cache.get_node(DIGEST) in (None, b"node")


def test_a_full_disk_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, data: bytes) -> int:
        raise OSError(28, "no space left")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    cache = open_cache(tmp_path)
    cache.put_node(DIGEST, b"node")
    assert (cache.get_node(DIGEST), files(tmp_path)) == (None, [])


def test_what_is_kept_can_be_read_by_its_owner_only(tmp_path: Path) -> None:
    open_cache(tmp_path / "cache").put_node(DIGEST, b"node")
    assert (tmp_path / "cache" / ID).stat().st_mode & 0o077 == 0
