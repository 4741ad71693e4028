"""`python -m benchmarks.best_of`: how often a search calls a point better than the default, in simulated searches.

Every point is scored on the same bursts at every seed. A burst is right if a latent number lies below a threshold. The
number has a part of the burst, a part of burst and point that lasts over seeds, and a rest. The best point is compared
with the default by the code of the report.

Letters: N points, S seeds, B bursts, of which each is right or wrong.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import multivariate_normal, norm

from benchmarks.page import publish
from orchestrator.campaign.scored import Objective
from orchestrator.runs.scores import Score
from orchestrator.search.best_of import Points, pair_points, pool_points
from orchestrator.search.best_of import compare as compare_points
from orchestrator.search.objective import combine_metric
from orchestrator.search.results import Difference, TrialRecord
from orchestrator.stats.item_pairs import RunItems
from orchestrator.stats.variance import stratified_variance
from orchestrator.task.metric_spec import MetricSpec, parse_metrics

BEGIN, END = "<!-- begin: written by python -m benchmarks.best_of -->", "<!-- end of best_of -->"
NUM_BURSTS, NUM_SEARCHES, SEED = 500, 400, 16
SHARE = 0.8
"""Share of bursts that a point gets right."""
BETTER_POINTS = 6.0
METRIC: MetricSpec = parse_metrics(
    {"right": {"better": "higher", "unit": "%", "margin": 1.0, "from": {"items": "LocC", "mean": "100 * correct"}}}
)["right"]
LOCATION = Objective(splits=("LocC",))
KEYS_B = np.array([f"burst-{number:03d}" for number in range(NUM_BURSTS)])
STRATUM_B = np.array([f"{number % 8}" for number in range(NUM_BURSTS)])


@dataclass(frozen=True)
class World:
    """What a point's score varies by, as standard deviations in percentage points."""

    own: float
    """Over seeds, on fixed bursts."""
    lasting: float
    """Over draws of the bursts, beside what a draw does to all points."""


WORLDS = (World(2.0, 0.6), World(0.5, 1.5), World(1.0, 1.0), World(1.0, 0.6), World(0.7, 0.8))


@cache
def _covariances() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return correlations of two latent numbers, and the covariance of being right that each one gives."""
    at = float(norm.ppf(SHARE))
    correlations = np.linspace(0.0, 0.999, 200)
    both = [multivariate_normal([0, 0], [[1, each], [each, 1]]).cdf([at, at]) for each in correlations]
    return correlations, np.array(both) - SHARE**2


def _correlation(covariance: float) -> float:
    correlations, covariances = _covariances()
    return float(np.interp(covariance, covariances, correlations))


def draw_right(
    world: World, size: tuple[int, int], gain_points: float, random: np.random.Generator
) -> NDArray[np.bool_]:
    """Return whether each burst is right [N, S, B]; the last point is better by `gain_points`."""
    num_points, num_seeds = size
    of_rest = min(0.06, NUM_BURSTS * world.own**2 / 2e4)
    of_point = NUM_BURSTS * world.lasting**2 / 1e4
    shared = _correlation(SHARE * (1 - SHARE) - of_rest - of_point)
    lasting = _correlation(SHARE * (1 - SHARE) - of_rest) - shared
    # The rest of each seed's bursts is a part of the spread over seeds.
    seed_sd = np.sqrt(world.own**2 - 1e4 * of_rest / NUM_BURSTS) / 100.0
    at = float(norm.ppf(SHARE))
    gain_N = np.zeros(num_points)
    gain_N[-1] = float(norm.ppf(SHARE + gain_points / 100.0)) - at
    shift_NS = gain_N[:, None] + random.normal(0.0, seed_sd / norm.pdf(at), (num_points, num_seeds))
    latent_NSB = random.standard_normal((num_points, num_seeds, NUM_BURSTS), dtype=np.float32)
    latent_NSB *= (1.0 - shared - lasting) ** 0.5
    latent_NSB += (lasting**0.5 * random.standard_normal((num_points, NUM_BURSTS), dtype=np.float32))[:, None]
    latent_NSB += shared**0.5 * random.standard_normal(NUM_BURSTS, dtype=np.float32)
    right_NSB: NDArray[np.bool_] = latent_NSB < (at + shift_NS)[:, :, None]
    return right_NSB


def best_to_default(right_NSB: NDArray[np.bool_], *, is_adjusted: bool = True) -> Difference | None:
    """Compare the best point with the first as a report does; None if it cannot be called better.

    Args:
        right_NSB: whether each burst is right.
        is_adjusted: whether the interval covers all points, or only these two.
    """
    counts_NS = right_NSB.sum(axis=2)
    best = int(counts_NS.sum(axis=1).argmax())
    num_compared = len(right_NSB) if is_adjusted else 2
    if best == 0 or is_hopeless(right_NSB[best], right_NSB[0], Points(num_compared)):
        return None
    trials = [_trial(number, counts_S.tolist()) for number, counts_S in enumerate(counts_NS)]
    ours, theirs = ([_items(right_B) for right_B in right_NSB[place]] for place in (best, 0))
    points = pool_points(trials if is_adjusted else [trials[best], trials[0]], LOCATION)
    return compare_points(trials[best], trials[0], points, pair_points(METRIC, ours, theirs, is_share=True))


def is_hopeless(ours_SB: NDArray[np.bool_], theirs_SB: NDArray[np.bool_], points: Points) -> bool:
    """Whether the bursts alone leave the difference within their error, which the whole error is never below."""
    # This spares the pool over all points, which takes most of the time, and changes no result.
    delta_B = 100.0 * (ours_SB.mean(axis=0) - theirs_SB.mean(axis=0))
    least = float(stratified_variance(delta_B[None], STRATUM_B)[0]) ** 0.5
    return bool(delta_B.mean() <= float(norm.isf(points.tail)) * least)


def _items(right_B: NDArray[np.bool_]) -> RunItems:
    return RunItems(KEYS_B, STRATUM_B, None, {"correct": right_B.astype(np.float64)})


def _trial(number: int, counts: list[int]) -> TrialRecord:
    scores = [Score(100.0 * right / NUM_BURSTS, num_right=right, num_items=NUM_BURSTS) for right in counts]
    score = combine_metric(METRIC, scores)
    return TrialRecord(number=number, arm=f"t{number}", change={}, state="done", score=score, runs=())


def share_called(
    world: World,
    size: tuple[int, int],
    gain_points: float = 0.0,
    *,
    searches: int = NUM_SEARCHES,
    is_adjusted: bool = True,
) -> float:
    """Return the share of searches in which the best point's interval lies above that of the default's score.

    With several seeds the report calls such a point better. With one seed it says that the point scored higher.
    """
    random = np.random.default_rng([SEED, *size, int(10 * world.own), int(10 * world.lasting), int(gain_points)])
    called = 0
    for _ in range(searches):
        found = best_to_default(draw_right(world, size, gain_points, random), is_adjusted=is_adjusted)
        called += found is not None and found.is_decided and found.points > 0
    return called / searches


def tables(searches: int) -> Iterator[str]:
    """Yield the lines of the page."""
    yield ""
    yield f"{searches} searches a cell, {NUM_BURSTS} bursts, {100 * SHARE:.0f} % right. Per cent ± Monte Carlo error."
    yield '"Better" where no point is (at one seed the report says "scored higher", and no point is called better):'
    yield ""
    heads = ["spread over seeds / lasting luck", "N", "1 seed", "2", "3", "10"]
    yield from _table(heads, [(world, number, 0.0) for world in WORLDS for number in (12, 30)], (1, 2, 3, 10), searches)
    yield ""
    yield f'"Better" where one of 12 points is better by {BETTER_POINTS:.0f} points, half as many searches:'
    yield ""
    heads = ["spread over seeds / lasting luck", "N", "2 seeds", "3", "5"]
    yield from _table(heads, [(world, 12, BETTER_POINTS) for world in WORLDS], (2, 3, 5), searches // 2)


def _table(
    heads: list[str], rows: list[tuple[World, int, float]], seeds: tuple[int, ...], searches: int
) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield "|" + " --- |" * len(heads)
    for world, number, gain in rows:
        shares = [share_called(world, (number, num_seeds), gain, searches=searches) for num_seeds in seeds]
        cells = [f"{100 * share:.1f} ± {100 * (share * (1 - share) / searches) ** 0.5:.1f}" for share in shares]
        yield f"| {world.own} / {world.lasting} | {number} | {' | '.join(cells)} |"


def main(words: list[str]) -> None:
    """Simulate, print, and write the page that is named."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.best_of", description=__doc__.partition("\n")[0])
    parser.add_argument("--write", type=Path, help="file with the marks that the tables stand between")
    parser.add_argument("--searches", type=int, default=NUM_SEARCHES, help="simulated searches a cell")
    asked = parser.parse_args(words)
    publish(tables(asked.searches), asked.write, (BEGIN, END))


if __name__ == "__main__":
    main(sys.argv[1:])
