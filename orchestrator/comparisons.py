"""What a campaign compares: its scored runs, which arms are one configuration, and the spread that all share. Pure.

`verdicts` judges by these functions, and `arithmetic` works a verdict out again by the same ones.
"""

from collections.abc import Mapping

from orchestrator.evidence import Bursts, RunRecord
from orchestrator.multiplicity import ADJUST
from orchestrator.pairing import PairedDifferences, pair_outcomes
from orchestrator.plan import Plan
from orchestrator.spec import BASELINE
from orchestrator.states import RunState
from orchestrator.variance import Spread, difference_spread

Runs = dict[int, RunRecord | None]
"""Seed -> its run, None where there is none yet."""


def runs_of(plan: Plan, records: Mapping[str, RunRecord], experiment: str) -> Runs:
    """Return an experiment's runs by the campaign's seeds."""
    return {seed: records.get(plan.run_of[experiment, seed]) for seed in plan.campaign.seeds}


def outcomes_of(runs: Runs, capture: str) -> dict[int, Bursts]:
    """Return seed -> outcomes on a capture, of the runs that are done."""
    return {seed: run.bursts[capture] for seed, run in _done(runs).items() if capture in run.bursts}


def accuracies_of(runs: Runs, capture: str) -> dict[int, float]:
    """Return seed -> accuracy on a capture in percent, of the runs that are done."""
    results = {seed: run.result for seed, run in _done(runs).items()}
    return {
        seed: 100.0 * result.scores[capture].accuracy
        for seed, result in results.items()
        if result is not None and capture in result.scores
    }


def _done(runs: Runs) -> dict[int, RunRecord]:
    return {seed: run for seed, run in runs.items() if run and run.result and run.result.state == RunState.DONE}


def pair_runs(runs: Runs, reference_runs: Runs, capture: str) -> PairedDifferences:
    """Join two sides on seed and burst; what is scored on one side only is dropped and counted.

    Raises:
        RunError: a run has one burst twice, or two runs disagree on which device sent a burst.
    """
    return pair_outcomes(outcomes_of(runs, capture), outcomes_of(reference_runs, capture))


def configuration(plan: Plan, experiment: str) -> str:
    """Name the first arm with the same configuration, whose runs an experiment shares."""
    return plan.arms[experiment].same_as or experiment


def comparison(plan: Plan, experiment: str) -> frozenset[str]:
    """Name the two configurations compared: K1 on H2 is the mirror image of H2 on E5 and counts once."""
    reference = plan.arms[experiment].reference or BASELINE
    return frozenset(configuration(plan, side) for side in (experiment, reference))


def score_table(plan: Plan, records: Mapping[str, RunRecord]) -> tuple[dict[str, dict[int, float]], int]:
    """Return what `arm_spreads` and `pool_spreads` take: configuration -> seed -> accuracy, and how many bursts.

    Arms that are the same configuration share runs and count once. A model of labels without meaning guesses, and tells
    nothing about how far the seeds of one that works lie apart.
    """
    capture = plan.campaign.data.report[0]
    runs = {name: runs_of(plan, records, name) for name in plan.arms}
    alike = [name for name, arm in plan.arms.items() if arm.control != "shuffled_labels"]
    num_bursts = [len(bursts.keys) for of in runs.values() for bursts in outcomes_of(of, capture).values()]
    scores = {configuration(plan, name): accuracies_of(runs[name], capture) for name in alike}
    return scores, max(num_bursts, default=1)


def spread_between(plan: Plan, spreads: Mapping[str, Spread], experiment: str, reference: str) -> Spread | None:
    """Return the spread of a difference at one seed; None where a side's configuration has no pooled one."""
    sides = [spreads.get(configuration(plan, side)) for side in (experiment, reference)]
    known = [side for side in sides if side is not None]
    return difference_spread(*known) if len(known) == len(sides) else None


def distinct_p_values(plan: Plan, p_of: Mapping[str, float]) -> dict[frozenset[str], float]:
    """Return the p-value of each comparison from experiment -> p-value; one and its mirror image count once."""
    return {comparison(plan, name): p_value for name, p_value in p_of.items()}


def adjust(plan: Plan, p_of: Mapping[str, float]) -> dict[frozenset[str], float]:
    """Adjust the p-values of one family, experiment -> p-value, as `judging.correction` says; one a comparison."""
    distinct = distinct_p_values(plan, p_of)
    return dict(zip(distinct, ADJUST[plan.campaign.judging.correction](list(distinct.values())), strict=True))
