"""Whole files: their rights, what is on the disk when they are written, what a failure leaves, and what is read."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator import files
from orchestrator.files import (
    format_json,
    is_there,
    read_plain,
    require_plain,
    sync_folder,
    write_atomically,
    write_json,
)


@pytest.fixture(params=[0o022, 0o002, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


class TestWriteAtomically:
    def test_the_umask_decides_the_rights(self, umask: int, tmp_path: Path) -> None:
        write_atomically(tmp_path / "order.json", b"content")
        assert (tmp_path / "order.json").stat().st_mode & 0o777 == 0o666 & ~umask

    def test_a_missing_folder_is_made(self, tmp_path: Path) -> None:
        write_atomically(tmp_path / "a" / "b" / "order.json", b"content")
        assert (tmp_path / "a" / "b" / "order.json").read_bytes() == b"content"

    def test_the_folder_is_flushed_after_the_file_is_in_place(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        flushed: list[bool] = []
        monkeypatch.setattr(files, "sync_folder", lambda folder: flushed.append((folder / "order.json").exists()))
        write_atomically(tmp_path / "order.json", b"content")
        assert flushed == [True]

    def test_a_failure_keeps_the_old_file_and_leaves_no_other(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "order.json"
        path.write_bytes(b"old")

        def refuse(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "fsync", refuse)
        with pytest.raises(OSError, match="No space left"):
            write_atomically(path, b"new")
        assert path.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("number", "is_fatal"), [(errno.EINVAL, False), (errno.ENOTSUP, False), (errno.EIO, True)])
def test_only_a_file_system_that_cannot_flush_folders_is_excused(
    number: int, is_fatal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    if is_fatal:
        with pytest.raises(OSError, match="Input/output error"):
            sync_folder(tmp_path)
    else:
        sync_folder(tmp_path)


def test_json_is_indented_and_ends_its_last_line(tmp_path: Path) -> None:
    write_json(tmp_path / "value.json", {"run": "E5-s0", "seeds": [0, 1]})
    content = b'{\n  "run": "E5-s0",\n  "seeds": [\n    0,\n    1\n  ]\n}\n'
    assert (tmp_path / "value.json").read_bytes() == content == format_json({"run": "E5-s0", "seeds": [0, 1]})


class TestReadPlain:
    def test_a_plain_file(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_bytes(b"{}")
        assert read_plain(tmp_path / "a.json") == b"{}"

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            read_plain(tmp_path / "a.json")

    def test_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(IsADirectoryError):
            require_plain(tmp_path)

    def test_a_pipe_is_refused_and_not_waited_for(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "a.json")
        with pytest.raises(ValueError, match=r"a\.json is no plain file"):
            read_plain(tmp_path / "a.json")

    def test_a_file_beyond_the_limit(self, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_bytes(b"12345")
        assert read_plain(tmp_path / "a.json", limit_bytes=5) == b"12345"
        with pytest.raises(ValueError, match=r"a\.json has 5 bytes, at most 4 are read"):
            read_plain(tmp_path / "a.json", limit_bytes=4)


def test_what_is_there(tmp_path: Path) -> None:
    assert is_there(tmp_path)
    assert not is_there(tmp_path / "missing")
    assert not is_there(Path("a\0b"))
