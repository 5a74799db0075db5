from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from backupcore.errors import TargetBusy, TargetError
from backupcore.volume import Access, open_volume
from backupcore.volume.file import CreatedFile, WritableFile

CONTENT = os.urandom(70_001)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "disk.img"
    path.write_bytes(CONTENT)
    return path


def fail_with(number: int) -> Callable[..., int]:
    def fail(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    return fail


class TestWriting:
    def test_symbolic_link_is_refused_with_its_target(self, path: Path) -> None:
        (path.parent / "link").symlink_to(path)
        with pytest.raises(TargetBusy, match=f"symbolic link: name what it points to, {path}"):
            open_volume(str(path.parent / "link"), access=Access.WRITE)

    def test_folder_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(TargetBusy, match="Is a directory"):
            open_volume(str(tmp_path), access=Access.WRITE)

    def test_pipe_is_refused(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(TargetBusy, match="is a pipe"):
            open_volume(str(tmp_path / "pipe"), access=Access.WRITE)

    def test_missing_target_is_not_created(self, tmp_path: Path) -> None:
        with pytest.raises(TargetError, match="does not exist"):
            open_volume(str(tmp_path / "none"), access=Access.WRITE)
        assert not list(tmp_path.iterdir())

    def test_empty_target_is_left_for_the_caller_to_judge(self, tmp_path: Path) -> None:
        (tmp_path / "empty").touch()
        with WritableFile(str(tmp_path / "empty")) as volume:
            assert volume.size_bytes == 0

    def test_short_writes_are_continued(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write = os.pwritev
        monkeypatch.setattr(
            os, "pwritev", lambda fd, views, offset: write(fd, [views[0][:1000]], offset)
        )
        with WritableFile(str(path)) as volume:
            volume.write(1, b"w" * 5000)
        assert path.read_bytes() == CONTENT[:1] + b"w" * 5000 + CONTENT[5001:]

    def test_write_error_names_its_offset(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "pwritev", fail_with(errno.EIO))
        with (
            WritableFile(str(path)) as volume,
            pytest.raises(TargetError, match="offset 77 failed: Input/output error"),
        ):
            volume.write(77, b"x")

    def test_full_disk_names_path_and_free_space(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "pwritev", fail_with(errno.ENOSPC))
        with (
            CreatedFile(str(tmp_path / "new"), 4096) as volume,
            pytest.raises(TargetError, match=r"new: no room at offset 0: .*B free\)"),
        ):
            volume.write(0, b"x")

    def test_bytes_that_cannot_be_made_durable_are_an_error(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "fsync", fail_with(errno.EIO))
        with (
            WritableFile(str(path)) as volume,
            pytest.raises(TargetError, match="cannot be made durable"),
        ):
            volume.finish()


class TestCreating:
    def test_partial_file_is_hidden_and_private(self, tmp_path: Path) -> None:
        with CreatedFile(str(tmp_path / "new.img"), 4096):
            (partial,) = tmp_path.iterdir()
            assert partial.name.startswith(".new.img.")
            assert partial.name.endswith(".partial")
            assert stat.S_IMODE(partial.stat().st_mode) == 0o600

    def test_finished_file_is_all_there_is(self, tmp_path: Path) -> None:
        with CreatedFile(str(tmp_path / "new.img"), 4096) as volume:
            volume.finish()
            assert [entry.name for entry in tmp_path.iterdir()] == ["new.img"]
        assert [entry.name for entry in tmp_path.iterdir()] == ["new.img"]

    def test_unfinished_file_leaves_nothing(self, tmp_path: Path) -> None:
        CreatedFile(str(tmp_path / "new.img"), 4096).close()
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("is_link", [False, True])
    def test_existing_target_is_refused_and_kept(self, path: Path, is_link: bool) -> None:
        target = path
        if is_link:
            target = path.parent / "dangling"
            target.symlink_to("nowhere")
        with pytest.raises(TargetBusy, match="never overwritten"):
            CreatedFile(str(target), 4096)
        assert path.read_bytes() == CONTENT

    @pytest.mark.parametrize("has_links", [True, False])
    def test_target_that_appeared_meanwhile_is_refused_and_kept(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_links: bool
    ) -> None:
        if not has_links:
            monkeypatch.setattr(os, "link", fail_with(errno.EPERM))
        with CreatedFile(str(tmp_path / "new"), 4096) as volume:
            (tmp_path / "new").write_bytes(b"somebody else's")
            with pytest.raises(TargetBusy, match="exists"):
                volume.finish()
        assert [entry.name for entry in tmp_path.iterdir()] == ["new"]
        assert (tmp_path / "new").read_bytes() == b"somebody else's"

    def test_file_system_without_links_gives_the_name_too(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "link", fail_with(errno.EPERM))
        with CreatedFile(str(tmp_path / "new"), 5) as volume:
            volume.write(0, b"bytes")
            volume.finish()
        assert [entry.name for entry in tmp_path.iterdir()] == ["new"]
        assert (tmp_path / "new").read_bytes() == b"bytes"

    def test_failed_rename_leaves_no_empty_target(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "link", fail_with(errno.EPERM))
        monkeypatch.setattr(os, "rename", fail_with(errno.EIO))
        with (
            CreatedFile(str(tmp_path / "new"), 5) as volume,
            pytest.raises(TargetError, match="cannot get its name"),
        ):
            volume.finish()
        assert not list(tmp_path.iterdir())

    def test_name_that_cannot_be_given_is_an_error(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "link", fail_with(errno.EIO))
        with (
            CreatedFile(str(tmp_path / "new"), 5) as volume,
            pytest.raises(TargetError, match="cannot get its name"),
        ):
            volume.finish()
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("path", ["/dev/no-such-device", "/dev/no-such-group/volume"])
    def test_device_that_does_not_exist_is_not_made_as_a_file(self, path: str) -> None:
        with pytest.raises(TargetError, match=r"there is no such device|cannot be created"):
            open_volume(path, access=Access.CREATE, size_bytes=4096)
        assert not os.path.lexists(path)

    def test_missing_folder_is_an_error(self, tmp_path: Path) -> None:
        with pytest.raises(TargetError, match="cannot be created"):
            CreatedFile(str(tmp_path / "none" / "new"), 4096)

    def test_size_the_file_system_cannot_hold_leaves_nothing(self, tmp_path: Path) -> None:
        with pytest.raises(TargetError, match="bytes long here"):
            CreatedFile(str(tmp_path / "new"), 1 << 62)
        assert not list(tmp_path.iterdir())

    def test_longest_name_can_be_created(self, tmp_path: Path) -> None:
        with CreatedFile(str(tmp_path / ("ä" * 127)), 4096) as volume:
            volume.finish()
        assert len(list(tmp_path.iterdir())) == 1

    def test_new_file_takes_no_space_until_it_is_written(self, tmp_path: Path) -> None:
        with CreatedFile(str(tmp_path / "new"), 1 << 40) as volume:
            assert volume.size_bytes == 1 << 40
            volume.zero(0, 1 << 40)
            volume.finish()
        assert (tmp_path / "new").stat().st_blocks < 64
