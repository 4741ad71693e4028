"""The code that lies in a folder."""

import os
from pathlib import Path

import pytest

from orchestrator.code.folders import find_modes, is_code_unchanged, list_code, read_code
from orchestrator.errors import CodeError
from tests.builders.code import blob_of


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model" / "deep").mkdir(parents=True)
    (tmp_path / "model" / "deep" / "a.py").write_text("x = 1\n")
    return tmp_path


@pytest.fixture
def odd(folder: Path) -> Path:
    (folder / "model" / "run.sh").write_text("true\n")
    (folder / "model" / "run.sh").chmod(0o755)
    (folder / "model" / "link.py").symlink_to("deep/a.py")
    (folder / "model" / "linked").symlink_to("deep")
    (folder / "model" / "sub" / ".git").mkdir(parents=True)
    (folder / "model" / "__pycache__").mkdir()
    (folder / "model" / "__pycache__" / "a.pyc").write_bytes(b"1")
    os.mkfifo(folder / "model" / "pipe")
    return folder


MODES = {
    "model/deep/a.py": "100644",
    "model/run.sh": "100755",
    "model/link.py": "120000",
    "model/linked": "120000",
    "model/sub": "160000",
}


def test_files_are_listed_with_their_modes(odd: Path) -> None:
    assert dict(list_code(odd)) == MODES


def test_given_paths_have_the_modes_of_what_is_there(odd: Path) -> None:
    paths = [*MODES, "model/linked/a.py", "model/sub/x.py", "model/__pycache__/a.pyc", "model/pipe", "model/deep"]
    assert find_modes(odd, [*paths, "model/gone.py", "model/run.sh/x"]) == MODES


def test_paths_beside_the_campaigns_folder_are_looked_at_too(odd: Path) -> None:
    (odd / "exp").mkdir()
    (odd / ".git").mkdir()
    assert find_modes(odd / "exp", ["../model/deep/a.py", "../model/linked/a.py"]) == {
        "../model/deep/a.py": "100644",
        "../model/linked": "120000",
    }


def test_a_path_that_cannot_be_looked_at_is_told(folder: Path) -> None:
    with pytest.raises(CodeError, match=r"x+: the code that jobs run cannot be read: File name too long"):
        find_modes(folder, ["x" * 300])


def test_a_folder_without_code_lists_nothing(tmp_path: Path) -> None:
    with pytest.raises(CodeError, match="model: the code that jobs run cannot be read: No such file"):
        read_code(tmp_path / "model", "")
    assert dict(list_code(tmp_path / "gone")) == {}


@pytest.mark.parametrize(
    ("path", "is_same"), [("model/table.npy", True), ("model/extra.py", False), ("torch.py", False), ("out/a b", True)]
)
def test_only_a_file_that_an_import_could_find_changes_code_by_lying_there(
    folder: Path, path: str, is_same: bool
) -> None:
    blobs = {"model/deep/a.py": blob_of(b"x = 1\n")}
    assert is_code_unchanged(folder, blobs)
    (folder / path).parent.mkdir(exist_ok=True)
    (folder / path).write_text("1")
    assert is_code_unchanged(folder, blobs) == is_same
