"""Whether a seed, or a change, had any effect at all on the numbers of a campaign's runs. Pure.

A training that ignores its seed gives the same numbers at every seed, so its spread over seeds says nothing. A change
that never reaches the training gives the reference's numbers.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from orchestrator.campaign.plan import Plan
from orchestrator.runs.record import RunRecord
from orchestrator.runs.scores import Score
from orchestrator.stats.dependence import Dependence, find_dependence, item_differences
from orchestrator.stats.item_pairs import RunItems
from orchestrator.task.metric_spec import ItemsSource
from orchestrator.verdicts.comparisons import Runs, done_runs, items_of, judged_measure, resampled_of, scores_of

MIN_CLUSTERS = 8
"""Fewer clusters than this show their own spread poorly."""
DEPENDENCE_LEVEL = 0.05
"""Independent items are called dependent in less than this share of campaigns."""


def seed_has_no_effect(runs: Runs, reference_runs: Runs, seeds: Iterable[int]) -> bool:
    """Whether each of two sides has the same numbers at all of some seeds, to the last digit.

    Both sides are asked, because two printed scores of one side may agree by chance.

    Args:
        runs: of the experiment.
        reference_runs: of its reference.
        seeds: two or more at which both sides are scored.
    """
    at = tuple(seeds)
    sides = [done_runs(side) for side in (runs, reference_runs)]
    return len(at) > 1 and all(_all_same([side[seed] for seed in at]) for side in sides)


def change_has_no_effect(runs: Runs, reference_runs: Runs, seeds: Iterable[int]) -> bool:
    """Whether an experiment has every number of its reference at each of some seeds, to the last digit."""
    at = tuple(seeds)
    ours, theirs = done_runs(runs), done_runs(reference_runs)
    # Arms that share a run have nothing to compare.
    # Every seed must agree: one equal score of few digits is chance.
    pairs = [(ours[seed], theirs[seed]) for seed in at if ours[seed].id != theirs[seed].id]
    return bool(pairs) and len(pairs) == len(at) and all(_is_same(run, other) for run, other in pairs)


def item_dependence(plan: Plan, runs: Mapping[str, Runs]) -> Dependence | None:
    """Test once, over all comparisons of a campaign, whether neighbouring items are alike in the main metric.

    Controls are left out, since a model that guesses follows the reference's own right and wrong items.

    Args:
        plan: the arms and their references.
        runs: arm -> its runs.

    Returns:
        The test; None if there are no such items, or the runs name clusters.
    """
    metric = plan.campaign.judged
    if not isinstance(metric.source, ItemsSource) or resampled_of(plan.campaign, metric):
        return None
    items = {name: items_of(scores_of(found, metric.name)) for name, found in runs.items()}
    measure = judged_measure(metric)
    pairs = [(name, arm.reference) for name, arm in plan.arms.items() if arm.reference is not None and not arm.control]
    found = [item_differences(items[name], items[reference], measure) for name, reference in pairs]
    return find_dependence([one for one in found if one is not None])


def _all_same(runs: list[RunRecord]) -> bool:
    return all(run.id != runs[0].id and _is_same(run, runs[0]) for run in runs[1:])


def _is_same(run: RunRecord, other: RunRecord) -> bool:
    return bool(run.scores) and same_numbers(run.scores, other.scores) and _curves(run) == _curves(other)


def _curves(run: RunRecord) -> list[Mapping[str, float | None]]:
    return [
        # Seconds and memory differ between equal trainings, so only what was learnt is compared.
        {"train_loss": epoch.train_loss, "val_loss": epoch.val_loss, "val_accuracy": epoch.val_accuracy, **epoch.values}
        for epoch in run.epochs
    ]


def same_numbers(one: Mapping[str, Score], other: Mapping[str, Score]) -> bool:
    """Whether two runs agree to the last digit in every metric, and in every item of each."""
    return one.keys() == other.keys() and all(_is_same_score(score, other[name]) for name, score in one.items())


def _is_same_score(one: Score, other: Score) -> bool:
    if one.value != other.value or (one.items is None) != (other.items is None):
        return False
    return one.items is None or other.items is None or _has_same_items(one.items, other.items)


def _has_same_items(one: RunItems, other: RunItems) -> bool:
    if not np.array_equal(one.keys_B, other.keys_B) or one.columns.keys() != other.columns.keys():
        return False
    return all(np.array_equal(values_B, other.columns[name]) for name, values_B in one.columns.items())
