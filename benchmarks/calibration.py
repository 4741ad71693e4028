"""`python -m benchmarks.calibration`: count false verdicts in simulated campaigns and compare with the stated level.

The truth of every simulated experiment is known, so false verdicts can be counted. A latent model makes the outcomes: a
burst is correct if a sum of normal effects is above zero. This is not the estimator's own model. The functions that
judge a real campaign judge the outcomes.

Letters: A arms, the first of which is the reference of all others, S seeds, B bursts, D devices, L levels of spread,
Q quantiles.
"""

import argparse
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri, stdtr, stdtrit
from scipy.stats import binom

from benchmarks.judging import estimate_all, from_right
from benchmarks.page import publish
from orchestrator.stats.estimate import Estimate, equivalence_p_value
from orchestrator.stats.multiplicity import holm_adjust
from orchestrator.verdicts.conclude import decide_verdict
from orchestrator.verdicts.judgement import Verdict

Floats = NDArray[np.float64]
Outcomes = NDArray[np.bool_]

BEGIN, END = "<!-- begin: written by python -m benchmarks.calibration -->", "<!-- end -->"
LEVEL = 0.05
MARGIN_POINTS = 3.0
EFFECT_POINTS = 4.0
"""The true difference, in points, of the experiments whose discovery is counted."""
SEEDS = (2, 3, 5)

REFERENCE_ACCURACY = 0.8
DEVICE_SKILL_D = np.linspace(0.4, 2.4, 10)
"""Accuracies of the ten transmitters of the population, which are not equally easy."""
BURSTS_PER_DEVICE = 50
HARDNESS, TASTE, NOISE = 1.0, 0.3, 0.6
"""Standard deviations of the latent effects of a burst, of a burst for one arm, and of a burst at one run."""
SEED_EFFECT = 0.05
"""Typical standard deviation of a seed's latent effect: about 0.9 points of accuracy."""
HARD = (HARDNESS**2 + TASTE**2 + NOISE**2) ** 0.5


@dataclass(frozen=True)
class World:
    """How the spread over seeds differs between arms, and how a seed's effect is distributed."""

    name: str
    spreads: tuple[float, ...]
    """Factors on `SEED_EFFECT`; each arm draws one."""
    heavy: bool = False
    """Whether effects follow Student's t with three degrees of freedom, scaled to the same standard deviation."""
    num_arms: int = 45


UNEQUAL = tuple(np.geomspace(0.5, 2.0, 9).tolist())
FOURFOLD = World("spreads over a factor of 4", UNEQUAL)
WORLDS = (
    World("equal spreads", (1.0,)),
    FOURFOLD,
    World("one arm in five four times as wide", (1.0, 1.0, 1.0, 1.0, 4.0)),
    World("heavy tails, spreads over a factor of 4", UNEQUAL, heavy=True),
    World("heavy tails, seeds four times as strong", tuple(4 * spread for spread in UNEQUAL), heavy=True),
    World("one arm in twenty sixteen times as wide", (1.0,) * 19 + (16.0,)),
    World("six arms, spreads over a factor of 4", UNEQUAL, num_arms=6),
)

NEAREST = ((FOURFOLD, 5), (WORLDS[0], 3))
"""The world and the number of seeds with the most false no_change."""


@dataclass
class Tally:
    """The counts over simulated campaigns."""

    covered: list[float] = field(default_factory=list)
    """Share of intervals that contain the truth, one number a campaign."""
    rejected: dict[str, list[float]] = field(default_factory=dict)
    """Rule -> share of experiments that it calls improved or regression, one number a campaign."""
    no_change: list[float] = field(default_factory=list)

    def any_rejected(self, rule: str) -> list[float]:
        """Return, for each campaign, whether the rule rejected at least once."""
        return [float(share > 0) for share in self.rejected[rule]]


@cache
def latent_shifts(world: World, accuracy: float) -> Floats:
    """Return the latent shift [L] that gives an arm this accuracy over all seeds and bursts, by bisection."""
    quantile_Q = (np.arange(400) + 0.5) / 400
    effect_Q = stdtrit(3, quantile_Q) / 3**0.5 if world.heavy else ndtri(quantile_Q)
    effect_LQ = SEED_EFFECT * np.array(world.spreads)[:, None] * effect_Q
    low_L, high_L = np.full(len(effect_LQ), -5.0), np.full(len(effect_LQ), 5.0)
    for _ in range(50):
        middle_L = (low_L + high_L) / 2
        skill_LQD = middle_L[:, None, None] + effect_LQ[:, :, None] + DEVICE_SKILL_D
        too_low_L = ndtr(skill_LQD / HARD).mean(axis=(1, 2)) < accuracy
        low_L, high_L = np.where(too_low_L, middle_L, low_L), np.where(too_low_L, high_L, middle_L)
    return low_L


def simulate(world: World, num_seeds: int, delta_points_A: Floats, rng: np.random.Generator) -> Outcomes:
    """Draw one campaign's outcomes [A, S, B]; a seed's effect that all arms share is part of them."""
    level_A = rng.integers(len(world.spreads), size=world.num_arms)
    shift_A = np.array(
        [
            latent_shifts(world, REFERENCE_ACCURACY + delta / 100)[level]
            for delta, level in zip(delta_points_A, level_A, strict=True)
        ]
    )
    size_AS = (world.num_arms, num_seeds)
    effect_AS = rng.standard_t(3, size_AS) / 3**0.5 if world.heavy else rng.standard_normal(size_AS)
    effect_AS = effect_AS * SEED_EFFECT * np.array(world.spreads)[level_A, None]
    num_items = BURSTS_PER_DEVICE * len(DEVICE_SKILL_D)
    burst_AB = np.repeat(DEVICE_SKILL_D, BURSTS_PER_DEVICE) + rng.normal(0, HARDNESS, num_items)
    burst_AB = burst_AB + rng.normal(0, TASTE, (world.num_arms, num_items)) + shift_A[:, None]
    noise_ASB = NOISE * rng.standard_normal((*size_AS, num_items), dtype=np.float32)
    correct_ASB: Outcomes = noise_ASB + effect_AS[:, :, None] > -burst_AB[:, None, :]
    return correct_ASB


def judge_outcomes(correct_ASB: Outcomes) -> tuple[list[Estimate], list[float]]:
    """Estimate every arm's difference to the first arm, as a campaign does, and adjust the p-values."""
    return estimate_all(from_right(correct_ASB, np.repeat(np.arange(len(DEVICE_SKILL_D)), BURSTS_PER_DEVICE)))


def paired_t_p_values(correct_ASB: Outcomes) -> list[float]:
    """Test each arm against the first by the paired t-test over seeds."""
    difference_AS = (correct_ASB[1:].mean(axis=2) - correct_ASB[0].mean(axis=1)).round(12)
    freedom = difference_AS.shape[1] - 1
    error_A = difference_AS.std(axis=1, ddof=1) / (freedom + 1) ** 0.5
    mean_A = np.abs(difference_AS.mean(axis=1))
    t_A = np.divide(mean_A, error_A, out=np.where(mean_A > 0, np.inf, 0.0), where=error_A > 0)
    return [float(p_value) for p_value in 2 * stdtr(freedom, -t_A)]


def mcnemar_p_values(correct_ASB: Outcomes) -> list[float]:
    """Test each arm against the first at the first seed alone, by McNemar's exact test over bursts."""
    won_A = (correct_ASB[1:, 0] & ~correct_ASB[0, 0]).sum(axis=1)
    lost_A = (~correct_ASB[1:, 0] & correct_ASB[0, 0]).sum(axis=1)
    p_A = 2 * binom.cdf(np.minimum(won_A, lost_A), won_A + lost_A, 0.5)
    return [min(1.0, float(p_value)) for p_value in p_A]


@cache
def tally(world: World, num_seeds: int, delta_points: float, num_campaigns: int) -> Tally:
    """Simulate and judge campaigns; the random numbers depend only on the arguments.

    Args:
        world: the distribution of seed effects.
        num_seeds: S, for all arms.
        delta_points: the true difference of every arm to the reference, in points.
        num_campaigns: the number of campaigns.
    """
    delta_points_A = np.concatenate([[0.0], np.full(world.num_arms - 1, delta_points)])
    rng = np.random.default_rng([WORLDS.index(world), num_seeds, round(100 * delta_points)])
    found = Tally()
    for _ in range(num_campaigns):
        correct_ASB = simulate(world, num_seeds, delta_points_A, rng)
        _count(found, judge_outcomes(correct_ASB), delta_points_A[1:])
        if world is FOURFOLD:
            _count_others(found, correct_ASB)
    return found


def _count_others(found: Tally, correct_ASB: Outcomes) -> None:
    for rule, p_values in (("paired t", paired_t_p_values), ("McNemar", mcnemar_p_values)):
        raw = p_values(correct_ASB)
        _append(found, rule, np.array(holm_adjust(raw)) < LEVEL)
        _append(found, f"{rule}, not adjusted", np.array(raw) < LEVEL)
    delta_A = correct_ASB[1:, 0].mean(axis=1) - correct_ASB[0, 0].mean()
    _append(found, "a single delta above 0", delta_A > 0)


def _append(found: Tally, rule: str, rejected: NDArray[np.bool_]) -> None:
    found.rejected.setdefault(rule, []).append(float(rejected.mean()))


def _count(found: Tally, judged: tuple[list[Estimate], list[float]], delta_points_C: Floats) -> None:
    estimates, adjusted = judged
    verdicts, covered = [], []
    for estimate, adjusted_p, truth in zip(estimates, adjusted, delta_points_C, strict=True):
        low, high = estimate.interval_points or (0.0, 0.0)
        covered.append(low <= truth <= high)
        equivalence_p = equivalence_p_value(estimate, MARGIN_POINTS) or 0.0
        verdicts.append(decide_verdict(estimate.delta_points or 0.0, adjusted_p, equivalence_p, LEVEL))
    found.covered.append(float(np.mean(covered)))
    found.no_change.append(float(np.mean([verdict is Verdict.NO_CHANGE for verdict in verdicts])))
    _append(found, "ours", np.array([verdict in (Verdict.IMPROVED, Verdict.REGRESSION) for verdict in verdicts]))


def error_lines(num_campaigns: int) -> Iterator[str]:
    """Yield a table row for each world, with its rates of false verdicts."""
    yield "| world | seeds | coverage | false verdict in a campaign | false no_change | true no_change found |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for world in WORLDS:
        for num_seeds in SEEDS:
            nothing = tally(world, num_seeds, 0.0, num_campaigns)
            at_margin = tally(world, num_seeds, MARGIN_POINTS, num_campaigns)
            covered = nothing.covered + at_margin.covered
            false_verdict = nothing.any_rejected("ours")
            figures = _percent(covered, false_verdict, at_margin.no_change, nothing.no_change)
            yield f"| {world.name} | {num_seeds} | {figures} |"


def nearest_lines(num_campaigns: int) -> Iterator[str]:
    """Count false no_change again in the world where it is most frequent, in more campaigns."""
    yield "| world | seeds | false no_change |"
    yield "| --- | --- | --- |"
    for world, num_seeds in NEAREST:
        found = tally(world, num_seeds, MARGIN_POINTS, num_campaigns)
        yield f"| {world.name} | {num_seeds} | {_percent(found.no_change)} |"


def _percent(*shares: list[float]) -> str:
    """Format means and standard errors over campaigns, because experiments of one campaign share a reference."""
    return " | ".join(f"{100 * np.mean(n):.1f} ± {100 * np.std(n) / len(n) ** 0.5:.1f} %" for n in shares)


def power_lines(num_campaigns: int) -> Iterator[str]:
    """Compare rules: their true discoveries, and their false ones where no experiment has an effect."""
    rules = ("ours", "paired t", "McNemar", "paired t, not adjusted", "McNemar, not adjusted", "a single delta above 0")
    yield "| rule | seeds | true effects found | false, an experiment | false, in a campaign |"
    yield "| --- | --- | --- | --- | --- |"
    for num_seeds in SEEDS:
        effect = tally(FOURFOLD, num_seeds, EFFECT_POINTS, num_campaigns)
        nothing = tally(FOURFOLD, num_seeds, 0.0, num_campaigns)
        for rule in rules:
            one_seed = not rule.startswith(("ours", "paired"))
            if one_seed and num_seeds != SEEDS[0]:
                continue
            shares = (effect.rejected[rule], nothing.rejected[rule], nothing.any_rejected(rule))
            yield f"| {rule} | {1 if one_seed else num_seeds} | {_percent(*shares)} |"


def lines(num_campaigns: int) -> Iterator[str]:
    """Simulate and yield the tables, line by line."""
    yield f"{num_campaigns} campaigns of each truth, margin {MARGIN_POINTS:g} points, level {LEVEL:g}."
    yield ""
    yield from error_lines(num_campaigns)
    yield ""
    yield f"Where false no_change comes nearest to the level, {4 * num_campaigns} campaigns:"
    yield ""
    yield from nearest_lines(4 * num_campaigns)
    yield ""
    yield f"True effects of {EFFECT_POINTS:g} points, spreads over a factor of 4:"
    yield ""
    yield from power_lines(num_campaigns)


def main(words: list[str] | None = None) -> int:
    """Simulate, print, and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.calibration", description="Verdicts held to the truth.")
    parser.add_argument("--quick", action="store_true", help="a few campaigns: the figures say little")
    parser.add_argument("--campaigns", type=int, default=400, metavar="N", help="campaigns of each truth a row")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the tables between the marks of this file")
    options = parser.parse_args(words)
    publish(lines(2 if options.quick else options.campaigns), options.write, (BEGIN, END))
    return 0


if __name__ == "__main__":
    sys.exit(main())
