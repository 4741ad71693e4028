"""The steps of a verdict as lines that a reader can follow with a calculator. Pure: steps in, lines out."""

import math
from collections.abc import Iterator

from orchestrator import wording
from orchestrator.report.sections import BY_SEEDS, metric_row
from orchestrator.report.step_numbers import PLACES, freedom_of, places_of, points_of, size_of, unit_of
from orchestrator.stats.multiplicity import CORRECTION_NAME
from orchestrator.verdicts.arithmetic import (
    Arithmetic,
    ErrorStep,
    LookStep,
    PoolStep,
    ReplicateStep,
    SeedStep,
    SignificanceStep,
    SpreadStep,
    WeightStep,
)
from orchestrator.verdicts.scale import Scale


def say_steps(steps: Arithmetic) -> list[str]:
    """Return the steps to a verdict as lines, with every number that it uses."""
    beside = f" against {steps.reference}" if steps.reference else ""
    alone = f" ({BY_SEEDS})" if steps.rests_on == "seeds" and (steps.error or steps.at_look) else ""
    head = f"{steps.experiment}{beside} on {steps.metric.name}: {steps.verdict or 'no verdict'}{alone}"
    left_out = [f"left out: {sentence}" for sentence in steps.left_out]
    left_out += [steps.looked_again] if steps.looked_again else []
    if not steps.seeds:
        return [head, f"  {steps.reason}", *left_out]
    parts = [_say_scores(steps), _say_mean(steps)]
    if steps.at_look:
        parts.append(_say_look(steps, steps.at_look))
    else:
        parts += [_say_spread(steps), _say_items(steps), _say_error(steps)]
    # Shuffled labels have no verdict, so they are not tested against a reference.
    parts += [_say_tests(steps, steps.tests), _say_margin(steps, steps.tests)] if steps.tests and steps.verdict else []
    parts.append(iter([f"Rule: {steps.reason}"]))
    parts += [_say_others(steps)] if steps.others else []
    lines = [head]
    for number, part in enumerate(parts, start=1):
        first, *others = part
        lines += ["", f"{number}. {first}", *(f"   {line}" for line in others)]
    return [*lines, *(["", *left_out] if left_out else [])]


def _say_others(steps: Arithmetic) -> Iterator[str]:
    yield (
        f"Other metrics, with {wording.coverage(steps.level)} intervals. They do not change this verdict. An "
        "improvement is kept if each metric that must be no worse is shown to be so."
    )
    for other in steps.others:
        row = metric_row(other.metric, other.found, steps.level)
        said = row["verdict"] if other.found.role != "shown" else "shown alone"
        yield f"{row['metric']} ({row['role']}): {row['score']}, {row['delta']} {row['interval']}: {said}"


def _margin(steps: Arithmetic, points: float) -> str:
    # The logarithm of a round margin is no round number.
    return size_of(steps, points) if Scale(steps.metric).is_ratio else f"{points:g}"


def _say_scores(steps: Arithmetic) -> Iterator[str]:
    yield _introduce_scores(steps)
    # One line for each seed, so that a reader can check every number against its run.
    yield from (_say_seed(steps, seed) for seed in steps.seeds)
    if steps.weights:
        yield from _say_extra(steps, steps.weights)
    for name, seeds in steps.collapsed.items():
        yield f"Set aside: {name} at {wording.seeds(seeds)}, far below its other runs, which agree."
    if steps.dropped_seeds:
        yield f"Left out: {wording.seeds(steps.dropped_seeds)}, scored on one side only."
    if steps.dropped_items:
        dropped = wording.counted(steps.dropped_items, steps.labels.item)
        yield f"Left out: {dropped} that not every run was scored on."


def _say_extra(steps: Arithmetic, weights: WeightStep) -> Iterator[str]:
    unit = f" {steps.metric.unit}" if steps.metric.unit else ""
    for name, scores in weights.extra.items():
        if scores:
            each = wording.listed(f"{size_of(steps, score)}{unit} at seed {seed}" for seed, score in scores.items())
            yield f"{name} alone: {each}."


def _introduce_scores(steps: Arithmetic) -> str:
    name = steps.metric.name
    if steps.rests_on == "seeds":
        shared = "Each seed draws its own test data" if steps.test_ratio else "The runs tell one number each"
        return f"Scores. {shared}, so the verdict is by seeds alone. {name} was:"
    counted = wording.counted(steps.num_items, _unit_label(steps))
    if steps.seeds[0].counts is not None:
        return f"Counts. Of the {counted} that every run on both sides was scored on, right were:"
    return f"Scores. Over the {counted} that every run on both sides was scored on, {name} was:"


def _unit_label(steps: Arithmetic) -> str:
    return steps.labels.cluster if steps.rests_on == "clusters" else steps.labels.item


def _say_seed(steps: Arithmetic, seed: SeedStep) -> str:
    difference = f"{points_of(steps, seed.delta_points)}{unit_of(steps)}"
    counts = seed.counts
    if counts is None:
        unit = f" {steps.metric.unit}" if steps.metric.unit else ""
        ours, theirs = (f"{size_of(steps, score)}{unit}" for score in (seed.experiment_score, seed.reference_score))
        log = "100 × ln of their quotient = " if Scale(steps.metric).is_ratio else ""
        return f"seed {seed.seed}: {ours} of {steps.experiment}, {theirs} of {steps.reference}: {log}{difference}"
    more = (
        f"({counts.experiment_alone:,} by {steps.experiment} alone, {counts.reference_alone:,} by "
        f"{steps.reference} alone)"
    )
    return (
        f"seed {seed.seed}: {counts.experiment_right:,} by {steps.experiment}, {counts.reference_right:,} by "
        f"{steps.reference} {more}: {difference}"
    )


def _say_mean(steps: Arithmetic) -> Iterator[str]:
    if steps.weights:
        yield from _say_weighted_mean(steps, steps.weights)
        return
    if steps.extra_seeds:
        mean = f"{points_of(steps, steps.delta_points)}{unit_of(steps)}"
        yield f"Mean over seeds, with {wording.seeds(steps.extra_seeds)} of one side, as weighted at the look: {mean}."
        return
    if len(steps.seeds) == 1:
        mean = f"{points_of(steps, steps.delta_points)}{unit_of(steps)}"
        yield f"Mean. There is one seed: {mean}. How far another would lie is unknown."
        return
    terms = " ".join(points_of(steps, seed.delta_points) for seed in steps.seeds)
    yield f"Mean over seeds. ({terms}) / {len(steps.seeds)} = {points_of(steps, steps.delta_points)}{unit_of(steps)}."


def _say_weighted_mean(steps: Arithmetic, weights: WeightStep) -> Iterator[str]:
    yield (
        "Mean over seeds. Seeds of one side count too: each side's mean is a part from the common seeds and the rest "
        "from its other seeds. The parts make the error smallest."
    )
    for name, share in weights.common_share.items():
        yield f"{name}: {share:.4f} from the common seeds, {1 - share:.4f} from the others"
    yield f"The difference of the two means is {points_of(steps, steps.delta_points)}{unit_of(steps)}."


def _say_spread(steps: Arithmetic) -> Iterator[str]:
    if steps.error is None or steps.own_spread_points is None:
        yield "Spread over seeds. One seed shows none; it takes two."
        return
    deviation = f"{size_of(steps, steps.own_spread_points)}{unit_of(steps)}"
    own = f"The {len(steps.seeds)} differences have a standard deviation of {deviation}"
    if steps.replicates:
        yield f"Spread over seeds. {own}; {_describe_replicates(steps)}."
        yield from _say_replicates(steps, steps.replicates, steps.error)
        return
    if steps.pool is None:
        few = "Too few configurations have two seeds to pool it"
        control = f"{steps.experiment} is a control, and the spread of other arms says nothing about it"
        yield (
            f"Spread over seeds. {own}. {control if steps.control else few}, so it is used alone: "
            f"{size_of(steps, steps.error.spread_points)} after rounding, with "
            f"{freedom_of(steps.error.spread_degrees_of_freedom)}."
        )
        return
    yield f"Spread over seeds. {own}; so few seeds say little, so the campaign's other configurations are used too."
    yield from _say_pool(steps, steps.pool)
    yield from (_say_arm(steps, arm) for arm in steps.spreads)
    if steps.weights:
        yield _describe_weighted(steps, steps.weights, steps.error)
        return
    squares = " + ".join(f"{size_of(steps, arm.pooled_points)}²" for arm in steps.spreads)
    yield (
        f"One seed's difference of the two: √({squares}) = "
        f"{size_of(steps, steps.error.spread_points)}{unit_of(steps)}, "
        f"{freedom_of(steps.error.spread_degrees_of_freedom)}."
    )


def _describe_weighted(steps: Arithmetic, weights: WeightStep, error: ErrorStep) -> str:
    pooled = {arm.side: arm.pooled_points for arm in steps.spreads}
    parts = [f"{square:.4f} × {size_of(steps, pooled[name])}²" for name, square in weights.squares.items()]
    common = f"{weights.apart:.4f} × {size_of(steps, weights.common_points)}²"
    mean = size_of(steps, error.spread_points / len(steps.seeds) ** 0.5)
    return (
        f"The squared weights of a side add up to the first factor. The last part is what a seed does to all arms. The "
        f"mean difference: √({' + '.join(parts)} + {common}) = {mean}{unit_of(steps)}, times √{len(steps.seeds)} = "
        f"{size_of(steps, error.spread_points)}{unit_of(steps)}, {freedom_of(error.spread_degrees_of_freedom)}."
    )


def _describe_replicates(steps: Arithmetic) -> str:
    why = f"{steps.experiment} trains at other seeds than its reference"
    return f"{why}, so the spread is that of every run of the configuration"


def _say_replicates(steps: Arithmetic, replicates: ReplicateStep, error: ErrorStep) -> Iterator[str]:
    of = replicates.score_of
    unit = f" {steps.metric.unit}" if steps.metric.unit and not Scale(steps.metric).is_ratio else ""
    each = wording.listed(f"{size_of(steps, value)}{unit} at seed {seed}" for seed, value in of.items())
    deviation = size_of(steps, replicates.deviation_points)
    yield f"The {len(of)} runs of the baseline's configuration, all A/A arms included: {each}."
    yield f"Standard deviation of a run: {deviation}{unit_of(steps)}, {freedom_of(replicates.degrees_of_freedom)}."
    yield (
        f"The difference of two such runs: √2 × {deviation} = {size_of(steps, error.spread_points)}{unit_of(steps)}, "
        f"{freedom_of(error.spread_degrees_of_freedom)}."
    )


def _say_pool(steps: Arithmetic, pool: PoolStep) -> Iterator[str]:
    weight = (
        "they differ no more than by chance, so all use the common one"
        if math.isinf(pool.degrees_of_freedom)
        else f"its weight is {freedom_of(pool.degrees_of_freedom)}"
    )
    yield (
        f"{wording.counted(pool.num_arms, 'configuration')}, without what all have in common at a seed, have a "
        f"standard deviation of {size_of(steps, pool.deviation_points)}{unit_of(steps)} for one seed; {weight}."
        f"{_describe_outliers(pool)}"
    )


def _describe_outliers(pool: PoolStep) -> str:
    if not pool.outliers:
        return ""
    return f" Configurations far wider than these keep the spread of their own runs: {wording.listed(pool.outliers)}."


def _say_arm(steps: Arithmetic, arm: SpreadStep) -> str:
    beside = f"{arm.arm}, the configuration of {arm.side} as well" if arm.side != arm.arm else arm.arm
    share = "" if arm.prior_share == 1.0 else f"; it takes {arm.prior_share:.2f} of that weight"
    return (
        f"{beside}: {size_of(steps, arm.own_points)} by its own runs ({freedom_of(arm.own_degrees_of_freedom)}), "
        f"{size_of(steps, arm.pooled_points)} after pooling ({freedom_of(arm.pooled_degrees_of_freedom)}{share})"
    )


def _say_items(steps: Arithmetic) -> Iterator[str]:
    labels, label = steps.labels, _unit_label(steps)
    if steps.rests_on == "seeds":
        yield f"{labels.item.capitalize()}s. All seeds share none, so nothing is known of other test data."
        return
    head, by = f"{label.capitalize()}s.", labels.stratum
    if not steps.strata:
        yield f"{head} No {by} has two of them, or there is one seed, so there is no split by {by}."
        return
    what = "right (1) or not (0)" if steps.seeds[0].counts is not None else f"its part of {steps.metric.name}"
    yield (
        f"{head} Each {label} counts as its mean over seeds of {what}, experiment minus reference. The part of a "
        f"{by} is its variance, times its number of {label}s, over the square of all {label}s:"
    )
    for found in steps.strata:
        name = f"{by} {found.stratum}" if found.stratum else "all"
        yield (
            f"{name}: {wording.counted(found.num_items, label)}, "
            f"{points_of(steps, found.delta_points)}{unit_of(steps)}, "
            f"variance {_variance(steps, found.variance_points2)}"
        )
    # This total contains the rest, which the next step subtracts.
    total = _variance(steps, sum(found.variance_points2 for found in steps.strata))
    yield f"Together {total}, in squares, of which one part belongs to seed and {label} together (step 5)."


def _variance(steps: Arithmetic, value: float) -> str:
    return f"{value:.4f}" if places_of(steps) == PLACES else f"{value:.4g}"


def _say_error(steps: Arithmetic) -> Iterator[str]:
    error = steps.error
    if error is None:
        yield "Error. One seed gives no error, so there is no interval and no test."
        return
    yield from _say_parts(steps, error)
    low, high = (points_of(steps, end) for end in (error.low_points, error.high_points))
    yield (
        f"Interval, {wording.coverage(steps.level)}: {points_of(steps, steps.delta_points)} ± {error.quantile:.3f} × "
        f"{size_of(steps, error.error_points)} = [{low}, {high}], "
        f"{error.quantile:.3f} being Student's t at {1 - steps.level / 2:g} with "
        f"{freedom_of(error.degrees_of_freedom)}."
    )


def _say_parts(steps: Arithmetic, error: ErrorStep) -> Iterator[str]:
    num_seeds, unit = len(steps.seeds), unit_of(steps)
    if steps.rests_on == "seeds":
        yield from _say_parts_of_seeds(steps, error)
        return
    label = _unit_label(steps)
    yield "Error of the mean, in three parts. Each is named by what would make it smaller:"
    seed, item, rest = (
        size_of(steps, part) for part in (error.seed_error_points, error.item_error_points, error.rest_error_points)
    )
    spread = size_of(steps, error.spread_points)
    yield f"more seeds or more {label}s: {rest}{unit}, which belong to a seed and a {label} together"
    yield f"more seeds: {seed}{unit}: {spread} / √{num_seeds} of step 3 less the first, in squares"
    if steps.is_sparse:
        yield f"more {label}s: {item}{unit}: at least that of the score interval (Tango 1998), as few {label}s differ"
    else:
        yield f"more {label}s: {item}{unit}: the square root of step 4 less the first, in squares; no part is below 0"
    freedom = f"{freedom_of(error.degrees_of_freedom)} (Satterthwaite)"
    yield f"√({seed}² + {item}² + {rest}²) = {size_of(steps, error.error_points)}{unit}, with {freedom}."


def _say_parts_of_seeds(steps: Arithmetic, error: ErrorStep) -> Iterator[str]:
    num_seeds, unit, ratio = len(steps.seeds), unit_of(steps), steps.test_ratio
    spread, whole = size_of(steps, error.spread_points), size_of(steps, error.error_points)
    freedom = freedom_of(error.degrees_of_freedom)
    if not ratio:
        yield f"Error of the mean. {spread} / √{num_seeds} = {whole}{unit}, with {freedom}."
        return
    yield (
        "Error of the mean. The test splits of the seeds overlap, so the share tested over the share trained on, "
        f"{ratio:.4g}, is added (Nadeau and Bengio 2003):"
    )
    yield f"{spread} × √(1/{num_seeds} + {ratio:.4g}) = {whole}{unit}, with {freedom}."


def _say_tests(steps: Arithmetic, tests: SignificanceStep) -> Iterator[str]:
    assert steps.error is not None
    yield (
        f"Against no difference. t = {points_of(steps, steps.delta_points)} / "
        f"{size_of(steps, steps.error.error_points)} = "
        f"{points_of(steps, tests.t)}, p = {tests.p_value:.4g}."
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
    left = tests.num_compared - tests.rank + 1
    if tests.correction == "dunnett" and left > 1:
        # The smallest p is held against the largest of all comparisons, the next against all but that one.
        return f"the chance that the largest of {left} correlated deviates lies as far out, no less than any before it"
    if tests.correction == "dunnett":
        return "no other comparison is left, no less than any before it"
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
    error = f"{size_of(steps, look.error_points)}{unit_of(steps)}"
    yield f"Standard error {error}, with {freedom_of(look.degrees_of_freedom)}."
    yield (
        f"Interval, {wording.coverage(look.level)}: {points_of(steps, steps.delta_points)} in "
        f"[{points_of(steps, look.low_points)}, {points_of(steps, look.high_points)}]."
    )
    yield (
        f"p = {look.p_value:.4g}; for the look and the family {look.adjusted_p_value:.4g}; against the margin, for the "
        f"look, {look.equivalence_p_value:.4g}. All are compared with the level of {steps.level:g}."
    )


def _say_margin(steps: Arithmetic, tests: SignificanceStep) -> Iterator[str]:
    assert steps.error is not None
    assert steps.delta_points is not None
    yield (
        f"Against the margin. ({_margin(steps, tests.margin_points)} − {size_of(steps, abs(steps.delta_points))}) / "
        f"{size_of(steps, steps.error.error_points)} = {points_of(steps, tests.equivalence_t)}, one-sided p = "
        f"{tests.equivalence_p_value:.4g}, {_compare_with_level(tests.equivalence_p_value, steps.level)}; "
        "a p below it would be no_change."
    )
