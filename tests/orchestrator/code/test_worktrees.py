"""Worktrees: whole, of the commit's bytes, and never over or instead of something of the user's."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator.code import worktrees
from orchestrator.code.repository import Repository
from orchestrator.errors import CodeError

Git = Callable[..., str]


@pytest.fixture
def path(repo: Path) -> Path:
    return repo.parent / "trees" / "E5"


def files(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != ".git")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


CODE = {"model/__main__.py": b"print('one')\n"}
WHOLE = {**CODE, "notes.txt": b"mine\n"}


class TestAdd:
    def test_takes_an_empty_folder(self, repo: Path, path: Path) -> None:
        path.mkdir(parents=True)
        repository = Repository(repo)
        repository.add_worktree(repository.base_commit, path)
        assert files(path) == CODE

    def test_leaves_other_files_and_names_the_command_that_moves_them(self, repo: Path, path: Path) -> None:
        path.mkdir(parents=True)
        (path / "thesis.txt").write_text("years of work\n")
        repository = Repository(repo)
        with pytest.raises(
            CodeError, match=r"E5: [0-9a-f]{12} is to be checked out here, and other files are there; mo"
        ) as caught:
            repository.add_worktree(repository.base_commit, path)
        assert files(path) == {"thesis.txt": b"years of work\n"}
        run_named_command(caught.value, repo)
        repository.add_worktree(repository.base_commit, path)
        assert files(path) == CODE

    def test_does_not_take_a_folder_in_the_users_checkout_for_a_checkout(self, repo: Path) -> None:
        repository = Repository(repo)
        with pytest.raises(CodeError, match="other files are there"):
            repository.add_worktree(repository.base_commit, repo / "model")
        with pytest.raises(CodeError, match="other files are there"):
            repository.add_worktree(repository.base_commit, repo)

    def test_leaves_a_worktree_that_was_edited(self, repo: Path, path: Path) -> None:
        repository = Repository(repo)
        repository.add_worktree(repository.base_commit, path)
        (path / "model" / "__main__.py").write_text("print('edited')\n")
        with pytest.raises(CodeError, match="its files were changed; move that away: git worktree move ") as caught:
            repository.add_worktree(repository.base_commit, path)
        run_named_command(caught.value, repo)
        repository.add_worktree(repository.base_commit, path)
        assert files(path) == CODE
        assert files(path.with_name("E5.moved"))["model/__main__.py"] == b"print('edited')\n"

    def test_leaves_a_worktree_of_another_commit(self, repo: Path, path: Path, git: Git) -> None:
        repository = Repository(repo)
        repository.add_worktree(repository.base_commit, path)
        git("commit", "--quiet", "--allow-empty", "-m", "next")
        with pytest.raises(CodeError, match=rf"and {repository.base_commit[:12]} is checked out there; move that away"):
            repository.add_worktree(git("rev-parse", "HEAD"), path)

    def test_leaves_a_worktree_that_git_no_longer_knows(self, repo: Path, path: Path, git: Git) -> None:
        repository = Repository(repo)
        repository.add_worktree(repository.base_commit, path)
        (path / ".git").write_text(f"gitdir: {repo}/.git/worktrees/gone\n")
        with pytest.raises(CodeError, match="a checkout is there that git no longer knows; move that away: mv "):
            repository.add_worktree(repository.base_commit, path)

    def test_takes_a_whole_worktree_as_it_is_with_the_byte_code_of_a_run(self, repo: Path, path: Path) -> None:
        repository = Repository(repo)
        repository.add_worktree(repository.base_commit, path)
        byte_code = path / "model" / "__pycache__" / "__main__.cpython-311.pyc"
        byte_code.parent.mkdir()
        byte_code.write_bytes(b"1")
        repository.add_worktree(repository.base_commit, path)
        assert byte_code.exists()

    @pytest.mark.parametrize("name", ["main.pyc", "extra.py"])
    def test_leaves_a_worktree_with_code_that_its_commit_lacks(self, repo: Path, path: Path, name: str) -> None:
        repository = Repository(repo)
        repository.add_worktree(repository.base_commit, path)
        (path / "model" / name).write_bytes(b"1")
        with pytest.raises(CodeError, match="its files were changed; move that away"):
            repository.add_worktree(repository.base_commit, path)

    def test_makes_anew_what_a_killed_git_left_half_made(self, repo: Path, path: Path, git: Git) -> None:
        """The smudge filter is so slow that git dies while it writes the files."""
        (repo / ".git" / "info" / "attributes").write_text("*.py filter=slow\n")
        git("config", "filter.slow.smudge", "sleep 20")
        command = ["git", "worktree", "add", "--detach", str(path), "HEAD"]
        with subprocess.Popen(command, cwd=repo, start_new_session=True, stderr=subprocess.DEVNULL) as process:
            entry = repo / ".git" / "worktrees" / "E5"
            while not (entry / "index.lock").exists():
                time.sleep(0.002)
            os.killpg(process.pid, signal.SIGKILL)
        assert (path / ".git").exists()
        assert files(path) != CODE
        git("config", "--unset", "filter.slow.smudge")
        repository = Repository(repo)
        repository.add_worktree(repository.base_commit, path)
        assert files(path) == CODE

    def test_makes_anew_where_only_gits_file_is_left(self, repo: Path, path: Path) -> None:
        path.mkdir(parents=True)
        (path / ".git").write_text("")
        repository = Repository(repo)
        repository.add_worktree(repository.base_commit, path)
        assert files(path) == CODE

    def test_makes_anew_what_was_removed_in_part(self, repo: Path, path: Path) -> None:
        repository = Repository(repo)
        repository.add_worktree(repository.base_commit, path)
        (path / "model" / "__main__.py").unlink()
        repository.add_worktree(repository.base_commit, path)
        assert files(path) == CODE

    def test_makes_anew_what_was_locked_and_then_deleted(self, repo: Path, path: Path, git: Git) -> None:
        repository = Repository(repo)
        repository.add_worktree(repository.base_commit, path)
        git("worktree", "lock", str(path))
        path.rename(path.with_name("elsewhere"))
        repository.add_worktree(repository.base_commit, path)
        assert files(path) == CODE

    def test_writes_the_bytes_of_the_commit_whatever_the_user_has_set(self, repo: Path, path: Path, git: Git) -> None:
        attributes = repo.parent / "attributes"
        attributes.write_text("*.py text eol=crlf\n")
        for setting in ("core.autocrlf=true", f"core.attributesFile={attributes}"):
            git("config", *setting.split("="))
        git("sparse-checkout", "set", "--no-cone", "/notes.txt")
        repository = Repository(repo)
        repository.add_worktree(repository.base_commit, path)
        assert files(path) == CODE
        repository.add_worktree(repository.base_commit, path)
        assert git("config", "core.autocrlf") == "true"

    def test_runs_no_filter_and_needs_none_that_is_required(self, repo: Path, path: Path, git: Git) -> None:
        """As where a repository is under git-lfs and the program is not there."""
        git("config", "filter.lfs.process", f"touch {repo.parent}/a-filter-ran; git-lfs-that-is-not-there")
        git("config", "filter.lfs.required", "true")
        (repo / ".git" / "info" / "attributes").write_text("* filter=lfs\n")
        repository = Repository(repo)
        repository.add_worktree(repository.base_commit, path)
        assert files(path) == CODE
        worktrees.add_whole(repository.git, repository.base_commit, path.with_name("look"))
        assert files(path.with_name("look")) == WHOLE
        assert not (repo.parent / "a-filter-ran").exists()

    @pytest.mark.parametrize("attribute", ["text eol=crlf", "ident", "working-tree-encoding=UTF-16"])
    def test_writes_the_bytes_of_the_commit_whatever_its_attributes_say(
        self, repo: Path, path: Path, git: Git, attribute: str
    ) -> None:
        (repo / "model" / "ident.py").write_text("# $Id$\n")
        git("add", "-A")
        git("commit", "--quiet", "-m", "ident")
        (repo / ".gitattributes").write_text(f"*.py {attribute}\n")
        git("add", ".gitattributes")
        git("commit", "--quiet", "-m", "attributes")
        repository = Repository(repo)
        repository.add_worktree(repository.base_commit, path)
        assert files(path) == {**CODE, "model/ident.py": b"# $Id$\n"}
        repository.add_worktree(repository.base_commit, path)

    def test_asks_no_other_repository_for_what_a_partial_clone_lacks(self, repo: Path, path: Path, git: Git) -> None:
        git("config", "uploadpack.allowFilter", "true")
        git("config", "uploadpack.allowAnySHA1InWant", "true")
        clone = repo.parent / "clone"
        git("clone", "--quiet", "--filter=blob:none", "--no-checkout", repo.as_uri(), str(clone))
        repository = Repository(clone)
        with pytest.raises(
            CodeError, match=r"model/__main__.py of commit .*: its content is not in this repository, .*fetch it: "
        ) as caught:
            repository.add_worktree(repository.base_commit, path)
        run_named_command(caught.value, clone)
        repository.add_worktree(repository.base_commit, path)
        assert files(path) == CODE

    def test_takes_no_object_that_replaces_another(self, repo: Path, path: Path, git: Git) -> None:
        """What was hashed is what runs: `git replace` gives out other bytes under the same name."""
        (repo / "notes.txt").write_text("print('replaced')\n")
        git("add", "-A")
        git("replace", git("rev-parse", "HEAD:model/__main__.py"), git("rev-parse", ":notes.txt"))
        repository = Repository(repo)
        repository.add_worktree(repository.base_commit, path)
        assert files(path) == CODE

    def test_names_the_variable_of_a_folder_that_cannot_be_written(self, repo: Path, path: Path) -> None:
        path.parent.write_text("a file where a folder should be\n")
        with pytest.raises(CodeError, match=r"trees: .*; name another one|in the variable XDG_CACHE_HOME"):
            Repository(repo).add_worktree(Repository(repo).base_commit, path)

    @pytest.mark.parametrize("kind", ["link", "byte code"])
    def test_refuses_what_is_no_source_file(self, repo: Path, path: Path, git: Git, kind: str) -> None:
        name = "model/linked.py" if kind == "link" else "model/main.pyc"
        (repo / name).symlink_to("/etc/passwd") if kind == "link" else (repo / name).write_bytes(b"1")
        git("add", "-A", "--force")
        git("commit", "--quiet", "-m", kind)
        repository = Repository(repo)
        with pytest.raises(CodeError, match=rf"{name}, which is .*{kind}: jobs run source files; commit the file"):
            repository.add_worktree(repository.base_commit, path)

    def test_runs_no_hook_of_the_user(self, repo: Path, path: Path, git: Git) -> None:
        hooks = repo.parent / "hooks"
        hooks.mkdir()
        (hooks / "post-checkout").write_text("#!/bin/sh\ntouch written-by-a-hook\nexit 1\n")
        (hooks / "post-checkout").chmod(0o755)
        git("config", "core.hooksPath", str(hooks))
        repository = Repository(repo)
        repository.add_worktree(repository.base_commit, path)
        assert files(path) == CODE

    def test_tells_what_git_refuses(self, repo: Path, path: Path) -> None:
        with pytest.raises(CodeError, match=r"git cannot check out 012345678901 at .*E5: fatal: bad object"):
            Repository(repo).add_worktree("0123456789" * 4, path)

    def test_works_where_the_repository_has_submodules_elsewhere(self, repo: Path, path: Path, git: Git) -> None:
        git("clone", "--quiet", ".", "../library")
        git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "../library", "library")
        git("commit", "--quiet", "-m", "a library")
        repository = Repository(repo)
        repository.add_worktree(repository.base_commit, path)
        assert (path / "model" / "__main__.py").exists()
        assert not (path / "library").exists()
        repository.add_worktree(repository.base_commit, path)
        repository.remove_worktree(path)
        assert git("worktree", "list").count("\n") == 0


class TestRemove:
    def test_leaves_one_that_the_user_has_locked(self, repo: Path, path: Path, git: Git) -> None:
        repository = Repository(repo)
        repository.add_worktree(repository.base_commit, path)
        git("worktree", "lock", "--reason", "I look at it", str(path))
        with pytest.raises(
            CodeError, match=r"this worktree is locked \(I look at it\); run `git worktree unlock "
        ) as caught:
            repository.remove_worktree(path)
        assert files(path) == CODE
        git(*str(caught.value).split("`")[1].split()[1:])
        repository.remove_worktree(path)
        assert not path.exists()

    def test_removes_one_that_the_user_has_deleted(self, repo: Path, path: Path, git: Git) -> None:
        repository = Repository(repo)
        repository.add_worktree(repository.base_commit, path)
        path.rename(path.with_name("elsewhere"))
        repository.remove_worktree(path)
        repository.remove_worktree(path)
        assert git("worktree", "list").count("\n") == 0

    def test_removes_a_half_made_one(self, repo: Path, path: Path, git: Git) -> None:
        git("worktree", "add", "--no-checkout", "--lock", "--reason", "initializing", "--detach", str(path))
        Repository(repo).remove_worktree(path)
        assert not path.exists()
        assert git("worktree", "list").count("\n") == 0

    def test_removes_a_broken_one_with_its_entry(self, repo: Path, path: Path, git: Git) -> None:
        repository = Repository(repo)
        repository.add_worktree(repository.base_commit, path)
        (path / ".git").write_text("\xff")
        repository.remove_worktree(path)
        assert not path.exists()
        assert git("worktree", "list").count("\n") == 0

    def test_never_removes_a_repository(self, repo: Path) -> None:
        """Law 6: the user's checkout and index are never touched."""
        with pytest.raises(CodeError, match=r"this is a repository and no worktree of ours; move it away: mv "):
            Repository(repo).remove_worktree(repo)
        assert files(repo).items() >= WHOLE.items()

    def test_that_cannot_be_done_is_told(self, repo: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        repository = Repository(repo)
        path.mkdir(parents=True)

        def refuse(folder: Path) -> None:
            raise PermissionError(13, "Permission denied", str(folder))

        # Whoever runs the tests may be root, who may remove everything.
        monkeypatch.setattr("orchestrator.code.worktrees.shutil.rmtree", refuse)
        with pytest.raises(CodeError, match=r"E5: this worktree cannot be removed: Permission denied; ask its owner"):
            repository.remove_worktree(path)

    def test_leaves_what_another_process_is_making(self, repo: Path, path: Path, git: Git) -> None:
        """A worktree that has an entry and no folder yet is what `git worktree prune` would take."""
        repository = Repository(repo)
        other = path.with_name("other")
        repository.add_worktree(repository.base_commit, other)
        other.rename(path.with_name("elsewhere"))
        repository.add_worktree(repository.base_commit, path)
        repository.remove_worktree(path)
        repository.remove_worktree(path)
        path.with_name("elsewhere").rename(other)
        assert str(other) in git("worktree", "list")


def test_many_processes_make_and_remove_worktrees_at_once(repo: Path, path: Path, git: Git) -> None:
    repository = Repository(repo)

    def make_and_remove(number: int) -> dict[str, bytes]:
        mine = path.with_name(f"E{number}")
        found = files(repository.add_worktree(repository.base_commit, mine))
        repository.remove_worktree(mine)
        return found

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(make_and_remove, range(24))) == [CODE] * 24
    assert git("worktree", "list").count("\n") == 0


def run_named_command(error: CodeError, folder: Path) -> None:
    """Run the command that an error's sentence ends in, as its reader would."""
    found = re.search(r": ((?:git|mv|rm) .*)$", str(error))
    assert found
    subprocess.run(found[1], shell=True, check=True, cwd=folder)
