"""The code outside a repository: what the words name, and copies of it."""

import os
from pathlib import Path

import pytest

from orchestrator.code import copies
from orchestrator.code.blobs import blob_name, hash_listing
from orchestrator.code.copies import copy_for_run, read_named, remove_copy, require_copy, write_copy
from orchestrator.errors import CodeError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "study"
    names = ("train.py", "run.sh", "lib/a.py", "lib/deep/b.py", "lib/docs/d.md", "lib/__pycache__/a.pyc")
    hidden = (".hidden/h.py", "venv/pyvenv.cfg", "venv/site/x.py", "results/code/y.py", "reports/z.py")
    for name in (*names, *hidden):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"{name}\n")
    (folder / "run.sh").chmod(0o755)
    return folder


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("train.py",), {"train.py"}),
        (("./lib/", ":!lib/docs"), {"lib/a.py", "lib/deep/b.py"}),
        (("*.py",), {"train.py", "lib/a.py", "lib/deep/b.py"}),
        (("lib/*.py", ":^lib/deep"), {"lib/a.py"}),
        (("l?b/[ab].py", "run.sh"), {"lib/a.py", "run.sh"}),
        ((":!lib",), {"train.py", "run.sh"}),
        ((".",), {"train.py", "run.sh", "lib/a.py", "lib/deep/b.py", "lib/docs/d.md"}),
        ((".hidden", "results/code"), {".hidden/h.py", "results/code/y.py"}),
    ],
)
def test_paths_folders_and_patterns_name_files(root: Path, words: tuple[str, ...], names: set[str]) -> None:
    assert set(read_named(root, words)) == names


@pytest.mark.parametrize("word", [":(glob)*.py", ":/train.py", "../x.py", "/etc/passwd"])
def test_words_that_only_git_understands_are_refused(root: Path, word: str) -> None:
    with pytest.raises(CodeError, match=r"in `task\.code` is not understood outside a git repository; there a word is"):
        read_named(root, ("train.py", word))


def test_a_word_that_names_nothing_is_told_the_nearest_name(root: Path) -> None:
    with pytest.raises(CodeError, match=r"`tran\.py` in `task\.code` matches no file; did you mean `train\.py`\?"):
        read_named(root, ("tran.py",))
    with pytest.raises(CodeError, match=r"`\*\.zig` in `task\.code` matches no file; a word is a path or a pattern"):
        read_named(root, ("*.zig",))


def test_a_link_to_a_file_counts_as_the_file_and_one_to_a_folder_is_refused(root: Path) -> None:
    (root / "lib" / "link.py").symlink_to("a.py")
    (root / "lib" / "dangling.py").symlink_to("nowhere")
    os.mkfifo(root / "lib" / "pipe")
    found = read_named(root, ("lib",))
    assert found["lib/link.py"].content == b"lib/a.py\n"
    assert not found.keys() & {"lib/dangling.py", "lib/pipe"}
    (root / "lib" / "linked").symlink_to(root)
    with pytest.raises(CodeError, match="linked: this is a link to a folder; put the folder itself there"):
        read_named(root, ("lib",))


def test_code_with_data_in_it_is_refused_by_its_size(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copies, "MAX_CODE_BYTES", 2**20)
    (root / "lib" / "weights.bin").write_bytes(bytes(2**21))
    with pytest.raises(CodeError, match=r"\(lib\) holds 2 MiB, and at most 1 are copied; leave data out of `ta"):
        read_named(root, ("lib",))


def test_a_folder_that_cannot_be_read_is_told(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(CodeError, match="lib: the code that jobs run cannot be read: Permission denied"):
        read_named(root, ("lib",))


@pytest.fixture
def copy(root: Path) -> Path:
    target = root / "results" / "code" / "0123"
    write_copy(read_named(root, ("train.py", "run.sh", "lib")), target)
    return target


def test_a_copy_has_the_bytes_and_the_permission_to_execute(copy: Path) -> None:
    assert (copy / "lib" / "deep" / "b.py").read_text() == "lib/deep/b.py\n"
    assert [os.access(copy / name, os.X_OK) for name in ("run.sh", "train.py")] == [True, False]


def test_a_copy_that_was_changed_is_refused(root: Path, copy: Path) -> None:
    files = read_named(root, ("train.py", "run.sh", "lib"))
    code_hash = hash_listing({path: blob_name(file.content) for path, file in files.items()})
    require_copy(copy, code_hash)
    (copy / "train.py").write_text("other\n")
    with pytest.raises(CodeError, match=r"this copy of the code is not what it was .*: rm -r "):
        require_copy(copy, code_hash)


def test_a_run_gets_files_of_its_own_and_links_in_it_are_not_followed(copy: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "trees" / "a", tmp_path / "trees" / "b"
    for target in (first, second, first):
        copy_for_run(copy, target)
    (first / "train.py").write_text("mine\n")
    assert [(folder / "train.py").read_text() for folder in (copy, second)] == ["train.py\n"] * 2
    assert (os.access(first / "run.sh", os.X_OK), (first / "listing").exists()) == (True, False)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "precious").touch()
    (first / "data").symlink_to(tmp_path / "data")
    remove_copy(first)
    remove_copy(first)
    assert (first.exists(), (tmp_path / "data" / "precious").exists()) == (False, True)


def test_files_of_a_run_that_cannot_be_written_or_removed_are_told(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CodeError, match=r"a: a copy of the code for one run cannot be written: .*File exists"):
        copy_for_run(copy, tmp_path / "file" / "a")

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("orchestrator.code.copies.shutil.rmtree", refuse)
    with pytest.raises(CodeError, match="0123: the files of this run cannot be removed: Permission denied"):
        remove_copy(copy)
