"""The campaign as pandas tables, one for each question. Pure: findings in, tables out.

Accuracies are in percent, differences in percentage points, times in seconds. A missing value is NaN or empty in every
column, never zero. "The judged capture" is the first name in the campaign's `data.report`; columns carry its name.
"""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

import numpy as np
import pandas as pd
from msgspec import structs

from orchestrator.campaign.fields import BASELINE
from orchestrator.campaign.generated import Interaction
from orchestrator.campaign.plan import Plan, PlannedRun
from orchestrator.runs.folder import EpochRecord
from orchestrator.runs.record import Bursts, Records, RunRecord
from orchestrator.verdicts.claims import AuditedClaim, ReplayedClaim
from orchestrator.verdicts.findings import Findings
from orchestrator.verdicts.interactions import InteractionJudgement
from orchestrator.verdicts.judgement import Judgement
from orchestrator.verdicts.ledger import Scoring

Columns = dict[str, str]
"""Name of a column -> its pandas type."""

ESTIMATE = ("delta_points", "low_points", "high_points", "level")
"""Columns of a difference with its interval, which covers one minus the level."""


def _frame(rows: Sequence[Mapping[str, Any]], columns: Columns) -> pd.DataFrame:
    # Each column has its type from the start, so an empty column has the same type as a full one.
    cells = [[row.get(name) for name in columns] for row in rows]
    return pd.DataFrame(cells, columns=list(columns), dtype=object).astype(columns)


def runs_table(plan: Plan, records: Records) -> pd.DataFrame:
    """List the trainings, one row for each run, in the order of the plan.

    Columns:

    - experiment, seed, run
    - shared_by: other experiments with the same configuration
    - state: empty without a result
    - <capture>_accuracy_percent: one for each scored capture
    - epochs (finished), best_epoch
    - median_epoch_seconds: without warm-up epochs
    - training_seconds: all epochs
    - commit, branch
    - accepted_from: the run of older code whose result somebody accepted for this run
    - failure, reason
    """
    captures = plan.arms[BASELINE].config.data.scored
    columns = {
        **dict.fromkeys(("experiment",), "str"),
        "seed": "Int64",
        **dict.fromkeys(("run", "shared_by", "state"), "str"),
        **{f"{capture}_accuracy_percent": "float64" for capture in captures},
        **dict.fromkeys(("epochs", "best_epoch"), "Int64"),
        **dict.fromkeys(("median_epoch_seconds", "training_seconds"), "float64"),
        **dict.fromkeys(("commit", "branch", "accepted_from", "failure", "reason"), "str"),
    }
    return _frame([_run_row(plan, run, records.get(run.id)) for run in plan.runs], columns)


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
    counted = [epoch.seconds for epoch in record.epochs if epoch.epoch > plan.campaign.guards.warmup_epochs]
    row |= {
        "epochs": len(record.epochs),
        "median_epoch_seconds": median(counted) if counted else None,
        "training_seconds": sum(epoch.seconds for epoch in record.epochs) if record.epochs else None,
        "commit": record.provenance.get("commit"),
        "branch": record.provenance.get("branch"),
        "accepted_from": (record.provenance.get("accepted") or {}).get("run"),
    }
    return row | _result_cells(record)


def _result_cells(record: RunRecord) -> dict[str, Any]:
    if record.result is None:
        return {}
    # A run may have scores on fewer captures than the table has columns; the others stay empty.
    scores = {f"{name}_accuracy_percent": 100.0 * score.accuracy for name, score in record.result.scores.items()}
    kept = ("state", "best_epoch", "failure", "reason")
    return {name: getattr(record.result, name) for name in kept} | scores


def scores_table(findings: Findings) -> pd.DataFrame:
    """List the verdicts, one row for each experiment, in the order of the campaign file.

    Columns:

    - experiment, title, group, reference
    - same_as: the experiment whose runs it shares
    - verdict
    - <judged>_accuracy_percent: mean over the seeds of its look, those used for `look` in `seeds_table`
    - num_scored: how many these seeds are; num_paired: how many of them have both sides scored
    - delta_points; low_points and high_points: its interval, which covers one minus level
    - error_points: the standard error of the difference
    - seed_error_points, item_error_points: its parts that more seeds, or more bursts, would take away
    - rest_error_points: its part that more seeds or more bursts would take away
    - degrees_of_freedom
    - moderated: whether the seed part borrows from other arms
    - baseline_delta_points, p_value
    - adjusted_p_value: among the num_compared comparisons of its family
    - equivalence_p_value: against the margin
    - num_items, dropped_seeds, dropped_items
    - look_seeds: number of seeds at the look that gave the verdict, in a campaign with looks
    - fresh_delta_points, fresh_low_points, fresh_high_points, fresh_level: on the confirmation's seeds alone
    - is_confirmed: empty while the confirmation's seeds have no result
    - confounded: what differs from the reference's runs beyond the declared change
    - reason
    """
    plan = findings.plan
    columns = {
        **dict.fromkeys(("experiment", "title", "group", "reference", "same_as", "verdict"), "str"),
        f"{judged_capture(plan)}_accuracy_percent": "float64",
        **dict.fromkeys(("num_scored", "num_paired"), "Int64"),
        **dict.fromkeys(ESTIMATE, "float64"),
        **dict.fromkeys(("error_points", "seed_error_points", "item_error_points", "rest_error_points"), "float64"),
        "degrees_of_freedom": "float64",
        "moderated": "boolean",
        **dict.fromkeys(("baseline_delta_points", "p_value", "adjusted_p_value", "equivalence_p_value"), "float64"),
        "family": "str",
        **dict.fromkeys(("num_compared", "num_items"), "Int64"),
        "dropped_seeds": "str",
        "dropped_items": "Int64",
        "look_seeds": "Int64",
        **{f"fresh_{name}": "float64" for name in ESTIMATE},
        "is_confirmed": "boolean",
        **dict.fromkeys(("confounded", "reason"), "str"),
    }
    return _frame([_score_row(plan, findings.judgements[name]) for name in plan.arms], columns)


def judged_capture(plan: Plan) -> str:
    """Return the name of the capture that verdicts are about."""
    return plan.campaign.data.report[0]


def _score_row(plan: Plan, judgement: Judgement) -> dict[str, Any]:
    arm = plan.arms[judgement.experiment]
    row = structs.asdict(judgement)
    if judgement.reference is None:
        # The baseline is compared with nothing, so it has no counts of pairs.
        row |= {"num_items": None, "dropped_items": None, "moderated": None, "level": None}
    for name in ESTIMATE if judgement.fresh else ():
        row[f"fresh_{name}"] = getattr(judgement.fresh, name)
    # Fresh seeds without a result confirm nothing and refute nothing.
    if judgement.fresh and judgement.fresh.interval_points is None:
        row["is_confirmed"] = None
    return row | {
        "title": arm.title,
        "group": arm.group,
        "same_as": arm.same_as,
        f"{judged_capture(plan)}_accuracy_percent": judgement.score,
        "num_scored": len(judgement.score_of),
        "num_paired": len(judgement.seeds) if judgement.reference else None,
        "dropped_seeds": " ".join(str(seed) for seed in judgement.dropped_seeds) or None,
        "confounded": "; ".join(judgement.confounds) or None,
    }


def seeds_table(findings: Findings) -> pd.DataFrame:
    """List every score on the judged capture, one row for each experiment and seed.

    Columns:

    - experiment, seed, <judged>_accuracy_percent
    - delta_points: to the reference at the same seed, where the verdict uses it
    - fresh_delta_points: the same, where the confirmation uses it
    - used_for: `look` (its mean and its verdict), `fresh` (its confirmation alone), `reference` (other experiments
      alone), or empty (no score, or nothing uses it yet)

    The mean in `scores_table` is over the rows used for `look`.
    """
    accuracy = f"{judged_capture(findings.plan)}_accuracy_percent"
    columns = {"experiment": "str", "seed": "Int64"}
    columns |= dict.fromkeys((accuracy, "delta_points", "fresh_delta_points"), "float64") | {"used_for": "str"}
    scores = [score for of in findings.seed_scores.values() for score in of]
    return _frame([structs.asdict(score) | {accuracy: score.score} for score in scores], columns)


def claims_table(findings: Findings) -> pd.DataFrame:
    """List what the source reports beside what was found, one row for each experiment that it reports on.

    Columns:

    - experiment, reference
    - reported_score, reported_delta_points, reported_versus, reported_outcome
    - <judged>_accuracy_percent
    - delta_points; low_points and high_points: its interval, which covers one minus level
    - level, verdict
    - agreement: agree, disagree, cannot tell, or stopped as reported (`verdicts.claims.compare_with_claim`)
    - why
    """
    columns = {
        **dict.fromkeys(("experiment", "reference"), "str"),
        **dict.fromkeys(("reported_score", "reported_delta_points"), "float64"),
        **dict.fromkeys(("reported_versus", "reported_outcome"), "str"),
        f"{judged_capture(findings.plan)}_accuracy_percent": "float64",
        **dict.fromkeys(ESTIMATE, "float64"),
        **dict.fromkeys(("verdict", "agreement", "why"), "str"),
    }
    return _frame([_claim_row(findings, claim) for claim in findings.claims.replayed], columns)


def _claim_row(findings: Findings, claim: ReplayedClaim) -> dict[str, Any]:
    judgement, reported = findings.judgements[claim.experiment], claim.reported
    return structs.asdict(judgement) | {
        "reported_score": reported.accuracy,
        "reported_delta_points": reported.delta,
        "reported_versus": reported.versus,
        "reported_outcome": reported.outcome,
        f"{judged_capture(findings.plan)}_accuracy_percent": judgement.score,
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
    return _frame([_audit_row(findings, claim) for claim in findings.claims.audited], columns)


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
    return _frame([_interaction_row(found) for found in findings.interactions], columns)


def _interaction_row(found: InteractionJudgement) -> dict[str, Any]:
    return {
        **structs.asdict(found.contrast),
        **structs.asdict(found),
        **structs.asdict(found.interaction),
        "num_seeds": len(found.contrast.seeds),
        "contrast_points": found.contrast.delta_points,
    }


def ledger_table(findings: Findings) -> pd.DataFrame:
    """List the scorings of the reported captures, one row for each; columns are the fields of `ledger.Scoring`."""
    integers = ("seed", "bursts", "correct")
    columns = {name: "Int64" if name in integers else "str" for name in Scoring.__struct_fields__}
    rows = [structs.asdict(found) | {"shared_by": " ".join(found.shared_by) or None} for found in findings.scorings]
    return _frame(rows, columns)


def devices_table(findings: Findings) -> pd.DataFrame:
    """List the accuracy by transmitter on the judged capture, one row for each experiment and device.

    Columns: experiment, device (0-based, as in the capture), num_seeds, num_items (over these seeds),
    <judged>_accuracy_percent. The seeds are those of the experiment's mean.
    """
    plan = findings.plan
    rows = [row for name in plan.arms for row in _device_rows(plan, findings.records, findings.judgements[name])]
    counts = dict.fromkeys(("device", "num_seeds", "num_items"), "Int64")
    return _frame(rows, {"experiment": "str", **counts, f"{judged_capture(plan)}_accuracy_percent": "float64"})


def _device_rows(plan: Plan, records: Records, judgement: Judgement) -> list[dict[str, Any]]:
    capture, experiment = judged_capture(plan), judgement.experiment
    runs = [records.get(plan.run_of[experiment, seed]) for seed in judgement.score_of]
    scored: list[Bursts] = [run.bursts[capture] for run in runs if run is not None and capture in run.bursts]
    if not scored:
        return []
    # All bursts of the seeds count alike, so a device's accuracy is over bursts and not over seeds.
    devices = np.concatenate([bursts.devices for bursts in scored])
    correct = np.concatenate([bursts.correct for bursts in scored])
    return [
        {
            "experiment": experiment,
            "device": int(device),
            "num_seeds": sum(bool((bursts.devices == device).any()) for bursts in scored),
            "num_items": int((devices == device).sum()),
            f"{capture}_accuracy_percent": 100.0 * float(correct[devices == device].mean()),
        }
        for device in np.unique(devices)
    ]


EPOCH_COLUMNS = tuple(name for name in EpochRecord.__struct_fields__ if name not in ("is_timed", "values"))
"""Fields of a finished epoch that are numbers."""


def epochs_table(plan: Plan, records: Records) -> pd.DataFrame:
    """List the training curves, one row for each run and epoch.

    Columns: run, experiment, seed, then the fields of `epochs.jsonl`. There, epoch counts from 1 and val_accuracy is a
    share of 1.
    """
    integers = ("epoch", "skipped_steps", "peak_memory_bytes")
    columns: Columns = {"run": "str", "experiment": "str", "seed": "Int64"}
    columns |= {name: "Int64" if name in integers else "float64" for name in EPOCH_COLUMNS}
    planned = {run.id: run for run in plan.runs if run.id in records}
    rows = [
        {
            "run": run.id,
            "experiment": run.experiment,
            "seed": run.seed,
            **{name: getattr(epoch, name) for name in EPOCH_COLUMNS},
        }
        for run in planned.values()
        for epoch in records[run.id].epochs
    ]
    return _frame(rows, columns)
