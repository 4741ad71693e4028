"""The report as Markdown: findings -> the words of the template.

The template has no clock and no arithmetic: this module works out everything that it prints, as words.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import PackageLoader, StrictUndefined
from jinja2.sandbox import SandboxedEnvironment

from orchestrator import wording
from orchestrator.campaign.plan import Plan
from orchestrator.report.checks import audit_section, controls_section, interaction_rows, part_rows, replay_section
from orchestrator.report.escape import escape_cell, escape_text
from orchestrator.report.sections import (
    ALIKE_ITEMS,
    FEW_CLUSTERS,
    LOOKED_AGAIN,
    NO_KEEPER,
    describe_accepted,
    describe_start,
    marks,
    metric_rows,
    section,
    summary_row,
)
from orchestrator.runs.record import Records, RunRecord
from orchestrator.runs.scores import is_share_metric
from orchestrator.stats.multiplicity import CORRECTION_NAME
from orchestrator.task.spec import TaskSpec
from orchestrator.verdicts.comparisons import MIN_SEEDS
from orchestrator.verdicts.findings import Findings
from orchestrator.verdicts.judge import family_size
from orchestrator.verdicts.judgement import Confirmation, Judgements, Verdict
from orchestrator.verdicts.ledger import describe_scorings
from orchestrator.verdicts.scale import Scale
from orchestrator.wording import visible

NOTHING: Mapping[str, str] = {}
ORDER = (
    Verdict.IMPROVED,
    Verdict.NO_CHANGE,
    Verdict.INCONCLUSIVE,
    Verdict.NEEDS_SEEDS,
    Verdict.REGRESSION,
    Verdict.TOO_SLOW,
    Verdict.FAILED,
    Verdict.PENDING,
)
"""The order in which the summary lists the verdicts."""
NEGATIVE = (Verdict.REGRESSION, Verdict.TOO_SLOW, Verdict.FAILED)
CSV_FILES = {
    "verdicts": "one row for each experiment: score, difference, interval, sources of error, p, verdict, confounds, "
    "reason; means are over the seeds used for `look` in `seeds.csv`",
    "seeds": "one row for each experiment and seed: the score, its difference and what it is used for",
    "metrics": "one row for each experiment and each metric beside the main one: score, difference, interval, verdict",
    "runs": "one row for each training: state, scores, {progress}s, seconds, commit, branch, whose result it is",
    "claims": "what the source reports, beside what was found",
    "audit": "one row for each difference that the source reports: what its protocol could have shown",
    "interactions": "one row for each pair of experiments: each effect, both together, the rest, interval, p, verdict",
    "ledger": "one row for each scoring by a reported metric: the run, its experiment, its score",
    "strata": "the main metric by stratum of items, over the seeds of the means",
    "epochs": "the training curves of every run",
}
MAX_PACKAGES = 15
"""Most packages that are named one by one."""
SHOWN_PACKAGES = (
    *("python", "platform", "gpu", "numpy", "scipy", "scikit-learn", "pandas", "torch", "torchvision", "lightning"),
    *("pytorch-lightning", "transformers", "accelerate", "datasets", "jax", "flax", "tensorflow", "keras", "xgboost"),
)
"""The packages that are named if there are more."""


def make_environment() -> SandboxedEnvironment:
    """Make the sandbox that the templates of this package are rendered in."""
    environment = SandboxedEnvironment(
        loader=PackageLoader("orchestrator.report"), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["cell"] = escape_cell
    environment.filters["text"] = escape_text
    return environment


def render_markdown(
    findings: Findings,
    searches: Sequence[Mapping[str, str]] = (),
    left_out: Sequence[str] = (),
    not_written: Collection[str] = (),
) -> str:
    """Render the report.

    Args:
        findings: what the report is of.
        searches: rows of the table of searches, as words.
        left_out: a sentence for each run that no number uses.
        not_written: names of tables that have no file.
    """
    plan, judgements = findings.plan, findings.judgements
    sign = Scale(plan.campaign.judged).sign
    context = {
        "campaign": plan.campaign,
        "by_seeds": any(judgement.rests_on == "seeds" and judgement.seeds for judgement in judgements.values()),
        **_mark_context(judgements),
        "others": [row for name in _in_order(judgements, sign) for row in metric_rows(findings, name)],
        "unread": describe_unread(plan, findings.records),
        "coverage": wording.coverage(plan.campaign.judging.level),
        "looks": wording.listed(plan.campaign.staging.looks) if plan.campaign.staging else "",
        "confirming": wording.coverage(2 * plan.campaign.judging.level),
        "compared": _describe_family(plan, judgements),
        **_interval_context(findings),
        "headline": describe_outcome(plan, judgements),
        "any_confounded": any(judgement.confounds for judgement in judgements.values()),
        "summary": [summary_row(plan, judgements[name]) for name in _in_order(judgements, sign)],
        "sections": [
            section(findings, name) for name in _in_order(judgements, sign) if judgements[name].verdict not in NEGATIVE
        ],
        "negatives": _negative_rows(findings),
        "claims": replay_section(findings),
        "audit": audit_section(findings),
        "controls": controls_section(findings),
        "interactions": interaction_rows(findings),
        "parts": part_rows(findings),
        "searches": searches,
        "left_out": left_out,
        "num_left_out": wording.counted(len(left_out), "run is", "runs are"),
        "ledger": describe_scorings(plan, findings.scorings),
        "how": _describe_runs(plan, findings.records),
        **_metric_context(plan),
        **_task_context(plan, findings.records, not_written),
    }
    # Names come from users and stand in many places. A terminal must not obey a control sign in any of them.
    return visible(make_environment().get_template("report.md.j2").render(context))


def _mark_context(judgements: Judgements) -> dict[str, bool]:
    """Say which marks stand beside a verdict, so that the legend explains these alone."""
    explained = {
        "any_no_keeper": NO_KEEPER,
        "few_clusters": FEW_CLUSTERS,
        "alike_items": ALIKE_ITEMS,
        "looked_again": LOOKED_AGAIN,
    }
    found = "".join(marks(judgement) for judgement in judgements.values())
    return {name: f"({mark})" in found for name, mark in explained.items()}


def _interval_context(findings: Findings) -> dict[str, Any]:
    """Return what the template says of intervals, of families and of fragile verdicts."""
    plan, judgements = findings.plan, findings.judgements
    return {
        "any_fragile": any(judgement.is_fragile for judgement in judgements.values()),
        "simultaneous": _describe_simultaneous(plan, judgements),
        "two_seeds": describe_floor(plan, judgements),
        "families": _describe_families(findings),
    }


def _metric_context(plan: Plan) -> dict[str, Any]:
    """Return what the template asks about the main metric, and what the parts of its evidence are called."""
    judged = plan.campaign.judged
    return {
        "judged": judged.name,
        "labels": plan.campaign.labels,
        "units": _describe_units(plan),
        "margin": Scale(judged).margin(),
        "direction": "" if judged.better == "higher" else " Lower is better.",
        "better_side": "above" if judged.better == "higher" else "below",
        "is_share": is_share_metric(judged),
    }


def _task_context(plan: Plan, records: Records, not_written: Collection[str]) -> dict[str, Any]:
    """Return what the template asks about the task: a script's report has no section that it cannot fill."""
    task = plan.campaign.task
    files = {name: what for name, what in CSV_FILES.items() if name not in not_written}
    return {
        "is_supervised": task.supervised,
        "progress": task.progress_name,
        "shows_claims": not task.supervised or any(arm.reported for arm in plan.arms.values()),
        "shows_curves": shows_curves(plan, records),
        "missing_controls": _describe_missing_controls(task),
        "files": {name: what.format(progress=task.progress_name) for name, what in files.items()},
    }


def _in_order(judgements: Judgements, sign: int) -> list[str]:
    """Sort the experiments: the baseline, the verdicts in their order with larger gains first, then controls.

    Args:
        judgements: of the experiments.
        sign: 1 where a higher value is better, -1 where a lower one is.
    """

    def rank(name: str) -> tuple[int, float]:
        judgement = judgements[name]
        # The baseline comes first and controls come last; neither has a verdict.
        if judgement.verdict is None:
            return (-1 if judgement.reference is None else len(ORDER)), 0.0
        return ORDER.index(judgement.verdict), -sign * (judgement.delta_points or 0.0)

    return sorted(judgements, key=rank)


def describe_outcome(plan: Plan, judgements: Judgements) -> str:
    """Count the experiments by verdict, without controls, and say which share a configuration."""
    # Controls are no ideas: counting them would make the outcome look better or worse than it is.
    ideas = [arm for arm in plan.arms.values() if arm.reference and not arm.control]
    counts = Counter(verdict for arm in ideas if (verdict := judgements[arm.id].verdict))
    found = Counter(judgements[arm.id].confirmation for arm in ideas)
    fresh = [f"{found[word]} {word}" for word in Confirmation if found[word]]
    more = {Verdict.IMPROVED: f" ({wording.listed(fresh)})"} if fresh else {}
    parts = [f"{counts[verdict]} {verdict}{more.get(verdict, '')}" for verdict in ORDER if counts[verdict]]
    # A confounded verdict counts under its verdict, so the sentence says how many there are.
    confounded = sum(bool(judgements[arm.id].confounds) for arm in ideas)
    mark = f" Of these, {wording.counted(confounded, 'is', 'are')} confounded." if confounded else ""
    shared = [f"{arm.id} (as {arm.same_as})" for arm in plan.arms.values() if arm.same_as]
    same = f" Trained once, because the configuration is the same: {wording.listed(shared)}." if shared else ""
    apart = " (without controls)" if any(arm.control for arm in plan.arms.values()) else ""
    return f"Of {wording.counted(sum(counts.values()), 'experiment')}{apart}: {wording.listed(parts)}.{mark}{same}"


def _describe_family(plan: Plan, judgements: Judgements) -> str:
    """Say among how many comparisons a difference must be significant."""
    judging = plan.campaign.judging
    counts = wording.counted(family_size(judgements), "comparison")
    which = f"the {counts} of this campaign" if judging.family == "campaign" else "the comparisons of its group"
    return f"{which} ({CORRECTION_NAME[judging.correction]}, adjusted p below {judging.level:g})"


def _describe_simultaneous(plan: Plan, judgements: Judgements) -> str:
    """Say what the two intervals beside each other are."""
    coverage = wording.coverage(plan.campaign.judging.level)
    sizes = {found.num_compared for found in judgements.values() if found.num_compared}
    counts = f"{wording.counted(max(sizes), 'comparison')}" if len(sizes) == 1 else "comparisons"
    return (
        f'The {coverage} intervals hold one at a time. Those under "family" are wider: all {counts} of a family hold '
        "at once (Bonferroni). A verdict on a difference rests on all comparisons of its family. So it may be "
        "inconclusive although the interval of one comparison leaves zero out."
    )


def describe_floor(plan: Plan, judgements: Judgements) -> str:
    """Say how large a difference must be at two seeds to be told among all others; empty if nothing has two seeds."""
    # The first step of Holm's correction has the level of Bonferroni's interval.
    found = [each.family_interval_points for each in judgements.values() if len(each.seeds) == MIN_SEEDS]
    halves = sorted((ends[1] - ends[0]) / 2 for ends in found if ends is not None)
    if not halves:
        return ""
    scale = Scale(plan.campaign.judged)
    reach = " to ".join(dict.fromkeys(scale.size(half) for half in (halves[0], halves[-1])))
    return (
        "Two seeds show their own spread poorly, and that is a floor under every p-value. With the errors found here, "
        f"a difference at two seeds must be larger than {reach} to be told as the first of its family."
    )


def _describe_families(findings: Findings) -> str:
    """Say that each family has the level to itself, and what all together may come to."""
    level = findings.plan.campaign.judging.level
    tested = {found.family for found in findings.judgements.values() if found.adjusted_p_value is not None}
    number = len(tested) + bool(findings.interactions)
    alone = (
        f"The level of {100 * level:g} % holds within one family of comparisons. Controls, pairs of changes and each "
        "search are families of their own."
    )
    if number < 2:
        return alone
    most = f"{100 * min(1.0, number * level):g} %"
    return f"{alone} The {number} families of the tables here may say something false in up to {most} of campaigns."


def _describe_units(plan: Plan) -> str:
    """Say what a difference is measured in."""
    metric, scale = plan.campaign.judged, Scale(plan.campaign.judged)
    if scale.is_ratio:
        return f"in percent of the reference's {metric.name}"
    return f"in {scale.unit} of {metric.name}" if scale.unit else f"in {metric.name}"


def describe_unread(plan: Plan, records: Records) -> list[str]:
    """Return a sentence for each metric that a finished run does not tell, with all runs that say the same."""
    # A wrong pattern fails alike in every run, so each sentence is given once.
    runs_of: dict[str, list[str]] = {}
    for run in _in_plan(plan, records):
        for sentence in run.unread.values():
            runs_of.setdefault(sentence, []).append(f"`{run.id}`")
    return [f"{wording.listed(runs)}: {sentence}" for sentence, runs in runs_of.items()]


def shows_curves(plan: Plan, records: Records) -> bool:
    """Whether there is a figure of curves: a script may tell nothing until its end."""
    return not plan.campaign.task.supervised or any(run.epochs for run in records.values())


def _describe_missing_controls(task: TaskSpec) -> str:
    """Say which controls a campaign could have and has not."""
    shuffled = ", and no run on shuffled labels (`control: shuffled_labels`) has a score"
    can_shuffle = not task.supervised or "shuffled_labels" in task.controls
    return f"None: the campaign has no A/A arm (`aa`){shuffled if can_shuffle else ''}."


def _negative_rows(findings: Findings) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of regressions and of stopped experiments, by group."""
    plan, judgements = findings.plan, findings.judgements
    groups: dict[str, list[dict[str, Any]]] = {}
    for name in _in_order(judgements, Scale(plan.campaign.judged).sign):
        if judgements[name].verdict in NEGATIVE:
            row = summary_row(plan, judgements[name]) | describe_start(findings, name)
            groups.setdefault(plan.arms[name].group, []).append(row)
    return groups


def _describe_runs(plan: Plan, records: Records) -> list[tuple[str, str]]:
    """List how the campaign was run: counts come from the records, versions from their provenance."""
    runs = list(records.values())
    return [
        *_describe_trainings(plan, runs),
        ("seeds", wording.listed(plan.campaign.seeds)),
        ("code", _distinct(runs, lambda origin: str(origin.get("code_tree") or wording.NOT_RECORDED)[:12])),
        (
            "base commit",
            _distinct(runs, lambda origin: str(origin.get("base_commit") or wording.NOT_RECORDED)[:12]),
        ),
        ("host", _distinct(runs, lambda origin: str(origin.get("host") or wording.NOT_RECORDED))),
        ("device", _distinct(runs, lambda origin: str(origin.get("device") or wording.NOT_RECORDED))),
        ("environment", _distinct(runs, _describe_environment)),
        *_describe_files(plan.campaign.task, runs),
        *_describe_data(plan.campaign.task, runs),
        *(("results of older code", sentence) for sentence in describe_accepted(_in_plan(plan, records))),
    ]


def _describe_trainings(plan: Plan, runs: Sequence[RunRecord]) -> list[tuple[str, str]]:
    """Count the trainings, and say how long they took as far as they tell it."""
    task, num_epochs = plan.campaign.task, sum(len(run.epochs) for run in runs)
    seconds = sum(epoch.seconds for run in runs for epoch in run.epochs)
    minutes = _describe_minutes(seconds)
    count = f"{len(runs)} of {len(plan.runs)}"
    if not task.supervised:
        return [
            ("trainings", f"{count}, {num_epochs} epochs"),
            ("training time", f"{seconds:,.0f} s in epochs{minutes}, summed over runs"),
        ]
    if not num_epochs:
        # Only steps are timed.
        return [("trainings", f"{count}; they tell no {task.progress_name}s, so nobody knows how long they took")]
    last = f"to the last {task.progress_name}, imports included"
    return [
        ("trainings", f"{count}, {wording.counted(num_epochs, task.progress_name)}"),
        ("training time", f"{seconds:,.0f} s{minutes} {last}, summed over runs"),
    ]


def _describe_minutes(seconds: float) -> str:
    return f" ({wording.counted(round(seconds / 60), 'minute')})" if seconds >= 60 else ""


def _in_plan(plan: Plan, records: Records) -> list[RunRecord]:
    return [records[run.id] for run in plan.runs if run.id in records]


def _distinct(runs: Sequence[RunRecord], describe: Any) -> str:
    return wording.listed(sorted({describe(run.provenance) for run in runs}))


def _describe_environment(origin: Mapping[str, Any]) -> str:
    there = {name: version for name, version in (origin.get("environment") or {}).items() if version}
    # An interpreter of a script may have hundreds of packages, and a reader looks for a few.
    shown = there if len(there) <= MAX_PACKAGES else {name: there[name] for name in SHOWN_PACKAGES if name in there}
    rest = [f"and {wording.counted(len(there) - len(shown), 'more package')}"] if len(shown) < len(there) else []
    return ", ".join([*(f"{name} {version}" for name, version in shown.items()), *rest]) or wording.NOT_RECORDED


def _describe_files(task: TaskSpec, runs: Sequence[RunRecord]) -> list[tuple[str, str]]:
    """List the files that parameters name."""
    hashes = {path: content for run in runs for path, content in (run.provenance.get("files") or {}).items()}
    kind = "file" if task.supervised else "capture"
    return [(f"{kind} {Path(path).name}", f"SHA-256 {content[:16]}…") for path, content in sorted(hashes.items())]


def _describe_data(task: TaskSpec, runs: Sequence[RunRecord]) -> list[tuple[str, str]]:
    """List the task's data, and say where their contents were not read."""
    rows = []
    for name, spec in task.data.items():
        found = sorted({str((run.provenance.get("data") or {}).get(name) or "") for run in runs} - {""})
        hashes = wording.listed([f"{content[:16]}…" for content in found]) or wording.NOT_RECORDED
        what = "SHA-256" if spec.fingerprint == "content" else "names and sizes of its files alone, SHA-256"
        rows.append((f"data {name}", f"{spec.path}, {what} {hashes}"))
    return rows
