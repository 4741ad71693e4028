"""The report of a stranger's script: its command line, its data and its own numbers, and nothing of the radio study."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from msgspec import structs

from orchestrator.campaign.fields import Reported
from orchestrator.campaign.plan import Plan
from orchestrator.campaign.spec import StagingSpec
from orchestrator.report.figures import curve_names
from orchestrator.report.markdown import render_markdown
from orchestrator.report.tables import epochs_table, runs_table
from orchestrator.report.write import write_report
from orchestrator.runs.folder import EpochRecord
from orchestrator.runs.paths import Paths
from orchestrator.runs.record import RunRecord
from orchestrator.task.spec import parse_task
from orchestrator.verdicts.findings import Findings, judge_all
from tests.builders.reports import section
from tests.builders.stranger_plans import SCRIPT, build_numbers, build_stranger

METRICS: dict[str, Any] = {
    "val_loss": {"better": "lower", "margin": 0.02, "from": {"progress": "val_loss"}},
    "latency": {"better": "lower", "margin": "5%", "role": "no_worse"},
}
VALUES: dict[str, Any] = {
    "baseline": {"val_loss": [2.80, 2.83], "latency": [10.0, 10.2]},
    "slow": {"val_loss": [2.60, 2.63], "latency": [12.0, 12.2]},
    "fast": {"val_loss": [3.80, 3.83], "latency": [10.0, 10.2]},
}


def tell_steps(plan: Plan, **fields: Any) -> dict[str, RunRecord]:
    """Runs that tell two steps, the first after its imports."""
    steps = (
        EpochRecord(epoch=1, seconds=9.0, is_timed=False, step=0.0, values={"train_loss": 5.0, "val_loss": 5.1}),
        EpochRecord(epoch=2, seconds=2.0, step=50.0, values={"train_loss": 3.0, "val_loss": 3.1}),
    )
    return {
        name: structs.replace(
            run, **{"epochs": steps, "command": ("python3", "train.py", f"--seed={run.seed}")} | fields
        )
        for name, run in build_numbers(plan, VALUES).items()
    }


def findings_of(task: dict[str, Any] | None = None, **fields: Any) -> Findings:
    spec = SCRIPT if task is None else parse_task({"command": ["python3", "{seed}"], "code": ["."], **task})
    plan = build_stranger(METRICS, task=spec)
    return judge_all(plan, tell_steps(plan, **fields))


def test_each_arm_shows_the_command_line_that_ran_also_one_that_hurts() -> None:
    markdown = render_markdown(findings_of())
    shown = "The command line at seed 0 was:\n\n```bash\npython3 train.py --seed=0\n```"
    assert shown in section(markdown, "### slow")
    assert f"**fast.** {shown}" in section(markdown, "## Negative results")
    assert "knockout data shard" not in markdown


def test_an_arm_without_a_command_line_shows_none() -> None:
    assert "The command line" not in render_markdown(findings_of(command=()))


def test_a_score_stands_behind_the_name_of_its_metric() -> None:
    words = section(render_markdown(findings_of()), "### slow")
    assert "**Result.** val_loss 2.615, −0.200 " in words
    assert "−0.200 in val_loss against baseline" in words


def test_code_of_a_ref_is_named_as_the_task_names_it() -> None:
    findings = findings_of()
    arms = findings.plan.arms | {"slow": structs.replace(findings.plan.arms["slow"], ref="try-this")}
    plan = structs.replace(findings.plan, arms=arms)
    words = section(render_markdown(structs.replace(findings, plan=plan)), "### slow")
    assert "- `train.py`, `lib` of `try-this`" in words


def test_curves_and_tables_hold_the_scripts_own_numbers_alone() -> None:
    findings = findings_of()
    frame = epochs_table(findings.plan, findings.records)
    assert list(frame.columns) == [
        *("run", "experiment", "seed", "epoch", "step", "seconds", "train_loss", "val_loss"),
    ]
    assert frame["val_loss"].tolist()[:2] == [5.1, 3.1]
    assert curve_names(findings.plan, findings.records) == ["val_loss", "train_loss"]


def test_rows_are_called_steps_unless_the_task_counts_epochs() -> None:
    findings = findings_of()
    runs = runs_table(findings.plan, findings.records)
    assert {"steps", "best_step", "median_step_seconds"} <= set(runs.columns)
    # The first row of an attempt is no measurement: it holds the imports.
    assert runs["median_step_seconds"].dropna().unique().tolist() == [2.0]
    markdown = render_markdown(findings)
    assert "| trainings | 6 of 8, 12 steps |" in markdown
    assert "| training time | 66 s (1 minute) to the last step, imports included, summed over runs |" in markdown
    assert "What the runs tell step by step" in markdown
    assert "epoch by epoch" in render_markdown(findings_of({"progress": {"csv": "m.csv", "step": "epoch"}}))


def test_a_script_that_tells_no_step_has_neither_curves_nor_false_times(tmp_path: Path) -> None:
    findings = findings_of(epochs=())
    markdown = render_markdown(findings)
    assert "| trainings | 6 of 8; they tell no steps, so nobody knows how long they took |" in markdown
    assert "## Training curves" not in markdown
    assert runs_table(findings.plan, findings.records)["steps"].isna().all()
    report = write_report(findings, Paths(tmp_path))
    assert {path.name for path in report.parent.iterdir()} == {
        *(
            "report.md",
            "report.html",
            "deltas.png",
            "verdicts.csv",
            "seeds.csv",
            "metrics.csv",
            "runs.csv",
            "ledger.csv",
        )
    }
    written = report.read_text(encoding="utf-8")
    assert "- `runs.csv`" in written
    assert [name for name in ("epochs", "claims", "audit", "strata") if f"{name}.csv" in written] == []


def test_claims_are_shown_where_the_campaign_file_reports_some() -> None:
    findings = findings_of()
    assert "Reported and replayed" not in render_markdown(findings)
    arms = findings.plan.arms | {"slow": structs.replace(findings.plan.arms["slow"], reported=Reported(delta=-0.1))}
    plan = structs.replace(findings.plan, arms=arms)
    assert "Reported and replayed" in render_markdown(judge_all(plan, findings.records))


@pytest.mark.parametrize(
    ("fingerprint", "words"),
    [
        ("content", "data/digits, SHA-256 ab12"),
        ("names", "data/digits, names and sizes of its files alone, SHA-256 ab12"),
    ],
)
def test_data_are_listed_and_names_alone_are_said(fingerprint: str, words: str) -> None:
    data = {"digits": {"path": "data/digits", "fingerprint": fingerprint}}
    markdown = render_markdown(findings_of({"data": data}, provenance={"data": {"digits": "ab12" * 16}}))
    assert f"| data digits | {words}" in markdown


def test_a_control_that_the_task_cannot_make_is_not_asked_for() -> None:
    missing = "no run on shuffled labels"
    assert missing not in render_markdown(findings_of())
    assert missing in render_markdown(findings_of({"controls": {"shuffled_labels": {"shuffle": True}}}))


def test_differences_of_other_metrics_have_their_unit() -> None:
    words = section(render_markdown(findings_of()), "## The other metrics")
    assert "| slow | latency ↓ | no worse | 12.10 | +19.8 % |" in words
    assert "| % of the reference | fail: no worse than 5 % |" in words


def test_files_of_a_script_are_no_captures() -> None:
    findings = findings_of(provenance={"files": {"in/words.txt": "cd" * 32}})
    assert "| file words.txt | SHA-256 cdcd" in render_markdown(findings)


def test_tables_keep_the_columns_where_nothing_is_told() -> None:
    findings = findings_of()
    assert isinstance(epochs_table(findings.plan, {}), pd.DataFrame)
    assert list(epochs_table(findings.plan, {}).columns) == ["run", "experiment", "seed", "epoch", "step", "seconds"]


def test_an_improvement_that_a_metric_keeps_from_being_kept_says_so() -> None:
    markdown = render_markdown(findings_of())
    assert "| improved (no keeper) (by seeds alone) |" in section(markdown, "## Result summary")
    assert "- **(no keeper)**, beside improved: " in section(markdown, "## How to read the verdicts")
    latency = VALUES | {"slow": VALUES["slow"] | {"latency": [10.0, 10.2]}}
    findings = findings_of()
    kept = judge_all(findings.plan, build_numbers(findings.plan, latency))
    assert "no keeper" not in render_markdown(kept).replace("is no keeper, also", "")


def test_fresh_seeds_confirm_on_the_better_side() -> None:
    findings = findings_of()
    staging = StagingSpec(screen_seeds=2, max_seeds=3, confirm_seeds=2)
    campaign = structs.replace(findings.plan.campaign, staging=staging)
    staged = structs.replace(findings, plan=structs.replace(findings.plan, campaign=campaign))
    words = " ".join(section(render_markdown(staged), "## How to read the verdicts").split())
    assert "puts the difference below zero. In other words, its 90 % interval lies below zero." in words
