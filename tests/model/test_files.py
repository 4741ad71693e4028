"""Whole files: their rights, what is on the disk when they are there, and what a failure leaves."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from model import files
from model.files import stream_atomically, sync_folder, write_atomically


@pytest.fixture(params=[0o022, 0o002, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_a_file_has_the_rights_that_the_umask_leaves(umask: int, tmp_path: Path) -> None:
    write_atomically(tmp_path / "result.json", b"content")
    assert (tmp_path / "result.json").stat().st_mode & 0o777 == 0o666 & ~umask


def test_a_file_belongs_to_the_group_of_a_shared_folder(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may give a folder to a group")
    os.chown(tmp_path, -1, 12345)
    tmp_path.chmod(0o2775)
    write_atomically(tmp_path / "result.json", b"content")
    assert (tmp_path / "result.json").stat().st_gid == 12345


def test_the_folder_is_seen_on_the_disk_after_the_file_is_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[bool] = []

    def sync(folder: Path) -> None:
        synced.append((folder / "result.json").exists())
        sync_folder(folder)

    monkeypatch.setattr(files, "sync_folder", sync)
    write_atomically(tmp_path / "result.json", b"content")
    assert synced == [True]


def test_a_refusal_before_the_replacement_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_bytes(b"old")

    def refuse() -> None:
        raise PermissionError("another job has taken over")

    with pytest.raises(PermissionError, match="taken over"):
        stream_atomically(path, lambda file: file.write(b"new"), refuse)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
