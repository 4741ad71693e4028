"""The campaign as pandas tables, one for each question. Pure: findings in, tables out.

Scores are in the unit of their metric, and a column has the metric's name. Differences are in that unit too, or in
percentage points where it is percent, or in percent of the reference where ratios are compared. Times are in seconds. A
missing value is NaN or empty in every column, never zero. "The main metric" is the first one that is judged.
"""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import pandas as pd
from msgspec import structs

from orchestrator.campaign.generated import Interaction
from orchestrator.campaign.plan import Plan, PlannedRun
from orchestrator.runs.folder import EpochRecord
from orchestrator.runs.record import Records, RunRecord
from orchestrator.verdicts.claims import AuditedClaim, ReplayedClaim
from orchestrator.verdicts.findings import Findings
from orchestrator.verdicts.interactions import InteractionJudgement
from orchestrator.verdicts.judgement import Judgement
from orchestrator.verdicts.ledger import Scoring
from orchestrator.verdicts.scale import Scale

Columns = dict[str, str]
"""Name of a column -> its pandas type."""

ESTIMATE = ("delta_points", "low_points", "high_points", "level")
"""Columns of a difference with its interval, which covers one minus the level."""
FAMILY = ("family_low_points", "family_high_points")
"""Columns of the interval that holds beside all others of its family at once."""
DIFFERENCES = ("delta_points", "low_points", "high_points", *FAMILY, "baseline_delta_points", "fresh_delta_points")
"""Columns of differences, which a metric that is compared by ratio shows in percent of the reference."""
TAKEN = frozenset(
    (
        *("experiment", "seed", "run", "shared_by", "state", "epochs", "best_epoch", "commit", "branch", "failure"),
        *("median_epoch_seconds", "training_seconds", "accepted_from", "reason", "title", "group", "reference"),
        *(
            "same_as",
            "verdict",
            "unit",
            "num_scored",
            "num_paired",
            "family",
            "moderated",
            "confounded",
            "fragile",
            "shown_at",
            "used_for",
        ),
        *("stratum", "num_seeds", "num_items", "level", "agreement", "why", "rests_on", "is_confirmed"),
        *("steps", "best_step", "median_step_seconds"),
    )
)
"""Names of other columns; a metric of such a name has `score of` in front of it."""


def score_column(metric: str) -> str:
    """Return the name of the column with a metric's scores."""
    return f"score of {metric}" if metric in TAKEN else metric


def as_shown(scale: Scale, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row with its differences as readers see them."""
    found = {name: row[name] for name in DIFFERENCES if row.get(name) is not None}
    return {**row, **{name: scale.shown(points) for name, points in found.items()}}


def build_frame(rows: Sequence[Mapping[str, Any]], columns: Columns) -> pd.DataFrame:
    """Build a table from rows, in which each column has its type; a row need not have every cell."""
    # Each column has its type from the start, so an empty column has the same type as a full one.
    cells = [[row.get(name) for name in columns] for row in rows]
    return pd.DataFrame(cells, columns=list(columns), dtype=object).astype(columns)


def runs_table(plan: Plan, records: Records) -> pd.DataFrame:
    """List the trainings, one row for each run, in the order of the plan.

    Columns:

    - experiment, seed, run
    - shared_by: other experiments with the same configuration
    - state: empty without a result
    - <metric>: one for each metric, in its unit
    - epochs (finished), best_epoch; steps and best_step where a script tells steps
    - median_epoch_seconds, or median_step_seconds: without warm-up, and without the imports of a script
    - training_seconds: all epochs
    - commit, branch
    - accepted_from: the run of older code whose result somebody accepted for this run
    - failure, reason
    """
    progress = plan.campaign.task.progress_name
    columns = {
        **dict.fromkeys(("experiment",), "str"),
        "seed": "Int64",
        **dict.fromkeys(("run", "shared_by", "state"), "str"),
        **{score_column(metric): "float64" for metric in plan.campaign.metrics},
        **dict.fromkeys((f"{progress}s", f"best_{progress}"), "Int64"),
        **dict.fromkeys((f"median_{progress}_seconds", "training_seconds"), "float64"),
        **dict.fromkeys(("commit", "branch", "accepted_from", "failure", "reason"), "str"),
    }
    return build_frame([_run_row(plan, run, records.get(run.id)) for run in plan.runs], columns)


def _run_row(plan: Plan, run: PlannedRun, record: RunRecord | None) -> dict[str, Any]:
    # Experiments with one configuration have one run, which stands once in the table.
    sharing = [name for (name, _), run_id in plan.run_of.items() if run_id == run.id and name != run.experiment]
    row: dict[str, Any] = {
        "experiment": run.experiment,
        "seed": run.seed,
        "run": run.id,
        "shared_by": " ".join(sharing) or None,
    }
    if record is None:
        return row
    # Warm-up epochs compile kernels and fill caches, so their time is not typical.
    warmup, task = plan.campaign.guards.warmup_epochs, plan.campaign.task
    counted = [epoch.seconds for epoch in record.epochs if epoch.epoch > warmup and epoch.is_timed]
    row |= {
        f"{task.progress_name}s": None if task.supervised and not record.epochs else len(record.epochs),
        f"median_{task.progress_name}_seconds": median(counted) if counted else None,
        "training_seconds": sum(epoch.seconds for epoch in record.epochs) if record.epochs else None,
        "commit": record.provenance.get("commit"),
        "branch": record.provenance.get("branch"),
        "accepted_from": (record.provenance.get("accepted") or {}).get("run"),
    }
    return row | _result_cells(record, task.progress_name)


def _result_cells(record: RunRecord, progress: str) -> dict[str, Any]:
    if record.result is None:
        return {}
    # A run may tell fewer metrics than the table has columns; the others stay empty.
    scores = {score_column(name): score.value for name, score in record.scores.items()}
    kept = {name: getattr(record.result, name) for name in ("state", "failure", "reason")}
    return kept | {f"best_{progress}": record.result.best_epoch} | scores


def scores_table(findings: Findings) -> pd.DataFrame:
    """List the verdicts, one row for each experiment, in the order of the campaign file.

    Columns:

    - experiment, title, group, reference
    - same_as: the experiment whose runs it shares
    - verdict
    - <main metric>: mean over the seeds of its look, those used for `look` in `seeds_table`
    - unit: of the metric
    - num_scored: how many these seeds are; num_paired: how many of them have both sides scored
    - delta_points; low_points and high_points: its interval, which covers one minus level by itself
    - family_low_points, family_high_points: the interval of which all num_compared hold at once (Bonferroni)
    - error_points: the standard error of the difference
    - seed_error_points, item_error_points: its parts that more seeds, or more items, would take away
    - rest_error_points: its part that more seeds or more items would take away
    - degrees_of_freedom
    - moderated: whether the seed part borrows from other arms
    - baseline_delta_points, p_value
    - adjusted_p_value: among the num_compared comparisons of its family
    - equivalence_p_value: against the margin
    - rests_on: items, clusters or seeds; num_items: how many of the first two
    - dropped_seeds, dropped_items
    - look_seeds: seeds at the look that gave the verdict; shown_at: without looks, seeds that showed it so far
    - fresh_delta_points, fresh_low_points, fresh_high_points, fresh_level: on the confirmation's seeds alone
    - is_confirmed: empty while the confirmation's seeds have no result
    - confounded: what differs beyond the declared change; fragile: which runs failed or collapsed
    - reason
    """
    plan = findings.plan
    columns = {
        **dict.fromkeys(("experiment", "title", "group", "reference", "same_as", "verdict"), "str"),
        judged_column(plan): "float64",
        "unit": "str",
        **dict.fromkeys(("num_scored", "num_paired"), "Int64"),
        **dict.fromkeys((*ESTIMATE, *FAMILY), "float64"),
        **dict.fromkeys(("error_points", "seed_error_points", "item_error_points", "rest_error_points"), "float64"),
        "degrees_of_freedom": "float64",
        "moderated": "boolean",
        **dict.fromkeys(("baseline_delta_points", "p_value", "adjusted_p_value", "equivalence_p_value"), "float64"),
        **dict.fromkeys(("family", "rests_on"), "str"),
        **dict.fromkeys(("num_compared", "num_items"), "Int64"),
        "dropped_seeds": "str",
        "dropped_items": "Int64",
        "look_seeds": "Int64",
        **{f"fresh_{name}": "float64" for name in ESTIMATE},
        "is_confirmed": "boolean",
        **dict.fromkeys(("shown_at", "confounded", "fragile", "reason"), "str"),
    }
    return build_frame([_score_row(plan, findings.judgements[name]) for name in plan.arms], columns)


def judged_column(plan: Plan) -> str:
    """Return the name of the column of the main metric."""
    return score_column(plan.campaign.judged.name)


def _score_row(plan: Plan, judgement: Judgement) -> dict[str, Any]:
    arm = plan.arms[judgement.experiment]
    row = structs.asdict(judgement) | dict(zip(FAMILY, judgement.family_interval_points or (), strict=False))
    if judgement.reference is None:
        # The baseline is compared with nothing, so it has no counts of pairs.
        row |= dict.fromkeys(("num_items", "dropped_items", "moderated", "level", "rests_on"))
    for name in ESTIMATE if judgement.fresh else ():
        row[f"fresh_{name}"] = getattr(judgement.fresh, name)
    # Fresh seeds without a result confirm nothing and refute nothing.
    if judgement.fresh and judgement.fresh.interval_points is None:
        row["is_confirmed"] = None
    return as_shown(Scale(plan.campaign.judged), row) | {
        "title": arm.title,
        "group": arm.group,
        "same_as": arm.same_as,
        judged_column(plan): judgement.score,
        "unit": plan.campaign.judged.unit or None,
        "num_scored": len(judgement.score_of),
        "num_paired": len(judgement.seeds) if judgement.reference else None,
        "dropped_seeds": " ".join(str(seed) for seed in judgement.dropped_seeds) or None,
        "confounded": "; ".join(judgement.confounds) or None,
        "fragile": "; ".join(judgement.fragile_sentences) or None,
        "shown_at": " ".join(map(str, judgement.looks)) or None,
    }


def seeds_table(findings: Findings) -> pd.DataFrame:
    """List every score by the main metric, one row for each experiment and seed.

    Columns:

    - experiment, seed, <main metric>, unit
    - delta_points: to the reference at the same seed, where the verdict uses it
    - fresh_delta_points: the same, where the confirmation uses it
    - used_for: `look` (its mean and its verdict), `fresh` (its confirmation alone), `reference` (other experiments
      alone), or empty (no score, or nothing uses it yet)

    The mean in `scores_table` is over the rows used for `look`.
    """
    campaign, column = findings.plan.campaign, judged_column(findings.plan)
    columns = {"experiment": "str", "seed": "Int64", column: "float64", "unit": "str"}
    columns |= dict.fromkeys(("delta_points", "fresh_delta_points"), "float64") | {"used_for": "str"}
    scores = [structs.asdict(score) for of in findings.seed_scores.values() for score in of]
    scale = Scale(campaign.judged)
    rows = [as_shown(scale, row) | {column: row["score"], "unit": scale.metric.unit or None} for row in scores]
    return build_frame(rows, columns)


def claims_table(findings: Findings) -> pd.DataFrame:
    """List what the source reports beside what was found, one row for each experiment that it reports on.

    Columns:

    - experiment, reference
    - reported_score, reported_delta_points, reported_versus, reported_outcome
    - <main metric>
    - delta_points; low_points and high_points: its interval, which covers one minus level
    - level, verdict
    - agreement: agree, disagree, cannot tell, or stopped as reported (`verdicts.claims.compare_with_claim`)
    - why
    """
    columns = {
        **dict.fromkeys(("experiment", "reference"), "str"),
        **dict.fromkeys(("reported_score", "reported_delta_points"), "float64"),
        **dict.fromkeys(("reported_versus", "reported_outcome"), "str"),
        judged_column(findings.plan): "float64",
        **dict.fromkeys(ESTIMATE, "float64"),
        **dict.fromkeys(("verdict", "agreement", "why"), "str"),
    }
    return build_frame([_claim_row(findings, claim) for claim in findings.claims.replayed], columns)


def _claim_row(findings: Findings, claim: ReplayedClaim) -> dict[str, Any]:
    judgement, reported = findings.judgements[claim.experiment], claim.reported
    return as_shown(Scale(findings.plan.campaign.judged), structs.asdict(judgement)) | {
        "reported_score": reported.accuracy,
        "reported_delta_points": reported.delta,
        "reported_versus": reported.versus,
        "reported_outcome": reported.outcome,
        judged_column(findings.plan): judgement.score,
        "level": judgement.level if judgement.reference else None,
        "agreement": claim.agreement,
        "why": claim.why,
    }


def audit_table(findings: Findings) -> pd.DataFrame:
    """List what the source's protocol could have shown, one row for each difference that it reports.

    Columns are the fields of `verdicts.claims.AuditedClaim`, but for these:

    - reported_delta_points: the source's difference
    - delta_points, low_points, high_points, level: our difference with its interval
    - standing: the verdict on the claim
    - agreement: as in `claims_table`
    """
    words = dict.fromkeys(("standing", "why", "agreement"), "str")
    numbers = [name for name in AuditedClaim.__struct_fields__ if name.endswith(("points", "value"))]
    ours = dict.fromkeys(ESTIMATE, "float64")
    columns = {"experiment": "str", "reported_delta_points": "float64", "versus": "str", "num_items": "Int64"}
    columns |= {name: "float64" for name in numbers if name != "delta_points"} | ours | words
    return build_frame([_audit_row(findings, claim) for claim in findings.claims.audited], columns)


def _audit_row(findings: Findings, claim: AuditedClaim) -> dict[str, Any]:
    judgement = findings.judgements[claim.experiment]
    return structs.asdict(claim) | {
        "reported_delta_points": claim.delta_points,
        "standing": claim.verdict,
        **{name: getattr(judgement, name) for name in ESTIMATE},
        "agreement": findings.claims.agreement_of[claim.experiment],
    }


def interactions_table(findings: Findings) -> pd.DataFrame:
    """List whether the effects of two experiments add up, one row for each pair.

    Columns:

    - first, second: the experiments
    - neither, only_first, only_second, both: the four arms
    - num_seeds, num_items: that the four arms have in common
    - first_points, second_points, both_points: each effect on `neither`
    - contrast_points: `both_points` less the other two
    - low_points, high_points: its interval, which covers one minus `level`
    - level, error_points, degrees_of_freedom, p_value
    - adjusted_p_value: among the pairs
    - equivalence_p_value, verdict
    """
    effects = ("first_points", "second_points", "both_points", "contrast_points", *ESTIMATE[1:], "error_points")
    tests = ("degrees_of_freedom", "p_value", "adjusted_p_value", "equivalence_p_value")
    columns = {
        **dict.fromkeys(Interaction.__struct_fields__, "str"),
        **dict.fromkeys(("num_seeds", "num_items"), "Int64"),
        **dict.fromkeys((*effects, *tests), "float64"),
        "verdict": "str",
    }
    scale = Scale(findings.plan.campaign.judged)
    return build_frame([_interaction_row(scale, found) for found in findings.interactions], columns)


def _interaction_row(scale: Scale, found: InteractionJudgement) -> dict[str, Any]:
    contrast, effects = structs.asdict(found.contrast), ("first_points", "second_points", "both_points")
    shown = {name: None if (points := getattr(found, name)) is None else scale.shown(points) for name in effects}
    return {
        **as_shown(scale, contrast),
        **structs.asdict(found),
        **structs.asdict(found.interaction),
        **shown,
        "num_seeds": len(found.contrast.seeds),
        "contrast_points": as_shown(scale, contrast)["delta_points"],
    }


def ledger_table(findings: Findings) -> pd.DataFrame:
    """List the scorings by reported metrics, one row for each; columns are the fields of `ledger.Scoring`."""
    kinds = dict.fromkeys(("seed", "num_items", "num_right"), "Int64") | {"score": "float64"}
    columns = {name: kinds.get(name, "str") for name in Scoring.__struct_fields__}
    rows = [structs.asdict(found) | {"shared_by": " ".join(found.shared_by) or None} for found in findings.scorings]
    return build_frame(rows, columns)


EPOCH_COLUMNS = tuple(name for name in EpochRecord.__struct_fields__ if name not in ("is_timed", "values"))
"""Fields of a finished epoch that are numbers."""
TOLD_COLUMNS = ("epoch", "step", "seconds")
"""Those that a supervised command's steps have. All other numbers are its own."""


def epochs_table(plan: Plan, records: Records) -> pd.DataFrame:
    """List the training curves, one row for each run and epoch.

    Columns: run, experiment, seed, then the fields of `epochs.jsonl`, then one for each other number that a task tells.
    An epoch counts from 1, and val_accuracy is a share of 1. A row of a script has its number, its step, its seconds
    and the script's own numbers. The seconds of the first row hold the imports.
    """
    integers = ("epoch", "skipped_steps", "peak_memory_bytes")
    columns: Columns = {"run": "str", "experiment": "str", "seed": "Int64"}
    fields = TOLD_COLUMNS if plan.campaign.task.supervised else EPOCH_COLUMNS
    columns |= {name: "Int64" if name in integers else "float64" for name in fields}
    told = dict.fromkeys(name for record in records.values() for epoch in record.epochs for name in epoch.values)
    columns |= {name: "float64" for name in told if name not in columns}
    planned = {run.id: run for run in plan.runs if run.id in records}
    rows = [
        {"run": run.id, "experiment": run.experiment, "seed": run.seed}
        | epoch.values
        | {name: getattr(epoch, name) for name in fields}
        for run in planned.values()
        for epoch in records[run.id].epochs
    ]
    return build_frame(rows, columns)
