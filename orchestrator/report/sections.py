"""What a report says about one experiment: its row of the summary, and its section. Pure: findings in, words out."""

import json
import shlex
from collections.abc import Iterable
from typing import Any

from orchestrator import wording
from orchestrator.campaign.arms import Arm, describe_change
from orchestrator.campaign.plan import Plan
from orchestrator.runs.record import RunRecord
from orchestrator.task.knobs import difference
from orchestrator.task.metric_spec import MetricSpec
from orchestrator.task.spec import TaskSpec
from orchestrator.verdicts.findings import Findings
from orchestrator.verdicts.judgement import Confirmation, Judgement, MetricJudgement, Verdict
from orchestrator.verdicts.ledger import SeedUse
from orchestrator.verdicts.scale import Scale

CONFOUNDED = "confounded"
"""The mark beside a verdict whose runs differ in more than the declared change."""
USED_FOR = {
    SeedUse.LOOK: "its mean",
    SeedUse.FRESH: "its confirmation",
    SeedUse.REFERENCE: "others, as their reference",
    None: wording.MISSING,
}


BY_SEEDS = "by seeds alone"
"""The mark beside a verdict on runs that tell no items: it says nothing about other test data."""
FEW_CLUSTERS = "few clusters"
"""The mark beside a verdict that rests on few clusters."""
ALIKE_ITEMS = "alike items"
"""The mark beside a verdict whose neighbouring items are not independent."""
LOOKED_AGAIN = "looked again"
"""The mark beside a verdict that was shown before at another number of seeds, without `staging`."""
NO_KEEPER = "no keeper"
"""The mark beside an improvement for which a metric that must be no worse is not shown to be so."""
FRAGILE = "fragile"
"""The mark beside a verdict on the runs that are left, since others failed or collapsed."""
MARKS = (CONFOUNDED, FRAGILE, *Confirmation, NO_KEEPER, BY_SEEDS, FEW_CLUSTERS, ALIKE_ITEMS, LOOKED_AGAIN)
"""The marks that may stand in brackets beside a verdict."""


def marks(judgement: Judgement) -> str:
    """Return the marks beside a verdict, each in brackets: " (confounded) (confirmed)". Mostly there is none."""
    found = (
        CONFOUNDED if judgement.confounds else None,
        FRAGILE if judgement.is_fragile else None,
        judgement.confirmation,
        NO_KEEPER if judgement.verdict is Verdict.IMPROVED and judgement.failed_metrics else None,
        BY_SEEDS if judgement.rests_on == "seeds" and judgement.interval_points is not None else None,
        FEW_CLUSTERS if judgement.warnings and judgement.rests_on == "clusters" else None,
        ALIKE_ITEMS if judgement.warnings and judgement.rests_on == "items" else None,
        LOOKED_AGAIN if judgement.looks_sentence else None,
    )
    return "".join(f" ({mark})" for mark in found if mark)


def is_compared(judgement: Judgement) -> bool:
    """Whether there is a verdict on a difference. The baseline and shuffled labels have none."""
    return judgement.verdict is not None


def summary_row(plan: Plan, judgement: Judgement) -> dict[str, Any]:
    """Return the cells that tables show for an experiment, as words; `confounds` is a list of sentences."""
    arm, scale = plan.arms[judgement.experiment], Scale(plan.campaign.judged)
    return {
        "experiment": arm.id,
        "title": arm.title,
        "same_as_note": f" (the same configuration as {arm.same_as}, trained once)" if arm.same_as else "",
        "on": arm.reference or wording.MISSING,
        "score": scale.score(judgement.score),
        "num_seeds": str(len(judgement.score_of) or wording.MISSING),
        **_difference_cells(plan, judgement),
        "fresh": _fresh_cell(plan, judgement),
        "verdict": f"{judgement.verdict or wording.MISSING}{marks(judgement)}",
        "errors": _describe_errors(plan, arm, judgement),
        "confounds": list(judgement.confounds),
        "fragile": [_as_sentence(sentence) for sentence in judgement.fragile_sentences],
        "caution": "Few clusters" if judgement.rests_on == "clusters" else "Alike items",
        "warnings": [_as_sentence(warning) for warning in judgement.warnings],
        "looked_again": _as_sentence(judgement.looks_sentence) if judgement.looks_sentence else "",
        "reason": judgement.reason,
        "change": describe_change(arm, mark="`"),
    }


def _difference_cells(plan: Plan, judgement: Judgement) -> dict[str, str]:
    if not is_compared(judgement):
        return dict.fromkeys(("delta", "interval", "family_interval", "to_baseline"), wording.MISSING)
    scale = Scale(plan.campaign.judged)
    return {
        "delta": scale.delta(judgement.delta_points),
        "interval": interval_cell(plan, judgement),
        "family_interval": scale.interval(judgement.family_interval_points),
        "to_baseline": scale.delta(judgement.baseline_delta_points),
    }


def interval_cell(plan: Plan, judgement: Judgement) -> str:
    """Write an interval for a column whose head names the coverage of the campaign's level."""
    return Scale(plan.campaign.judged).interval_at(
        judgement.interval_points, judgement.level, plan.campaign.judging.level
    )


def _fresh_cell(plan: Plan, judgement: Judgement) -> str:
    """Write the difference on the seeds of the confirmation alone."""
    fresh, scale = judgement.fresh, Scale(plan.campaign.judged)
    if fresh is None:
        return wording.MISSING
    if fresh.interval_points is None:
        return "not yet"
    ends = scale.interval_at(fresh.interval_points, fresh.level, plan.campaign.judging.level)
    return f"{scale.delta(fresh.delta_points)} {ends}, {judgement.confirmation}"


def _describe_own_code(arm: Arm, task: TaskSpec) -> list[str]:
    """Name the patch or the ref of an experiment's own change; empty where it changes only knobs."""
    if arm.patch:
        return [f"the patch `{arm.patch}`"]
    code = ", ".join(f"`{pathspec}`" for pathspec in task.code) if task.supervised else "`model/`"
    return [f"{code} of `{arm.ref}`"] if arm.ref else []


def describe_start(findings: Findings, experiment: str) -> dict[str, str]:
    """Return the command line of the first run that has one, and its seed; both are empty where no run has one."""
    plan, records = findings.plan, findings.records
    found = ((seed, records.get(plan.run_of[experiment, seed])) for seed in plan.campaign.seeds)
    seed, words = next(((seed, run.command) for seed, run in found if run is not None and run.command), (0, ()))
    trained = seed + plan.arms[experiment].seed_shift
    return {"started": wording.shell_command(words) if words else "", "started_seed": str(trained) if words else ""}


def section(findings: Findings, experiment: str) -> dict[str, Any]:
    """Return the section of an experiment: the cells of `summary_row`, what changes, how to run it, and its seeds."""
    plan = findings.plan
    arm, judgement = plan.arms[experiment], findings.judgements[experiment]
    before = plan.arms[arm.reference].params if arm.reference else None
    changes = difference(before, arm.params, plan.campaign.task.cosmetic) if before is not None else {}
    found = (findings.records.get(plan.run_of[arm.id, seed]) for seed in plan.campaign.seeds)
    runs = [run for run in found if run is not None]
    return summary_row(plan, judgement) | {
        "hypothesis": arm.hypothesis,
        "verdict_sentence": verdict_sentence(plan, judgement),
        "sentence": _as_sentence(judgement.reason),
        "same_as": arm.same_as or "",
        "repeat": _describe_repeat(plan, arm),
        "changes": [
            {"knob": knob, "old": _value_cell(old), "new": _value_cell(new)} for knob, (old, new) in changes.items()
        ],
        "code": _describe_code(arm, plan.campaign.task, runs),
        "accepted": describe_accepted(runs),
        "command": _run_command(plan, arm),
        "checkout": _describe_checkout(arm, runs),
        "training": _training_command(plan, arm),
        **describe_start(findings, experiment),
        "seeds": _seed_rows(findings, experiment),
        "is_compared": is_compared(judgement),
        "interval": "(no interval)" if judgement.low_points is None else interval_cell(plan, judgement),
    }


IMPROVEMENT_SENTENCES = {
    None: "{name} helps: {beside}.",
    Confirmation.CONFIRMED: "{name} helps: {beside}, and fresh seeds confirm it.",
    Confirmation.WAITS: "{name} seems to help: {beside}; fresh seeds have yet to confirm it.",
    Confirmation.NOT_CONFIRMED: "{name} seemed to help: {beside}; fresh seeds do not confirm it.",
}


def verdict_sentence(plan: Plan, judgement: Judgement) -> str:
    """Say a verdict in one sentence that can be read alone; empty where there is no verdict."""
    if judgement.verdict is None:
        return ""
    name, reference, metric = judgement.experiment, judgement.reference, plan.campaign.judged
    scale = Scale(metric)
    margin = f"the margin is {scale.margin()}"
    # The metrics of a job that holds its own folder are named after what it is scored on.
    place = "in" if plan.campaign.task.supervised else "on"
    beside = f"{scale.with_unit(judgement.delta_points)} {place} {metric.name} against {reference}"
    sentences = {
        Verdict.IMPROVED: IMPROVEMENT_SENTENCES[judgement.confirmation].format(name=name, beside=beside),
        Verdict.REGRESSION: f"{name} hurts: {beside}.",
        Verdict.NO_CHANGE: f"{name} makes no difference that matters: {beside}; {margin}.",
        Verdict.INCONCLUSIVE: f"The effect of {name} is not known yet: {beside}, which may be chance.",
        Verdict.NEEDS_SEEDS: f"{name} has too few seeds for a verdict.",
        Verdict.TOO_SLOW: f"{name} was stopped because it is too slow.",
        Verdict.FAILED: f"{name} failed in every run.",
        Verdict.PENDING: f"{name} has not run yet.",
    }
    return sentences[judgement.verdict]


def _as_sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}{'' if words.endswith('.') else '.'}"


def _value_cell(value: object) -> str:
    return "not there" if value is None else f"`{json.dumps(value)}`"


def _describe_repeat(plan: Plan, arm: Arm) -> str:
    """Say how far apart the source's two numbers for one configuration lie."""
    other = plan.arms[arm.same_as] if arm.same_as else None
    ours, theirs = arm.reported, other.reported if other else None
    if other is None or ours is None or theirs is None or ours.accuracy is None or theirs.accuracy is None:
        return ""
    apart = abs(ours.accuracy - theirs.accuracy)
    return (
        f"The source reports {wording.percent(ours.accuracy)} for {arm.id} and {wording.percent(theirs.accuracy)} for "
        f"{other.id}. The configuration is the same, so these {apart:.1f} points are seed noise of single runs."
    )


def _run_command(plan: Plan, arm: Arm) -> str:
    seeds = plan.campaign.seeds
    # `--seeds` takes a range only. Other seeds come from the campaign file anyway.
    contiguous = seeds == tuple(range(seeds[0], seeds[-1] + 1))
    words = f" --seeds {seeds[0]}-{seeds[-1]}" if contiguous else ""
    return f"knockout run {arm.id} --profile {shlex.quote(plan.campaign.profile)}{words}"


def _describe_code(arm: Arm, task: TaskSpec, runs: Iterable[RunRecord]) -> str:
    """Say how the code changes, and in which files, as far as a run recorded them for its whole stack."""
    # A dictionary keeps the order of the runs and drops repeats.
    files = dict.fromkeys(file for run in runs for file in run.provenance.get("code_changes") or ())
    whose = ": " if len(arm.code) == 1 else "; with the code it stands on, against that of the campaign: "
    listed = f"{whose}{', '.join(f'`{file}`' for file in files)}" if files else ""
    return "".join(f"{source}{listed}" for source in _describe_own_code(arm, task))


def describe_accepted(runs: Iterable[RunRecord]) -> list[str]:
    """Say which results come from runs of older code, and who accepted them: one sentence for each change of code."""
    taken: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for run in runs:
        if accepted := run.provenance.get("accepted"):
            who_and_files = accepted["by"], tuple(accepted["files"])
            taken.setdefault(who_and_files, []).append(f"`{accepted['run']}` as `{run.id}`")
    return [
        f"{wording.listed(results)}: accepted by {by}, who says that the change of code makes no difference: "
        f"{', '.join(f'`{file}`' for file in files) or 'the changed files are not known'}."
        for (by, files), results in taken.items()
    ]


def _describe_checkout(arm: Arm, runs: Iterable[RunRecord]) -> str:
    """Say at which commit to train an experiment whose stack has its own code; empty where only knobs change."""
    if not arm.code:
        return ""
    # The commit of a result of older code is not the one that the plan would train.
    own = (run.provenance.get("commit") for run in runs if not run.provenance.get("accepted"))
    commit = next((commit[:12] for commit in own if commit), "")
    by_hand = f" (commit `{commit}`; `git worktree add FOLDER {commit}` makes one as well)" if commit else ""
    return (
        f"in the folder that `knockout checkout {arm.same_as or arm.id}` makes of its code{by_hand}, "
        "with `--manifest` as a path from there"
    )


def _training_command(plan: Plan, arm: Arm) -> str:
    """Write the command that trains the first seed by hand; empty where the task gives none."""
    seed = plan.campaign.seeds[0] + arm.seed_shift
    told = {"{seed}": str(seed), "{experiment}": arm.id}
    words = list(arm.about.command or ())
    for template, value in told.items():
        words = [word.replace(template, value) for word in words]
    return wording.shell_command(words) if words else ""


def _seed_rows(findings: Findings, experiment: str) -> list[dict[str, str]]:
    plan, records = findings.plan, findings.records
    scale = Scale(plan.campaign.judged)
    rows, shift = [], plan.arms[experiment].seed_shift
    for score in findings.seed_scores[experiment]:
        run = plan.run_of[experiment, score.seed]
        origin = records[run].provenance if run in records else {}
        # A fresh seed has a difference of its own, which is not part of the mean.
        delta = score.fresh_delta_points if score.used_for is SeedUse.FRESH else score.delta_points
        rows.append(
            {
                "seed": f"{score.seed + shift} (beside {score.seed})" if shift else str(score.seed),
                "score": scale.score(score.score),
                "delta": scale.delta(delta if is_compared(findings.judgements[experiment]) else None),
                "used_for": USED_FOR[score.used_for],
                "run": run,
                "commit": str(origin.get("commit") or wording.NOT_RECORDED)[:12],
                "branch": str(origin.get("branch") or wording.NOT_RECORDED),
            }
        )
    return rows


def _describe_errors(plan: Plan, arm: Arm, judgement: Judgement) -> str:
    if judgement.error_points is None or not is_compared(judgement):
        return ""
    whose = "that of every run of the baseline" if arm.seed_shift else "pooled with that of the campaign's other arms"
    borrowed = f" (their spread {whose})" if judgement.moderated else ""
    scale = Scale(plan.campaign.judged)
    parts = f"{scale.error(judgement.seed_error_points)} from seeds{borrowed}"
    if judgement.rests_on == "seeds":
        said = _describe_seeds_alone(scale, judgement, parts)
    else:
        label = plan.campaign.labels.cluster if judgement.rests_on == "clusters" else plan.campaign.labels.item
        said = (
            f"{parts}, {scale.error(judgement.item_error_points)} from {label}s, "
            f"{scale.error(judgement.rest_error_points)} from both together, their squares added."
        )
    return (
        f"Standard error {scale.size(judgement.error_points)}: {said} "
        f"p {wording.probability(judgement.p_value)}, adjusted {wording.probability(judgement.adjusted_p_value)}; "
        f"against the margin {wording.probability(judgement.equivalence_p_value)}. "
        f"{_describe_family_interval(scale, judgement)}"
        f"Step by step: `knockout why {judgement.experiment}`."
    )


def _describe_family_interval(scale: Scale, judgement: Judgement) -> str:
    ends = judgement.family_interval_points
    if ends is None or not judgement.num_compared:
        return ""
    among = wording.counted(judgement.num_compared, "comparison")
    return f"Beside all {among} of its family at once, the interval is {scale.interval(ends)}. "


def _describe_seeds_alone(scale: Scale, judgement: Judgement, parts: str) -> str:
    """Say what the error is made of where no items are shared by all seeds."""
    if judgement.item_error_points:
        drawn = scale.error(judgement.item_error_points)
        return f"{parts}, {drawn} since the test splits that the seeds draw overlap, their squares added."
    return f"{parts}. The runs tell no items, so this says nothing about other test data."


def metric_rows(findings: Findings, experiment: str) -> list[dict[str, str]]:
    """Return a row for each metric beside the main one, as words."""
    metrics, level = findings.plan.campaign.metrics, findings.plan.campaign.judging.level
    others = findings.judgements[experiment].others
    return [{"experiment": experiment, **metric_row(metrics[other.metric], other, level)} for other in others]


def metric_row(metric: MetricSpec, other: MetricJudgement, usual_level: float) -> dict[str, str]:
    """Return the cells of one metric beside the main one, as words.

    Args:
        metric: how it is written.
        other: what it says.
        usual_level: an interval at another level names its coverage.
    """
    scale = Scale(metric)
    word = str(other.verdict or wording.MISSING)
    if other.role == "no_worse":
        found = "open" if other.interval_points is None else "pass" if other.passes else "fail"
        word = f"{found}: no worse than {scale.margin().removeprefix('±')}"
    return {
        "metric": f"{metric.name} {scale.arrow}",
        "role": other.role.replace("_", " "),
        "score": scale.score(other.score),
        "delta": scale.with_unit(other.delta_points),
        "interval": scale.interval_at(other.interval_points, other.level, usual_level),
        "unit": scale.unit or wording.MISSING,
        "verdict": word,
    }
