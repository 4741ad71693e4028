"""An experiment's code from a patch or a ref: what is taken, what is refused, and that nothing of the user's moves."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.code.git import Git, GitError
from orchestrator.code.patches import MAX_PATCH_BYTES, RefusedError, apply_patch, changed_files, read_patch, take_ref
from orchestrator.code.repository import Repository
from orchestrator.errors import CodeError

RunGit = Callable[..., str]
LOSSES = "margin = 1\nscale = 2\nbias = 3\n"


@pytest.fixture(params=["", "studies/one/"], ids=["top", "subfolder"])
def study(request: pytest.FixtureRequest, repo: Path, git: RunGit) -> Path:
    folder = repo / request.param
    (folder / "model").mkdir(parents=True, exist_ok=True)
    (folder / "model" / "losses.py").write_text(LOSSES)
    (folder / "model" / "old.py").write_text("gone = True\n")
    (folder / "campaign.txt").write_text("a campaign\n")
    git("add", "-A")
    git("commit", "--quiet", "-m", "a study")
    return folder


def diff(study: Path, git: RunGit) -> bytes:
    """Return the diff of the working copy as a user would make it in the campaign's folder, and put all back."""
    git("add", "-A")
    command = ["git", "diff", "--relative", "--binary", "--cached", "HEAD"]
    patch = subprocess.run(command, cwd=study, check=True, capture_output=True).stdout
    git("reset", "--quiet", "--hard")
    return patch


def text(repository: Repository, tree: str, path: str) -> str:
    return repository.git("cat-file", "blob", f"{tree}:{repository.prefix}{path}")


def refusal(repository: Repository, patch: bytes) -> str:
    with pytest.raises(RefusedError) as caught:
        apply_patch(repository, "HEAD", patch, "wide.diff")
    assert str(caught.value).startswith("wide.diff: ")
    return str(caught.value)


class TestPatch:
    def test_changes_adds_renames_and_deletes_files_of_model(self, study: Path, git: RunGit) -> None:
        (study / "model" / "losses.py").write_text(LOSSES.replace("scale = 2", "scale = 4"))
        (study / "model" / "deep").mkdir()
        (study / "model" / "deep" / "näw.py").write_text("x = 1\ny = 2\n")
        (study / "model" / "old.py").rename(study / "model" / "moved.py")
        (study / "model" / "table.bin").write_bytes(bytes(range(256)))
        patch = diff(study, git)
        repository = Repository(study)
        before = git("rev-parse", "HEAD^{tree}")
        tree = apply_patch(repository, before, patch, "wide.diff")
        assert text(repository, tree, "model/losses.py") == LOSSES.replace("scale = 2", "scale = 4").rstrip("\n")
        assert changed_files(repository, before, tree) == (
            "model/deep/näw.py (+2 -0)",
            "model/losses.py (+1 -1)",
            "model/moved.py (+1 -0)",
            "model/old.py (+0 -1)",
            "model/table.bin (binary)",
        )

    def test_touches_neither_checkout_nor_index(self, study: Path, git: RunGit) -> None:
        """Law 6: the user's checkout and index are never touched."""
        (study / "model" / "losses.py").write_text("margin = 9\n")
        patch = diff(study, git)
        (study / "campaign.txt").write_text("half an idea\n")
        git("add", "-A")
        (study / "model" / "losses.py").write_text("not staged\n")
        index = Path(git("rev-parse", "--absolute-git-dir")) / "index"
        before = (git("status", "--porcelain=v2", "--branch"), index.read_bytes())
        apply_patch(Repository(study), "HEAD", patch, "wide.diff")
        assert index.read_bytes() == before[1]
        assert git("status", "--porcelain=v2", "--branch") == before[0]

    def test_goes_onto_the_tree_of_another(self, study: Path, git: RunGit) -> None:
        (study / "model" / "losses.py").write_text(LOSSES.replace("margin = 1", "margin = 7"))
        first = diff(study, git)
        (study / "model" / "new.py").write_text("x = 1\n")
        second = diff(study, git)
        repository = Repository(study)
        tree = apply_patch(repository, apply_patch(repository, "HEAD", first, "1.diff"), second, "2.diff")
        assert changed_files(repository, "HEAD", tree) == ("model/losses.py (+1 -1)", "model/new.py (+1 -0)")

    def test_that_does_not_apply_is_refused_in_gits_words(self, study: Path, git: RunGit) -> None:
        (study / "model" / "losses.py").write_text(LOSSES.replace("scale", "size"))
        patch = diff(study, git)
        tree = apply_patch(Repository(study), "HEAD", patch, "wide.diff")
        with pytest.raises(
            RefusedError, match=r"wide.diff: git cannot apply this patch .*model/losses.py: patch does not"
        ):
            apply_patch(Repository(study), tree, patch, "wide.diff")

    @pytest.mark.parametrize("patch", [b"", b"make it wider\n", b"\0\xff"])
    def test_that_is_no_diff_is_refused_in_gits_words(self, study: Path, patch: bytes) -> None:
        said = refusal(Repository(study), patch)
        assert "No valid patches in input" in said
        assert "git diff --relative" in said

    @pytest.mark.parametrize(
        "settings",
        [
            "diff.noprefix=true",
            "diff.mnemonicPrefix=true",
            "color.ui=always",
            "diff.renames=copies",
            "diff.suppressBlankEmpty=true",
            "color.diff.context=red color.ui=always",
            "diff.colorMoved=zebra color.ui=always diff.noprefix=true",
        ],
    )
    def test_made_under_other_settings_applies(self, study: Path, git: RunGit, settings: str) -> None:
        (study / "model" / "losses.py").write_text(LOSSES.replace("scale = 2", "scale = 4  ") + "\nlast = 'é'\n")
        (study / "model" / "copy.py").write_text(LOSSES)
        git("add", "-A")
        options = [word for setting in settings.split() for word in ("-c", setting)]
        command = ["git", *options, "diff", "--relative", "--cached", "HEAD"]
        patch = subprocess.run(command, cwd=study, check=True, capture_output=True).stdout
        git("reset", "--quiet", "--hard")
        repository = Repository(study)
        tree = apply_patch(repository, "HEAD", patch, "wide.diff")
        assert changed_files(repository, "HEAD", tree) == ("model/copy.py (+3 -0)", "model/losses.py (+3 -1)")
        assert text(repository, tree, "model/losses.py").endswith("scale = 4  \nbias = 3\n\nlast = 'é'")

    def test_whose_paths_fit_with_a_prefix_and_without_is_refused(self, study: Path, git: RunGit) -> None:
        (study / "model" / "model").mkdir()
        (study / "model" / "model" / "losses.py").write_text(LOSSES)
        git("add", "-A")
        git("commit", "--quiet", "-m", "twice")
        (study / "model" / "model" / "losses.py").write_text(LOSSES.replace("2", "4"))
        git("add", "-A")
        command = ["git", "diff", "--relative", "--no-prefix", "--cached", "HEAD"]
        patch = subprocess.run(command, cwd=study, check=True, capture_output=True).stdout
        git("reset", "--quiet", "--hard")
        said = refusal(Repository(study), patch)
        assert "can be read with a prefix such as `a/` and without one, and both apply; make it with `git diff " in said

    def test_is_made_by_the_command_that_a_refusal_names(self, study: Path, git: RunGit, tmp_path: Path) -> None:
        external = tmp_path / "external"
        external.write_text("#!/bin/sh\necho no diff\n")
        external.chmod(0o755)
        (tmp_path / "gitconfig").write_text(
            f"[diff]\n\texternal = {external}\n\tnoprefix = true\n\tcontext = 0\n[color]\n\tui = always\n"
        )
        (study / "model" / "losses.py").write_text(LOSSES.replace("2", "4"))
        (study / "model" / "table.bin").write_bytes(bytes(range(256)))
        git("add", "-A")
        said = refusal(Repository(study), git("diff", "HEAD").encode())
        command = said.split("`")[1].replace("PATCH", str(tmp_path / "patch")).replace("<base>", "HEAD")
        subprocess.run(command.split(), cwd=study, check=True)
        git("reset", "--quiet", "--hard")
        tree = apply_patch(Repository(study), "HEAD", (tmp_path / "patch").read_bytes(), "wide.diff")
        assert len(changed_files(Repository(study), "HEAD", tree)) == 2

    def test_is_not_refused_where_git_itself_is_ended_or_cannot_write(
        self, study: Path, git: RunGit, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        repository = Repository(study)

        def fail(*words: str, **options: Any) -> str:
            raise GitError(words[0], "fatal: unable to write: No space left on device", 128)

        monkeypatch.setattr(Git, "__call__", lambda self, *words, **options: fail(*words))
        with pytest.raises(GitError, match="No space left on device") as caught:
            apply_patch(repository, "HEAD", b"", "wide.diff")
        assert not isinstance(caught.value, RefusedError)

    def test_cut_off_before_its_last_newline_is_refused(self, study: Path, git: RunGit) -> None:
        (study / "model" / "losses.py").write_text(LOSSES + "last = 4\n")
        assert "corrupt patch at" in refusal(Repository(study), diff(study, git)[:-1])

    def test_of_a_file_without_a_last_newline_applies(self, study: Path, git: RunGit) -> None:
        (study / "model" / "losses.py").write_text(LOSSES + "last = 4")
        patch = diff(study, git)
        assert b"No newline at end of file" in patch
        tree = apply_patch(Repository(study), "HEAD", patch, "wide.diff")
        assert text(Repository(study), tree, "model/losses.py") == LOSSES + "last = 4"

    def test_with_other_line_endings_is_refused_whatever_the_user_has_set(
        self, study: Path, git: RunGit, tmp_path: Path
    ) -> None:
        (study / "model" / "losses.py").write_text(LOSSES.replace("2", "4"))
        patch = diff(study, git).replace(b"\n", b"\r\n")
        (tmp_path / "gitconfig").write_text("[apply]\n\tignoreWhitespace = change\n[core]\n\tautocrlf = true\n")
        said = refusal(Repository(study), patch)
        assert "does not apply" in said
        assert "its lines end in CRLF" in said

    def test_adds_a_file_to_the_byte_whatever_the_user_has_set(self, study: Path, git: RunGit, tmp_path: Path) -> None:
        (study / "model" / "dos.py").write_bytes(b"x = 1 \r\ny = 2\r\n")
        patch = diff(study, git)
        (tmp_path / "gitconfig").write_text("[apply]\n\twhitespace = fix\n[core]\n\tautocrlf = true\n")
        repository = Repository(study)
        tree = apply_patch(repository, "HEAD", patch, "wide.diff")
        size = repository.git("cat-file", "-s", f"{tree}:{repository.prefix}model/dos.py")
        assert int(size) == len(b"x = 1 \r\ny = 2\r\n")

    def test_outside_model_is_refused_with_all_its_files(self, study: Path, git: RunGit) -> None:
        (study / "model" / "losses.py").write_text("margin = 9\n")
        (study / "campaign.txt").write_text("an easier task\n")
        (study / "models").mkdir()
        (study / "models" / "x.py").write_text("x = 1\n")
        said = refusal(Repository(study), diff(study, git))
        assert (
            "changes more than the task's code (model): campaign.txt (outside of it), models/x.py (outside of it)"
            in said
        )
        assert "losses.py" not in said

    def test_that_renames_out_of_model_is_refused(self, study: Path, git: RunGit) -> None:
        (study / "model" / "old.py").rename(study / "old.py")
        patch = diff(study, git)
        assert b"rename to" in patch
        assert "old.py (outside of it)" in refusal(Repository(study), patch)

    def test_binary_outside_model_is_refused(self, study: Path, git: RunGit) -> None:
        (study / "captures.h5").write_bytes(bytes(range(256)) * 9)
        patch = diff(study, git)
        assert b"GIT binary patch" in patch
        assert "captures.h5 (outside of it)" in refusal(Repository(study), patch)

    @pytest.mark.parametrize("path", ["../escape.py", "model/../../escape.py", "/etc/escape.py", ".git/config"])
    def test_that_would_leave_the_folder_is_refused(self, study: Path, path: str) -> None:
        new = (
            f"diff --git a/{path} b/{path}\nnew file mode 100644\n--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+x = 1\n"
        )
        refusal(Repository(study), new.encode())
        assert not list(study.parent.parent.rglob("escape.py"))

    def test_above_the_campaigns_folder_is_refused_and_not_passed_over(self, study: Path, git: RunGit) -> None:
        patch = (
            b"--- a/model/losses.py\n+++ b/model/losses.py\n@@ -1,2 +1,2 @@\n-margin = 1\n+margin = 9\n scale = 2\n"
            b"--- a/../notes.txt\n+++ b/../notes.txt\n@@ -1 +1 @@\n-mine\n+yours\n"
        )
        refusal(Repository(study), patch)

    @pytest.mark.parametrize("target", ["/etc/passwd", "losses.py"])
    def test_with_a_symbolic_link_is_refused(self, study: Path, git: RunGit, target: str) -> None:
        (study / "model" / "link.py").symlink_to(target)
        assert "model/link.py (a symbolic link)" in refusal(Repository(study), diff(study, git))

    def test_with_a_submodule_is_refused(self, study: Path, git: RunGit) -> None:
        head = git("rev-parse", "HEAD")
        patch = (
            "diff --git a/model/sub b/model/sub\nnew file mode 160000\n--- /dev/null\n+++ b/model/sub\n"
            f"@@ -0,0 +1 @@\n+Subproject commit {head}\n"
        )
        assert "model/sub (a submodule)" in refusal(Repository(study), patch.encode())

    def test_with_attributes_is_refused(self, study: Path, git: RunGit) -> None:
        (study / "model" / ".gitattributes").write_text("*.py eol=crlf\n")
        assert "model/.gitattributes (it changes how git writes other files)" in refusal(
            Repository(study), diff(study, git)
        )

    def test_with_byte_code_is_refused(self, study: Path, git: RunGit) -> None:
        (study / "model" / "__pycache__").mkdir()
        (study / "model" / "__pycache__" / "losses.cpython-311.pyc").write_bytes(b"\0evil")
        assert "model/__pycache__/losses.cpython-311.pyc (byte code)" in refusal(Repository(study), diff(study, git))

    def test_that_makes_a_file_executable_and_nothing_else_changes_no_code(self, study: Path, git: RunGit) -> None:
        (study / "model" / "old.py").chmod(0o755)
        assert "changes no code" in refusal(Repository(study), diff(study, git))

    def test_that_applies_and_changes_nothing_is_refused(self, study: Path, git: RunGit) -> None:
        (study / "model" / "old.py").write_text("gone = False\n")
        there = diff(study, git)
        (study / "model" / "old.py").write_text("gone = False\n")
        git("commit", "--quiet", "-am", "there")
        (study / "model" / "old.py").write_text("gone = True\n")
        back = diff(study, git)
        git("reset", "--quiet", "--hard", "HEAD^")
        assert "changes no code" in refusal(Repository(study), there + back)


@pytest.fixture
def forked(study: Path, git: RunGit) -> Path:
    """Branch `wide` has changed losses.py; since the fork, main has changed old.py and the campaign."""
    git("checkout", "--quiet", "-b", "wide")
    (study / "model" / "losses.py").write_text(LOSSES.replace("2", "4"))
    (study / "campaign.txt").write_text("wide's campaign\n")
    (study / "model" / "old.py").unlink()
    git("add", "-A")
    git("commit", "--quiet", "-m", "wider")
    git("checkout", "--quiet", "main")
    (study / "model" / "old.py").write_text("gone = 'no'\n")
    (study / "campaign.txt").write_text("main's campaign\n")
    git("commit", "--quiet", "-am", "gone on")
    return study


class TestRef:
    def test_gives_its_model_and_nothing_else(self, forked: Path, git: RunGit) -> None:
        repository = Repository(forked)
        taken = take_ref(repository, "HEAD", "wide")
        assert repository.code_files(taken.tree) == repository.code_files("wide")
        assert text(repository, taken.tree, "campaign.txt") == "main's campaign"
        assert taken.commit == git("rev-parse", "wide")
        assert changed_files(repository, "HEAD", taken.tree) == ("model/losses.py (+1 -1)", "model/old.py (+0 -1)")

    def test_tells_what_the_reference_has_changed_since_the_fork(self, forked: Path, git: RunGit) -> None:
        taken = take_ref(Repository(forked), "HEAD", "wide")
        assert taken.forked_from == git("merge-base", "main", "wide")
        assert taken.other_files == ("model/old.py",)

    def test_that_has_all_of_the_reference_has_no_other_files(self, forked: Path, git: RunGit) -> None:
        git("checkout", "--quiet", "-b", "next")
        (forked / "model" / "losses.py").write_text("margin = 9\n")
        git("commit", "--quiet", "-am", "next")
        git("checkout", "--quiet", "main")
        assert take_ref(Repository(forked), "HEAD", "next").other_files == ()

    def test_counts_what_the_reference_has_not_committed(self, forked: Path) -> None:
        (forked / "model" / "new.py").write_text("x = 1\n")
        repository = Repository(forked)
        tree = repository.snapshot_tree({}, with_code=True)
        assert take_ref(repository, tree, "wide").other_files == ("model/new.py", "model/old.py")

    def test_without_a_common_commit_differs_in_all_files(self, forked: Path, git: RunGit) -> None:
        git("checkout", "--quiet", "--orphan", "island")
        git("commit", "--quiet", "-m", "island")
        git("checkout", "--quiet", "main")
        repository = Repository(forked)
        taken = take_ref(repository, "HEAD", "island")
        assert taken.forked_from is None
        assert taken.other_files == tuple(sorted(repository.code_files("HEAD")))

    @pytest.mark.parametrize("make", [("tag", "v1", "wide"), ("tag", "-a", "-m", "v", "v1", "wide")])
    def test_is_a_tag_of_either_kind_or_a_commit(self, forked: Path, git: RunGit, make: tuple[str, ...]) -> None:
        git(*make)
        wide = git("rev-parse", "wide")
        repository = Repository(forked)
        assert {take_ref(repository, "HEAD", ref).commit for ref in ("v1", "refs/tags/v1", wide, wide[:9])} == {wide}

    def test_may_have_a_folder_where_the_reference_has_a_file(self, forked: Path, git: RunGit) -> None:
        git("checkout", "--quiet", "-b", "folder")
        (forked / "model" / "old.py").unlink()
        (forked / "model" / "old.py").mkdir()
        (forked / "model" / "old.py" / "\udcff.py").write_text("a name that is not UTF-8\n")
        git("add", "-A")
        git("commit", "--quiet", "-m", "folder")
        git("checkout", "--quiet", "main")
        repository = Repository(forked)
        there = take_ref(repository, "HEAD", "folder").tree
        assert repository.code_files(there) == repository.code_files("folder")
        assert repository.code_files(take_ref(repository, there, "main").tree) == repository.code_files("main")

    @pytest.mark.parametrize(
        "ref", ["-h", "--all", "^HEAD", "", "main..wide", "HEAD:model", "0" * 40, "no such", "wide\n", ":/start"]
    )
    def test_that_is_none_is_refused(self, forked: Path, git: RunGit, ref: str) -> None:
        git("update-ref", "refs/heads/-h", "wide")
        with pytest.raises(RefusedError, match="git knows no such branch, tag or commit"):
            take_ref(Repository(forked), "HEAD", ref)

    def test_misspelt_is_told_its_neighbour(self, forked: Path) -> None:
        with pytest.raises(RefusedError, match=r"wdie: git knows no such .*; did you mean wide\?"):
            take_ref(Repository(forked), "HEAD", "wdie")

    def test_without_a_model_is_refused(self, forked: Path, git: RunGit) -> None:
        git("checkout", "--quiet", "-b", "bare")
        git("rm", "-rq", str(forked / "model"))
        git("commit", "--quiet", "-m", "no code")
        git("checkout", "--quiet", "main")
        with pytest.raises(RefusedError, match=r"bare: [0-9a-f]{12} has no file of the task's code \(model\), so n"):
            take_ref(Repository(forked), "HEAD", "bare")

    def test_whose_model_holds_a_submodule_is_refused(self, forked: Path, git: RunGit) -> None:
        entry = f"160000,{git('rev-parse', 'HEAD')},{forked.relative_to(git('rev-parse', '--show-toplevel'))}/model/sub"
        git("checkout", "--quiet", "-b", "sub")
        git("update-index", "--add", "--cacheinfo", entry.replace(",./", ","))
        git("commit", "--quiet", "-m", "sub")
        git("checkout", "--quiet", "--force", "main")
        with pytest.raises(RefusedError, match=r"sub: .*model/sub: the code that jobs run is in a submodule"):
            take_ref(Repository(forked), "HEAD", "sub")

    def test_touches_neither_checkout_nor_index(self, forked: Path, git: RunGit) -> None:
        """Law 6: the user's checkout and index are never touched."""
        (forked / "campaign.txt").write_text("half an idea\n")
        git("add", "-A")
        index = Path(git("rev-parse", "--absolute-git-dir")) / "index"
        before = (git("status", "--porcelain=v2", "--branch"), index.read_bytes())
        take_ref(Repository(forked), "HEAD", "wide")
        assert index.read_bytes() == before[1]
        assert git("status", "--porcelain=v2", "--branch") == before[0]


def test_changes_since_an_unknown_tree_are_refused(study: Path) -> None:
    with pytest.raises(CodeError, match="git knows no tree 0123"):
        changed_files(Repository(study), "0123456789" * 4, "HEAD")


class TestPatchFile:
    def test_is_read_to_the_byte(self, tmp_path: Path) -> None:
        (tmp_path / "a.diff").write_bytes(b"a\r\n\0")
        assert read_patch(tmp_path / "a.diff", ("model",)) == b"a\r\n\0"

    @pytest.mark.parametrize("path", ["/dev/zero", "/dev/tty", "pipe", "."])
    def test_that_is_none_is_refused_at_once(self, tmp_path: Path, path: str) -> None:
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(RefusedError, match=r"the patch cannot be read: (this is no file|Is a dir|No such device)"):
            read_patch(tmp_path / path, ("model",))

    @pytest.mark.parametrize("path", ["nowhere.diff", "a\0b", "x" * 300])
    def test_that_is_not_there_is_refused(self, tmp_path: Path, path: str) -> None:
        with pytest.raises(RefusedError, match="the patch cannot be read: "):
            read_patch(tmp_path / path, ("model",))

    def test_that_is_too_large_is_refused_and_not_read(self, tmp_path: Path) -> None:
        with (tmp_path / "huge").open("wb") as file:
            file.truncate(MAX_PATCH_BYTES * 1000)
        with pytest.raises(RefusedError, match="this file is larger than 64 MiB, which is no patch of code"):
            read_patch(tmp_path / "huge", ("model",))


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        (".gitattributes", "it changes how git writes other files"),
        ("__pycache__/losses.cpython-311.pyc", "byte code"),
        ("gone.pyc", "byte code"),
        ("link.py", "a symbolic link"),
    ],
)
def test_a_ref_may_bring_what_a_patch_may_and_nothing_else(study: Path, git: RunGit, name: str, fault: str) -> None:
    """One rule for both: where a patch is refused, the branch that holds the same is refused too."""
    git("checkout", "--quiet", "-b", "other")
    path = study / "model" / name
    path.parent.mkdir(exist_ok=True)
    path.symlink_to("losses.py") if fault == "a symbolic link" else path.write_text("x\n")
    git("add", "-A", "--force")
    git("commit", "--quiet", "-m", "other")
    command = ["git", "diff", "--relative", "--binary", "main", "other"]
    patch = subprocess.run(command, cwd=study, check=True, capture_output=True).stdout
    git("checkout", "--quiet", "main")
    assert f"model/{name} ({fault})" in refusal(Repository(study), patch)
    with pytest.raises(RefusedError, match=r"other: .* brings more than source files of the task's ") as caught:
        take_ref(Repository(study), "HEAD", "other")
    assert f"model/{name} ({fault})" in str(caught.value)
