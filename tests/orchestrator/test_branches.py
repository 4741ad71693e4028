"""Branches by plumbing: what git shows afterwards, and what the user's checkout does not."""

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.branches import SPEC_FILE, BranchName, Repository, hash_code_folder
from orchestrator.errors import CodeError

NOW = datetime(2026, 2, 19, 1, 0, 41, tzinfo=UTC)
Git = Callable[..., str]


@pytest.fixture
def git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Git:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "no-config"))
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL", "EMAIL"):
        monkeypatch.delenv(name, raising=False)

    def run(*words: str) -> str:
        identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
        command = ["git", *identity, *words]
        return subprocess.run(command, cwd=tmp_path / "repo", check=True, capture_output=True, text=True).stdout.strip()

    (tmp_path / "repo").mkdir()
    run("init", "--quiet", "--initial-branch=main")
    return run


@pytest.fixture
def repo(git: Git, tmp_path: Path) -> Path:
    root = tmp_path / "repo"
    (root / "model").mkdir()
    (root / "model" / "__main__.py").write_text("print('one')\n")
    (root / "notes.txt").write_text("mine\n")
    git("add", "-A")
    git("commit", "--quiet", "-m", "start")
    return root


def commit(repository: Repository, experiment: str = "E5", content: bytes = b"{}") -> tuple[str, str]:
    tree = repository.snapshot_tree({SPEC_FILE: content}, with_code=False)
    made = repository.commit_experiment(experiment, tree, f"{experiment}: a change", NOW)
    return made.branch, made.commit


def test_an_experiment_gets_a_branch_with_one_commit_on_the_base(repo: Path, git: Git) -> None:
    branch, commit_hash = commit(Repository(repo))
    assert branch == "experiment/E5-20260219_010041"
    assert git("rev-parse", branch) == commit_hash
    assert git("rev-parse", f"{branch}^") == git("rev-parse", "main")
    assert git("diff", "--name-only", "main", branch) == SPEC_FILE


def test_the_users_checkout_and_index_are_never_touched(repo: Path, git: Git) -> None:
    """Law 6: the user's checkout and index are never touched."""
    (repo / "notes.txt").write_text("half an idea\n")
    (repo / "staged.txt").write_text("staged\n")
    git("add", "staged.txt")
    index = (repo / ".git" / "index").read_bytes()
    before = (git("status", "--porcelain=v2", "--branch"), git("stash", "list"))
    index_after_status = (repo / ".git" / "index").read_bytes()
    repository = Repository(repo)
    branch, commit_hash = commit(repository)
    path = repo.parent / "trees" / "E5"
    repository.add_worktree(commit_hash, path)
    repository.remove_worktree(path)
    made = repository.commit_experiment("E5", git("rev-parse", f"{branch}^{{tree}}"), "m", NOW)
    repository.retire(made)
    assert (repo / ".git" / "index").read_bytes() in (index, index_after_status)
    assert (git("status", "--porcelain=v2", "--branch"), git("stash", "list")) == before
    assert git("worktree", "list").count("\n") == 0


def test_the_same_experiment_on_the_same_base_keeps_its_branch(repo: Path) -> None:
    repository = Repository(repo)
    assert commit(repository) == commit(repository)


def test_another_change_in_the_same_second_gets_another_branch(repo: Path) -> None:
    repository = Repository(repo)
    names = [commit(repository, content=content)[0] for content in (b"1", b"2", b"3")]
    assert names == ["experiment/E5-20260219_010041" + ending for ending in ("", "_2", "_3")]


def test_a_branch_that_git_cannot_make_is_told_in_gits_words(repo: Path, git: Git) -> None:
    git("update-ref", "refs/heads/experiment", "HEAD")
    with pytest.raises(CodeError, match=r"git refuses the branch experiment/E5-.*: .*'refs/heads/experiment' exists"):
        commit(Repository(repo))


def test_a_commit_is_knockouts_own_where_no_identity_is_set(repo: Path, git: Git) -> None:
    branch, _ = commit(Repository(repo))
    assert git("log", "-1", "--format=%an %ae", branch) == "Knockout knockout@localhost"


def test_a_commit_carries_the_users_identity(repo: Path, git: Git) -> None:
    git("config", "user.email", "ada@example.org")
    git("config", "user.name", "Ada")
    branch, _ = commit(Repository(repo))
    assert git("log", "-1", "--format=%an %ae", branch) == "Ada ada@example.org"


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


def test_an_improved_experiment_is_tagged_and_keeps_its_branch(repo: Path, git: Git) -> None:
    repository = Repository(repo)
    branch, commit_hash = commit(repository)
    tree = git("rev-parse", f"{branch}^{{tree}}")
    made = repository.commit_experiment("E5", tree, "m", NOW)
    assert repository.keep(made, "E5", '{"verdict": "improved"}') == "keeper/E5"
    assert git("rev-parse", "keeper/E5^{commit}") == commit_hash
    assert '"verdict": "improved"' in git("tag", "-l", "--format=%(contents)", "keeper/E5")
    assert git("branch", "--list", branch)


def test_a_retired_experiment_loses_its_branch_and_nothing_else(repo: Path, git: Git) -> None:
    repository = Repository(repo)
    branch, commit_hash = commit(repository)
    made = repository.commit_experiment("E5", git("rev-parse", f"{branch}^{{tree}}"), "m", NOW)
    repository.retire(made)
    repository.retire(made)
    assert git("branch", "--list", "experiment/*") == ""
    assert git("rev-parse", "refs/knockout/E5/20260219_010041") == commit_hash
    assert commit(repository) == (branch, commit_hash)


def test_a_second_branch_in_the_second_of_a_retired_one_does_not_take_its_ref(repo: Path, git: Git) -> None:
    repository = Repository(repo)
    commits = []
    for content in (b"1", b"2"):
        branch, _ = commit(repository, content=content)
        made = repository.commit_experiment("E5", git("rev-parse", f"{branch}^{{tree}}"), "m", NOW)
        repository.retire(made)
        commits.append(made.commit)
    assert git("for-each-ref", "--format=%(objectname)", "refs/knockout/E5").splitlines() == commits


def test_the_commits_of_experiments_are_known_wherever_they_are_kept(repo: Path, git: Git) -> None:
    repository = Repository(repo)
    branch, first = commit(repository, "E5", b"1")
    repository.retire(repository.commit_experiment("E5", git("rev-parse", f"{branch}^{{tree}}"), "m", NOW))
    wide, second = commit(repository, "E5-wide", b"2")
    kept, third = commit(repository, "H2", b"3")
    made = repository.commit_experiment("H2", git("rev-parse", f"{kept}^{{tree}}"), "m", NOW)
    repository.keep(made, "H2", "{}")
    git("branch", "experiment/mine", "main")
    git("update-ref", "refs/knockout/mine", "main")
    known = {(entry.experiment, entry.ref): entry.commit for entry in repository.known_commits()}
    assert known == {
        ("E5", "refs/knockout/E5/20260219_010041"): first,
        ("E5-wide", f"refs/heads/{wide}"): second,
        ("H2", f"refs/heads/{kept}"): third,
        ("H2", "refs/tags/keeper/H2"): third,
    }
    assert [(entry.branch, entry.commit) for entry in repository.open_branches()] == [(wide, second), (kept, third)]
    assert repository.keepers() == {"H2": third}


def test_the_newest_commit_is_known_last(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = Repository(repo)
    commits = []
    for day, content in ((20, b"1"), (19, b"2"), (21, b"3")):
        monkeypatch.setenv("GIT_COMMITTER_DATE", f"2026-02-{day}T01:00:41Z")
        commits.append(commit(repository, content=content)[1])
    assert [entry.commit for entry in repository.known_commits()] == [commits[1], commits[0], commits[2]]


def test_a_branch_that_some_checkout_stands_on_is_known(repo: Path, git: Git) -> None:
    repository = Repository(repo)
    assert repository.checked_out() == {"main": repo}
    git("worktree", "add", "--quiet", "-b", "side", "../side")
    git("checkout", "--quiet", "--detach")
    assert repository.checked_out() == {"side": repo.parent / "side"}
    assert repository.top == repo


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
    assert committed == hash_code_folder(repo / "model")
    (repo / "model" / "new.py").write_text("x = 1\n")
    assert repository.code_hash() == committed
    snapshot = repository.code_hash(repository.snapshot_tree({}, with_code=True))
    assert snapshot == hash_code_folder(repo / "model") != committed


def test_a_campaign_in_a_subfolder_has_its_own_code(repo: Path, git: Git) -> None:
    study = repo / "studies" / "one"
    (study / "model").mkdir(parents=True)
    (study / "model" / "__main__.py").write_text("print('inner')\n")
    git("add", "-A")
    git("commit", "--quiet", "-m", "a study")
    repository = Repository(study)
    assert repository.has_code()
    assert repository.code_hash() == hash_code_folder(study / "model")
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


@pytest.mark.parametrize("name", ["experiment/E5-20260219_010041", "experiment/pool-mean-20260219_010041_2"])
def test_a_branch_name_is_read_as_it_was_written(name: str) -> None:
    assert str(BranchName.parse(name)) == name


@pytest.mark.parametrize(
    "name", ["main", "experiment/E5", "experiment/../x-20260219_010041", "experiment/-20260219_010041"]
)
def test_other_branch_names_are_not_ours(name: str) -> None:
    with pytest.raises(ValueError, match="is no experiment's branch"):
        BranchName.parse(name)
