"""Campaigns in which no experiment has an effect, judged by metrics of items with clusters: false verdicts are rare."""

from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks.aggregates import simulate
from orchestrator.runs.record import RunRecord
from orchestrator.verdicts.judge import judge
from orchestrator.verdicts.judgement import Verdict
from tests.builders.stranger_plans import build_stranger, build_told, score_items

SEEDS = (0, 1, 2)
NUM_CAMPAIGNS = 20
ARMS = {f"e{place}": {"change": {"optim.epochs": 5 + place}} for place in range(5)}


@pytest.mark.parametrize("source", [{"rmse": "x - y"}, {"median": "abs(x - y)"}], ids=["rmse", "median"])
def test_null_campaigns_have_no_more_false_verdicts_than_the_level_allows(source: dict[str, Any]) -> None:
    metric = {"better": "lower", "margin": 0.01, "from": {"items": "test"} | source}
    plan = build_stranger({"error": metric}, experiments=ARMS, seeds=SEEDS)
    rng = np.random.default_rng(11)
    wrong = 0
    for _ in range(NUM_CAMPAIGNS):
        items, predicted_ASB = simulate(len(SEEDS), np.zeros(len(ARMS) + 1), rng, num_clusters=20)
        records: dict[str, RunRecord] = {}
        for name, predicted_SB in zip(plan.arms, predicted_ASB, strict=True):
            for seed, predicted_B in zip(SEEDS, predicted_SB, strict=True):
                columns = {"x": predicted_B, "y": items.true_B}
                score = score_items(plan, "error", columns, items.cluster_B)
                run = build_told(plan, name, seed, error=score)
                records[run.id] = run
        found = judge(plan, records)
        wrong += any(found[name].verdict in (Verdict.IMPROVED, Verdict.REGRESSION) for name in ARMS)
    # At a rate of 5 % more than one of 20 is no rarity. Of 200 campaigns, 9 and 14 had a false verdict.
    assert binom.sf(wrong - 1, NUM_CAMPAIGNS, 0.05) > 0.01
