"""`knockout plan`: what would be trained, and what it would cost."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.api.plan import Cost, PreviewRow, preview
from orchestrator.campaign.selection import Request, open_campaign
from orchestrator.cli.main import main
from orchestrator.errors import DataError
from orchestrator.wording import describe_bytes, describe_seconds

ROOT = Path(__file__).parents[3]
PATCHED = "  P1: {title: Patched, group: code, hypothesis: Why., on: E5, patch: p1.diff}\n"
DIFF = """\
--- a/model/__main__.py
+++ b/model/__main__.py
@@ -1 +1 @@
-print('one')
+print('two')
"""


@pytest.fixture(autouse=True)
def a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this machine have a GPU: the study trains in fp16."""
    monkeypatch.setattr("orchestrator.api.plan.find_gpu_problem", lambda profile, others: None)


def preview_rows(study: Any) -> dict[str, PreviewRow]:
    return {row.experiment: row for row in preview(open_campaign(Request(file=study.file))).rows}


def build_cost(**fields: Any) -> Cost:
    known = {"num_runs": 4, "num_slots": 2, "run_seconds": 90.0, "run_bytes": 2e6, "free_bytes": 10**9}
    return Cost(**known | fields)


def test_a_new_campaign_trains_every_seed_of_everything(study: Any) -> None:
    shown = preview(open_campaign(Request(file=study.file)))
    assert [(row.experiment, row.reference, row.change, row.to_train, row.finished) for row in shown.rows] == [
        ("baseline", None, "", (0, 1), ()),
        ("E5", "baseline", 'loss.kind: "focal", loss.gamma: 2.0', (0, 1), ()),
        ("H2", "E5", "model.num_heads: 4", (0, 1), ()),
    ]
    assert shown.cost.num_runs == 6
    assert shown.notes == (f"code: commit {study.git('rev-parse', 'HEAD')[:12]}",)


def test_a_compiler_that_is_missing_is_told(study: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("CC", "no-such-compiler")
    told = preview(open_campaign(Request(file=study.file))).notes[0]
    assert told.startswith("baseline, E5, H2: `runtime.compile: true` cannot work here: C")
    assert "names `no-such-compiler`" in told
    study.edit("experiments:\n", "baseline: {runtime: {compile: false}}\nexperiments:\n")
    assert not any("compile" in note for note in preview(open_campaign(Request(file=study.file))).notes)


def test_a_gpu_that_is_missing_is_told_first(study: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, tuple[str, ...]]] = []

    def find_problem(profile: str, others: tuple[str, ...]) -> str:
        asked.append((profile, others))
        return "there is no GPU"

    monkeypatch.setattr("orchestrator.api.plan.find_gpu_problem", find_problem)
    study.edit("paper: {}", "paper: {baseline: {runtime: {precision: bf16}}}")
    (study.paths.root / "data" / "LocA.h5").unlink()
    first, second, _ = preview(open_campaign(Request(file=study.file))).notes
    assert (first, second[:30]) == ("there is no GPU", "1 file is not there yet: " + str(study.paths.root)[:5])
    assert asked == [("quick", ()), ("quick", ("paper",))]
    assert preview(open_campaign(Request(file=study.file, profile="paper"))).notes[0] == second


def test_what_has_its_result_is_not_trained(study: Any) -> None:
    study.end(study.start("E5", 1), "failed", "crashed")
    study.start("baseline")
    rows = preview_rows(study)
    assert (rows["E5"].to_train, rows["E5"].finished) == ((0,), (1,))
    assert (rows["baseline"].to_train, rows["baseline"].finished) == ((0, 1), ())


def test_an_experiment_that_equals_another_trains_nothing_of_its_own(study: Any) -> None:
    k1 = "  K1: {title: Again, group: loss, hypothesis: Why., change: {loss.kind: focal, loss.gamma: 2.0}}\n"
    study.file.write_text(study.file.read_text() + k1)
    shown = preview_rows(study)["K1"]
    assert (shown.change, shown.to_train) == ("the same as E5", ())


def test_a_change_of_code_alone_is_named(study: Any) -> None:
    study.file.write_text(study.file.read_text() + PATCHED)
    (study.paths.root / "p1.diff").write_text(DIFF)
    row = preview_rows(study)["P1"]
    assert (row.reference, row.change, row.to_train, row.rejected) == ("E5", "patch p1.diff", (0, 1), None)


def test_other_seeds_are_the_change_of_an_aa_arm(study: Any) -> None:
    study.edit("seeds: 2", "seeds: 2\naa: 2")
    row = preview_rows(study)["AA2"]
    assert (row.reference, row.change, row.to_train) == ("baseline", "seeds 20000 higher", (0, 1))


def test_code_that_is_refused_is_told_and_nothing_of_it_is_trained(
    study: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study.file.write_text(study.file.read_text() + PATCHED)
    (study.paths.root / "p1.diff").write_text(DIFF.replace("one", "three"))
    shown = preview(open_campaign(Request(file=study.file)))
    row = next(row for row in shown.rows if row.experiment == "P1")
    assert row.rejected is not None
    assert "p1.diff" in row.rejected
    assert (row.to_train, shown.cost.num_runs) == ((), 6)
    monkeypatch.chdir(study.paths.root)
    assert main(["plan"]) == 0
    said = capsys.readouterr().out
    assert f"P1 would be rejected: {row.rejected}\n" in said
    assert main(["plan", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"][3]["rejected"] == row.rejected


def test_captures_that_are_not_there_yet_are_told(study: Any) -> None:
    path = study.paths.root / "data" / "LocA.h5"
    path.unlink()
    shown = preview(open_campaign(Request(file=study.file)))
    assert shown.notes[0] == f"1 file is not there yet: {path}"
    assert (shown.cost.num_runs, shown.cost.run_seconds) == (6, None)


def test_a_copy_of_what_is_trained_on_is_not_reported_on(study: Any) -> None:
    shutil.copy(study.paths.root / "data" / "LocA.h5", study.paths.root / "data" / "LocD.h5")
    with pytest.raises(
        DataError, match=r"share bursts; .* must be unseen; .* same content: data/LocA\.h5, data/LocD\.h5"
    ):
        preview(open_campaign(Request(file=study.file)))


def test_a_plan_starts_nothing_and_writes_no_queue(study: Any) -> None:
    before = study.git("status", "--porcelain=v2", "--branch"), study.git("for-each-ref")
    preview(open_campaign(Request(file=study.file)))
    assert (study.git("status", "--porcelain=v2", "--branch"), study.git("for-each-ref")) == before
    # Hashes of captures that are a moment old are not remembered.
    assert {path.name for path in study.paths.results.glob("*")} <= {"fingerprints.json"}


class TestCost:
    def test_it_is_measured_on_the_runs_that_are_done(self, study: Any) -> None:
        done = study.paths.run(study.end(study.start("E5", num_epochs=3)))
        # A run that a guard stopped has not cost what a whole one costs.
        study.end(study.start("baseline", num_epochs=1), "too_slow")
        cost = preview(open_campaign(Request(file=study.file))).cost
        # The first epoch took nine seconds, the others one: the median counts.
        assert cost.run_seconds == 3.0
        assert cost.run_bytes == sum(path.stat().st_size for path in done.path.iterdir())
        assert cost.num_runs == 4
        assert cost.wall_seconds == 4 * 3.0 / cost.num_slots

    def test_another_profiles_runs_do_not_count(self, study: Any) -> None:
        study.edit("paper: {}", "paper: {baseline: {optim: {epochs: 7}}}")
        study.end(study.start("E5", profile="paper"))
        assert preview(open_campaign(Request(file=study.file))).cost.run_seconds is None

    def test_time_and_disk_are_told(self) -> None:
        assert build_cost().sentences() == [
            "4 runs to train: about 3 min, 2 at a time; 8.0 MB of disk, 1.0 GB are free"
        ]
        assert build_cost(num_runs=1, num_slots=1).sentences() == [
            "1 run to train: about 90 s, one at a time; 2.0 MB of disk, 1.0 GB are free"
        ]

    def test_before_any_run_is_done_nobody_knows(self) -> None:
        [sentence] = build_cost(run_seconds=None, run_bytes=None).sentences()
        assert sentence == "4 runs to train; what they cost is known once one of this profile is done"

    def test_nothing_to_train_costs_nothing(self) -> None:
        assert build_cost(num_runs=0).sentences() == ["0 runs to train"]

    def test_a_disk_that_is_too_small_is_told(self) -> None:
        cost = build_cost(free_bytes=8_000_000)
        assert cost.sentences()[1:] == ["the disk is too small for that: free some space first"]
        assert build_cost(free_bytes=8_000_001).sentences()[1:] == []

    @pytest.mark.parametrize(
        ("seconds", "said"), [(99, "99 s"), (100, "2 min"), (5999, "100 min"), (6000, "1.7 h"), (360000, "100.0 h")]
    )
    def test_a_time_is_told_in_the_unit_that_fits(self, seconds: float, said: str) -> None:
        assert describe_seconds(seconds) == said

    @pytest.mark.parametrize(("size", "said"), [(1e4, "0.0 MB"), (5e8, "500.0 MB"), (1e9, "1.0 GB")])
    def test_a_size_is_told_in_the_unit_that_fits(self, size: float, said: str) -> None:
        assert describe_bytes(size) == said


def test_a_plan_loads_neither_the_queue_nor_what_draws(study: Any) -> None:
    heavy = {"pandas", "numpy", "scipy", "matplotlib", "sqlalchemy", "torch"}
    check = (
        "import sys; from orchestrator.cli.main import main; status = main(sys.argv[1:]);"
        f"found = {heavy} & set(sys.modules); print(found); sys.exit(status or bool(found))"
    )
    command = [sys.executable, "-c", check, "plan", "-f", str(study.file)]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
