"""The steps of a verdict as lines that a reader can follow with a calculator. Pure: steps in, lines out."""

import math
from collections.abc import Iterator

from orchestrator import wording
from orchestrator.stats.multiplicity import CORRECTION_NAME
from orchestrator.verdicts.steps import (
    Arithmetic,
    ErrorStep,
    LookStep,
    PoolStep,
    ReplicateStep,
    SeedStep,
    SignificanceStep,
    SpreadStep,
)

PLACES = 3
"""Decimal places of points, so that a reader can do the sums again."""


def say_steps(steps: Arithmetic) -> list[str]:
    """Return the steps to a verdict as lines, with every number that it uses."""
    beside = f" against {steps.reference}" if steps.reference else ""
    head = f"{steps.experiment}{beside} on {steps.capture}: {steps.verdict or 'no verdict'}"
    left_out = [f"left out: {sentence}" for sentence in steps.left_out]
    if not steps.seeds:
        return [head, f"  {steps.reason}", *left_out]
    parts = [_say_counts(steps), _say_mean(steps)]
    if steps.at_look:
        parts.append(_say_look(steps, steps.at_look))
    else:
        parts += [_say_spread(steps), _say_bursts(steps), _say_error(steps)]
    # Shuffled labels have no verdict, so they are not tested against a reference.
    parts += [_say_tests(steps, steps.tests), _say_margin(steps, steps.tests)] if steps.tests and steps.verdict else []
    parts.append(iter([f"Rule: {steps.reason}"]))
    lines = [head]
    for number, part in enumerate(parts, start=1):
        first, *others = part
        lines += ["", f"{number}. {first}", *(f"   {line}" for line in others)]
    return [*lines, *(["", *left_out] if left_out else [])]


def _points(value: float | None) -> str:
    """Write a difference with enough places to do the sums again."""
    # Rounding first keeps a tiny negative number from reading "−0.000".
    return wording.MISSING if value is None else f"{round(value, PLACES) + 0.0:+.{PLACES}f}".replace("-", "−")


def _size(value: float) -> str:
    return f"{value:.{PLACES}f}"


def _freedom(value: float) -> str:
    return "infinitely many degrees of freedom" if math.isinf(value) else f"{value:.1f} degrees of freedom"


def _say_counts(steps: Arithmetic) -> Iterator[str]:
    yield (
        f"Counts. Of the {wording.counted(steps.num_items, 'burst')} that every run on both sides was scored on, "
        "recognised were:"
    )
    # One line for each seed, so that a reader can check every count against its run.
    yield from (_say_seed(steps, seed) for seed in steps.seeds)
    if steps.dropped_seeds:
        yield f"Left out: {wording.seeds(steps.dropped_seeds)}, scored on one side only."
    if steps.dropped_items:
        yield f"Left out: {wording.counted(steps.dropped_items, 'burst')} that not every run was scored on."


def _say_seed(steps: Arithmetic, seed: SeedStep) -> str:
    more = (
        f"({seed.experiment_alone:,} by {steps.experiment} alone, {seed.reference_alone:,} by {steps.reference} alone)"
    )
    return (
        f"seed {seed.seed}: {seed.experiment_correct:,} by {steps.experiment}, {seed.reference_correct:,} by "
        f"{steps.reference} {more}: {_points(seed.delta_points)} points"
    )


def _say_mean(steps: Arithmetic) -> Iterator[str]:
    if len(steps.seeds) == 1:
        yield f"Mean. There is one seed: {_points(steps.delta_points)} points. How far another would lie is unknown."
        return
    terms = " ".join(_points(seed.delta_points) for seed in steps.seeds)
    yield f"Mean over seeds. ({terms}) / {len(steps.seeds)} = {_points(steps.delta_points)} points."


def _say_spread(steps: Arithmetic) -> Iterator[str]:
    if steps.error is None or steps.own_spread_points is None:
        yield "Spread over seeds. One seed shows none; it takes two."
        return
    own = f"The {len(steps.seeds)} differences have a standard deviation of {_size(steps.own_spread_points)} points"
    if steps.replicates:
        yield f"Spread over seeds. {own}; {_describe_replicates(steps)}."
        yield from _say_replicates(steps.replicates, steps.error)
        return
    if steps.pool is None:
        few = "Too few configurations have two seeds to pool it"
        control = f"{steps.experiment} is a control, and the spread of other arms says nothing about it"
        yield (
            f"Spread over seeds. {own}. {control if steps.control else few}, so it is used alone: "
            f"{_size(steps.error.spread_points)} after rounding to whole bursts, with "
            f"{_freedom(steps.error.spread_degrees_of_freedom)}."
        )
        return
    yield f"Spread over seeds. {own}; so few seeds say little, so the campaign's other configurations are used too."
    yield from _say_pool(steps.pool)
    yield from map(_say_arm, steps.spreads)
    yield (
        f"One seed's difference of the two: √({' + '.join(f'{_size(arm.pooled_points)}²' for arm in steps.spreads)}) = "
        f"{_size(steps.error.spread_points)} points, {_freedom(steps.error.spread_degrees_of_freedom)}."
    )


def _describe_replicates(steps: Arithmetic) -> str:
    why = f"{steps.experiment} trains at other seeds than its reference"
    return f"{why}, so the spread is that of every run of the configuration"


def _say_replicates(replicates: ReplicateStep, error: ErrorStep) -> Iterator[str]:
    of = replicates.score_of
    each = wording.listed(f"{_size(percent)} % at seed {seed}" for seed, percent in of.items())
    deviation = _size(replicates.deviation_points)
    yield f"The {len(of)} runs of the baseline's configuration, all A/A arms included: {each}."
    yield f"Standard deviation of a run: {deviation} points, {_freedom(replicates.degrees_of_freedom)}."
    yield (
        f"The difference of two such runs: √2 × {deviation} = {_size(error.spread_points)} points, "
        f"{_freedom(error.spread_degrees_of_freedom)}."
    )


def _say_pool(pool: PoolStep) -> Iterator[str]:
    weight = (
        "they differ no more than by chance, so all use the common one"
        if math.isinf(pool.degrees_of_freedom)
        else f"its weight is {_freedom(pool.degrees_of_freedom)}"
    )
    yield (
        f"{wording.counted(pool.num_arms, 'configuration')}, without what all have in common at a seed, have a "
        f"standard deviation of {_size(pool.deviation_points)} points for one seed; {weight}."
    )


def _say_arm(arm: SpreadStep) -> str:
    beside = f"{arm.arm}, the configuration of {arm.side} as well" if arm.side != arm.arm else arm.arm
    return (
        f"{beside}: {_size(arm.own_points)} by its own runs ({_freedom(arm.own_degrees_of_freedom)}), "
        f"{_size(arm.pooled_points)} after pooling ({_freedom(arm.pooled_degrees_of_freedom)})"
    )


def _say_bursts(steps: Arithmetic) -> Iterator[str]:
    if not steps.devices:
        yield "Bursts. No transmitter has two of them, or there is one seed, so there is no split by transmitter."
        return
    yield (
        "Bursts. Each burst counts as its mean over seeds of recognised (1) or not (0), experiment minus reference. A "
        "transmitter's part is its variance, times its number of bursts, over the square of all bursts:"
    )
    for device in steps.devices:
        yield (
            f"transmitter {device.device}: {wording.counted(device.num_items, 'burst')}, "
            f"{_points(device.delta_points)} points, variance {device.variance_points2:.4f}"
        )
    # This total contains the rest, which the next step subtracts.
    total = sum(device.variance_points2 for device in steps.devices)
    yield f"Together {total:.4f} squared points, of which one part belongs to seed and burst together (step 5)."


def _say_error(steps: Arithmetic) -> Iterator[str]:
    error = steps.error
    if error is None:
        yield "Error. One seed gives no error, so there is no interval and no test."
        return
    yield from _say_parts(len(steps.seeds), error)
    yield (
        f"Interval, {wording.coverage(steps.level)}: {_points(steps.delta_points)} ± {error.quantile:.3f} × "
        f"{_size(error.error_points)} = [{_points(error.low_points)}, {_points(error.high_points)}], "
        f"{error.quantile:.3f} being Student's t at {1 - steps.level / 2:g} with {_freedom(error.degrees_of_freedom)}."
    )


def _say_parts(num_seeds: int, error: ErrorStep) -> Iterator[str]:
    yield "Error of the mean, in three parts. Each is named by what would make it smaller:"
    seed, burst, rest = map(_size, (error.seed_error_points, error.item_error_points, error.rest_error_points))
    yield f"more seeds or more bursts: {rest} points, which belong to a seed and a burst together"
    yield f"more seeds: {seed} points: {_size(error.spread_points)} / √{num_seeds} of step 3 less the first, in squares"
    yield f"more bursts: {burst} points: the square root of step 4 less the first, in squares; no part is below 0"
    freedom = f"{_freedom(error.degrees_of_freedom)} (Satterthwaite)"
    yield f"√({seed}² + {burst}² + {rest}²) = {_size(error.error_points)} points, with {freedom}."


def _say_tests(steps: Arithmetic, tests: SignificanceStep) -> Iterator[str]:
    assert steps.error is not None
    yield (
        f"Against no difference. t = {_points(steps.delta_points)} / {_size(steps.error.error_points)} = "
        f"{_points(tests.t)}, p = {tests.p_value:.4g}."
    )
    among = f"of the {wording.counted(tests.num_compared, 'comparison')}" + (
        " of the campaign" if tests.family == "campaign" else f" of {tests.family}"
    )
    name = CORRECTION_NAME[tests.correction]
    yield (
        f"Its p is number {tests.rank} {among}, the smallest first. {name}: {_say_factor(tests)}: adjusted p = "
        f"{tests.adjusted_p_value:.4g}, {_compare_with_level(tests.adjusted_p_value, steps.level)}."
    )


def _say_factor(tests: SignificanceStep) -> str:
    if tests.correction == "holm":
        # Holm multiplies the smallest p by all comparisons, the next by one fewer, and so on.
        factor = tests.num_compared - tests.rank + 1
        return f"times {factor} ({tests.num_compared} − {tests.rank} + 1), at most 1, no less than any before it"
    return f"times {tests.num_compared} / {tests.rank}, at most 1, no more than any after it"


def _compare_with_level(p_value: float, level: float) -> str:
    return f"{'below' if p_value < level else 'not below'} the level of {level:g}"


def _say_look(steps: Arithmetic, look: LookStep) -> Iterator[str]:
    yield (
        f"Look at {look.num_seeds} seeds, one of several that share the level. The numbers below are from that look, "
        "on the runs that it asked for."
    )
    if steps.control == "aa":
        yield f"{_describe_replicates(steps)}, √2 times that of a run."
    yield f"Standard error {_size(look.error_points)} points, with {_freedom(look.degrees_of_freedom)}."
    yield (
        f"Interval, {wording.coverage(look.level)}: {_points(steps.delta_points)} in "
        f"[{_points(look.low_points)}, {_points(look.high_points)}]."
    )
    yield (
        f"p = {look.p_value:.4g}; for the look and the family {look.adjusted_p_value:.4g}; against the margin, for the "
        f"look, {look.equivalence_p_value:.4g}. All are compared with the level of {steps.level:g}."
    )


def _say_margin(steps: Arithmetic, tests: SignificanceStep) -> Iterator[str]:
    assert steps.error is not None
    assert steps.delta_points is not None
    yield (
        f"Against the margin. ({tests.margin_points:g} − {_size(abs(steps.delta_points))}) / "
        f"{_size(steps.error.error_points)} = {_points(tests.equivalence_t)}, one-sided p = "
        f"{tests.equivalence_p_value:.4g}, {_compare_with_level(tests.equivalence_p_value, steps.level)}; "
        "a p below it would be no_change."
    )
