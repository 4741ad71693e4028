"""`python -m benchmarks.savings`: simulate the trainings that a sequential campaign saves, and its errors.

The campaigns are those of `benchmarks.calibration`: 45 arms, crossed effects of seeds and bursts, different spreads.
`orchestrator.design.looks` plans the looks and their levels, and gives out seeds, as in a real campaign.

Letters: A arms, the first of which is the reference of all others, S seeds, B bursts.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from benchmarks.calibration import BURSTS_PER_DEVICE, DEVICE_SKILL_D, FOURFOLD, LEVEL, MARGIN_POINTS, Floats
from benchmarks.calibration import simulate as simulate_outcomes
from benchmarks.judging import Judging, Outcomes, adjust_all, from_right
from benchmarks.page import publish
from orchestrator.campaign.spec import StagingSpec
from orchestrator.design.looks import Look, Progress, replay, share_out
from orchestrator.stats.correlation import Contrast
from orchestrator.stats.estimate import Estimate, equivalence_p_value
from orchestrator.verdicts.comparisons import MIN_SEEDS
from orchestrator.verdicts.conclude import decide_verdict
from orchestrator.verdicts.judgement import AtLook, Verdict

BEGIN, END = "<!-- begin: written by python -m benchmarks.savings -->", "<!-- end -->"
STAGING = StagingSpec()
FRESH = StagingSpec(reference_seeds=20).fresh_seeds
NUM_SEEDS = FRESH.stop
NUM_COMPARED = FOURFOLD.num_arms - 1
DEVICES_B = np.repeat(np.arange(len(DEVICE_SKILL_D)), BURSTS_PER_DEVICE)


@dataclass(frozen=True)
class Setting:
    """The true effects of a campaign's experiments, and the margin that would matter."""

    margin_points: float
    delta_points: tuple[float, ...]
    """True differences to the reference in points, repeated over all arms."""


NOTHING = Setting(MARGIN_POINTS, (0.0,))
AT_MARGIN = Setting(MARGIN_POINTS, (MARGIN_POINTS,))
FINE = Setting(MARGIN_POINTS, (*[0.0] * 7, 4.0, -4.0, -8.0, 1.5))
"""Most ideas have no effect, some help, some harm, some have half the margin's effect; effects are near the margin."""
COARSE = Setting(2 * MARGIN_POINTS, (*[0.0] * 7, 8.0, -8.0, -16.0, 3.0))
"""The same at twice the size, with the same spread."""


def brien_fleming(fraction: float) -> float:
    """Return the share of the level spent by a time, nearly all of it late: the power family with exponent 3.

    Source: Kim and DeMets, Design and analysis of group sequential tests based on the type I error spending rate
    function (1987).
    """
    return fraction**3


@dataclass(frozen=True)
class Design:
    """The numbers of seeds at the looks, and each look's share of the level."""

    name: str
    looks: tuple[Look, ...]
    is_staged: bool = True
    reference_seeds: int = 0


def fixed(num_seeds: int) -> Design:
    """Return the design in which all arms have this many seeds and one look."""
    return Design(f"fixed, {num_seeds} seeds", (Look(num_seeds, 1.0, 1.0),), is_staged=False)


STAGED = Design("staged", share_out(STAGING.looks, LEVEL))
SHARED = Design("staged, reference at up to 20 seeds", share_out(STAGING.looks, LEVEL), reference_seeds=20)
FROM_ONE = Design(
    "staged from one seed, reference at up to 20 seeds",
    share_out(StagingSpec(screen_seeds=1, reference_seeds=20).looks, LEVEL),
    reference_seeds=20,
)
LATE = Design("staged, spent late", share_out(STAGING.looks, LEVEL, brien_fleming))
CARELESS = Design(
    "staged, all of the level at each look", tuple(Look(look.num_seeds, 1.0, 1.0) for look in STAGED.looks)
)
GRIDS = tuple(fixed(num_seeds) for num_seeds in (2, 3, 5, 8, 10))


@dataclass
class Campaign:
    """One simulated campaign, and the conclusions of a design."""

    outcomes: Outcomes
    margin_points: float
    estimates: dict[int, Estimate] = field(default_factory=dict)
    contrasts: dict[int, Contrast | None] = field(default_factory=dict)
    verdicts: dict[int, Verdict] = field(default_factory=dict)

    def judging(self, num_seeds_of: Mapping[int, Sequence[int]], least_seeds: int) -> Judging:
        """Pool the spread over the seeds that each arm has."""
        num_arms = len(self.outcomes.value_ASU)
        return Judging(self.outcomes, [num_seeds_of.get(arm, ()) for arm in range(num_arms)], least_seeds)

    def judge_at(self, look: Look, progress: Progress) -> dict[str, float | None]:
        """Judge at a look, as `verdicts.judge` does; return the p-value of each experiment that is decided."""
        given = {int(name): range(num_seeds) for name, num_seeds in progress.given.items()}
        judging = self.judging(given, min(look.num_seeds, MIN_SEEDS))
        at = AtLook(look.share, look.equivalence_share, progress.decided_p)
        for name in progress.undecided:
            self.estimates[int(name)], self.contrasts[int(name)] = judging.estimate(int(name), LEVEL * look.share)
        arms = sorted(self.estimates)
        # The p-value of an experiment without an error is 1.
        spent = [at.spend(str(arm), self.estimates[arm].p_value) for arm in arms]
        p_values = [1.0 if p_value is None else p_value for p_value in spent]
        adjusted = dict(zip(arms, adjust_all(p_values, [self.contrasts[arm] for arm in arms]), strict=True))
        for name in progress.undecided:
            self.verdicts[int(name)] = self._decide(int(name), look, adjusted[int(name)])
        decided = [name for name in progress.undecided if self.verdicts[int(name)] is not Verdict.INCONCLUSIVE]
        return {name: self.estimates[int(name)].p_value for name in decided}

    def _decide(self, arm: int, look: Look, adjusted_p: float) -> Verdict:
        estimate = self.estimates[arm]
        p_value = equivalence_p_value(estimate, self.margin_points)
        equivalence_p = 1.0 if p_value is None else min(1.0, p_value / look.equivalence_share)
        return decide_verdict(estimate.delta_points or 0.0, adjusted_p, equivalence_p, LEVEL)

    def judge(self, design: Design) -> Progress:
        """Go through the looks of a design; no run is missing, because all have ended."""
        references = {str(arm): "0" if arm else None for arm in range(len(self.outcomes.value_ASU))}
        progress = Progress(references, design.reference_seeds)
        for look in replay(progress, design.looks, lambda cell: True):
            progress.close(look, self.judge_at(look, progress))
        return progress

    def confirm(self, progress: Progress) -> tuple[list[Estimate], int]:
        """Estimate the improved arms on fresh seeds only; return the estimates and the number of trainings."""
        improved = [arm for arm, verdict in self.verdicts.items() if verdict is Verdict.IMPROVED]
        seeds_of = {int(name): [*range(num_seeds)] for name, num_seeds in progress.given.items()}
        for arm in (0, *improved) if improved else ():
            seeds_of[arm] = [*seeds_of[arm], *FRESH]
        judging = self.judging(seeds_of, MIN_SEEDS)
        trainings = len(FRESH) * (len(improved) + 1) if improved else 0
        return [judging.estimate(arm, LEVEL, FRESH)[0] for arm in improved], trainings


@dataclass
class Counted:
    """A design's counts over simulated campaigns, one number a campaign."""

    trainings: list[int] = field(default_factory=list)
    confirming: list[int] = field(default_factory=list)
    false_any: list[bool] = field(default_factory=list)
    """Whether an experiment without effect was called one, or an effect got the wrong sign."""
    found: list[float] = field(default_factory=list)
    """Share of the true effects above the margin that got their sign."""
    equal: list[float] = field(default_factory=list)
    """Share of the experiments without effect that were called no_change."""
    false_equal: list[float] = field(default_factory=list)
    """Share of no_change among experiments at or beyond the margin."""
    untold: list[float] = field(default_factory=list)
    excess: list[float] = field(default_factory=list)
    """Points by which the estimate of a found improvement exceeds the truth."""
    fresh_excess: list[float] = field(default_factory=list)
    """The same on fresh seeds."""
    confirmed: list[bool] = field(default_factory=list)


def count(design: Design, setting: Setting, num_campaigns: int) -> Counted:
    """Simulate campaigns and let a design judge them; all designs get the same campaigns."""
    truth = setting.delta_points
    delta_points_A = np.array([0.0, *(truth[arm % len(truth)] for arm in range(NUM_COMPARED))])
    rng = np.random.default_rng([20261122, round(100 * float(np.abs(delta_points_A).sum()))])
    counted = Counted()
    for _ in range(num_campaigns):
        right_ASB = simulate_outcomes(FOURFOLD, NUM_SEEDS, delta_points_A, rng)
        campaign = Campaign(from_right(right_ASB, DEVICES_B), setting.margin_points)
        progress = campaign.judge(design)
        counted.trainings.append(sum(progress.given.values()))
        _count_verdicts(counted, campaign, delta_points_A)
        if design.is_staged:
            _count_confirmed(counted, campaign, progress, delta_points_A)
    return counted


def _count_verdicts(counted: Counted, campaign: Campaign, delta_points_A: Floats) -> None:
    verdicts, margin_points = campaign.verdicts, campaign.margin_points
    called_C = np.array([_SIGN.get(verdicts[arm], 0.0) for arm in range(1, len(delta_points_A))])
    equal_C = np.array([verdicts[arm] is Verdict.NO_CHANGE for arm in range(1, len(delta_points_A))])
    truth_C = delta_points_A[1:]
    counted.false_any.append(bool(((called_C != 0) & (called_C != np.sign(truth_C))).any()))
    counted.untold.append(float(((called_C == 0) & ~equal_C).mean()))
    for shares, chosen, hits in (
        (counted.found, np.abs(truth_C) > margin_points, called_C == np.sign(truth_C)),
        (counted.equal, truth_C == 0, equal_C),
        (counted.false_equal, np.abs(truth_C) >= margin_points, equal_C),
    ):
        if chosen.any():
            shares.append(float(hits[chosen].mean()))


_SIGN = {Verdict.IMPROVED: 1.0, Verdict.REGRESSION: -1.0}


def _count_confirmed(counted: Counted, campaign: Campaign, progress: Progress, delta_points_A: Floats) -> None:
    fresh, trainings = campaign.confirm(progress)
    counted.confirming.append(trainings)
    improved = [arm for arm, verdict in campaign.verdicts.items() if verdict is Verdict.IMPROVED]
    for arm, estimate in zip(improved, fresh, strict=True):
        delta, p_value = estimate.delta_points or 0.0, estimate.p_value or 0.0
        counted.excess.append((campaign.estimates[arm].delta_points or 0.0) - float(delta_points_A[arm]))
        counted.fresh_excess.append(delta - float(delta_points_A[arm]))
        counted.confirmed.append(delta > 0 and p_value / 2 < LEVEL)


def error_lines(num_campaigns: int) -> Iterator[str]:
    """Count what goes wrong where there is nothing to find, and at the margin."""
    yield "| design | campaigns without effects that have a false verdict | false no_change at the margin |"
    yield "| --- | --- | --- |"
    for design in (STAGED, SHARED, FROM_ONE, LATE, CARELESS, fixed(5)):
        nothing, at_margin = count(design, NOTHING, num_campaigns), count(design, AT_MARGIN, max(2, num_campaigns // 2))
        yield f"| {design.name} | {_percent(nothing.false_any)} | {_percent(at_margin.false_equal)} |"


def saving_lines(setting: Setting, num_campaigns: int) -> Iterator[str]:
    """Count trainings, and what they told."""
    counts = "effects found | no effect, called no_change | undecided | false verdict in a campaign"
    yield f"| design | trainings | {counts} |"
    yield "| --- | --- | --- | --- | --- | --- |"
    grids = {design: count(design, setting, num_campaigns) for design in GRIDS}
    staged = {design: count(design, setting, num_campaigns) for design in (STAGED, SHARED, FROM_ONE)}
    for design, counted in {**staged, **grids}.items():
        shares = (counted.found, counted.equal, counted.untold, counted.false_any)
        yield f"| {design.name} | {np.mean(counted.trainings):.0f} | {' | '.join(_percent(each) for each in shares)} |"
    yield ""
    for design, counted in staged.items():
        yield f"{design.name.capitalize()}:"
        yield ""
        yield from (f"- {line}" for line in _conclusion(counted, grids))
        yield ""


def _conclusion(staged: Counted, grids: dict[Design, Counted]) -> Iterator[str]:
    used = float(np.mean(staged.trainings))
    of_five = float(np.mean(grids[fixed(5)].trainings))
    equal = next((of for of in grids.values() if np.mean(of.untold) <= np.mean(staged.untold)), None)
    yield f"It took {used / of_five:.2f} of the trainings of the grid of 5 seeds."
    if equal is not None:
        ratio = float(np.mean(equal.trainings)) / used
        yield f"It took {1 / ratio:.2f} of those of the smallest grid that leaves no more undecided."
    else:
        yield "No grid here leaves as few undecided."
    yield f"Confirming the improvements took {np.mean(staged.confirming):.0f} more."
    yield (
        f"An improvement was {np.mean(staged.excess):+.2f} points above the truth when it was found, "
        f"{np.mean(staged.fresh_excess):+.2f} on fresh seeds."
    )
    yield f"Fresh seeds confirmed {_percent(staged.confirmed)} of the improvements."


def _percent(shares: Sequence[float]) -> str:
    return f"{100 * np.mean(shares):.1f} %"


def lines(num_campaigns: int) -> Iterator[str]:
    """Simulate, and yield both tables line by line."""
    yield f"45 arms, level {LEVEL:g}, {num_campaigns} campaigns a line."
    yield "The last column of the first table has half as many campaigns, the later tables have a quarter."
    yield f"Margin {MARGIN_POINTS:g} points:"
    yield ""
    yield from error_lines(num_campaigns)
    for setting in (FINE, COARSE):
        truths = ", ".join(f"{delta:g}" for delta in sorted(setting.delta_points) if delta)
        yield ""
        yield f"Margin {setting.margin_points:g} points."
        yield f"Of eleven experiments seven have no effect, the others have {truths}:"
        yield ""
        yield from saving_lines(setting, max(2, num_campaigns // 4))


def main(words: list[str] | None = None) -> int:
    """Simulate, print, and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.savings", description="Trainings used, errors made.")
    parser.add_argument("--quick", action="store_true", help="a few campaigns: the figures say little")
    parser.add_argument("--campaigns", type=int, default=160, metavar="N", help="campaigns a line of the first table")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the tables between the marks of this file")
    options = parser.parse_args(words)
    publish(lines(2 if options.quick else options.campaigns), options.write, (BEGIN, END))
    return 0


if __name__ == "__main__":
    sys.exit(main())
