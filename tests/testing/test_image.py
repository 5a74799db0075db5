from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import zstandard

from backupcore.testing.image import Kind, churn, main, rewrite, write_clones, write_image
from backupcore.units import KIB, MIB


def digest_of(path: Path) -> str:
    return hashlib.blake2b(path.read_bytes()).hexdigest()


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    for name, text in (("b/readme", b"text " * 9000), ("a", b"\x7fELF" * 5000), ("empty", b"")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(text)
    (folder / "link").symlink_to("a")
    return folder


@pytest.mark.parametrize("kind", list(Kind))
@pytest.mark.parametrize("size_bytes", [1, 20 * MIB + 123])
def test_image_has_the_asked_size(tmp_path: Path, files: Path, kind: Kind, size_bytes: int) -> None:
    write_image(str(tmp_path / "image"), kind, size_bytes, 1, files=[str(files)])
    assert (tmp_path / "image").stat().st_size == size_bytes


@pytest.mark.parametrize("kind", list(Kind))
def test_same_arguments_give_the_same_bytes(tmp_path: Path, files: Path, kind: Kind) -> None:
    for name in ("first", "second"):
        write_image(str(tmp_path / name), kind, 20 * MIB, 1, files=[str(files)])
    assert digest_of(tmp_path / "first") == digest_of(tmp_path / "second")


@pytest.mark.parametrize("kind", [Kind.OS, Kind.RANDOM, Kind.SPARSE, Kind.DATABASE, Kind.PAGES])
def test_other_seeds_give_other_bytes(tmp_path: Path, files: Path, kind: Kind) -> None:
    for seed in (1, 2):
        write_image(str(tmp_path / str(seed)), kind, MIB, seed, files=[str(files)])
    assert digest_of(tmp_path / "1") != digest_of(tmp_path / "2")


def test_image_of_an_os_is_a_sound_file_system_with_the_real_files(
    tmp_path: Path, files: Path
) -> None:
    tool = shutil.which("e2fsck", path="/usr/sbin:/sbin:/usr/bin")
    if tool is None:
        pytest.skip("install it: apt-get install e2fsprogs (e2fsck)")
    write_image(str(tmp_path / "image"), Kind.OS, 20 * MIB, 1, files=[str(files)])
    subprocess.run([tool, "-fn", str(tmp_path / "image")], check=True, capture_output=True)
    assert b"text " * 800 in (tmp_path / "image").read_bytes()


def test_image_of_an_os_is_made_without_the_tool_too(
    tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    write_image(str(tmp_path / "image"), Kind.OS, 20 * MIB, 1, files=[str(files)])
    content = (tmp_path / "image").read_bytes()
    assert content[: len(b"\x7fELF" * 5000)] == b"\x7fELF" * 5000
    assert any(content[11 * MIB : 12 * MIB])
    assert not any(content[13 * MIB :])


def test_real_files_take_no_more_than_their_share(tmp_path: Path, files: Path) -> None:
    for number in range(30):
        (files / f"more{number:02}").write_bytes(f"{number:04}".encode() * 16384)
    write_image(str(tmp_path / "image"), Kind.OS, 4 * MIB, 1, files=[str(files)])
    content = (tmp_path / "image").read_bytes()
    assert b"0001" * 16384 in content
    assert b"0029" * 16384 not in content


@pytest.mark.parametrize(
    ("kind", "lowest", "highest"),
    [
        (Kind.OS, 0.1, 0.6),
        (Kind.RANDOM, 1.0, 1.1),
        (Kind.ZERO, 0, 0.01),
        (Kind.DATABASE, 0.1, 0.6),
        (Kind.PAGES, 0.55, 0.8),
    ],
)
def test_kinds_compress_as_what_they_stand_for(
    tmp_path: Path, files: Path, kind: Kind, lowest: float, highest: float
) -> None:
    write_image(str(tmp_path / "image"), kind, 8 * MIB, 1, files=[str(files)])
    content = (tmp_path / "image").read_bytes()
    assert lowest <= len(zstandard.compress(content, 1)) / len(content) <= highest


def test_sparse_image_takes_a_hundredth_of_its_size(tmp_path: Path) -> None:
    write_image(str(tmp_path / "image"), Kind.SPARSE, 256 * MIB, 1)
    assert (tmp_path / "image").stat().st_blocks * 512 == pytest.approx(2.56 * MIB, rel=0.1)


def test_churn_changes_the_asked_share_of_the_blocks(tmp_path: Path) -> None:
    path = tmp_path / "image"
    write_image(str(path), Kind.RANDOM, 64 * MIB, 1)
    before = np.frombuffer(path.read_bytes(), "S4096")
    done = churn(str(path), share=0.025, seed=1)
    after = np.frombuffer(path.read_bytes(), "S4096")
    assert done.changed_block_count == round(16384 * 0.025)
    assert np.count_nonzero(before != after) == done.changed_block_count


def test_churn_touches_chunks_as_a_day_of_work_does(tmp_path: Path) -> None:
    path = tmp_path / "image"
    with path.open("wb") as image:
        for _ in range(512):
            image.write(b"x" * MIB)
    done = churn(str(path), share=0.025, seed=1)
    assert 0.05 <= done.touched_chunk_count / done.data_chunk_count <= 0.07
    assert "2.50% of the 4 KiB blocks" in str(done)


def test_churn_leaves_holes_alone(tmp_path: Path) -> None:
    path = tmp_path / "image"
    write_image(str(path), Kind.SPARSE, 256 * MIB, 1)
    before = path.stat().st_blocks
    churn(str(path), share=0.5, seed=1)
    assert path.stat().st_blocks == before


def test_churn_keeps_the_size_of_an_image_with_a_broken_last_block(tmp_path: Path) -> None:
    path = tmp_path / "image"
    write_image(str(path), Kind.RANDOM, 10 * KIB + 1, 1)
    churn(str(path), share=1.0, seed=1)
    assert path.stat().st_size == 10 * KIB + 1


def test_churn_of_the_same_seed_is_the_same(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_image(str(tmp_path / name), Kind.RANDOM, 4 * MIB, 1)
        churn(str(tmp_path / name), seed=3)
    assert digest_of(tmp_path / "first") == digest_of(tmp_path / "second")


@pytest.mark.parametrize(("kind", "page"), [(Kind.DATABASE, 8 * KIB), (Kind.PAGES, 16 * KIB)])
def test_rewritten_pages_are_whole_and_scattered(tmp_path: Path, kind: Kind, page: int) -> None:
    path = tmp_path / "image"
    write_image(str(path), kind, 32 * MIB + 100, 1)
    before = np.frombuffer(path.read_bytes()[: 32 * MIB], f"S{page}")
    count = rewrite(str(path), share=0.025, seed=1, page_size_bytes=page)
    after = np.frombuffer(path.read_bytes()[: 32 * MIB], f"S{page}")
    changed = np.flatnonzero(before != after)
    assert len(changed) == count == round(32 * MIB / page * 0.025)
    assert np.diff(changed).max() > 1
    assert path.stat().st_size == 32 * MIB + 100


def test_rewrite_of_the_same_seed_is_the_same(tmp_path: Path) -> None:
    for name in ("first", "second"):
        write_image(str(tmp_path / name), Kind.PAGES, 4 * MIB, 1)
        rewrite(str(tmp_path / name), seed=3, page_size_bytes=16 * KIB)
    assert digest_of(tmp_path / "first") == digest_of(tmp_path / "second")


def test_clones_differ_a_little_from_the_image_and_from_each_other(tmp_path: Path) -> None:
    path = tmp_path / "image"
    write_image(str(path), Kind.RANDOM, 16 * MIB, 1)
    images = [path, *map(Path, write_clones(str(path), count=3, share=0.002, seed=1))]
    assert [image.name for image in images] == ["image", "image.0", "image.1", "image.2"]
    blocks = [np.frombuffer(image.read_bytes(), "S4096") for image in images]
    assert [np.count_nonzero(blocks[0] != clone) for clone in blocks[1:]] == [8, 8, 8]
    assert len({digest_of(image) for image in images}) == 4


def test_clones_keep_the_holes(tmp_path: Path) -> None:
    path = tmp_path / "image"
    write_image(str(path), Kind.SPARSE, 64 * MIB, 1)
    (clone,) = write_clones(str(path), count=1, seed=1)
    assert Path(clone).stat().st_blocks == path.stat().st_blocks


def test_clones_of_the_same_seed_are_the_same(tmp_path: Path) -> None:
    write_image(str(tmp_path / "image"), Kind.RANDOM, 4 * MIB, 1)
    first, second = (
        [digest_of(Path(clone)) for clone in write_clones(str(tmp_path / "image"), count=2, seed=5)]
        for _ in range(2)
    )
    assert first == second


def test_command_line_rewrites_and_clones(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "image")
    main(["pages", path, "--size", "1MiB"])
    main(["rewrite", path, "--page-size", "16KiB", "--share", "0.5"])
    main(["clones", path, "--count", "2"])
    rewritten, *clones = capsys.readouterr().out.splitlines()
    assert rewritten == "512 KiB of pages written anew"
    assert clones == [f"{path}.0", f"{path}.1"]


def test_command_line_writes_and_churns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "image")
    main(["random", path, "--size", "1MiB", "--seed", "4"])
    main(["churn", path, "--share", "0.5", "--seed", "2"])
    assert capsys.readouterr().out.startswith("512 KiB changed: 50.00% of the 4 KiB blocks")


def test_command_line_refuses_unknown_kinds(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["qcow2", "x"])
    assert "invalid choice" in capsys.readouterr().err
