"""The verdict on one comparison by one metric, and its reason. Pure; the rules stand at the head of `judge`."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator import wording
from orchestrator.campaign.arms import Arm
from orchestrator.campaign.spec import JudgingSpec
from orchestrator.design.needed import (
    fewest_to_decide,
    items_to_resolve,
    range_to_decide,
    seeds_to_resolve,
)
from orchestrator.runs.folder import Result
from orchestrator.runs.record import RunRecord
from orchestrator.runs.states import Failure, RunState
from orchestrator.stats.estimate import Estimate
from orchestrator.stats.multiplicity import CORRECTION_NAME
from orchestrator.stats.prior import MIN_POOLED
from orchestrator.task.metric_spec import MetricSpec
from orchestrator.task.spec import LabelsSpec
from orchestrator.verdicts.comparisons import MIN_SEEDS, Runs
from orchestrator.verdicts.effects import change_has_no_effect, seed_has_no_effect
from orchestrator.verdicts.judgement import Verdict
from orchestrator.verdicts.scale import Scale

Conclusion = tuple[Verdict | None, str]

MAX_SEEDS = 100
"""A reason names no larger number of seeds, nor an infinite one; it says "more than" this one."""
MAX_WORDS = 400
"""Most characters of a reason why a metric was not read."""


@dataclass(frozen=True)
class Case:
    """All that one verdict by one metric is made from."""

    arm: Arm
    metric: MetricSpec
    labels: LabelsSpec
    runs: Runs
    reference_runs: Runs
    estimate: Estimate
    adjusted_p_value: float | None
    equivalence_p_value: float | None
    family: str | None
    num_compared: int
    """The number of comparisons in its family."""
    judging: JudgingSpec
    equivalence_level: float
    """Level of the two one-sided tests: `judging.level`, or the share of it that this look has."""
    min_seeds: int = MIN_SEEDS
    """Least number of seeds with a score on both sides for a verdict."""
    holds_other_items: bool = False
    """Whether each seed has items of its own, though nothing says that it draws them."""

    @property
    def scale(self) -> Scale:
        """The scale of the judgement."""
        return Scale(self.metric)

    @property
    def unit_label(self) -> str:
        """What one of `estimate.num_items` is called."""
        return self.labels.cluster if self.estimate.rests_on == "clusters" else self.labels.item


def conclude(case: Case) -> Conclusion:
    """Return the verdict and the sentence that says why; no verdict for a baseline and for shuffled labels."""
    stopped = _conclude_stop(case)
    if stopped is not None:
        return stopped
    if case.arm.reference is None:
        return None, "the baseline: it is compared with nothing"
    if case.arm.control == "shuffled_labels":
        return None, "a control, trained on labels without meaning: it is held against chance, not its reference"
    if len(case.estimate.seeds) < case.min_seeds:
        return Verdict.NEEDS_SEEDS, _describe_needs_seeds(case)
    if seed_has_no_effect(case.runs, case.reference_runs, case.estimate.seeds):
        return Verdict.NEEDS_SEEDS, _describe_dead_seed(case)
    verdict, reason = _bar(case, *_judge_difference(case))
    same = _describe_no_effect(case)
    return verdict, f"{reason}{same}{_describe_own_spread(case)}{_describe_left_out(case)}"


def failed_seeds(runs: Runs, *, of_the_arm: bool = True) -> dict[int, str]:
    """Return the seeds that failed by the arm's own doing, or else by nobody knows whose, with the failure's class.

    An arm fails by its own doing if it diverges, has a number that is not finite, or needs too much memory. What a
    machine or a person did says nothing of the arm, so it counts on neither side.
    """
    found: dict[int, str] = {}
    for seed, run in runs.items():
        result = _result(run)
        if result is None or result.state != RunState.FAILED or result.failure not in tuple(Failure):
            continue
        failure = Failure(result.failure)
        if failure.is_of_the_arm if of_the_arm else not (failure.is_of_the_arm or failure.is_of_the_machine):
            found[seed] = failure.value
    return found


def describe_fragile(case: Case) -> tuple[str, ...]:
    """Say which seeds of either side failed while others are done, a sentence for each side and kind of failure."""
    if case.arm.reference is None or not case.estimate.seeds:
        return ()
    sides = ((case.arm.id, case.runs), (f"the reference {case.arm.reference}", case.reference_runs))
    whose = {True: "a seed that fails is a result too", False: "nobody knows whether the arm or the machine did it"}
    return tuple(
        f"{name}: {_describe_classes(failed)}; {why}"
        for name, runs in sides
        for of_the_arm, why in whose.items()
        if (failed := failed_seeds(runs, of_the_arm=of_the_arm))
    )


def _describe_classes(failed: Mapping[int, str]) -> str:
    of_class: dict[str, list[int]] = {}
    for seed, failure in failed.items():
        of_class.setdefault(failure, []).append(seed)
    return wording.listed(f"{wording.seeds(seeds)} failed ({failure})" for failure, seeds in of_class.items())


def _bar(case: Case, verdict: Verdict, reason: str) -> Conclusion:
    """Bar every verdict but a regression for an arm some of whose seeds failed by its own doing."""
    failed = failed_seeds(case.runs)
    if not failed or verdict is Verdict.REGRESSION:
        return verdict, reason
    # Seeds fail for the same cause that makes others worse, so the seeds that are left are the lucky ones.
    barred = (
        f"{_describe_classes(failed)} by the doing of {case.arm.id}, and the seeds that are left cannot decide alone"
    )
    if verdict is Verdict.INCONCLUSIVE:
        return verdict, f"{reason}; {barred}"
    return Verdict.INCONCLUSIVE, f"{barred}; they would say {verdict}: {reason}"


def _describe_dead_seed(case: Case) -> str:
    seeds = wording.seeds(case.estimate.seeds)
    return (
        f"the seed has no effect: {seeds} give the same numbers to the last digit, in {case.arm.id} and in "
        f"{case.arm.reference}, so their spread says nothing; pass `{{seed}}` to whatever draws random numbers"
    )


def _describe_no_effect(case: Case) -> str:
    # An A/A arm makes no change, and shows no more than that if it equals the baseline.
    if case.arm.control or not change_has_no_effect(case.runs, case.reference_runs, case.estimate.seeds):
        return ""
    return (
        f"; the change had no effect: every number equals that of {case.arm.reference} at every seed, to the last digit"
    )


def _conclude_stop(case: Case) -> Conclusion | None:
    ended = [result for run in case.runs.values() if (result := _result(run)) and _has_ended(result)]
    # A guard rules on an epoch's time. One finished seed shows that the limit can be met.
    slow = next((result for result in ended if result.state == RunState.TOO_SLOW), None)
    if slow is not None and not _is_any_done(case.runs):
        return Verdict.TOO_SLOW, slow.reason
    if not ended:
        return Verdict.PENDING, f"not run: {_describe_runs(case.runs, case.metric.name)}"
    # One failed seed of several may be an accident of the machine; all failed seeds are a property of the change.
    if len(ended) == len(case.runs) and all(result.state == RunState.FAILED for result in ended):
        return Verdict.FAILED, _describe_runs(case.runs, case.metric.name)
    return None


def _is_any_done(runs: Runs) -> bool:
    return any(result.state == RunState.DONE for run in runs.values() if (result := _result(run)))


def _has_ended(result: Result) -> bool:
    return result.state in (RunState.DONE, RunState.TOO_SLOW, RunState.FAILED)


def _result(run: RunRecord | None) -> Result | None:
    return run.result if run else None


def _describe_runs(runs: Runs, metric: str) -> str:
    """Say how the runs without scores ended, with the seeds of each end together."""
    seeds_of: dict[str, list[int]] = {}
    is_any_done = _is_any_done(runs)
    for seed, run in runs.items():
        if ending := _describe_ending(run, metric, is_any_done=is_any_done):
            seeds_of.setdefault(ending, []).append(seed)
    return "; ".join(f"{wording.seeds(seeds)} {ending}" for ending, seeds in seeds_of.items())


def _describe_ending(run: RunRecord | None, metric: str, *, is_any_done: bool) -> str:
    result = _result(run)
    if run is None or result is None:
        return "without a result yet"
    if result.state == RunState.TOO_SLOW and is_any_done:
        how = f"which a seed that is done contradicts; `knockout retry {run.id}` trains it on"
        return f"was ruled too slow, {how}: {result.reason}"
    if result.state == RunState.FAILED:
        return f"failed ({result.failure or 'no class given'}): {result.reason}"
    if result.state != RunState.DONE:
        return f"ended as {result.state}: {result.reason}"
    if metric in run.scores:
        return ""
    why = f": {wording.one_line(run.unread[metric], MAX_WORDS)}" if metric in run.unread else ""
    return f"without a score of {metric}{why}"


def _describe_needs_seeds(case: Case) -> str:
    few = f"needs seeds: {len(case.estimate.seeds)} of at least {case.min_seeds} have both sides scored"
    return "; ".join([few, *_describe_unscored(case), *_describe_other_items(case)])


def _describe_other_items(case: Case) -> list[str]:
    if not case.holds_other_items:
        return []
    return [
        f"each seed holds other {case.labels.item}s: if it draws its own, say `resampled: {{test_share: ...}}` under "
        "`task.items`; else name keys that stay"
    ]


def _describe_unscored(case: Case) -> list[str]:
    sides = ((case.arm.id, case.runs), (f"the reference {case.arm.reference}", case.reference_runs))
    return [f"{name}: {ended}" for name, runs in sides if (ended := _describe_runs(runs, case.metric.name))]


def _describe_left_out(case: Case) -> str:
    parts = _describe_unscored(case)
    if case.estimate.dropped_items:
        parts.append(
            f"{wording.counted(case.estimate.dropped_items, case.labels.item)} that not every run was scored on"
        )
    return f"; left out: {'; '.join(parts)}" if parts else ""


def _describe_own_spread(case: Case) -> str:
    if case.estimate.moderated:
        return ""
    own = f"the spread over its seeds is known from its own {len(case.estimate.seeds)} seeds alone (plain t)"
    few = f"fewer than {MIN_POOLED} configurations have two seeds to pool it"
    return f"; {own}: {'it is a control' if case.arm.control else few}"


def decide_verdict(gain_points: float, adjusted_p: float, equivalence_p: float, level: float) -> Verdict:
    """Return the verdict from the tests against zero (adjusted within the family) and against the margin.

    Args:
        gain_points: the difference, above zero where the experiment is better.
        adjusted_p: against no difference.
        equivalence_p: against a difference as large as the margin.
        level: of both.
    """
    # The margin comes before the sign: see rule 3 at the head of `judge`.
    if equivalence_p < level:
        return Verdict.NO_CHANGE
    if adjusted_p >= level:
        return Verdict.INCONCLUSIVE
    return Verdict.IMPROVED if gain_points > 0 else Verdict.REGRESSION


def _judge_difference(case: Case) -> tuple[Verdict, str]:
    delta, p_value, level = case.estimate.delta_points, case.estimate.p_value, case.estimate.level
    adjusted_p, equivalence_p = case.adjusted_p_value, case.equivalence_p_value
    assert delta is not None
    assert p_value is not None
    assert adjusted_p is not None
    assert equivalence_p is not None
    verdict = decide_verdict(case.scale.sign * delta, adjusted_p, equivalence_p, case.judging.level)
    correction = f"{CORRECTION_NAME[case.judging.correction]}-adjusted p {wording.probability(adjusted_p)}"
    group = "" if case.family == "campaign" else f" of {case.family}"
    among = f"among {wording.counted(case.num_compared, 'comparison')}{group} ({correction})"
    if verdict is Verdict.NO_CHANGE:
        looks = ", adjusted for the looks" if case.equivalence_level < case.judging.level else ""
        tests = f"two one-sided tests, p {wording.probability(equivalence_p)}{looks}"
        inside = f"the {wording.coverage(2 * case.equivalence_level)} interval lies within the margin"
        return verdict, f"{inside} of {case.scale.margin()} ({tests})"
    if verdict is not Verdict.INCONCLUSIVE:
        better = "" if case.metric.better == "higher" else ", and lower is better"
        return verdict, f"the whole interval lies {'above' if delta > 0 else 'below'} 0{better}, also {among}"
    if p_value < level:
        return verdict, f"off zero alone, but not {among}; {_describe_needed(case)}"
    return verdict, f"the interval holds 0 and is not inside the margin; {_describe_needed(case)}"


def _describe_needed(case: Case) -> str:
    """Say roughly how many seeds in all, or else items, would give another verdict, if the difference stays."""
    stays = f"if the difference stays at {case.scale.with_unit(case.estimate.delta_points)}"
    seeds = _needed(case, fewest_to_decide(*_question(case), to_resolve=seeds_to_resolve))
    low, high = (_needed(case, number) for number in range_to_decide(*_question(case), to_resolve=seeds_to_resolve))
    reach = f"over its interval, {_describe_range(low, high)}"
    if seeds < math.inf:
        return f"{stays}, it would take roughly {_describe_seeds(seeds)} in all to tell; {reach}"
    error = f"a standard error of {case.scale.size(case.estimate.item_error_points)}"
    if case.estimate.rests_on == "seeds":
        return f"{stays}, seeds alone do not tell: the test splits that they draw overlap and leave {error}; {reach}"
    alone = f"the {wording.counted(case.estimate.num_items, case.unit_label)} alone leave {error}"
    items = fewest_to_decide(*_question(case), to_resolve=items_to_resolve)
    more = f"roughly {items:,} {case.unit_label}s in all" if items < math.inf else f"more {case.unit_label}s as well"
    return f"{stays}, seeds alone do not tell: {alone}; it would take {more}; {reach}"


def _question(case: Case) -> tuple[Estimate, float, int, float]:
    return case.estimate, case.scale.margin_points, case.num_compared, case.equivalence_level


def _needed(case: Case, number: float) -> float:
    # The estimate may say that the present seeds are enough, but they gave no verdict: so at least one more.
    return max(number, len(case.estimate.seeds) + 1)


def _describe_seeds(number: float) -> str:
    return f"{number:.0f} seeds" if number <= MAX_SEEDS else f"more than {MAX_SEEDS} seeds"


def _describe_range(low: float, high: float) -> str:
    """Write a range of seeds in all: 3 to 40 seeds in all, 3 to more than 100 seeds in all."""
    ends = [_describe_seeds(end).removesuffix(" seeds") for end in (low, high)]
    return f"{' to '.join(dict.fromkeys(ends))} seeds in all"
