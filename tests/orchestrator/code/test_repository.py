"""The repository around a campaign: its code, snapshots and worktrees, of whatever kind, whatever the user has set."""

import os
import re
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.code.refs import ExperimentCommit
from orchestrator.code.repository import Repository
from orchestrator.code.steps import SPEC_FILE
from orchestrator.errors import CodeError
from tests.builders.code import hash_code_folder

NOW = datetime(2026, 2, 19, 1, 0, 41, tzinfo=UTC)
Git = Callable[..., str]


def commit(repository: Repository, experiment: str = "E5", content: bytes = b"{}") -> tuple[str, str]:
    tree = repository.snapshot_tree({SPEC_FILE: content}, with_code=False)
    made = repository.branches.commit_experiment(experiment, tree, f"{experiment}: a change", NOW)
    return made.branch, made.commit


def run_named_command(error: CodeError, folder: Path) -> None:
    """Run the command that an error's sentence ends in, as its reader would."""
    found = re.search(r": ((?:git|rm) .*)$", str(error))
    assert found, error
    subprocess.run(found[1], shell=True, check=True, capture_output=True, cwd=folder)


def test_the_users_checkout_and_index_are_never_touched(repo: Path, git: Git) -> None:
    """Law 6: the user's checkout and index are never touched."""
    (repo / "notes.txt").write_text("half an idea\n")
    (repo / "staged.txt").write_text("staged\n")
    git("add", "staged.txt")
    before = (git("status", "--porcelain=v2", "--branch"), git("stash", "list"))
    index = (repo / ".git" / "index").read_bytes()
    # Git would like to note that the file is still the same.
    os.utime(repo / "model" / "__main__.py", (0, 0))
    repository = Repository(repo)
    repository.uncommitted_code()
    repository.snapshot_tree({}, with_code=True)
    branch, commit_hash = commit(repository)
    path = repo.parent / "trees" / "E5"
    repository.add_worktree(commit_hash, path)
    repository.remove_worktree(path)
    repository.branches.retire(ExperimentCommit(branch, commit_hash, repository.base_commit))
    assert (repo / ".git" / "index").read_bytes() == index
    assert (git("status", "--porcelain=v2", "--branch"), git("stash", "list")) == before
    assert git("worktree", "list").count("\n") == 0


def test_a_worktree_holds_the_experiments_code(repo: Path) -> None:
    repository = Repository(repo)
    _, commit_hash = commit(repository)
    folder = repository.add_worktree(commit_hash, repo.parent / "trees" / "E5")
    assert (folder / "model" / "__main__.py").read_text() == "print('one')\n"
    assert (folder / SPEC_FILE).read_bytes() == b"{}"
    assert repository.add_worktree(commit_hash, repo.parent / "trees" / "E5") == folder


def test_a_worktree_that_was_deleted_by_hand_is_made_again(repo: Path) -> None:
    repository = Repository(repo)
    _, commit_hash = commit(repository)
    path = repo.parent / "trees" / "E5"
    for file in sorted(repository.add_worktree(commit_hash, path).rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() else file.unlink()
    path.rmdir()
    assert (repository.add_worktree(commit_hash, path) / "model").is_dir()


def test_changes_to_code_are_listed_and_others_are_not(repo: Path, git: Git) -> None:
    study = repo / "studies" / "one"
    (study / "model").mkdir(parents=True)
    (study / "model" / "a b.py").write_text("one\ntwo\n")
    (study / "model" / "old.py").write_text("gone\n")
    git("add", "-A")
    git("commit", "--quiet", "-m", "a study")
    before = git("rev-parse", "HEAD")
    (study / "model" / "a b.py").write_text("one\nthree\nfour\n")
    (study / "model" / "old.py").unlink()
    (study / "notes.txt").write_text("no code\n")
    (repo / "model" / "__main__.py").write_text("print('another study')\n")
    git("add", "-A")
    git("commit", "--quiet", "-m", "a step")
    repository = Repository(study)
    assert repository.code_changes(before, "HEAD") == ["model/a b.py (+2 -1)", "model/old.py (+0 -1)"]
    assert repository.code_changes("HEAD", "HEAD") == []
    assert repository.code_changes("0123456789" * 4, "HEAD") is None


def test_uncommitted_code_is_seen_and_other_files_are_not(repo: Path) -> None:
    (repo / "notes.txt").write_text("other\n")
    assert Repository(repo).uncommitted_code() == []
    (repo / "model" / "new.py").write_text("x = 1\n")
    (repo / "model" / "__main__.py").write_text("print('two')\n")
    assert sorted(Repository(repo).uncommitted_code()) == ["model/__main__.py", "model/new.py"]


def test_byte_code_is_not_code(repo: Path) -> None:
    (repo / "model" / "__pycache__").mkdir()
    (repo / "model" / "__pycache__" / "new.cpython-311.pyc").write_bytes(b"1")
    repository = Repository(repo)
    assert repository.uncommitted_code() == []
    assert repository.code_hash(repository.snapshot_tree({}, with_code=True)) == repository.code_hash()


def test_code_has_one_hash_in_git_and_in_a_folder(repo: Path) -> None:
    repository = Repository(repo)
    committed = repository.code_hash()
    assert committed == hash_code_folder(repo)
    (repo / "model" / "new.py").write_text("x = 1\n")
    assert repository.code_hash() == committed
    snapshot = repository.code_hash(repository.snapshot_tree({}, with_code=True))
    assert snapshot == hash_code_folder(repo) != committed


def test_a_campaign_in_a_subfolder_has_its_own_code(repo: Path, git: Git) -> None:
    study = repo / "studies" / "one"
    (study / "model").mkdir(parents=True)
    (study / "model" / "__main__.py").write_text("print('inner')\n")
    git("add", "-A")
    git("commit", "--quiet", "-m", "a study")
    repository = Repository(study)
    assert repository.has_code()
    assert repository.code_hash() == hash_code_folder(study)
    _, commit_hash = commit(repository)
    folder = repository.add_worktree(commit_hash, repo.parent / "trees" / "E5")
    assert (folder / "model" / "__main__.py").read_text() == "print('inner')\n"


def test_no_repository_is_none_and_an_empty_or_bare_one_is_refused(git: Git, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    assert Repository.find(tmp_path / "plain") is None
    with pytest.raises(CodeError, match="this repository has no commit yet"):
        Repository.find(tmp_path / "repo")
    git("init", "--quiet", "--bare", "../bare")
    with pytest.raises(CodeError, match="this repository is bare"):
        Repository.find(tmp_path / "bare")


def full_round(repository: Repository, path: Path) -> ExperimentCommit:
    """An experiment's way through git, from its commit to the end of its branch; return its commit."""
    branch, commit_hash = commit(repository)
    folder = repository.add_worktree(commit_hash, path)
    assert (folder / "model" / "__main__.py").read_bytes() == b"print('one')\n"
    repository.remove_worktree(path)
    made = ExperimentCommit(branch, commit_hash, repository.base_commit)
    repository.branches.keep(made, "E5", '{"verdict": "improved"}')
    repository.branches.retire(made)
    assert repository.branches.list_keepers() == {"E5": commit_hash}
    assert [known.ref for known in repository.branches.list_known_commits()] == [
        "refs/tags/keeper/E5",
        "refs/knockout/E5/20260219_010041",
    ]
    return made


class TestRepositoriesOfEveryKind:
    def test_detached(self, repo: Path, git: Git) -> None:
        git("checkout", "--quiet", "--detach")
        full_round(Repository(repo), repo.parent / "tree")

    def test_a_linked_worktree_of_the_users(self, repo: Path, git: Git) -> None:
        git("worktree", "add", "--quiet", "-b", "side", "../side")
        (repo.parent / "side" / "model" / "new.py").write_text("x = 1\n")
        repository = Repository(repo.parent / "side")
        assert repository.uncommitted_code() == ["model/new.py"]
        assert repository.top == repo.parent / "side"
        full_round(repository, repo.parent / "tree")
        assert git("worktree", "list").count("\n") == 1

    def test_a_linked_worktree_of_a_bare_repository(self, repo: Path, git: Git) -> None:
        git("clone", "--quiet", "--bare", ".", "../bare")
        git("-C", "../bare", "worktree", "add", "--quiet", "../side", "main")
        full_round(Repository(repo.parent / "side"), repo.parent / "tree")

    def test_shallow(self, repo: Path, git: Git) -> None:
        git("commit", "--quiet", "--allow-empty", "-m", "next")
        git("clone", "--quiet", "--depth=1", repo.as_uri(), "../shallow")
        made = full_round(Repository(repo.parent / "shallow"), repo.parent / "tree")
        assert made.base_commit == git("rev-parse", "main")

    def test_sha256(self, repo: Path, git: Git) -> None:
        git("init", "--quiet", "--object-format=sha256", "../long")
        (repo / "model").rename(repo.parent / "long" / "model")
        git("-C", "../long", "add", "-A")
        git("-C", "../long", "commit", "--quiet", "-m", "start")
        made = full_round(Repository(repo.parent / "long"), repo.parent / "tree")
        assert len(made.commit) == 64

    def test_with_submodules_beside_the_code(self, repo: Path, git: Git) -> None:
        add_submodule(git, "library")
        full_round(Repository(repo), repo.parent / "tree")

    def test_a_submodule_of_another(self, repo: Path, git: Git) -> None:
        git("init", "--quiet", "../outer")
        git("-C", "../outer", "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(repo), "inner")
        full_round(Repository(repo.parent / "outer" / "inner"), repo.parent / "tree")

    def test_bare_is_refused_with_the_command_that_mends_it(self, repo: Path, git: Git) -> None:
        git("clone", "--quiet", "--bare", ".", "../bare")
        with pytest.raises(
            CodeError, match="this repository is bare, it has no files to run; clone it first"
        ) as caught:
            Repository(repo.parent / "bare")
        run_named_command(caught.value, repo)
        assert Repository(repo.parent / "bare-clone").has_code()

    def test_the_folder_of_git_itself_is_refused(self, repo: Path) -> None:
        with pytest.raises(CodeError, match="it has no files to run"):
            Repository(repo / ".git")

    def test_one_of_another_owner_is_refused_in_gits_words(self, repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
        with pytest.raises(CodeError, match=r"git refuses this repository: .*dubious ownership.* safe.directory"):
            Repository.find(repo)

    def test_a_broken_link_to_one_is_refused_in_gits_words(self, repo: Path) -> None:
        (repo.parent / "side").mkdir()
        (repo.parent / "side" / ".git").write_text("gitdir: ../gone\n")
        with pytest.raises(CodeError, match=r"git refuses this repository: fatal: not a git repository: .*gone"):
            Repository.find(repo.parent / "side")

    def test_no_folder_is_none(self, tmp_path: Path) -> None:
        assert Repository.find(tmp_path / "nowhere") is None


def add_submodule(git: Git, path: str) -> None:
    git("clone", "--quiet", ".", "../library")
    git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", "../library", path)
    git("commit", "--quiet", "-m", "a submodule")


class TestSubmodules:
    def test_model_as_one_is_refused_with_the_command_that_mends_it(self, repo: Path, git: Git) -> None:
        git("rm", "-rq", "model")
        git("commit", "--quiet", "-m", "no code")
        add_submodule(git, "model")
        git("config", "user.email", "ada@example.org")
        git("config", "user.name", "Ada")
        with pytest.raises(CodeError, match="the code that jobs run is in a submodule") as caught:
            Repository(repo).has_code()
        (repo / "model" / "__main__.py").write_text("print('one')\n")
        git("config", "core.editor", "echo mended >")
        run_named_command(caught.value, repo)
        assert Repository(repo).has_code()

    def test_inside_model_are_refused(self, repo: Path, git: Git) -> None:
        add_submodule(git, "model/library")
        with pytest.raises(CodeError, match=r"repo/model/library: the code that jobs run is in a submodule"):
            Repository(repo).code_hash()

    def test_of_a_snapshot_are_refused(self, repo: Path, git: Git) -> None:
        git("clone", "--quiet", ".", "model/library")
        with pytest.raises(CodeError, match=r"repo/model/library: the code that jobs run is in a submodule"):
            Repository(repo).snapshot_tree({}, with_code=True)


class TestWhatIsInTheWay:
    """Each refusal names a command, and after that command all is well."""

    @pytest.mark.parametrize("ref", ["refs/heads/experiment", "refs/knockout", "refs/knockout/E5"])
    def test_of_a_branch(self, repo: Path, git: Git, ref: str) -> None:
        git("update-ref", ref, "HEAD")
        found = rf"git refuses the branch experiment/E5-.*: .*'{ref}' exists.*; rename what is in the way: git "
        with pytest.raises(CodeError, match=found) as caught:
            commit(Repository(repo))
        run_named_command(caught.value, repo)
        assert commit(Repository(repo))[0] == "experiment/E5-20260219_010041"
        assert git("for-each-ref", "--points-at=main", "--format=%(refname)").count("\n") == 1

    @pytest.mark.parametrize("tag", ["keeper", "keeper/E5/old"])
    def test_of_a_keeper(self, repo: Path, git: Git, tag: str) -> None:
        git("tag", tag)
        repository = Repository(repo)
        made = ExperimentCommit(*commit(repository), repository.base_commit)
        with pytest.raises(CodeError, match=rf"git refuses the tag keeper/E5 on .*'refs/tags/{tag}' exists") as caught:
            repository.branches.keep(made, "E5", "{}")
        run_named_command(caught.value, repo)
        repository.branches.keep(made, "E5", "{}")
        assert git("rev-parse", f"{tag.replace('/', '-')}-moved") == git("rev-parse", "main")

    @pytest.mark.parametrize("place", ["heads/experiment/E5-", "knockout/E5/"])
    def test_a_folder_of_the_branchs_name_is_passed_by(self, repo: Path, git: Git, place: str) -> None:
        git("update-ref", f"refs/{place}20260219_010041/mine", "HEAD")
        assert commit(Repository(repo))[0] == "experiment/E5-20260219_010041_2"

    def test_a_second_full_of_branches(self, repo: Path, git: Git) -> None:
        stamp = "refs/heads/experiment/E5-20260219_010041"
        names = [stamp, *(f"{stamp}_{number}" for number in range(2, 101))]
        repository = Repository(repo)
        for name in names[:-1]:
            (repo / ".git" / name).parent.mkdir(parents=True, exist_ok=True)
            (repo / ".git" / name).write_text(f"{repository.base_commit}\n")
        assert commit(repository)[0] == names[-1].removeprefix("refs/heads/")
        with pytest.raises(CodeError, match="a hundred branches of its experiment have the stamp of this second; wait"):
            commit(repository, content=b"2")

    def test_a_lock_of_the_users_index_is_none(self, repo: Path) -> None:
        (repo / ".git" / "index.lock").touch()
        repository = Repository(repo)
        assert repository.uncommitted_code() == []
        full_round(repository, repo.parent / "tree")
        assert (repo / ".git" / "index.lock").exists()

    def test_a_lock_that_a_killed_git_left_on_a_branch(self, repo: Path) -> None:
        lock = repo / ".git" / "refs" / "heads" / "experiment" / "E5-20260219_010041.lock"
        lock.parent.mkdir()
        lock.touch()
        with pytest.raises(CodeError, match=r"git refuses the branch .*a killed one left it: rm ") as caught:
            commit(Repository(repo))
        assert "editor" not in str(caught.value)
        run_named_command(caught.value, repo)
        commit(Repository(repo))

    def test_a_lock_that_a_killed_git_left_on_all_refs(self, repo: Path, git: Git) -> None:
        git("config", "core.packedRefsTimeout", "10")
        repository = Repository(repo)
        made = ExperimentCommit(*commit(repository), repository.base_commit)
        (repo / ".git" / "packed-refs.lock").touch()
        with pytest.raises(CodeError, match=r"git cannot retire the branch experiment/E5-.*: rm ") as caught:
            repository.branches.retire(made)
        assert [known.commit for known in repository.branches.list_known_commits()] == [made.commit]
        run_named_command(caught.value, repo)
        repository.branches.retire(made)

    def test_an_entry_of_a_worktree_that_a_killed_git_left(self, repo: Path) -> None:
        repository = Repository(repo)
        repository.add_worktree(repository.base_commit, repo.parent / "tree")
        (repo / ".git" / "worktrees" / "tree" / "commondir").write_text("")
        with pytest.raises(CodeError, match=r"failed to read .*commondir.*a killed one left it: rm -r ") as caught:
            repository.branches.list_checked_out()
        run_named_command(caught.value, repo)
        assert repository.branches.list_checked_out() == {"main": repo}


class TestWhatTheUserHasSet:
    def test_hooks_do_not_run(self, repo: Path, git: Git, tmp_path: Path) -> None:
        hooks = tmp_path / "hooks"
        hooks.mkdir()
        for name in ("post-checkout", "reference-transaction", "post-index-change", "pre-commit"):
            (hooks / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/a-hook-ran\nexit 1\n")
            (hooks / name).chmod(0o755)
        (tmp_path / "gitconfig").write_text(f"[core]\n\thooksPath = {hooks}\n")
        full_round(Repository(repo), repo.parent / "tree")
        assert not (tmp_path / "a-hook-ran").exists()

    def test_no_program_that_the_settings_name_runs(self, repo: Path, git: Git, tmp_path: Path) -> None:
        program = tmp_path / "program"
        program.write_text(f'#!/bin/sh\necho "$0 $*" >> {tmp_path}/a-program-ran\ncat\n')
        program.chmod(0o755)
        git("commit", "--quiet", "--allow-empty", "-m", "next")
        (repo / "model" / "new.py").write_text("x = 1\r\n")
        names = (
            "diff.external",
            "diff.x.command",
            "diff.x.textconv",
            "merge.x.driver",
            "core.fsmonitor",
            "core.editor",
        )
        filters = ("filter.x.clean", "filter.x.smudge", "filter.x.process", "core.sshCommand", "core.pager")
        for name in (*names, *filters, "core.askPass", "gpg.program", "credential.helper"):
            git("config", name, str(program))
        git("config", "filter.x.required", "true")
        (repo / ".git" / "info" / "attributes").write_text("* diff=x filter=x merge=x\n")
        repository = Repository(repo)
        assert repository.uncommitted_code() == ["model/new.py"]
        tree = repository.snapshot_tree({}, with_code=True)
        assert repository.code_changes("HEAD", tree) == ["model/new.py (+1 -0)"]
        full_round(repository, repo.parent / "tree")
        assert not (tmp_path / "a-program-ran").exists()

    def test_signing_needs_no_key(self, repo: Path, tmp_path: Path) -> None:
        signing = "[commit]\n\tgpgSign = true\n[tag]\n\tgpgSign = true\n\tforceSignAnnotated = true\n"
        (tmp_path / "gitconfig").write_text(signing + "[gpg]\n\tprogram = false\n")
        full_round(Repository(repo), repo.parent / "tree")

    def test_an_identity_that_must_be_set_and_is_not(self, repo: Path, tmp_path: Path, git: Git) -> None:
        (tmp_path / "gitconfig").write_text("[user]\n\tuseConfigOnly = true\n\tname = Ada\n")
        made = full_round(Repository(repo), repo.parent / "tree")
        assert git("log", "-1", "--format=%cn", made.commit) == "Knockout"

    def test_line_endings_change_neither_the_code_nor_its_hash(self, repo: Path, git: Git) -> None:
        committed = Repository(repo).code_hash()
        git("config", "core.autocrlf", "true")
        git("config", "core.safecrlf", "true")
        (repo / "model" / "__main__.py").unlink()
        git("checkout", "--quiet", "model")
        assert (repo / "model" / "__main__.py").read_bytes() == b"print('one')\r\n"
        (repo / "model" / "new.py").write_bytes(b"x = 1\r\ny = 2\n")
        repository = Repository(repo)
        assert repository.uncommitted_code() == ["model/new.py"]
        tree = repository.snapshot_tree({}, with_code=True)
        assert repository.code_changes("HEAD", tree) == ["model/new.py (+2 -0)"]
        assert repository.code_hash() == committed
        made = full_round(repository, repo.parent / "tree")
        folder = repository.add_worktree(made.commit, repo.parent / "tree")
        assert hash_code_folder(folder) == committed

    def test_a_split_index_stays_whole(self, repo: Path, tmp_path: Path) -> None:
        (tmp_path / "gitconfig").write_text("[core]\n\tsplitIndex = true\n")
        full_round(Repository(repo), repo.parent / "tree")
        assert not list((repo / ".git").glob("sharedindex.*"))

    def test_another_repository_in_the_environment_is_not_ours(
        self, repo: Path, git: Git, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Law 6: the user's checkout and index are never touched; so a hook of a `git commit` would start us."""
        git("init", "--quiet", "../other")
        (repo.parent / "other" / "index").write_bytes(b"precious")
        index = (repo / ".git" / "index").read_bytes()
        monkeypatch.setenv("GIT_DIR", str(repo.parent / "other" / ".git"))
        monkeypatch.setenv("GIT_WORK_TREE", str(repo.parent / "other"))
        monkeypatch.setenv("GIT_INDEX_FILE", str(repo.parent / "other" / "index"))
        monkeypatch.setenv("GIT_OBJECT_DIRECTORY", str(repo.parent / "other" / ".git" / "objects"))
        monkeypatch.setenv("GIT_LITERAL_PATHSPECS", "1")
        (repo / "model" / "new.py").write_text("x = 1\n")
        repository = Repository(repo)
        assert repository.uncommitted_code() == ["model/new.py"]
        repository.snapshot_tree({}, with_code=True)
        full_round(repository, repo.parent / "tree")
        assert (repo.parent / "other" / "index").read_bytes() == b"precious"
        assert (repo / ".git" / "index").read_bytes() == index
        assert not [path for path in (repo.parent / "other" / ".git" / "objects").rglob("*") if path.is_file()]


def test_a_snapshot_can_start_from_another_tree(repo: Path, git: Git) -> None:
    repository = Repository(repo)
    first = repository.snapshot_tree({"a.txt": b"1"}, with_code=False)
    second = repository.snapshot_tree({"b/c.txt": b"2", "d.txt": b"3"}, with_code=False, tree=first)
    assert git("diff", "--name-only", "main", second).split() == ["a.txt", "b/c.txt", "d.txt"]


def test_code_of_any_file_name_has_one_hash_in_git_and_in_a_folder(repo: Path, git: Git) -> None:
    for name in ("näme.py", "a b.py", 'quote".py', "\udcff.py"):
        (repo / "model" / name).write_text("x = 1\n")
    assert len(Repository(repo).uncommitted_code()) == 4
    git("add", "-A")
    git("commit", "--quiet", "-m", "names")
    assert Repository(repo).code_hash() == hash_code_folder(repo)
