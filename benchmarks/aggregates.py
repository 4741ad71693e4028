"""`python -m benchmarks.aggregates`: count how often intervals of every aggregate hold the truth, with clusters.

A simulated model predicts a number for each item. Items come in clusters, such as trials of several seconds. Some
clusters are harder than others for all arms, and some suit an arm better. The functions that judge a real campaign
judge the predictions, by every aggregate.

Letters: A arms, the first of which is the reference of all others, S seeds, G clusters, B items.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.judging import Outcomes, estimate_all
from benchmarks.page import publish
from orchestrator.stats.aggregates import Aggregate, auc, by_cluster, mean, median, quantile, r2, ratio, rmse
from orchestrator.stats.estimate import Estimate

Floats = NDArray[np.float64]

BEGIN, END = "<!-- begin: written by python -m benchmarks.aggregates -->", "<!-- end of aggregates -->"
LEVEL = 0.05
SEEDS = (2, 3, 5)
NUM_ARMS, NUM_CLUSTERS = 12, 40
CLUSTER_SIZES = (5, 60)
"""Items of a cluster, from and below."""
NOISE, SEED_EFFECT, EFFECT = 0.6, 0.04, 0.15
"""Standard deviation of an arm's error; that of a seed's factor on it; what a worse arm adds to it."""
HARDNESS, TASTE, OFFSET = 0.35, 0.25, 0.2
"""Standard deviations over clusters: of the error's factor for all arms, of an arm's own factor, of a common offset."""
STEP = 1e-9
"""Smallest step of a score: predictions are not rounded."""


@dataclass(frozen=True)
class Items:
    """The true numbers of one split, their clusters, and a size of each item for `ratio`."""

    true_B: Floats
    size_B: Floats
    cluster_B: NDArray[np.int64]


Judge = Callable[[Items, Floats], Aggregate]
AGGREGATES: dict[str, Judge] = {
    "mean": lambda items, predicted_B: mean(np.abs(items.true_B - predicted_B)),
    "ratio": lambda items, predicted_B: ratio(np.abs(items.true_B - predicted_B), items.size_B),
    "rmse": lambda items, predicted_B: rmse(items.true_B - predicted_B),
    "r2": lambda items, predicted_B: r2(items.true_B, predicted_B),
    "median": lambda items, predicted_B: median(np.abs(items.true_B - predicted_B)),
    "quantile 0.9": lambda items, predicted_B: quantile(np.abs(items.true_B - predicted_B), 0.9),
    "auc": lambda items, predicted_B: auc(predicted_B, (items.true_B > 0).astype(np.float64)),
}


@dataclass
class Tally:
    """Counts over simulated campaigns, one number a campaign."""

    covered: list[float] = field(default_factory=list)
    """Share of intervals that contain the truth."""
    rejected: list[float] = field(default_factory=list)
    """1 if any experiment is called different, else 0."""


def simulate(
    num_seeds: int, effect_A: Floats, rng: np.random.Generator, num_clusters: int = NUM_CLUSTERS
) -> tuple[Items, Floats]:
    """Draw the items of a split, and the predictions [A, S, B] of each arm at each seed."""
    cluster_B = np.repeat(np.arange(num_clusters), rng.integers(*CLUSTER_SIZES, num_clusters))
    true_B = rng.normal(size=num_clusters)[cluster_B] + rng.normal(size=len(cluster_B))
    size_B = rng.integers(1, 9, len(cluster_B)).astype(np.float64)
    hard_B = np.exp(rng.normal(0, HARDNESS, num_clusters))[cluster_B]
    taste_AB = np.exp(rng.normal(0, TASTE, (len(effect_A), num_clusters)))[:, cluster_B]
    offset_AB = rng.normal(0, OFFSET, (len(effect_A), num_clusters))[:, cluster_B]
    scale_AS = (NOISE + effect_A)[:, None] * np.exp(rng.normal(0, SEED_EFFECT, (len(effect_A), num_seeds)))
    noise_ASB = rng.standard_normal((len(effect_A), num_seeds, len(cluster_B)))
    error_ASB = scale_AS[:, :, None] * (hard_B * taste_AB)[:, None] * noise_ASB
    return Items(true_B, size_B, cluster_B), true_B + offset_AB[:, None] + error_ASB


def judge_all(items: Items, predicted_ASB: Floats, judge: Judge) -> tuple[list[Estimate], list[float]]:
    """Estimate every arm's difference to the first arm, as a campaign does, and adjust the p-values."""
    found = [[judge(items, predicted_B) for predicted_B in arm_SB] for arm_SB in predicted_ASB]
    names = items.cluster_B.astype(np.str_)
    value_ASG = np.array([[by_cluster(one, names)[1] for one in runs] for runs in found])
    stratum_G = np.zeros(value_ASG.shape[2], dtype=np.int64)
    return estimate_all(Outcomes(value_ASG, stratum_G, is_share=False, step=STEP))


def true_differences(effect: float, num_clusters: int = 20_000) -> dict[str, float]:
    """Return the difference that a worse arm makes to each aggregate, from a very large split."""
    rng = np.random.default_rng(99)
    items, predicted_ASB = simulate(4, np.array([0.0, effect]), rng, num_clusters)
    found = {}
    for name, judge in AGGREGATES.items():
        reference, worse = (np.mean([judge(items, of_B).value for of_B in arm_SB]) for arm_SB in predicted_ASB)
        found[name] = float(worse - reference)
    return found


def tally(num_seeds: int, effect: float, num_campaigns: int) -> dict[str, Tally]:
    """Simulate and judge campaigns in which every experiment has the same effect, by each aggregate."""
    truths = true_differences(effect) if effect else dict.fromkeys(AGGREGATES, 0.0)
    rng = np.random.default_rng([num_seeds, round(100 * effect)])
    effect_A = np.array([0.0, *[effect] * (NUM_ARMS - 1)])
    tallies = {name: Tally() for name in AGGREGATES}
    for _ in range(num_campaigns):
        items, predicted_ASB = simulate(num_seeds, effect_A, rng)
        for name, judge in AGGREGATES.items():
            _count(tallies[name], judge_all(items, predicted_ASB, judge), truths[name])
    return tallies


def _count(found: Tally, judged: tuple[list[Estimate], list[float]], truth: float) -> None:
    estimates, adjusted = judged
    intervals = [estimate.interval_points or (0.0, 0.0) for estimate in estimates]
    found.covered.append(float(np.mean([low <= truth <= high for low, high in intervals])))
    found.rejected.append(float(min(adjusted) < LEVEL))


def lines(num_campaigns: int) -> Iterator[str]:
    """Simulate and yield the table, line by line."""
    yield (
        f"{num_campaigns} campaigns of {NUM_ARMS - 1} experiments a row, {NUM_CLUSTERS} clusters, level {LEVEL:g}. "
        "Intervals are not adjusted; verdicts are, by Dunnett."
    )
    yield ""
    yield "| aggregate | seeds | coverage, no effect | coverage, an effect | false verdict in a campaign |"
    yield "| --- | --- | --- | --- | --- |"
    for num_seeds in SEEDS:
        nothing, effect = (tally(num_seeds, size, num_campaigns) for size in (0.0, EFFECT))
        for name in AGGREGATES:
            shares = (nothing[name].covered, effect[name].covered, nothing[name].rejected)
            yield f"| {name} | {num_seeds} | {' | '.join(map(_percent, shares))} |"


def _percent(shares: list[float]) -> str:
    """Format the mean and its standard error over campaigns."""
    return f"{100 * np.mean(shares):.1f} ± {100 * np.std(shares) / len(shares) ** 0.5:.1f} %"


def main(words: list[str] | None = None) -> int:
    """Simulate, print, and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.aggregates", description="Intervals held to the truth.")
    parser.add_argument("--quick", action="store_true", help="a few campaigns: the figures say little")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the table between the marks of this file")
    options = parser.parse_args(words)
    publish(lines(2 if options.quick else 400), options.write, (BEGIN, END))
    return 0


if __name__ == "__main__":
    sys.exit(main())
