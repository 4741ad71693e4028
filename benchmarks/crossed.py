"""`python -m benchmarks.crossed`: count errors and power in worlds that break assumptions, such as a collapsed run.

Outcomes are Bernoulli with crossed effects on the logit scale: how hard a device and a burst are, how either suits an
arm, what a seed does to all arms, to one arm, to one arm's devices, and to one run's bursts. The sizes are those of an
independent review of the verdicts. Each arm is shifted so that its true difference over seeds, bursts and sessions of
the given devices is exactly what is asked. Runs that collapse are no part of it.

Letters: A arms, the first of which is the reference of all others, S seeds, B bursts, D devices, G sessions, Q nodes.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.polynomial.hermite_e import hermegauss
from numpy.typing import NDArray
from scipy.special import expit

from benchmarks.judging import LEVEL, Floats, estimate_all, from_right
from benchmarks.page import publish
from orchestrator.stats.estimate import Estimate, equivalence_p_value
from orchestrator.verdicts.conclude import decide_verdict
from orchestrator.verdicts.judgement import Verdict

BEGIN, END = "<!-- begin: written by python -m benchmarks.crossed -->", "<!-- end of crossed -->"
SEEDS = (2, 3, 5)
NODE_Q, WEIGHT_Q = hermegauss(61)
WEIGHT_Q = WEIGHT_Q / WEIGHT_Q.sum()
CHANCE = 0.1
COMMON, OWN, SEED_DEVICE = 0.1, 0.13, 0.2
"""Standard deviations on the logit scale: of a seed for all arms, for one arm, and for one arm's devices."""
DEVICE, ARM_DEVICE, BURST, ARM_BURST, RUN_BURST = 1.5, 0.3, 4.0, 1.2, 0.6
"""The same of devices, of a device for one arm, of bursts, of a burst for one arm, and of a burst for one run."""
SESSION, ARM_SESSION, RUN_SESSION = 0.8, 1.6, 1.0
"""The same of sessions. They make bursts of one session alike: an intraclass correlation of about 0.2."""


@dataclass(frozen=True)
class World:
    """What is unusual about a world."""

    name: str
    num_arms: int = 13
    num_devices: int = 10
    bursts_per_device: int = 50
    accuracy: float = 0.85
    collapse: float = 0.0
    """The chance that a run only guesses."""
    sessions: int = 0
    """Sessions a device; 0 for bursts that are independent."""
    declared: bool = False
    """Whether the sessions are declared, so that they are the units."""
    margin_points: float = 3.0
    effect_points: float = 4.0
    seeds: tuple[int, ...] = SEEDS


WORLDS = (
    World("base, 6 comparisons", num_arms=7),
    World("base, 12 comparisons"),
    World("base, 44 comparisons", num_arms=45),
    World("a run in 20 collapses", collapse=0.05),
    World("4 sessions a device, declared", bursts_per_device=48, sessions=4, declared=True),
    World("4 sessions a device, not declared", bursts_per_device=48, sessions=4),
    World("5 devices, 2 sessions, declared", num_devices=5, bursts_per_device=30, sessions=2, declared=True),
    World("99.9 %, 100 bursts", bursts_per_device=10, accuracy=0.999, margin_points=1.0, effect_points=-2.0),
    World("99.9 %, 300 bursts", bursts_per_device=30, accuracy=0.999, margin_points=1.0, effect_points=-2.0),
)


@dataclass
class Tally:
    """The counts over simulated campaigns, one number a campaign."""

    covered: list[float] = field(default_factory=list)
    """Share of the intervals that hold the truth, in campaigns of nothing and at the margin."""
    false_any: list[float] = field(default_factory=list)
    """Whether an arm of nothing is called improved or regression."""
    false_equal: list[float] = field(default_factory=list)
    """Share of the arms at the margin that are called no_change."""
    found: list[float] = field(default_factory=list)
    """Share of the true effects that are told with their sign."""
    half_width: list[float] = field(default_factory=list)
    """Median half width of an interval, in points."""


def simulate(world: World, num_seeds: int, delta_A: Floats, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Draw one campaign's outcomes [A, S, B]; the differences to the reference are in points."""
    num_arms, num_devices = len(delta_A), world.num_devices
    device_B = np.repeat(np.arange(num_devices), world.bursts_per_device)
    own_A = OWN * rng.uniform(0.5, 2.0, num_arms)
    skill_AD = rng.normal(0, DEVICE, num_devices) + rng.normal(0, ARM_DEVICE, (num_arms, num_devices))
    shift_A = _shifts(world, skill_AD, own_A, world.accuracy + delta_A / 100)
    num_bursts = len(device_B)
    logit_AB = (shift_A[:, None] + skill_AD)[:, device_B] + rng.normal(0, BURST, num_bursts)
    logit_AB = logit_AB + rng.normal(0, ARM_BURST, (num_arms, num_bursts))
    seed_AS = own_A[:, None] * rng.standard_normal((num_arms, num_seeds)) + rng.normal(0, COMMON, num_seeds)
    logit_ASB = logit_AB[:, None, :] + seed_AS[:, :, None]
    logit_ASB += rng.normal(0, SEED_DEVICE, (num_arms, num_seeds, num_devices))[:, :, device_B]
    logit_ASB += RUN_BURST * rng.standard_normal(logit_ASB.shape, dtype=np.float32)
    if world.sessions:
        session_B, num_sessions = sessions_of(world), num_devices * world.sessions
        shared_AG = rng.normal(0, SESSION, num_sessions) + rng.normal(0, ARM_SESSION, (num_arms, num_sessions))
        logit_ASB += shared_AG[:, None, session_B]
        logit_ASB += rng.normal(0, RUN_SESSION, (num_arms, num_seeds, num_sessions))[:, :, session_B]
    right_ASB: NDArray[np.bool_] = rng.random(logit_ASB.shape, dtype=np.float32) < expit(logit_ASB)
    collapsed_AS = rng.random((num_arms, num_seeds)) < world.collapse
    right_ASB[collapsed_AS] = rng.random((int(collapsed_AS.sum()), num_bursts)) < CHANCE
    return right_ASB


def sessions_of(world: World) -> NDArray[np.int64]:
    """Return the session of each burst [B]; the bursts of a device are cut into sessions of equal length."""
    of_device = np.arange(world.bursts_per_device) * world.sessions // world.bursts_per_device
    sessions_B: NDArray[np.int64] = np.concatenate(
        [of_device + device * world.sessions for device in range(world.num_devices)]
    )
    return sessions_B


def _shifts(world: World, skill_AD: Floats, own_A: Floats, accuracy_A: Floats) -> Floats:
    """Return the shift [A] that gives each arm its accuracy over seeds and bursts, by bisection."""
    variance = BURST**2 + ARM_BURST**2 + RUN_BURST**2 + COMMON**2 + SEED_DEVICE**2
    variance += (SESSION**2 + ARM_SESSION**2 + RUN_SESSION**2) if world.sessions else 0.0
    deviation_A = np.sqrt(variance + own_A**2)
    low_A, high_A = np.full(len(accuracy_A), -40.0), np.full(len(accuracy_A), 40.0)
    for _ in range(50):
        middle_A = (low_A + high_A) / 2
        logit_ADQ = (middle_A[:, None] + skill_AD)[:, :, None] + deviation_A[:, None, None] * NODE_Q
        too_low_A = (expit(logit_ADQ) @ WEIGHT_Q).mean(axis=1) < accuracy_A
        low_A, high_A = np.where(too_low_A, middle_A, low_A), np.where(too_low_A, high_A, middle_A)
    return low_A


def judge(world: World, right_ASB: NDArray[np.bool_]) -> tuple[list[Estimate], list[Verdict]]:
    """Judge a campaign as `verdicts.judge` does."""
    device_B = np.repeat(np.arange(world.num_devices), world.bursts_per_device)
    outcomes = from_right(right_ASB, device_B)
    estimates, adjusted = estimate_all(outcomes.by_group(sessions_of(world)) if world.declared else outcomes)
    verdicts = []
    for estimate, adjusted_p in zip(estimates, adjusted, strict=True):
        equivalence_p = equivalence_p_value(estimate, world.margin_points)
        gain = estimate.delta_points or 0.0
        verdicts.append(decide_verdict(gain, adjusted_p, 1.0 if equivalence_p is None else equivalence_p, LEVEL))
    return estimates, verdicts


def truths(world: World) -> dict[str, Floats]:
    """Return the true differences of the experiments [A]: nothing, at the margin, and effects in half of them."""
    num = world.num_arms - 1
    # Near 100 % there is no room above.
    sign = np.where(np.arange(num) % 2, 1.0, -1.0) if world.effect_points > 0 else np.full(num, -1.0)
    half = np.where(np.arange(num) < num // 2, 0.0, 1.0)
    return {
        "nothing": np.zeros(num),
        "margin": world.margin_points * sign,
        "effect": abs(world.effect_points) * sign * half,
    }


def tally(world: World, num_seeds: int, num_campaigns: int) -> Tally:
    """Simulate and judge campaigns; the random numbers depend only on the arguments."""
    found = Tally()
    for name, truth in truths(world).items():
        rng = np.random.default_rng([len(world.name), num_seeds, len(name), 20261128])
        for _ in range(num_campaigns):
            right_ASB = simulate(world, num_seeds, np.concatenate([[0.0], truth]), rng)
            _count(found, name, truth, judge(world, right_ASB))
    return found


def _count(found: Tally, name: str, truth: Floats, judged: tuple[list[Estimate], list[Verdict]]) -> None:
    estimates, verdicts = judged
    told = np.array([_SIGN.get(verdict, 0.0) for verdict in verdicts])
    ends = [(estimate.interval_points, each) for estimate, each in zip(estimates, truth, strict=True)]
    known = [(low, high, each) for interval, each in ends if interval for low, high in [interval]]
    if name != "effect" and known:
        found.covered.append(float(np.mean([low <= each <= high for low, high, each in known])))
        found.half_width.append(float(np.median([(high - low) / 2 for low, high, _ in known])))
    if name == "nothing":
        found.false_any.append(float((told != 0).any()))
    elif name == "margin":
        found.false_equal.append(float(np.mean([verdict is Verdict.NO_CHANGE for verdict in verdicts])))
    else:
        found.found.append(float((told == np.sign(truth))[truth != 0].mean()))


_SIGN = {Verdict.IMPROVED: 1.0, Verdict.REGRESSION: -1.0}


def lines(num_campaigns: int) -> Iterator[str]:
    """Simulate and yield the table, line by line."""
    yield f"{num_campaigns} campaigns of each truth a row (a quarter with 44 comparisons), level {LEVEL:g}."
    yield ""
    yield "| world | seeds | coverage | false verdict in a campaign | false no_change | effects found | half width |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for world in WORLDS:
        for num_seeds in world.seeds:
            number = num_campaigns if world.num_arms < 20 else max(2, num_campaigns // 4)
            found = tally(world, num_seeds, number)
            figures = _percent(found.covered, found.false_any, found.false_equal, found.found)
            yield f"| {world.name} | {num_seeds} | {figures} | {np.median(found.half_width):.1f} |"


def _percent(*shares: Sequence[float]) -> str:
    """Format means and standard errors over campaigns, because experiments of one campaign share a reference."""
    return " | ".join(f"{100 * np.mean(n):.1f} ± {100 * np.std(n) / len(n) ** 0.5:.1f} %" for n in shares)


def main(words: list[str] | None = None) -> int:
    """Simulate, print, and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.crossed", description="Verdicts in unkind worlds.")
    parser.add_argument("--campaigns", type=int, default=400, metavar="N", help="campaigns of each truth a row")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the tables between the marks of this file")
    options = parser.parse_args(words)
    publish(lines(options.campaigns), options.write, (BEGIN, END))
    return 0


if __name__ == "__main__":
    sys.exit(main())
