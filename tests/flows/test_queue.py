"""Friday to Monday: runs are queued, the code is edited, two workers train, and each verdict is of the queued code."""

import json

import pytest

from tests.builders.study_harness import Study, make_study

CODE = """\
seeds: 1
experiments:
  Soft: {title: Softer logits, group: code, hypothesis: Why., patch: changes/soft.diff}
  OnSoft: {title: On the patch, group: code, hypothesis: Why., on: Soft, change: {loss.label_smoothing: 0.1}}
  Stale: {title: A patch of other code, group: code, hypothesis: Why., patch: changes/stale.diff}
  Outside: {title: It edits the README, group: code, hypothesis: Why., patch: changes/outside.diff}
  Broken: {title: It does not import, group: code, hypothesis: Why., patch: changes/broken.diff}
  Branch: {title: The code of a branch, group: code, hypothesis: Why., ref: idea}
"""
STALE = """\
--- a/model/layers/pooling.py
+++ b/model/layers/pooling.py
@@ -1,1 +1,1 @@
-there is no such line
+nor this one
"""
OUTSIDE = """\
--- /dev/null
+++ b/README.md
@@ -0,0 +1,1 @@
+hello
"""


def diff(study: Study, name: str, old: str, new: str) -> str:
    """Edit a file, return the diff, and undo the edit."""
    study.edit(name, old, new)
    # Into a file: a line of context may be blank, and must not be stripped from the end.
    file = study.repo.with_name("made.diff")
    study.git("diff", f"--output={file}")
    study.git("checkout", "--quiet", "--", name)
    return file.read_text()


@pytest.fixture(scope="module")
def weekend(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, dict[str, str]]:
    """Return a study after its weekend, and what the commands printed on each day."""
    study = make_study(tmp_path_factory.mktemp("weekend"), CODE)
    said: dict[str, str] = {}
    patches = {
        "soft": diff(study, "model/train/losses.py", '"""', '"""Softer. '),
        "stale": STALE,
        "outside": OUTSIDE,
        "broken": diff(study, "model/train/losses.py", "import torch", "import torch_of_tomorrow\nimport torch"),
    }
    (study.repo / "changes").mkdir()
    for name, patch in patches.items():
        (study.repo / "changes" / f"{name}.diff").write_text(patch)
    study.commit("changes")
    study.git("switch", "--quiet", "-c", "idea")
    study.edit("model/layers/pooling.py", '"""', '"""An idea. ')
    study.commit("an idea")
    study.git("switch", "--quiet", "main")
    said["plan"] = study.must("plan")
    friday = study.knockout("queue", "add", "--all")
    said["friday"] = friday.stdout + friday.stderr
    assert friday.returncode == 1, said["friday"]
    said["again"] = study.must("queue", "add", "E5", "tag:code", status=1)
    said["list"] = study.must("queue", "list")
    # Sunday: a colleague edits the code and the file, and leaves the checkout dirty.
    study.edit("model/train/losses.py", '"""', '"""Edited on Sunday. ')
    study.edit("experiments.yaml", "loss.gamma: 2.0", "loss.gamma: 9.0")
    study.commit("sunday")
    (study.repo / "model" / "half.py").write_text("half an idea\n")
    before = study.git("status", "--porcelain=v2", "--branch")
    workers = [study.start("work", "--slots", "1") for _ in range(2)]
    said["work"] = "".join(worker.communicate(timeout=300)[0] for worker in workers)
    assert study.git("status", "--porcelain=v2", "--branch") == before
    said["monday"] = study.must("status", "--json")
    said["report"] = study.must("report", "--all")
    return study, said


def test_each_run_was_trained_once_from_exactly_the_code_that_was_queued(
    weekend: tuple[Study, dict[str, str]],
) -> None:
    study, said = weekend
    # Monday's rows: another test rebuilds the queue, and a rebuild forgets how often a run was claimed.
    rows = {row["id"]: row for row in json.loads(said["monday"])}
    done = {run_id: row for run_id, row in rows.items() if row["state"] == "done"}
    assert {row["state"] for row in rows.values()} == {"done", "failed"}, said["work"]
    assert {row["experiment"] for row in done.values()} == {"baseline", "E5", "Soft", "OnSoft", "Branch"}
    for run_id, row in done.items():
        assert row["attempt"] == 1
        assert said["work"].count(f"{run_id}: done") == 1
        origin = json.loads((study.runs / run_id / "provenance.json").read_bytes())
        code = study.git("show", f"{origin['commit']}:model/train/losses.py")
        assert not code.startswith('"""Edited on Sunday')
        assert code.startswith('"""Softer. ') == (row["experiment"] in ("Soft", "OnSoft"))
        pooling = study.git("show", f"{origin['commit']}:model/layers/pooling.py")
        assert pooling.startswith('"""An idea. ') == (row["experiment"] == "Branch")
    gammas = [json.loads((study.runs / run / "config.json").read_bytes()) for run in done]
    assert {config["params"]["loss"].get("gamma") for config in gammas} == {None, 2.0}


def test_a_patch_that_does_not_apply_or_reaches_outside_is_rejected_with_the_words_of_git(
    weekend: tuple[Study, dict[str, str]],
) -> None:
    study, said = weekend
    rejected = {row["experiment"]: row for row in study.rows() if row["state"] == "failed"}
    assert {row["failure"] for row in rejected.values()} == {"rejected"}
    assert set(rejected) == {"Stale", "Outside", "Broken"}
    assert "patch does not apply" in rejected["Stale"]["reason"]
    assert "README.md" in rejected["Outside"]["reason"]
    assert "torch_of_tomorrow" in rejected["Broken"]["reason"]
    assert "Stale is rejected: " in said["friday"]
    assert "Stale would be rejected: " in said["plan"]
    assert "8 runs: 5 queued" not in said["friday"]


def test_queueing_again_changes_nothing(weekend: tuple[Study, dict[str, str]]) -> None:
    study, said = weekend
    waiting = [line for line in said["list"].splitlines() if "queued" in line]
    assert len(waiting) == 6
    assert len({row["id"] for row in study.rows()}) == 8
    assert waiting[0].startswith("baseline-s0-")


def test_the_report_is_of_what_was_queued_and_says_so(weekend: tuple[Study, dict[str, str]]) -> None:
    study, said = weekend
    assert "this is of the campaign as it was queued on " in said["report"]
    report = (study.repo / "reports" / "latest" / "report.md").read_text()
    assert "`loss.gamma`" in report
    assert "9.0" not in report
    assert "changes/soft.diff" in report
    assert "model/train/losses.py (+1 -1)" in report
    assert "torch_of_tomorrow" in report


def test_nothing_is_left_behind(weekend: tuple[Study, dict[str, str]]) -> None:
    study, _ = weekend
    assert study.git("worktree", "list").count("\n") == 0
    done = study.knockout("queue", "list")
    assert (done.stdout, done.stderr) == ("no run waits and none is under way\n", "")
    assert study.git("for-each-ref", "refs/heads/experiment") == ""


def test_deleting_the_database_loses_nothing(weekend: tuple[Study, dict[str, str]]) -> None:
    study, _ = weekend
    before = kept_of(study)
    (study.repo / "results" / "knockout.db").unlink()
    study.must("rebuild")
    assert kept_of(study) == before
    done = study.knockout("work")
    assert (done.stdout, done.stderr) == ("nothing waited\n", "")


def kept_of(study: Study) -> dict[str, dict[str, object]]:
    """Return the fields of each run that no rebuild may lose."""
    kept = ("experiment", "seed", "profile", "state", "reason", "failure")
    return {row["id"]: {key: row[key] for key in kept} for row in study.rows()}
