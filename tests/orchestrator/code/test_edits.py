"""What lies on the disk and is in no commit is seen, whatever git was told to overlook."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.code.repository import Repository
from orchestrator.errors import CodeError
from tests.builders.code import hash_code_folder

Git = Callable[..., str]
EDITED = "print('edited')\n"
MAIN = "model/__main__.py"


def edits(repo: Path) -> list[str]:
    return Repository(repo).uncommitted_code()


def snapshot(repo: Path) -> str:
    """Return the hash of the code as a snapshot takes it."""
    repository = Repository(repo)
    return repository.code_hash(repository.snapshot_tree({}, with_code=True))


def edit_unseen_by_git(repo: Path, git: Git) -> None:
    """Leave another file of the same size and time, as a racy edit or a restored backup does."""
    git("config", "core.trustctime", "false")
    git("config", "core.checkStat", "minimal")
    file = repo / MAIN
    os.utime(file, ns=(10**18, 10**18))
    git("update-index", "--refresh")
    file.write_text("print('two')\n")
    os.utime(file, ns=(10**18, 10**18))
    assert git("status", "--porcelain") == ""


@pytest.mark.parametrize(
    ("flag", "mark"), [("skip-worktree", "--no-skip-worktree"), ("assume-unchanged", "--no-assume-unchanged")]
)
class TestOverlooked:
    def test_edit_is_seen_and_told_how_git_sees_it_again(self, repo: Path, git: Git, flag: str, mark: str) -> None:
        git("update-index", f"--{flag}", MAIN)
        (repo / MAIN).write_text(EDITED)
        assert git("status", "--porcelain") == ""
        assert edits(repo) == [f"{MAIN} (git overlooks it until `git update-index {mark} {MAIN}`)"]

    def test_edit_is_taken_by_a_snapshot(self, repo: Path, git: Git, flag: str, mark: str) -> None:
        git("update-index", f"--{flag}", MAIN)
        (repo / MAIN).write_text(EDITED)
        assert snapshot(repo) == hash_code_folder(repo)

    def test_deletion_is_seen(self, repo: Path, git: Git, flag: str, mark: str) -> None:
        git("update-index", f"--{flag}", MAIN)
        (repo / MAIN).unlink()
        assert edits(repo) == [f"{MAIN} (git overlooks it until `git update-index {mark} {MAIN}`)"]

    def test_file_without_an_edit_is_none(self, repo: Path, git: Git, flag: str, mark: str) -> None:
        git("update-index", f"--{flag}", MAIN)
        assert edits(repo) == []


class TestBytes:
    def test_of_one_size_and_time_are_compared(self, repo: Path, git: Git) -> None:
        edit_unseen_by_git(repo, git)
        assert edits(repo) == [MAIN]

    def test_alone_count_and_no_permission(self, repo: Path) -> None:
        (repo / MAIN).chmod(0o755)
        os.utime(repo / MAIN, (0, 0))
        assert edits(repo) == []

    def test_of_a_file_that_is_staged_or_only_intended_are_seen(self, repo: Path, git: Git) -> None:
        for name in ("staged.py", "intended.py"):
            (repo / "model" / name).write_text("x = 1\n")
        git("add", "model/staged.py")
        git("add", "--intent-to-add", "model/intended.py")
        assert edits(repo) == ["model/intended.py", "model/staged.py"]
        assert snapshot(repo) == hash_code_folder(repo)

    def test_that_are_only_in_the_index_are_none(self, repo: Path, git: Git) -> None:
        (repo / MAIN).write_text(EDITED)
        git("add", MAIN)
        (repo / MAIN).write_text("print('one')\n")
        assert edits(repo) == []

    def test_of_another_case_are_another_file(self, repo: Path, git: Git) -> None:
        git("config", "core.ignoreCase", "true")
        (repo / "model" / "pooling.py").write_text("x = 1\n")
        git("add", "-A")
        git("commit", "--quiet", "-m", "pooling")
        (repo / "model" / "pooling.py").rename(repo / "model" / "Pooling.py")
        assert edits(repo) == ["model/Pooling.py", "model/pooling.py"]

    def test_in_a_repository_of_sha256(self, repo: Path, git: Git) -> None:
        git("init", "--quiet", "--object-format=sha256", "../long")
        (repo / "model").rename(repo.parent / "long" / "model")
        git("-C", "../long", "add", "-A")
        git("-C", "../long", "commit", "--quiet", "-m", "start")
        assert edits(repo.parent / "long") == []
        (repo.parent / "long" / MAIN).write_text(EDITED)
        assert edits(repo.parent / "long") == [MAIN]
        assert snapshot(repo.parent / "long") == hash_code_folder(repo.parent / "long", 64)


class TestIgnored:
    @pytest.mark.parametrize("place", [".gitignore", ".git/info/exclude"])
    @pytest.mark.parametrize("name", ["extra.py", "deep/extra.py", "extra.abi3.so", "gone.pyc"])
    def test_code_that_an_import_could_find_is_seen(self, repo: Path, place: str, name: str) -> None:
        (repo / place).write_text(f"/model/{name}\n")
        (repo / "model" / name).parent.mkdir(exist_ok=True)
        (repo / "model" / name).write_text("x = 1\n")
        assert edits(repo) == [f"model/{name} (git ignores it, `git add --force` takes it)"]

    def test_code_is_taken_by_a_snapshot(self, repo: Path) -> None:
        (repo / ".git" / "info" / "exclude").write_text("extra.py\n")
        (repo / "model" / "extra.py").write_text("x = 1\n")
        assert snapshot(repo) == hash_code_folder(repo)

    @pytest.mark.parametrize(
        "name", ["notes.txt", "log", ".ipynb_checkpoints/a.py", "two words.py", "__pycache__/x.py"]
    )
    def test_files_that_no_import_finds_are_none(self, repo: Path, name: str) -> None:
        (repo / ".git" / "info" / "exclude").write_text("/model/*\n!/model/__main__.py\n")
        (repo / "model" / name).parent.mkdir(exist_ok=True)
        (repo / "model" / name).write_text("x = 1\n")
        assert edits(repo) == []

    def test_package_that_is_a_repository_or_a_link_is_seen(self, repo: Path, git: Git) -> None:
        (repo / ".git" / "info" / "exclude").write_text("/model/library\n/model/linked\n")
        git("clone", "--quiet", ".", "model/library")
        (repo / "model" / "library" / "code.py").touch()
        (repo / "model" / "linked").symlink_to(repo / "model")
        found = edits(repo)
        assert [entry.partition(" ")[0] for entry in found] == ["model/library", "model/linked"]

    def test_links_to_folders_without_code_and_to_nothing_are_none(self, repo: Path) -> None:
        (repo / ".git" / "info" / "exclude").write_text("/model/checkpoints\n/model/gone\n")
        (repo.parent / "scratch").mkdir()
        (repo.parent / "scratch" / "a.pt").touch()
        (repo / "model" / "checkpoints").symlink_to(repo.parent / "scratch")
        (repo / "model" / "gone").symlink_to("nowhere")
        assert edits(repo) == []


class TestSparseCheckout:
    def test_leaves_out_files_that_nobody_edited(self, repo: Path, git: Git) -> None:
        git("sparse-checkout", "set", "--no-cone", "/notes.txt")
        assert not (repo / "model").exists()
        assert edits(repo) == []

    def test_hides_no_edit(self, repo: Path, git: Git) -> None:
        git("sparse-checkout", "set", "--no-cone", "/notes.txt")
        (repo / "model").mkdir()
        (repo / MAIN).write_text(EDITED)
        assert [entry.partition(" ")[0] for entry in edits(repo)] == [MAIN]


class TestConversions:
    def test_of_line_ends_are_an_edit_where_git_would_not_make_them(self, repo: Path) -> None:
        (repo / MAIN).write_bytes(b"print('one')\r\n")
        assert edits(repo) == [MAIN]

    @pytest.mark.parametrize("prefix", ["", "studies/one/"])
    def test_of_line_ends_that_git_makes_are_no_edit(self, repo: Path, git: Git, prefix: str) -> None:
        folder = repo / prefix
        (folder / "model").mkdir(parents=True, exist_ok=True)
        (folder / MAIN).write_text("print('one')\n")
        (repo / ".gitattributes").write_text("*.py text eol=crlf\n")
        git("add", "-A")
        git("commit", "--quiet", "-m", "attributes")
        (folder / MAIN).unlink()
        git("checkout", "--quiet", "--", ".")
        assert (folder / MAIN).read_bytes() == b"print('one')\r\n"
        assert edits(folder) == []
        (folder / MAIN).write_bytes(b"print('two')\r\n")
        assert [entry.partition(" ")[0] for entry in edits(folder)] == [MAIN]
        repository = Repository(folder)
        tree = repository.snapshot_tree({}, with_code=True)
        assert repository.git.read("cat-file", "blob", f"{tree}:{prefix}{MAIN}") == b"print('two')\n"

    @pytest.mark.parametrize(
        ("attribute", "content"),
        [("filter=lfs", b"weights"), ("working-tree-encoding=UTF-16", "é".encode("utf-16")), ("ident", b"$Id: 7 $\n")],
    )
    def test_to_other_bytes_are_told(self, repo: Path, git: Git, attribute: str, content: bytes) -> None:
        git("config", "filter.lfs.clean", "sed s/weights/pointer/")
        (repo / ".gitattributes").write_text(f"*.py {attribute}\n")
        (repo / MAIN).write_bytes(content)
        git("add", "-A")
        git("commit", "--quiet", "-m", "converted")
        git("config", "--unset", "filter.lfs.clean")
        named = attribute if "=" in attribute else f"{attribute}=set"
        assert edits(repo) == [f"{MAIN} (git stores other bytes for it: {named})"]
        assert snapshot(repo) == hash_code_folder(repo)

    def test_by_a_filter_do_not_run(self, repo: Path, git: Git, tmp_path: Path) -> None:
        for driver in ("lfs", "odd=name"):
            for what in ("clean", "smudge", "process"):
                git("config", f"filter.{driver}.{what}", f"touch {tmp_path}/a-filter-ran")
            git("config", f"filter.{driver}.required", "true")
        (repo / ".git" / "info" / "attributes").write_text("*.py filter=lfs\n*.txt filter=odd=name\n")
        (repo / MAIN).write_bytes(b"print('two')\r\n")
        (repo / "model" / "new.txt").write_bytes(b"two\r\nthree\r\n")
        assert [entry.partition(" ")[0] for entry in edits(repo)] == [MAIN, "model/new.txt"]
        assert snapshot(repo) == hash_code_folder(repo)
        assert not (tmp_path / "a-filter-ran").exists()


class TestOddFiles:
    def test_pipes_are_passed_over(self, repo: Path) -> None:
        os.mkfifo(repo / "model" / "pipe.py")
        assert edits(repo) == []

    def test_link_instead_of_a_file_is_seen_and_refused_by_a_snapshot(self, repo: Path) -> None:
        (repo / MAIN).rename(repo / "elsewhere.py")
        (repo / MAIN).symlink_to("../elsewhere.py")
        assert edits(repo) == [MAIN]
        repository = Repository(repo)
        tree = repository.snapshot_tree({}, with_code=True)
        with pytest.raises(CodeError, match=r"model/__main__\.py \(a symbolic link\); remove each of them"):
            repository.require_plain_code(tree)

    def test_link_instead_of_the_folder_is_seen(self, repo: Path) -> None:
        (repo / "model").rename(repo.parent / "elsewhere")
        (repo / "model").symlink_to(repo.parent / "elsewhere")
        assert edits(repo) == ["model", MAIN]
