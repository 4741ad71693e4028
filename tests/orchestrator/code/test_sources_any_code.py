"""The code of any task: pathspecs instead of one folder, for its hash, its changes and its patches."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.code.checkouts import Checkouts
from orchestrator.code.repository import Repository
from orchestrator.code.sources import CopiedCode, GitCode, find_code, look_at_code
from orchestrator.code.steps import CodeStep
from orchestrator.errors import CodeError
from orchestrator.runs.paths import Paths
from tests.builders.code import CODE, NOW, content, ordered, without_git

Git = Callable[..., str]


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


def test_code_beside_the_campaigns_folder_is_code_too(repo: Path, git: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(repo.parent / "cache"))
    (repo / "exp").mkdir()
    (repo / "exp" / "notes.txt").touch()
    (repo / "model" / "crlf.py").write_text("x = 1\n")
    (repo / ".gitattributes").write_text("*.py text\n")
    git("add", "-A")
    git("commit", "--quiet", "-m", "an experiment")
    paths, code = Paths(repo / "exp"), ("../model", "notes.txt")
    (repo / "model" / "crlf.py").write_bytes(b"x = 1\r\n")
    assert Repository(paths.root, code).uncommitted_code() == []
    (repo / ".git" / "info" / "exclude").write_text("ignored.py\n")
    (repo / "model" / "ignored.py").touch()
    (repo / "model" / "__main__.py").write_bytes(b"print('two')\r\n")
    with pytest.raises(CodeError, match=r"\.\./model/__main__\.py, \.\./model/ignored\.py \(git ignores it, "):
        find_code(paths, snapshot=False, code=code)
    checkouts = Checkouts(paths)
    folder = checkouts.open("E5", find_code(paths, snapshot=True, code=code).commit(content(), NOW))
    assert (folder / "../model/__main__.py").read_bytes() == b"print('two')\n"
    assert (folder / "../model/ignored.py").exists()
    (folder / "../model/__main__.py").write_text("edited\n")
    with pytest.raises(CodeError, match="its files were changed; move that away"):
        checkouts.open("E5", find_code(paths, snapshot=True, code=code).commit(content(), NOW))
    checkouts.close()


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


def test_without_git_the_code_is_looked_at_as_it_lies_there(script: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    committed = find_code(script, snapshot=False, code=CODE)
    assert isinstance(committed, GitCode)
    monkeypatch.setenv("PATH", "/nowhere")
    code = look_at_code(script, CODE)
    assert (code.code_hash, isinstance(code, CopiedCode)) == (committed.code_hash, True)
