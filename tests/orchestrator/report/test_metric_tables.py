"""A stranger's report speaks of scores and items; the other metrics and the strata have tables of their own."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from orchestrator.campaign.plan import Plan
from orchestrator.report.figures import curve_names, draw_deltas
from orchestrator.report.markdown import render_markdown
from orchestrator.report.metric_tables import metrics_table, strata_table
from orchestrator.report.steps import say_steps
from orchestrator.report.tables import runs_table, score_column, scores_table
from orchestrator.report.write import write_report
from orchestrator.runs.paths import Paths
from orchestrator.runs.record import RunRecord
from orchestrator.task.spec import ItemsSpec, ResampledSpec
from orchestrator.verdicts.findings import Findings, judge_all
from orchestrator.verdicts.steps import work_out
from tests.builders.stranger_plans import build_numbers, build_stranger, build_told, score_items

SEEDS = (0, 1, 2)
RADIO = ("burst", "accuracy", "transmitter", "recognised", "capture", "LocD")
METRICS: dict[str, Any] = {
    "val_loss": {"better": "lower", "margin": 0.02},
    "latency": {"better": "lower", "margin": "5%", "unit": "ms", "role": "no_worse"},
    "f1": {"better": "higher"},
}
VALUES: dict[str, Any] = {
    "baseline": {"val_loss": [2.80, 2.83, 2.81], "latency": [10.0, 10.2, 10.1], "f1": [0.80, 0.81, 0.79]},
    "slow": {"val_loss": [2.60, 2.63, 2.62], "latency": [12.0, 12.2, 12.1], "f1": [0.85, 0.84, 0.86]},
    "fast": {"val_loss": [2.80, 2.83, 2.82], "latency": [10.0, 10.2, 10.1], "f1": [0.80, 0.82, 0.79]},
}
ERROR = {"better": "lower", "margin": 0.05, "unit": "m", "from": {"items": "test", "rmse": "x"}}


@pytest.fixture(scope="module")
def numbers() -> Findings:
    plan = build_stranger(METRICS, seeds=SEEDS)
    return judge_all(plan, build_numbers(plan, VALUES, 0.01))


def scored(items: ItemsSpec | None = None) -> tuple[Plan, dict[str, RunRecord]]:
    """Runs with items in trials, of which `slow` has smaller errors."""
    plan = build_stranger({"error": ERROR}, seeds=SEEDS, **({"items": items} if items else {}))
    rng, trial_B = np.random.default_rng(2), np.repeat(np.arange(30), 10)
    hard_B = np.exp(rng.normal(0, 0.3, 30))[trial_B]
    runs = [
        build_told(plan, name, seed, error=score_items(plan, "error", {"x": scale * hard_B * noise_B}, trial_B))
        for seed in SEEDS
        for name, scale in (("baseline", 1.0), ("slow", 0.6), ("fast", 1.0), ("wild", 1.1))
        for noise_B in [rng.normal(size=300)]
    ]
    return plan, {run.id: run for run in runs}


def test_other_metrics_have_a_row_for_each_experiment(numbers: Findings) -> None:
    frame = metrics_table(numbers).set_index(["experiment", "metric"])
    row = frame.loc["slow", "latency"]
    assert (row["role"], row["better"], row["unit"], row["passes"]) == ("no_worse", "lower", "ms", False)
    assert row["delta_points"] == pytest.approx(100 * (np.prod([1.2, 12.2 / 10.2, 12.1 / 10.1]) ** (1 / 3) - 1))
    assert frame.loc["fast", "latency"]["passes"]
    assert pd.isna(frame.loc["slow", "f1"]["passes"])
    assert frame.loc["slow", "f1"]["score"] == pytest.approx(0.85)


def test_scores_stand_under_the_names_of_their_metrics_with_the_unit(numbers: Findings) -> None:
    runs = runs_table(numbers.plan, numbers.records)
    assert {"val_loss", "latency", "f1"} <= set(runs.columns)
    verdicts = scores_table(numbers).set_index("experiment")
    assert verdicts.loc["slow", "val_loss"] == pytest.approx(2.6167, abs=1e-3)
    assert (verdicts.loc["slow", "rests_on"], verdicts.loc["slow", "num_items"]) == ("seeds", 0)
    assert score_column("seed") == "score of seed"


def test_report_of_numbers_alone_says_so_and_has_no_word_of_the_radio(numbers: Findings) -> None:
    markdown = render_markdown(numbers)
    assert "| slow | Title of slow | baseline | 2.617 | −0.197 |" in markdown
    assert "| improved (no keeper) (by seeds alone) |" in markdown
    assert "| slow | latency ↓ | no worse | 12.10 ms | +19.8 % |" in markdown
    assert "| fail: no worse than 5 % |" in markdown
    assert "| fast | latency ↓ | no worse | 10.10 ms | +0.0 % |" in markdown
    assert "| wild | latency ↓ | no worse | – | – | – | % of the reference | open: no worse than 5 % |" in markdown
    assert "**by seeds alone**" in markdown
    assert "## What the source's protocol could have shown" not in markdown
    assert [word for word in RADIO if word.lower() in markdown.lower()] == []


def test_metric_that_was_not_read_is_said_at_the_head() -> None:
    plan = build_stranger(METRICS, seeds=SEEDS)
    told = "`val_loss`: no line of train.log matches; mend `metrics.val_loss.from`, then `knockout report`"
    records = build_numbers(plan, VALUES)
    run = records[plan.run_of["slow", 0]]
    run.scores.pop("val_loss")
    run.unread["val_loss"] = told
    head = render_markdown(judge_all(plan, records)).partition("## Result summary")[0]
    assert f"- `{run.id}`: {told}" in head


def test_report_of_items_speaks_of_clusters() -> None:
    plan, records = scored()
    findings = judge_all(plan, records)
    judgement = findings.judgements["slow"]
    markdown = render_markdown(findings)
    assert f"{judgement.score:.3f} m" in markdown
    assert "from clusters" in markdown
    assert strata_table(findings).empty


def test_strata_have_a_table_where_items_name_them() -> None:
    plan, records = scored()
    for run in records.values():
        items = run.scores["error"].items
        assert items is not None
        items.stratum_B[:] = ""
    assert strata_table(judge_all(plan, records)).columns.tolist() == [
        *("experiment", "stratum", "num_seeds", "num_items", "error", "unit")
    ]


def test_steps_of_numbers_alone_can_be_done_again(numbers: Findings) -> None:
    steps = work_out(numbers.plan, numbers.records, numbers.judgements, "slow")
    said = "\n".join(say_steps(steps))
    judgement = numbers.judgements["slow"]
    assert "Scores. The runs tell one number each, so the verdict is by seeds alone. val_loss was:" in said
    assert "seed 0: 2.60000 of slow, 2.80000 of baseline: −0.20000" in said
    assert steps.error is not None
    assert steps.error.error_points == pytest.approx(steps.error.spread_points / 3**0.5)
    assert f"/ √3 = {judgement.error_points:.5f}, with" in said
    assert said.startswith("slow against baseline on val_loss: improved (by seeds alone)\n")
    assert f"\n8. Rule: {judgement.reason}\n\n9. Other metrics, with 95 % intervals." in said
    assert "   latency ↓ (no worse): 12.10 ms, +19.8 % [" in said
    assert said.count(": fail: no worse than 5 %") == 1
    assert said.splitlines()[-1].startswith("   f1 ↑ (shown): 0.850")
    assert said.endswith("]: shown alone")


def test_steps_of_items_name_their_clusters() -> None:
    plan, records = scored()
    findings = judge_all(plan, records)
    steps = work_out(plan, records, findings.judgements, "slow")
    said = "\n".join(say_steps(steps))
    assert "Scores. Over the 30 clusters that every run on both sides was scored on, error was:" in said
    assert "Clusters. Each cluster counts as its mean over seeds of its part of error" in said
    assert [seed.experiment_score for seed in steps.seeds] == pytest.approx(
        list(findings.judgements["slow"].score_of.values())
    )
    assert steps.delta_points == pytest.approx(findings.judgements["slow"].delta_points)


def test_steps_of_drawn_splits_say_the_correction() -> None:
    plan, records = scored(ItemsSpec(file="t.csv", key="key", resampled=ResampledSpec(test_share=0.2)))
    said = "\n".join(say_steps(work_out(plan, records, judge_all(plan, records).judgements, "slow")))
    assert "is added (Nadeau and Bengio 2003)" in said
    assert "× √(1/3 + 0.25) = " in said


def test_figures_and_files_are_written_for_any_metric(numbers: Findings, tmp_path: Path) -> None:
    assert draw_deltas(numbers.plan, numbers.judgements).startswith(b"\x89PNG")
    assert curve_names(numbers.plan, numbers.records) == ["val_loss", "val_accuracy"]
    report = write_report(numbers, Paths(tmp_path))
    assert pd.read_csv(report.parent / "metrics.csv")["metric"].tolist()[:2] == ["latency", "f1"]
