"""What a search makes as high as it can: the accuracy at locations that nothing is reported on. Pure."""

from collections.abc import Iterator, Sequence
from math import sqrt
from statistics import mean, stdev

from msgspec import Struct

from model.train.run_folder import EpochRecord, Result


class Score(Struct, frozen=True, kw_only=True):
    """The objective at one point, in percent."""

    mean: float
    standard_error: float
    per_seed: tuple[float, ...]
    bursts: int
    """Of one run; 0 where nobody counted them."""

    @property
    def is_across_seeds(self) -> bool:
        """Whether the standard error is that of seeds; else it is that of the bursts alone, which is too small."""
        return len(self.per_seed) > 1


def score_run(result: Result, epochs: Sequence[EpochRecord], captures: Sequence[str]) -> tuple[float, int]:
    """Return a finished run's accuracy on the captures together, in percent, and the number of their bursts.

    Validation captures are not scored at the end; theirs is the accuracy of the epoch whose weights were kept.
    """
    if all(name in result.scores for name in captures):
        bursts = sum(result.scores[name].bursts for name in captures)
        return 100.0 * sum(result.scores[name].correct for name in captures) / bursts, bursts
    kept = next(record for record in epochs if record.epoch == result.best_epoch)
    return 100.0 * kept.val_accuracy, 0


def mean_by_epoch(epochs_by_seed: Sequence[Sequence[EpochRecord]]) -> Iterator[tuple[int, float]]:
    """Yield (step, validation accuracy in percent, the mean over seeds) of the epochs that all seeds have finished."""
    for records in zip(*epochs_by_seed, strict=False):
        yield records[0].epoch - 1, 100.0 * mean(record.val_accuracy for record in records)


def each_by_epoch(epochs_by_seed: Sequence[Sequence[EpochRecord]]) -> Iterator[tuple[int, float]]:
    """Yield (step, validation accuracy in percent) of every epoch; the same seed's same epoch is the same step."""
    for place, records in enumerate(epochs_by_seed):
        for record in records:
            yield (record.epoch - 1) * len(epochs_by_seed) + place, 100.0 * record.val_accuracy


def combine(scores: Sequence[tuple[float, int]]) -> Score:
    """Return the mean over seeds with its standard error, which is at least that of drawing as many bursts.

    A few seeds may be equal by luck; that alone makes nothing certain.
    """
    per_seed, bursts = tuple(accuracy for accuracy, _ in scores), scores[0][1]
    of_seeds = stdev(per_seed) / sqrt(len(per_seed)) if len(per_seed) > 1 else 0.0
    error = max(of_seeds, burst_error(per_seed, bursts))
    return Score(mean=mean(per_seed), standard_error=error, per_seed=per_seed, bursts=bursts)


def burst_error(per_seed: Sequence[float], bursts: int) -> float:
    """Return the standard error of a mean over seeds that comes of drawing the bursts alone, in percentage points.

    Binomial, with two more right and two more wrong (Agresti and Coull 1998), so that 0 and 100 % are not certain.

    Args:
        per_seed: accuracy of each seed, in percent.
        bursts: of one run; where nobody counted them the error is 0, which stands for unknown.
    """
    if not bursts:
        return 0.0
    shares = [(percent / 100.0 * bursts + 2.0) / (bursts + 4.0) for percent in per_seed]
    return 100.0 * sqrt(sum(share * (1.0 - share) for share in shares) / (bursts + 4.0)) / len(shares)
