"""The tables of the metrics beside the main one, and of the strata of items. Pure: findings in, tables out."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from msgspec import structs
from numpy.typing import NDArray

from orchestrator.campaign.plan import Plan
from orchestrator.report.tables import ESTIMATE, as_shown, build_frame, judged_column
from orchestrator.runs.record import Records
from orchestrator.runs.scores import measure_of
from orchestrator.stats.aggregates import AggregateError
from orchestrator.stats.item_pairs import RunItems
from orchestrator.stats.strata import by_number
from orchestrator.task.metric_spec import ItemsSource, MetricSpec
from orchestrator.verdicts.comparisons import items_of, scores_of
from orchestrator.verdicts.findings import Findings
from orchestrator.verdicts.judgement import Judgement, MetricJudgement
from orchestrator.verdicts.scale import Scale


def metrics_table(findings: Findings) -> pd.DataFrame:
    """List what the metrics beside the main one say, one row for each experiment and metric.

    Columns:

    - experiment, reference, metric, role, better, unit
    - delta_unit: of a script's differences; empty if the metric has no unit
    - score: mean over seeds
    - delta_points; low_points and high_points: its interval, which covers one minus level
    - rests_on, num_items, p_value
    - adjusted_p_value, equivalence_p_value, verdict: of a judged metric
    - not_worse_p_value, passes: of a metric that must be no worse
    """
    columns = {
        **dict.fromkeys(("experiment", "reference", "metric", "role", "better", "unit"), "str"),
        **({"delta_unit": "str"} if findings.plan.campaign.task.supervised else {}),
        **dict.fromkeys(("score", *ESTIMATE), "float64"),
        "rests_on": "str",
        "num_items": "Int64",
        **dict.fromkeys(("p_value", "adjusted_p_value", "equivalence_p_value"), "float64"),
        "verdict": "str",
        "not_worse_p_value": "float64",
        "passes": "boolean",
    }
    metrics = findings.plan.campaign.metrics
    # The baseline has no others: it is compared with nothing.
    found = [(judgement, other) for judgement in findings.judgements.values() for other in judgement.others]
    return build_frame([_metric_row(metrics[other.metric], judgement, other) for judgement, other in found], columns)


def _metric_row(metric: MetricSpec, judgement: Judgement, other: MetricJudgement) -> dict[str, Any]:
    return as_shown(Scale(metric), structs.asdict(other)) | {
        "experiment": judgement.experiment,
        "reference": judgement.reference,
        "better": metric.better,
        "unit": metric.unit or None,
        "delta_unit": Scale(metric).unit or None,
    }


def strata_table(findings: Findings) -> pd.DataFrame:
    """List the main metric by stratum, one row for each experiment and stratum; empty if items have no strata.

    Columns: experiment, stratum, num_seeds, num_items (over these seeds), <main metric>, unit. The seeds are those of
    the experiment's mean.
    """
    plan = findings.plan
    rows = [row for name in plan.arms for row in _stratum_rows(plan, findings.records, findings.judgements[name])]
    counts = dict.fromkeys(("num_seeds", "num_items"), "Int64")
    return build_frame(
        rows, {"experiment": "str", "stratum": "str", **counts, judged_column(plan): "float64", "unit": "str"}
    )


def _stratum_rows(plan: Plan, records: Records, judgement: Judgement) -> list[dict[str, Any]]:
    metric, experiment = plan.campaign.judged, judgement.experiment
    runs = {seed: records.get(plan.run_of[experiment, seed]) for seed in judgement.score_of}
    scored = list(items_of(scores_of(runs, metric.name)).values())
    if not scored or not isinstance(metric.source, ItemsSource):
        return []
    # All items of the seeds count alike, so a stratum's score is over items and not over seeds.
    stratum_R = np.concatenate([items.stratum_B for items in scored])
    names = by_number(np.unique(stratum_R).tolist())
    return [
        {
            "experiment": experiment,
            "stratum": name,
            "num_seeds": sum(bool((items.stratum_B == name).any()) for items in scored),
            "num_items": int((stratum_R == name).sum()),
            judged_column(plan): _score_stratum(metric.source, scored, stratum_R == name),
            "unit": metric.unit or None,
        }
        for name in names
        if name
    ]


def _score_stratum(source: ItemsSource, scored: Sequence[RunItems], is_in_R: NDArray[np.bool_]) -> float | None:
    """Return the metric of one stratum's items, of all runs together; None if these items have no such metric."""
    columns = {name: np.concatenate([items.columns[name] for items in scored])[is_in_R] for name in scored[0].columns}
    try:
        return measure_of(source)(columns).value
    except AggregateError:
        return None
