"""Branches, keepers and retired branches of experiments: what git shows of them afterwards."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.code.refs import ExperimentCommit
from orchestrator.code.repository import Repository
from orchestrator.code.steps import SPEC_FILE
from orchestrator.errors import CodeError

NOW = datetime(2026, 2, 19, 1, 0, 41, tzinfo=UTC)
Git = Callable[..., str]


def commit(repository: Repository, experiment: str = "E5", content: bytes = b"{}") -> tuple[str, str]:
    tree = repository.snapshot_tree({SPEC_FILE: content}, with_code=False)
    made = repository.branches.commit_experiment(experiment, tree, f"{experiment}: a change", NOW)
    return made.branch, made.commit


def test_an_experiment_gets_a_branch_with_one_commit_on_the_base(repo: Path, git: Git) -> None:
    branch, commit_hash = commit(Repository(repo))
    assert branch == "experiment/E5-20260219_010041"
    assert git("rev-parse", branch) == commit_hash
    assert git("rev-parse", f"{branch}^") == git("rev-parse", "main")
    assert git("diff", "--name-only", "main", branch) == SPEC_FILE


def test_the_same_experiment_on_the_same_base_keeps_its_branch(repo: Path) -> None:
    repository = Repository(repo)
    assert commit(repository) == commit(repository)


def test_another_change_in_the_same_second_gets_another_branch(repo: Path) -> None:
    repository = Repository(repo)
    names = [commit(repository, content=content)[0] for content in (b"1", b"2", b"3")]
    assert names == ["experiment/E5-20260219_010041" + ending for ending in ("", "_2", "_3")]


def test_a_commit_is_knockouts_own_where_no_identity_is_set(repo: Path, git: Git) -> None:
    branch, _ = commit(Repository(repo))
    assert git("log", "-1", "--format=%an %ae", branch) == "Knockout knockout@localhost"


def test_a_commit_carries_the_users_identity(repo: Path, git: Git) -> None:
    git("config", "user.email", "ada@example.org")
    git("config", "user.name", "Ada")
    branch, _ = commit(Repository(repo))
    assert git("log", "-1", "--format=%an %ae", branch) == "Ada ada@example.org"


def test_an_improved_experiment_is_tagged_and_keeps_its_branch(repo: Path, git: Git) -> None:
    repository = Repository(repo)
    branch, commit_hash = commit(repository)
    tree = git("rev-parse", f"{branch}^{{tree}}")
    made = repository.branches.commit_experiment("E5", tree, "m", NOW)
    assert repository.branches.keep(made, "E5", '{"verdict": "improved"}') == "keeper/E5"
    assert git("rev-parse", "keeper/E5^{commit}") == commit_hash
    assert '"verdict": "improved"' in git("tag", "-l", "--format=%(contents)", "keeper/E5")
    assert git("branch", "--list", branch)


def test_a_retired_experiment_loses_its_branch_and_nothing_else(repo: Path, git: Git) -> None:
    repository = Repository(repo)
    branch, commit_hash = commit(repository)
    made = repository.branches.commit_experiment("E5", git("rev-parse", f"{branch}^{{tree}}"), "m", NOW)
    repository.branches.retire(made)
    repository.branches.retire(made)
    assert git("branch", "--list", "experiment/*") == ""
    assert git("rev-parse", "refs/knockout/E5/20260219_010041") == commit_hash
    assert commit(repository) == (branch, commit_hash)


def test_a_second_branch_in_the_second_of_a_retired_one_does_not_take_its_ref(repo: Path, git: Git) -> None:
    repository = Repository(repo)
    commits = []
    for content in (b"1", b"2"):
        branch, _ = commit(repository, content=content)
        made = repository.branches.commit_experiment("E5", git("rev-parse", f"{branch}^{{tree}}"), "m", NOW)
        repository.branches.retire(made)
        commits.append(made.commit)
    assert git("for-each-ref", "--format=%(objectname)", "refs/knockout/E5").splitlines() == commits


def test_the_commits_of_experiments_are_known_wherever_they_are_kept(repo: Path, git: Git) -> None:
    repository = Repository(repo)
    branch, first = commit(repository, "E5", b"1")
    repository.branches.retire(
        repository.branches.commit_experiment("E5", git("rev-parse", f"{branch}^{{tree}}"), "m", NOW)
    )
    wide, second = commit(repository, "E5-wide", b"2")
    kept, third = commit(repository, "H2", b"3")
    made = repository.branches.commit_experiment("H2", git("rev-parse", f"{kept}^{{tree}}"), "m", NOW)
    repository.branches.keep(made, "H2", "{}")
    git("branch", "experiment/mine", "main")
    git("update-ref", "refs/knockout/mine", "main")
    known = {(entry.experiment, entry.ref): entry.commit for entry in repository.branches.list_known_commits()}
    assert known == {
        ("E5", "refs/knockout/E5/20260219_010041"): first,
        ("E5-wide", f"refs/heads/{wide}"): second,
        ("H2", f"refs/heads/{kept}"): third,
        ("H2", "refs/tags/keeper/H2"): third,
    }
    assert [(entry.branch, entry.commit) for entry in repository.branches.list_open()] == [
        (wide, second),
        (kept, third),
    ]
    assert [(entry.branch, entry.commit) for entry in repository.branches.list_retired()] == [(branch, first)]
    assert repository.branches.list_keepers() == {"H2": third}


def test_the_newest_commit_is_known_last(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = Repository(repo)
    commits = []
    for day, content in ((20, b"1"), (19, b"2"), (21, b"3")):
        monkeypatch.setenv("GIT_COMMITTER_DATE", f"2026-02-{day}T01:00:41Z")
        commits.append(commit(repository, content=content)[1])
    assert [entry.commit for entry in repository.branches.list_known_commits()] == [commits[1], commits[0], commits[2]]


def test_a_branch_that_some_checkout_stands_on_is_known(repo: Path, git: Git) -> None:
    repository = Repository(repo)
    assert repository.branches.list_checked_out() == {"main": repo}
    git("worktree", "add", "--quiet", "-b", "side", "../side")
    git("checkout", "--quiet", "--detach")
    assert repository.branches.list_checked_out() == {"side": repo.parent / "side"}
    assert repository.top == repo


class TestWhatTheUserDoesMeanwhile:
    @pytest.fixture
    def made(self, repo: Path) -> ExperimentCommit:
        repository = Repository(repo)
        return ExperimentCommit(*commit(repository), repository.base_commit)

    def test_a_branch_that_is_deleted_keeps_its_commit(self, repo: Path, git: Git, made: ExperimentCommit) -> None:
        git("branch", "-D", made.branch)
        Repository(repo).branches.retire(made)
        git("gc", "--quiet", "--prune=now")
        assert git("rev-parse", "refs/knockout/E5/20260219_010041") == made.commit
        assert git("log", "-1", "--format=%s", made.commit) == "E5: a change"

    def test_a_branch_that_is_deleted_is_kept_by_its_tag(self, repo: Path, git: Git, made: ExperimentCommit) -> None:
        git("branch", "-D", made.branch)
        Repository(repo).branches.keep(made, "E5", "{}")
        git("gc", "--quiet", "--prune=now")
        assert git("log", "-1", "--format=%s", "keeper/E5") == "E5: a change"

    def test_a_branch_that_has_moved_on_stays(self, repo: Path, git: Git, made: ExperimentCommit) -> None:
        git("checkout", "--quiet", made.branch)
        git("commit", "--quiet", "--allow-empty", "-m", "an idea of mine")
        git("checkout", "--quiet", "main")
        Repository(repo).branches.retire(made)
        assert git("log", "-1", "--format=%s", made.branch) == "an idea of mine"
        assert git("rev-parse", "refs/knockout/E5/20260219_010041") == made.commit

    def test_a_branch_that_is_checked_out_stays(self, repo: Path, git: Git, made: ExperimentCommit) -> None:
        """Law 6: without its branch the user's checkout would stand on nothing."""
        git("checkout", "--quiet", made.branch)
        Repository(repo).branches.retire(made)
        assert git("status", "--porcelain") == ""
        assert git("rev-parse", "HEAD", "refs/knockout/E5/20260219_010041").split() == [made.commit] * 2

    def test_a_commit_that_is_gone_is_told_in_gits_words(self, repo: Path, git: Git, made: ExperimentCommit) -> None:
        git("branch", "-D", made.branch)
        git("reflog", "expire", "--expire=now", "--all")
        git("gc", "--quiet", "--prune=now")
        with pytest.raises(CodeError, match=rf"git cannot retire the branch {made.branch}: .*{made.commit}"):
            Repository(repo).branches.retire(made)
        with pytest.raises(CodeError, match=rf"git refuses the tag keeper/E5 on {made.commit[:12]}: "):
            Repository(repo).branches.keep(made, "E5", "{}")


def test_many_processes_make_and_retire_branches_of_one_second(repo: Path, git: Git) -> None:
    def make_and_retire(number: int) -> str:
        repository = Repository(repo)
        made = ExperimentCommit(*commit(repository, content=str(number).encode()), repository.base_commit)
        if number % 2:
            repository.branches.retire(made)
        return made.commit

    with ThreadPoolExecutor(4) as threads:
        commits = list(threads.map(make_and_retire, range(16)))
    repository = Repository(repo)
    assert sorted(known.commit for known in repository.branches.list_known_commits()) == sorted(commits)
    assert {made.commit for made in repository.branches.list_open()} == set(commits[::2])


def test_a_branch_and_its_commit_outlast_a_power_cut(
    repo: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Git counts what it waits for the disk to have."""
    monkeypatch.setenv("GIT_TRACE2_EVENT", str(tmp_path / "trace"))
    commit(Repository(repo))
    events = [json.loads(line) for line in (tmp_path / "trace").read_text().splitlines()]
    commands = {event["sid"]: event["name"] for event in events if event["event"] == "cmd_name"}
    flushed = {commands[event["sid"]] for event in events if event.get("key") == "fsync/hardware-flush"}
    assert flushed >= {"hash-object", "write-tree", "commit-tree", "update-ref"}


def test_another_experiment_of_the_same_tree_has_a_branch_of_its_own(repo: Path) -> None:
    repository = Repository(repo)
    wide, _ = commit(repository, "E5-wide")
    assert wide == "experiment/E5-wide-20260219_010041"
    assert commit(repository, "E5")[0] == "experiment/E5-20260219_010041"


def test_a_tag_on_something_that_is_no_commit_is_not_known(repo: Path, git: Git) -> None:
    git("tag", "keeper/tree", "HEAD^{tree}")
    git("tag", "-a", "-m", "no commit", "keeper/blob", "HEAD:notes.txt")
    assert Repository(repo).branches.list_known_commits() == []
