"""The score of a point: a metric of role `choose`, or the accuracy on captures that no report uses. Pure.

Axes: N items of all seeds, G groups of items that are drawn together.
"""

from collections.abc import Iterator, Sequence
from math import hypot, sqrt
from statistics import mean, stdev

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from orchestrator.campaign.scored import ACCURACY, Objective
from orchestrator.runs.folder import EpochRecord, Result
from orchestrator.runs.scores import Score as RunScore
from orchestrator.runs.scores import measure_of
from orchestrator.stats.item_pairs import RunItems
from orchestrator.task.metric_spec import ItemsSource, MetricSpec

Floats = NDArray[np.float64]


class Score(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The score of one point, in the unit of the objective."""

    mean: float
    """Score over all seeds."""
    standard_error: float
    """Standard error of the mean; 0 if nothing tells it."""
    per_seed: tuple[float, ...]
    """Score of each seed."""
    bursts: int
    """Items, right or wrong, that one run was scored on; 0 if nobody counted them, or for another metric."""
    influence_error: float = 0.0
    """Standard error from the influence of the items on a metric; 0 where there are none, or `bursts` tell it."""

    @property
    def is_across_seeds(self) -> bool:
        """Whether the standard error includes seed noise. The sampling error alone is too small."""
        return len(self.per_seed) > 1

    @property
    def sampling_error(self) -> float:
        """The standard error from sampling the items only; 0 if nothing tells it."""
        return self.influence_error or item_error(self.per_seed, self.bursts)


def score_run(result: Result, epochs: Sequence[EpochRecord], captures: Sequence[str]) -> tuple[float, int]:
    """Return a finished run's accuracy over all captures, in percent, and the number of their bursts.

    A run does not score its validation captures at the end. Then this is the accuracy of the kept epoch, with 0 bursts.
    """
    if all(name in result.scores for name in captures):
        bursts = sum(result.scores[name].bursts for name in captures)
        return 100.0 * sum(result.scores[name].correct for name in captures) / bursts, bursts
    kept = next(record for record in epochs if record.epoch == result.best_epoch)
    return 100.0 * kept.val_accuracy, 0


def watched(record: EpochRecord, objective: Objective) -> float | None:
    """Return the value of an epoch that a pruner reads; None if the run does not tell it.

    Its sign is such that it is better in the same direction as the score. Accuracies of a built-in study are percent.
    """
    value = record.told.get(objective.watch)
    if value is None:
        return None
    scale = 100.0 if objective.watch == ACCURACY and not objective.metric else 1.0
    return scale * value if objective.watch_better == objective.better else -scale * value


def mean_by_epoch(epochs_by_seed: Sequence[Sequence[EpochRecord]], objective: Objective) -> Iterator[tuple[int, float]]:
    """Yield (step, mean over seeds of the watched value) of each epoch that all seeds have finished."""
    for records in zip(*epochs_by_seed, strict=False):
        values = [watched(record, objective) for record in records]
        told = [value for value in values if value is not None]
        if len(told) == len(values):
            yield records[0].epoch - 1, mean(told)


def each_by_epoch(epochs_by_seed: Sequence[Sequence[EpochRecord]], objective: Objective) -> Iterator[tuple[int, float]]:
    """Yield (step, watched value) of every epoch of every seed.

    Epoch 2 of the first seed is the same step in all trials, so the signed-rank test pairs equal seeds.
    """
    for place, records in enumerate(epochs_by_seed):
        for record in records:
            value = watched(record, objective)
            if value is not None:
                yield (record.epoch - 1) * len(epochs_by_seed) + place, value


def combine(scores: Sequence[tuple[float, int]]) -> Score:
    """Return the mean over seeds with its standard error: that of the seeds and that of the items together.

    All seeds score the same items, so more seeds do not make the items' part smaller. The two parts add as squares.

    Args:
        scores: of each seed, the accuracy in percent and the number of bursts.
    """
    per_seed, bursts = tuple(accuracy for accuracy, _ in scores), scores[0][1]
    error = hypot(_seed_error(per_seed), item_error(per_seed, bursts))
    return Score(mean=mean(per_seed), standard_error=error, per_seed=per_seed, bursts=bursts)


def combine_metric(metric: MetricSpec, scores: Sequence[RunScore]) -> Score:
    """Return the mean of a metric over seeds; its standard error adds that of the seeds and that of its items.

    Args:
        metric: what was read.
        scores: of each seed.
    """
    per_seed = tuple(score.value for score in scores)
    # A share of right and wrong items is never certain, also where all are right.
    if all(score.is_share and score.num_items for score in scores):
        return combine([(score.value, score.num_items or 0) for score in scores])
    items = [score.items for score in scores if score.items is not None]
    of_items = influence_error(metric.source, items) if isinstance(metric.source, ItemsSource) and items else 0.0
    error = hypot(_seed_error(per_seed), of_items)
    return Score(mean=mean(per_seed), standard_error=error, per_seed=per_seed, bursts=0, influence_error=of_items)


def _seed_error(per_seed: Sequence[float]) -> float:
    return stdev(per_seed) / sqrt(len(per_seed)) if len(per_seed) > 1 else 0.0


def influence_error(source: ItemsSource, items: Sequence[RunItems]) -> float:
    """Return the standard error of a metric's mean over seeds from sampling items, or clusters of them.

    An item that several seeds share counts once, with its mean influence.

    Args:
        source: how the metric is made from items.
        items: of each seed.
    """
    shares: list[Floats] = [
        measure_of(source)(each.columns).influence_B / (len(each.keys_B) * len(items)) for each in items
    ]
    groups = [each.keys_B if each.cluster_B is None else each.cluster_B for each in items]
    _, group_N = np.unique(np.concatenate(groups), return_inverse=True)
    sum_G = np.bincount(group_N.ravel(), weights=np.concatenate(shares))
    num_groups = len(sum_G)
    return sqrt(float((sum_G**2).sum()) * num_groups / (num_groups - 1)) if num_groups > 1 else 0.0


def item_error(per_seed: Sequence[float], bursts: int) -> float:
    """Return the standard error from sampling the test bursts only (not the seeds), in percentage points.

    Binomial, with two successes and two failures added (Agresti and Coull 1998). Without them, scores of 0 and 100 %
    would have no error. All seeds score the same bursts, so it does not fade with more seeds.

    Args:
        per_seed: accuracy of each seed, in percent.
        bursts: bursts of one run. 0 stands for unknown and gives an error of 0.
    """
    if not bursts:
        return 0.0
    shares = [(percent / 100.0 * bursts + 2.0) / (bursts + 4.0) for percent in per_seed]
    return 100.0 * sqrt(mean(share * (1.0 - share) for share in shares) / (bursts + 4.0))
