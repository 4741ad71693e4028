"""The code that lies in a folder."""

import os
from pathlib import Path

import pytest

from orchestrator.code.folders import hash_code_folder, list_code, read_code, read_code_folder
from orchestrator.errors import CodeError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model" / "deep").mkdir(parents=True)
    (tmp_path / "model" / "deep" / "a.py").write_text("x = 1\n")
    return tmp_path


def test_files_are_listed_with_their_modes(folder: Path) -> None:
    (folder / "model" / "run.sh").write_text("true\n")
    (folder / "model" / "run.sh").chmod(0o755)
    (folder / "model" / "link.py").symlink_to("deep/a.py")
    (folder / "model" / "linked").symlink_to("deep")
    (folder / "model" / "sub" / ".git").mkdir(parents=True)
    (folder / "model" / "__pycache__").mkdir()
    (folder / "model" / "__pycache__" / "a.pyc").write_bytes(b"1")
    os.mkfifo(folder / "model" / "pipe")
    assert dict(list_code(folder)) == {
        "model/deep/a.py": "100644",
        "model/run.sh": "100755",
        "model/link.py": "120000",
        "model/linked": "120000",
        "model/sub": "160000",
    }


def test_a_folder_without_code_lists_nothing(tmp_path: Path) -> None:
    with pytest.raises(CodeError, match="model: the code that jobs run cannot be read: No such file"):
        read_code(tmp_path / "model", "")
    assert dict(list_code(tmp_path)) == {}


def test_a_copy_is_of_what_a_link_to_a_file_points_at(folder: Path) -> None:
    (folder / "model" / "b.py").symlink_to("deep/a.py")
    os.mkfifo(folder / "model" / "pipe")
    (folder / "model" / "dangling.py").symlink_to("nowhere")
    assert read_code_folder(folder / "model") == {"model/b.py": b"x = 1\n", "model/deep/a.py": b"x = 1\n"}


def test_a_link_to_a_folder_is_refused(folder: Path) -> None:
    (folder / "model" / "linked").symlink_to(folder)
    with pytest.raises(CodeError, match="linked: this is a link to a folder; put the folder itself there"):
        hash_code_folder(folder / "model")
