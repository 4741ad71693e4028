"""The score that a search maximizes: the accuracy on captures that no report uses. Pure."""

from collections.abc import Iterator, Sequence
from math import sqrt
from statistics import mean, stdev

from msgspec import Struct

from orchestrator.runs.folder import EpochRecord, Result


class Score(Struct, frozen=True, kw_only=True):
    """The score of one point."""

    mean: float
    """Accuracy over all seeds, in percent."""
    standard_error: float
    """Standard error of the mean, in percentage points."""
    per_seed: tuple[float, ...]
    """Accuracy of each seed, in percent."""
    bursts: int
    """Bursts that one run was scored on; 0 if nobody counted them."""

    @property
    def is_across_seeds(self) -> bool:
        """Whether the standard error includes seed noise. The sampling error alone is too small."""
        return len(self.per_seed) > 1


def score_run(result: Result, epochs: Sequence[EpochRecord], captures: Sequence[str]) -> tuple[float, int]:
    """Return a finished run's accuracy over all captures, in percent, and the number of their bursts.

    A run does not score its validation captures at the end. Then this is the accuracy of the kept epoch, with 0 bursts.
    """
    if all(name in result.scores for name in captures):
        bursts = sum(result.scores[name].bursts for name in captures)
        return 100.0 * sum(result.scores[name].correct for name in captures) / bursts, bursts
    kept = next(record for record in epochs if record.epoch == result.best_epoch)
    return 100.0 * kept.val_accuracy, 0


def mean_by_epoch(epochs_by_seed: Sequence[Sequence[EpochRecord]]) -> Iterator[tuple[int, float]]:
    """Yield (step, mean validation accuracy over seeds in percent) of each epoch that all seeds have finished."""
    for records in zip(*epochs_by_seed, strict=False):
        yield records[0].epoch - 1, 100.0 * mean(record.val_accuracy for record in records)


def each_by_epoch(epochs_by_seed: Sequence[Sequence[EpochRecord]]) -> Iterator[tuple[int, float]]:
    """Yield (step, validation accuracy in percent) of every epoch of every seed.

    Epoch 2 of the first seed is the same step in all trials, so the signed-rank test pairs equal seeds.
    """
    for place, records in enumerate(epochs_by_seed):
        for record in records:
            yield (record.epoch - 1) * len(epochs_by_seed) + place, 100.0 * record.val_accuracy


def combine(scores: Sequence[tuple[float, int]]) -> Score:
    """Return the mean over seeds with its standard error, which is never below the sampling error.

    A few seeds may have equal scores by chance. That makes the mean no more certain.

    Args:
        scores: of each seed, the accuracy in percent and the number of bursts.
    """
    per_seed, bursts = tuple(accuracy for accuracy, _ in scores), scores[0][1]
    of_seeds = stdev(per_seed) / sqrt(len(per_seed)) if len(per_seed) > 1 else 0.0
    error = max(of_seeds, item_error(per_seed, bursts))
    return Score(mean=mean(per_seed), standard_error=error, per_seed=per_seed, bursts=bursts)


def item_error(per_seed: Sequence[float], bursts: int) -> float:
    """Return the standard error from sampling the test bursts only (not the seeds), in percentage points.

    Binomial, with two successes and two failures added (Agresti and Coull 1998). Without them, scores of 0 and 100 %
    would have no error.

    Args:
        per_seed: accuracy of each seed, in percent.
        bursts: bursts of one run. 0 stands for unknown and gives an error of 0.
    """
    if not bursts:
        return 0.0
    shares = [(percent / 100.0 * bursts + 2.0) / (bursts + 4.0) for percent in per_seed]
    return 100.0 * sqrt(sum(share * (1.0 - share) for share in shares) / (bursts + 4.0)) / len(shares)
