"""Friday to Monday: runs are queued, the code is edited, workers die, and every verdict is of what was queued."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
KNOCKOUT = Path(sys.executable).parent / "knockout"
CAMPAIGN = """\
campaign: weekend
title: Does focal loss help, and does other code?
task: Tell ten emulated transmitters apart.
margin: 5.0
seeds: 1
data:
  emulate: {seed: 3, packets: 8, samples: 256}
  captures:
    LocA: {path: data/LocA.h5, devices: [0, 10], packets: [0, 6]}
    LocA-val: {path: data/LocA.h5, devices: [0, 10], packets: [6, 8]}
    LocD: {path: data/LocD.h5, devices: [0, 10], packets: [0, 8]}
  train: [LocA]
  validate: [LocA-val]
  report: [LocD]
  samples: 256
profiles:
  quick: {}
baseline:
  model: {dim: 16, depth: 1, num_heads: 2, head_dim: 8, mlp_multiple: 8}
  optim: {epochs: 2, batch_size: 20, learning_rate: 1e-3}
  runtime: {precision: fp32, compile: false}
experiments:
  E5: {title: Focal loss, group: loss, hypothesis: Why., change: {loss.kind: focal, loss.gamma: 2.0}}
  Soft: {title: Softer logits, group: code, hypothesis: Why., patch: changes/soft.diff}
  OnSoft: {title: On the patch, group: code, hypothesis: Why., on: Soft, change: {loss.label_smoothing: 0.1}}
  Stale: {title: A patch of other code, group: code, hypothesis: Why., patch: changes/stale.diff}
  Outside: {title: It edits the README, group: code, hypothesis: Why., patch: changes/outside.diff}
  Broken: {title: It does not import, group: code, hypothesis: Why., patch: changes/broken.diff}
  Branch: {title: The code of a branch, group: code, hypothesis: Why., ref: idea}
"""
STALE = """\
--- a/model/pooling.py
+++ b/model/pooling.py
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


class Project:
    """A campaign in a temporary repository, through the real command line."""

    def __init__(self, root: Path, cache: Path) -> None:
        self.root = root
        quiet = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null", "COLUMNS": "200"}
        self.environment = {**os.environ, **quiet, "XDG_CACHE_HOME": str(cache)}
        self.environment.pop("KNOCKOUT_DATABASE", None)
        shutil.copytree(ROOT / "model", root / "model", ignore=shutil.ignore_patterns("__pycache__"))
        (root / "experiments.yaml").write_text(CAMPAIGN)
        (root / ".gitignore").write_text("/data/\nresults/\nreports/\n__pycache__/\n")
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit("start")

    def git(self, *words: str) -> str:
        identity = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
        done = subprocess.run(["git", *identity, *words], cwd=self.root, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def commit(self, message: str) -> None:
        self.git("add", "-A")
        self.git("commit", "--quiet", "-m", message)

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.root / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    def diff(self, name: str, old: str, new: str) -> str:
        """Return the diff of an edit that is taken back."""
        self.edit(name, old, new)
        made = self.git("diff")
        self.git("checkout", "--quiet", "--", name)
        return made + "\n"

    def start(self, *words: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [str(KNOCKOUT), *words],
            cwd=self.root,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def knockout(self, *words: str, status: int = 0) -> str:
        process = self.start(*words)
        said, _ = process.communicate(timeout=300)
        assert process.returncode == status, said
        return said

    def runs(self) -> dict[str, Any]:
        return {row["id"]: row for row in json.loads(self.knockout("status", "--json"))}

    def origin(self, run_id: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self.root / "results" / "runs" / run_id / "provenance.json").read_bytes())
        return content


@pytest.fixture(scope="module")
def weekend(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, dict[str, str]]:
    """A project after its weekend, and what was said on each day."""
    root = tmp_path_factory.mktemp("project")
    project = Project(root, tmp_path_factory.mktemp("cache"))
    said: dict[str, str] = {}
    logits = project.diff("model/losses.py", '"""', '"""Softer. ')
    (root / "changes").mkdir()
    (root / "changes" / "soft.diff").write_text(logits)
    (root / "changes" / "stale.diff").write_text(STALE)
    (root / "changes" / "outside.diff").write_text(OUTSIDE)
    broken = project.diff("model/losses.py", "import torch", "import torch_of_tomorrow\nimport torch")
    (root / "changes" / "broken.diff").write_text(broken)
    project.commit("changes")
    project.git("switch", "--quiet", "-c", "idea")
    project.edit("model/pooling.py", '"""', '"""An idea. ')
    project.commit("an idea")
    project.git("switch", "--quiet", "main")
    said["plan"] = project.knockout("plan")
    said["friday"] = project.knockout("queue", "add", "--all", status=1)
    said["again"] = project.knockout("queue", "add", "E5", "tag:code", status=1)
    said["list"] = project.knockout("queue", "list")
    # Sunday: a colleague edits the code and the file, and leaves the checkout dirty.
    project.edit("model/losses.py", '"""', '"""Edited on Sunday. ')
    project.edit("experiments.yaml", "loss.gamma: 2.0", "loss.gamma: 9.0")
    project.commit("sunday")
    (root / "model" / "half.py").write_text("half an idea\n")
    before = project.git("status", "--porcelain=v2", "--branch")
    workers = [project.start("work", "--slots", "1") for _ in range(2)]
    said["work"] = "".join(worker.communicate(timeout=300)[0] for worker in workers)
    assert project.git("status", "--porcelain=v2", "--branch") == before
    said["monday"] = project.knockout("status", "--json")
    said["report"] = project.knockout("report", "--all")
    return project, said


def test_each_run_was_trained_once_from_exactly_the_code_that_was_queued(
    weekend: tuple[Project, dict[str, str]],
) -> None:
    project, said = weekend
    # Of then: a rebuild, in another test, forgets how often runs were claimed.
    rows = {row["id"]: row for row in json.loads(said["monday"])}
    done = {run_id: row for run_id, row in rows.items() if row["state"] == "done"}
    assert {row["state"] for row in rows.values()} == {"done", "failed"}, said["work"]
    assert {row["experiment"] for row in done.values()} == {"baseline", "E5", "Soft", "OnSoft", "Branch"}
    for run_id, row in done.items():
        assert row["attempt"] == 1
        assert said["work"].count(f"{run_id}: done") == 1
        origin = project.origin(run_id)
        code = project.git("show", f"{origin['commit']}:model/losses.py")
        assert not code.startswith('"""Edited on Sunday')
        assert code.startswith('"""Softer. ') == (row["experiment"] in ("Soft", "OnSoft"))
        pooling = project.git("show", f"{origin['commit']}:model/pooling.py")
        assert pooling.startswith('"""An idea. ') == (row["experiment"] == "Branch")
    gammas = [json.loads((project.root / "results" / "runs" / run / "config.json").read_bytes()) for run in done]
    assert {config["loss"].get("gamma") for config in gammas} == {None, 2.0}


def test_a_patch_that_does_not_apply_or_reaches_outside_is_rejected_with_the_words_of_git(
    weekend: tuple[Project, dict[str, str]],
) -> None:
    project, said = weekend
    rejected = {row["experiment"]: row for row in project.runs().values() if row["state"] == "failed"}
    assert {row["failure"] for row in rejected.values()} == {"rejected"}
    assert set(rejected) == {"Stale", "Outside", "Broken"}
    assert "patch does not apply" in rejected["Stale"]["reason"]
    assert "README.md" in rejected["Outside"]["reason"]
    assert "torch_of_tomorrow" in rejected["Broken"]["reason"]
    assert "Stale is rejected: " in said["friday"]
    assert "Stale would be rejected: " in said["plan"]
    assert "8 runs: 5 queued" not in said["friday"]


def test_queueing_again_changes_nothing(weekend: tuple[Project, dict[str, str]]) -> None:
    project, said = weekend
    waiting = [line for line in said["list"].splitlines() if "queued" in line]
    assert len(waiting) == 6
    assert len(project.runs()) == 8
    assert waiting[0].startswith("baseline-s0-")


def test_the_report_is_of_what_was_queued_and_says_so(weekend: tuple[Project, dict[str, str]]) -> None:
    project, said = weekend
    assert "this is of the campaign as it was queued on " in said["report"]
    report = (project.root / "reports" / "latest" / "report.md").read_text()
    assert "`loss.gamma`" in report
    assert "9.0" not in report
    assert "changes/soft.diff" in report
    assert "model/losses.py (+1 -1)" in report
    assert "torch_of_tomorrow" in report


def test_nothing_is_left_behind(weekend: tuple[Project, dict[str, str]]) -> None:
    project, _ = weekend
    assert project.git("worktree", "list").count("\n") == 0
    assert project.knockout("queue", "list") == "no run waits and none is under way\n"
    assert project.git("for-each-ref", "refs/heads/experiment") == ""


def test_deleting_the_database_loses_nothing(weekend: tuple[Project, dict[str, str]]) -> None:
    project, _ = weekend
    before = project.runs()
    (project.root / "results" / "knockout.db").unlink()
    project.knockout("rebuild")
    kept = ("experiment", "seed", "profile", "state", "reason", "failure")
    after = project.runs()
    assert {run: {key: row[key] for key in kept} for run, row in after.items()} == {
        run: {key: row[key] for key in kept} for run, row in before.items()
    }
    assert project.knockout("work") == "nothing waited\n"
