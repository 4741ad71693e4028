"""Where the code of an experiment comes from: commits of a repository, or a copy outside one."""

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.campaign.arms import branch_content
from orchestrator.campaign.plan import Plan
from orchestrator.code.checkouts import Checkouts
from orchestrator.code.repository import Repository
from orchestrator.code.sources import CopiedCode, find_code, look_at_code
from orchestrator.errors import CodeError
from orchestrator.runs.order import OrderedCode
from orchestrator.runs.paths import Paths
from tests.builders.code import hash_code_folder

NOW = datetime(2026, 2, 19, 1, 0, 41, tzinfo=UTC)


def git(paths: Paths, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=paths.root, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_the_order_of_an_experiment_names_its_branch_commit_base_and_code(committed: Paths, plan: Plan) -> None:
    code = find_code(committed, snapshot=False)
    ordered = code.commit(branch_content(plan.arms["E5"]), NOW)
    assert ordered == OrderedCode(
        tree=hash_code_folder(committed.root),
        commit=git(committed, "rev-parse", f"refs/heads/{ordered.branch}"),
        branch="experiment/E5-20260219_010041",
        base_commit=git(committed, "rev-parse", "HEAD"),
    )


def test_uncommitted_code_is_refused_unless_it_is_taken_along(committed: Paths, plan: Plan) -> None:
    (committed.root / "model" / "new.py").write_text("x = 1\n")
    with pytest.raises(CodeError, match=r"uncommitted changes .*: model/new\.py; commit them, or .* with --snapshot"):
        find_code(committed, snapshot=False)
    code = find_code(committed, snapshot=True)
    assert code.code_hash != Repository(committed.root).code_hash()
    checkouts = Checkouts(committed)
    assert (checkouts.open("E5", code.commit(branch_content(plan.arms["E5"]), NOW)) / "model" / "new.py").exists()
    checkouts.close()


def test_hidden_edits_are_refused_or_taken_along(committed: Paths, plan: Plan) -> None:
    git(committed, "update-index", "--skip-worktree", "model/__main__.py")
    (committed.root / "model" / "__main__.py").write_text("print('two')\n")
    with pytest.raises(CodeError, match=r"uncommitted changes to the code that jobs run: model/__main__\.py \(git ov"):
        find_code(committed, snapshot=False)
    code = find_code(committed, snapshot=True)
    assert "with uncommitted changes: model/__main__.py (git overlooks it" in code.note
    checkouts = Checkouts(committed)
    folder = checkouts.open("E5", code.commit(branch_content(plan.arms["E5"]), NOW))
    assert (folder / "model" / "__main__.py").read_text() == "print('two')\n"
    checkouts.close()


@pytest.mark.parametrize("name", ["linked.py", "__pycache__/a.pyc"])
def test_a_base_that_holds_what_a_patch_may_not_bring_is_refused(committed: Paths, name: str) -> None:
    path = committed.root / "model" / name
    path.parent.mkdir(exist_ok=True)
    path.symlink_to("__main__.py") if name == "linked.py" else path.write_bytes(b"1")
    identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    git(committed, "add", "-A", "--force")
    git(committed, *identity, "commit", "--quiet", "-m", "other")
    with pytest.raises(CodeError, match=rf"must be source files, and these are none: model/{name} \((a sy|byte)"):
        find_code(committed, snapshot=False)


class TestWithoutGit:
    @pytest.fixture(autouse=True)
    def nowhere(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "bin").mkdir()
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    def test_code_in_a_repository_cannot_be_queued(self, paths: Paths) -> None:
        (paths.root / ".git").mkdir()
        with pytest.raises(CodeError, match="git cannot be run: there is no such program; install git"):
            find_code(paths, snapshot=False)

    def test_code_in_a_repository_is_looked_at_as_it_lies_there(self, paths: Paths) -> None:
        (paths.root / ".git").mkdir()
        code = look_at_code(paths)
        assert code.code_hash == hash_code_folder(paths.root)
        assert "since git cannot be run: " in code.note

    def test_code_outside_a_repository_is_copied(self, paths: Paths) -> None:
        assert isinstance(find_code(paths, snapshot=False), CopiedCode)


def test_outside_a_repository_the_code_is_copied_once(paths: Paths, plan: Plan) -> None:
    code = find_code(paths, snapshot=False)
    assert isinstance(code, CopiedCode)
    first, second = (code.commit(branch_content(plan.arms["E5"]), NOW) for _ in range(2))
    assert first == second == OrderedCode(tree=code.code_hash)
    checkouts = Checkouts(paths)
    folder = checkouts.open("E5", first)
    assert (folder / "model" / "__main__.py").read_text() == "print('one')\n"
    checkouts.close()
    assert folder.exists()


def test_what_is_copied_is_what_was_hashed(paths: Paths, plan: Plan) -> None:
    code = find_code(paths, snapshot=False)
    (paths.root / "model" / "__main__.py").write_text("print('two')\n")
    ordered = code.commit(branch_content(plan.arms["E5"]), NOW)
    assert hash_code_folder(paths.code_copy(ordered.tree)) == ordered.tree


def test_a_copy_that_cannot_be_written_is_told(paths: Paths, plan: Plan) -> None:
    code = find_code(paths, snapshot=False)
    paths.results.write_text("a file where a folder should be\n")
    with pytest.raises(CodeError, match=r"results.*: a copy of the code is to be written here: "):
        code.commit(branch_content(plan.arms["E5"]), NOW)


def test_a_folder_without_code_takes_the_installed_one(tmp_path: Path) -> None:
    code = find_code(Paths(tmp_path), snapshot=False)
    assert isinstance(code, CopiedCode)
    assert (code.root / "model" / "standby.py").exists()
