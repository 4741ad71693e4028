"""The code of any task: pathspecs instead of one folder, from the hash to the worktree of a run."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from orchestrator.code.checkouts import Checkouts, leftover_worktrees
from orchestrator.code.repository import Repository
from orchestrator.code.sources import CopiedCode, GitCode, find_code, look_at_code
from orchestrator.code.steps import SPEC_FILE, BranchContent, CodeStep
from orchestrator.errors import CodeError
from orchestrator.runs import job_lock
from orchestrator.runs.order import OrderedCode
from orchestrator.runs.paths import Paths

Git = Callable[..., str]
NOW = datetime(2026, 2, 19, 1, 0, 41, tzinfo=UTC)
CODE = ("train.py", "lib", ":!lib/docs")
FILES = {
    "train.py": "import lib.net\n",
    "run.sh": "echo done\n",
    "lib/net.py": "width = 1\n",
    "lib/docs/notes.md": "no code\n",
    "conf/base.yaml": "lr: 1\n",
}


def content(steps: tuple[CodeStep, ...] = (), experiment: str = "E5") -> BranchContent:
    return BranchContent(experiment=experiment, steps=steps, message=experiment, spec=b"{}")


@pytest.fixture(params=["", "exp/one/"], ids=["top", "subfolder"])
def script(
    request: pytest.FixtureRequest, repo: Path, git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Paths:
    """A stranger's script in a repository, at its top or deeper."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = repo / request.param
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "run.sh").chmod(0o755)
    (root / "conf" / "link.yaml").symlink_to("base.yaml")
    git("add", "-A")
    git("commit", "--quiet", "-m", "a script")
    return Paths(root)


def ordered(paths: Paths, *steps: CodeStep) -> OrderedCode:
    return find_code(paths, snapshot=False, code=CODE).commit(content(steps), NOW)


def without_git(paths: Paths, folder: Path) -> Paths:
    """Return the paths of a copy of a campaign's folder outside any repository."""
    copy = shutil.copytree(paths.root, folder / "plain", symlinks=True, ignore=shutil.ignore_patterns(".git"))
    return Paths(copy)


def everything(root: Path) -> dict[str, bytes]:
    """Return path -> bytes of all files of a checkout; of git's own, the index."""
    paths = (path for path in root.rglob("*") if ".git" not in path.relative_to(root).parts)
    contents = {str(path): os.fsencode(path.readlink()) for path in paths if path.is_symlink()}
    paths = (path for path in root.rglob("*") if ".git" not in path.relative_to(root).parts)
    contents |= {str(path): path.read_bytes() for path in paths if path.is_file() and not path.is_symlink()}
    return contents | {"index": (root / ".git" / "index").read_bytes()}


class TestHash:
    def test_of_the_folder_model_is_what_it_was_before_pathspecs(self, tmp_path: Path) -> None:
        """Identities hold this hash: a run that is done must not be trained again."""
        contents = {
            "model/__main__.py": b"print('one')\n",
            "model/deep/a b.py": b"x = 1\n",
            "model/deep/table.bin": b"\0\1",
            "model/n\u00e4me.txt": "\u00e4\n".encode(),
            "notes.txt": b"mine\n",
            "models.py": b"models\n",
            "sub/model/__main__.py": b"print('inner')\n",
        }
        for name, each in contents.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(each)
        known = "cd845743540876878e63fa87edcef6ede42c5deaad73d896a44f0175ac933732"
        assert CopiedCode(Paths(tmp_path), ("model",)).code_hash == known
        identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
        for words in (("init", "--quiet"), ("add", "-A"), (*identity, "commit", "--quiet", "-m", "start")):
            subprocess.run(["git", *words], cwd=tmp_path, check=True)
        assert {Repository(tmp_path, code).code_hash() for code in (("model",), ("model/",))} == {known}
        inner = "9e22fdcc2048d4c197e25c54c7579307ae87b6ead371365d71b3ea3e893ec320"
        assert Repository(tmp_path / "sub", ("model",)).code_hash() == inner

    def test_is_of_the_files_that_the_pathspecs_hold(self, script: Paths, git: Git) -> None:
        before = Repository(script.root, CODE)
        assert sorted(before.code_files("HEAD")) == ["lib/net.py", "train.py"]
        (script.root / "lib" / "docs" / "notes.md").write_text("other\n")
        git("commit", "--quiet", "-am", "docs")
        assert Repository(script.root, CODE).code_hash() == before.code_hash()
        (script.root / "lib" / "net.py").write_text("width = 2\n")
        git("commit", "--quiet", "-am", "wider")
        assert Repository(script.root, CODE).code_hash() != before.code_hash()

    def test_is_the_same_outside_a_repository(self, script: Paths, tmp_path: Path) -> None:
        committed = find_code(script, snapshot=False, code=CODE).code_hash
        assert find_code(without_git(script, tmp_path), snapshot=False, code=CODE).code_hash == committed


class TestUncommitted:
    def test_changes_inside_are_refused_or_taken(self, script: Paths) -> None:
        (script.root / "lib" / "new.py").write_text("x = 1\n")
        (script.root / "train.py").write_text("other\n")
        with pytest.raises(CodeError, match=r"uncommitted changes to the code that jobs run: lib/new\.py, train\.py; "):
            find_code(script, snapshot=False, code=CODE)
        code = find_code(script, snapshot=True, code=CODE)
        folder = Checkouts(script).open("E5", code.commit(content(), NOW))
        assert ((folder / "lib" / "new.py").exists(), (folder / "train.py").read_text()) == (True, "other\n")

    def test_changes_outside_do_not_exist(self, script: Paths) -> None:
        before = ordered(script)
        for name in ("lib/docs/notes.md", "conf/base.yaml", "other.py", "results/x.py"):
            (script.root / name).parent.mkdir(exist_ok=True)
            (script.root / name).write_text("other\n")
        assert ordered(script) == before

    def test_edits_that_git_overlooks_are_seen(self, script: Paths, git: Git) -> None:
        git("-C", str(script.root), "update-index", "--skip-worktree", "train.py")
        (script.root / "train.py").write_text("other\n")
        with pytest.raises(CodeError, match=r"train\.py \(git overlooks it until `git update-index --no-skip-worktree"):
            find_code(script, snapshot=False, code=CODE)

    def test_results_and_reports_are_no_code_though_every_file_is(self, script: Paths) -> None:
        everywhere = (".", ":!conf/link.yaml")
        before = find_code(script, snapshot=False, code=everywhere).code_hash
        for folder in (script.results / "runs" / "E5", script.report("x")):
            folder.mkdir(parents=True)
            (folder / "x.py").touch()
        assert find_code(script, snapshot=False, code=everywhere).code_hash == before

    def test_a_committed_folder_named_reports_is_code(self, script: Paths, git: Git) -> None:
        (script.root / "reports").mkdir()
        (script.root / "reports" / "a.py").touch()
        git("add", "-A")
        git("commit", "--quiet", "-m", "reports")
        (script.root / "reports" / "b.py").touch()
        assert Repository(script.root, ("reports",)).uncommitted_code() == ["reports/b.py"]


class TestMatchesNothing:
    @pytest.mark.parametrize(
        ("word", "hint"),
        [("tran.py", "did you mean `train.py`"), ("libs/", "did you mean `lib`"), ("*.zig", "`git ls-files` lists")],
    )
    def test_is_refused_with_the_nearest_name(self, script: Paths, word: str, hint: str) -> None:
        with pytest.raises(CodeError, match=rf": `{word.replace('*', '.')}` in `task.code` matches no file; {hint}"):
            find_code(script, snapshot=False, code=("train.py", word))

    def test_and_is_there_is_told_that_git_ignores_it(self, script: Paths) -> None:
        (script.root / ".gitignore").write_text("*.toml\n")
        (script.root / "a.toml").touch()
        with pytest.raises(CodeError, match=r"git ignores it, or it is empty: `git add --force a\.toml` takes its "):
            find_code(script, snapshot=False, code=("train.py", "a.toml"))

    def test_but_leaves_out_is_fine(self, script: Paths) -> None:
        assert find_code(script, snapshot=False, code=("train.py", ":!nothing")).code_hash

    def test_and_cannot_be_read_is_told_by_git(self, script: Paths) -> None:
        with pytest.raises(CodeError, match=r"`task\.code`: git cannot read it as pathspecs: .*Invalid pathspec magic"):
            find_code(script, snapshot=False, code=(":(odd)x",))

    def test_is_no_reason_to_take_the_installed_package(self, script: Paths, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        with pytest.raises(CodeError, match=r"`train\.py` in `task\.code` matches no file"):
            find_code(Paths(tmp_path / "empty"), snapshot=False, code=CODE)


class TestChangesOfExperiments:
    def patch(self, paths: Paths, git: Git, name: str, text: str, *options: str) -> CodeStep:
        (paths.root / name).write_text(text)
        patch = git("-C", str(paths.root), "diff", *options)
        git("checkout", "--quiet", "--", ".")
        (paths.root / "a.diff").write_text(f"{patch}\n")
        return CodeStep(patch="a.diff")

    @pytest.mark.parametrize("options", [(), ("--relative",), ("--no-prefix",), ("--relative", "--no-prefix")])
    def test_a_patch_changes_the_code(self, script: Paths, git: Git, options: tuple[str, ...]) -> None:
        step = self.patch(script, git, "lib/net.py", "width = 2\n", *options)
        code = ordered(script, step)
        assert (code.changes, code.is_own, code.pathspecs) == (("lib/net.py (+1 -1)",), True, CODE)
        assert (Checkouts(script).open("E5", code) / "lib" / "net.py").read_text() == "width = 2\n"

    @pytest.mark.parametrize("name", ["lib/docs/notes.md", "conf/base.yaml"])
    def test_a_patch_changes_nothing_else(self, script: Paths, git: Git, name: str) -> None:
        step = self.patch(script, git, name, "other\n")
        code = find_code(script, snapshot=False, code=CODE).code_of((step,))
        assert code.refusal is not None
        assert "more than the task's code (train.py, lib, :!lib/docs): " in code.refusal
        assert f"{name} (outside of it); take that out of it" in code.refusal

    def test_a_ref_brings_its_code_and_nothing_else(self, script: Paths, git: Git) -> None:
        git("checkout", "--quiet", "-b", "wide")
        (script.root / "lib" / "net.py").unlink()
        (script.root / "lib" / "wide.py").write_text("width = 9\n")
        (script.root / "conf" / "base.yaml").write_text("lr: 9\n")
        git("add", "-A")
        git("commit", "--quiet", "-m", "wide")
        git("checkout", "--quiet", "main")
        checkouts = Checkouts(script)
        folder = checkouts.open_run("E5-s0-0123abcd", "E5", ordered(script, CodeStep(ref="wide")))
        assert sorted(path.name for path in (folder / "lib").glob("*.py")) == ["wide.py"]
        assert (folder / "conf" / "base.yaml").read_text() == "lr: 1\n"
        checkouts.close()

    def test_a_ref_without_the_code_is_refused(self, script: Paths, git: Git) -> None:
        git("checkout", "--quiet", "--orphan", "bare")
        git("rm", "-rq", "--cached", ".")
        git("commit", "--quiet", "--allow-empty", "-m", "nothing")
        git("checkout", "--quiet", "--force", "main")
        code = find_code(script, snapshot=False, code=CODE).code_of((CodeStep(ref="bare"),))
        assert "has no file of the task's code (train.py, lib, :!lib/docs), so nothing can be run" in str(code.refusal)


class TestOfARun:
    def test_holds_the_whole_commit(self, script: Paths, git: Git) -> None:
        checkouts = Checkouts(script)
        folder = checkouts.open_run("E5-s0-0123abcd", "E5", ordered(script))
        assert {name: (folder / name).read_text() for name in FILES} == FILES
        assert (folder / "conf" / "link.yaml").readlink() == Path("base.yaml")
        assert [os.access(folder / name, os.X_OK) for name in ("run.sh", "train.py")] == [True, False]
        assert (folder / SPEC_FILE).read_bytes() == b"{}"
        # A script that notes which files it changed finds none.
        assert git("-C", str(folder), "status", "--porcelain") == ""
        assert checkouts.remove(folder) == []
        assert list(script.worktrees.iterdir()) == list(script.worktree_locks.iterdir()) == []
        assert git("worktree", "list").count("\n") == 0

    def test_is_seen_by_no_other_run(self, script: Paths) -> None:
        checkouts, code = Checkouts(script), ordered(script)
        first, second = (checkouts.open_run(f"E5-s{seed}-0123abcd", "E5", code) for seed in (0, 1))
        (first / "out").mkdir()
        (first / "train.py").write_text("mine\n")
        assert ((second / "out").exists(), (second / "train.py").read_text()) == (False, FILES["train.py"])
        assert checkouts.remove(first) == []
        assert (second / "train.py").exists()
        assert checkouts.close() == []
        assert list(script.worktrees.iterdir()) == []

    def test_is_fresh_at_each_attempt(self, script: Paths) -> None:
        checkouts, code = Checkouts(script), ordered(script)
        folder = checkouts.open_run("E5-s0-0123abcd", "E5", code)
        (folder / "out").mkdir()
        (folder / "train.py").unlink()
        (folder.parent / "deleted").mkdir()
        assert checkouts.open_run("E5-s0-0123abcd", "E5", code) == folder
        assert ((folder / "out").exists(), (folder / "train.py").exists()) == (False, True)
        checkouts.close()

    @pytest.mark.parametrize("break_it", ["rm .git", "rm -r .", "git init -q"])
    def test_is_removed_whatever_the_script_did_to_it(self, script: Paths, git: Git, break_it: str) -> None:
        checkouts = Checkouts(script)
        folder = checkouts.open_run("E5-s0-0123abcd", "E5", ordered(script))
        (top,) = script.worktrees.iterdir()
        commands = {"rm .git": ["rm", ".git"], "rm -r .": ["rm", "-r", str(top)], "git init -q": ["git", "init", "-q"]}
        subprocess.run(commands[break_it], cwd=top, check=True)
        assert checkouts.remove(folder) == []
        assert not top.exists()
        assert git("worktree", "list").count("\n") == 0

    def test_links_to_data_are_removed_and_the_data_stay(self, script: Paths, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "precious").touch()
        checkouts = Checkouts(script)
        folder = checkouts.open_run("E5-s0-0123abcd", "E5", ordered(script))
        (folder / "data").symlink_to(tmp_path / "data")
        assert checkouts.remove(folder) == []
        assert (tmp_path / "data" / "precious").exists()

    def test_is_locked_and_left_over_once_its_process_is_gone(self, script: Paths) -> None:
        program = (
            "import os, sys; from pathlib import Path; from orchestrator.code.checkouts import Checkouts;"
            "from orchestrator.runs.order import OrderedCode; from orchestrator.runs.paths import Paths;"
            "code = OrderedCode(tree='', commit=sys.argv[2]);"
            "Checkouts(Paths(Path(sys.argv[1]))).open_run('E5-s0-0123abcd', 'E5', code);"
            "os.kill(os.getpid(), 9)"
        )
        commit = str(ordered(script).commit)
        done = subprocess.run([sys.executable, "-c", program, str(script.root), commit], check=False)
        assert done.returncode == -9
        (leftover,) = leftover_worktrees(script)
        assert leftover.name == "E5-s0-0123abcd"
        checkouts = Checkouts(script)
        mine = checkouts.open_run("E5-s0-0123abcd", "E5", ordered(script))
        assert job_lock.find_holder(script.worktree_lock(leftover.path)) is None
        assert checkouts.remove_leftovers() == []
        assert [path for path in script.worktrees.iterdir() if not mine.is_relative_to(path)] == []
        checkouts.close()

    def test_of_a_commit_that_is_gone_is_refused(self, script: Paths) -> None:
        with pytest.raises(CodeError, match=r"commit 0{12}, which runs of E5 were queued with, is not in the reposit"):
            Checkouts(script).open_run("E5-s0-0123abcd", "E5", OrderedCode(tree="", commit="0" * 40))

    def test_that_is_none_is_not_removed(self, script: Paths) -> None:
        with pytest.raises(ValueError, match="is no folder of a run of this process"):
            Checkouts(script).remove(script.root)
        assert (script.root / "train.py").exists()

    def test_leaves_the_users_checkout_index_and_status_as_they_are(self, script: Paths, repo: Path, git: Git) -> None:
        """Law 6: the user's checkout and index are never touched."""
        (script.root / "notes.txt").write_text("half an idea\n")
        (script.root / "staged.txt").write_text("staged\n")
        git("add", str(script.root / "staged.txt"))
        (script.root / "conf" / "base.yaml").write_text("lr: 7\n")
        status = git("status", "--porcelain=v2", "--branch", "--ignored")
        # Git would like to note that the file is still the same.
        os.utime(script.root / "train.py", (0, 0))
        before, refs = everything(repo), git("for-each-ref", "refs/heads/main")
        checkouts = Checkouts(script)
        code = ordered(script)
        for seed in (0, 1):
            folder = checkouts.open_run(f"E5-s{seed}-0123abcd", "E5", code)
            (folder / "train.py").write_text("spoilt\n")
            (folder / "out").mkdir()
        checkouts.open("E5", code)
        assert everything(repo) == before
        checkouts.close()
        assert everything(repo) == before
        assert (git("status", "--porcelain=v2", "--branch", "--ignored"), git("for-each-ref", "refs/heads/main")) == (
            status,
            refs,
        )

    def test_has_the_bytes_of_the_commit_whatever_filters_say(self, script: Paths, git: Git, tmp_path: Path) -> None:
        git("config", "core.autocrlf", "true")
        git("config", "filter.odd.smudge", f"touch {tmp_path}/a-filter-ran")
        (script.root / ".gitattributes").write_text("*.py filter=odd\n*.yaml text eol=crlf\n")
        git("add", "-A")
        git("commit", "--quiet", "-m", "attributes")
        checkouts = Checkouts(script)
        folder = checkouts.open_run("E5-s0-0123abcd", "E5", ordered(script))
        assert {name: (folder / name).read_bytes().decode() for name in FILES} == FILES
        assert not (tmp_path / "a-filter-ran").exists()
        checkouts.close()

    def test_of_a_campaign_file_that_is_in_no_commit_is_there(self, repo: Path, script: Paths) -> None:
        paths = Paths(repo / "new")
        paths.root.mkdir()
        code = find_code(paths, snapshot=False, code=("../model",))
        checkouts = Checkouts(paths)
        folder = checkouts.open_run("E5-s0-0123abcd", "E5", code.commit(content(), NOW))
        assert folder.is_dir()
        assert (folder / ".." / "model" / "__main__.py").exists()
        checkouts.close()

    def test_outside_a_repository_is_a_copy_of_its_own(self, script: Paths, tmp_path: Path) -> None:
        paths = without_git(script, tmp_path)
        code = find_code(paths, snapshot=False, code=CODE).commit(content(), NOW)
        checkouts = Checkouts(paths)
        first, second = (checkouts.open_run(f"E5-s{seed}-0123abcd", "E5", code) for seed in (0, 1))
        (first / "train.py").write_text("mine\n")
        assert (second / "train.py").read_text() == FILES["train.py"]
        assert {path.name for path in second.iterdir()} == {"train.py", "lib"}
        assert checkouts.remove(first) == checkouts.close() == []
        assert list(paths.worktrees.iterdir()) == []


def test_a_whole_commit_of_many_bytes_is_read_in_parts(
    script: Paths, git: Git, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.code.worktrees.BATCH_BYTES", 8)
    checkouts = Checkouts(script)
    folder = checkouts.open_run("E5-s0-0123abcd", "E5", ordered(script))
    assert {name: (folder / name).read_text() for name in FILES} == FILES
    checkouts.close()


def test_without_git_the_code_is_looked_at_as_it_lies_there(script: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    committed = find_code(script, snapshot=False, code=CODE)
    assert isinstance(committed, GitCode)
    monkeypatch.setenv("PATH", "/nowhere")
    code = look_at_code(script, CODE)
    assert (code.code_hash, isinstance(code, CopiedCode)) == (committed.code_hash, True)
