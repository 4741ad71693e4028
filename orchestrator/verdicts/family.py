"""The comparisons that are corrected together: how they move together, and their adjusted p-values. Pure."""

import math
from collections.abc import Mapping

import numpy as np

from orchestrator.campaign.fields import BASELINE
from orchestrator.campaign.plan import Plan
from orchestrator.stats.correlation import Contrast, correlations
from orchestrator.stats.estimate import Estimate
from orchestrator.stats.multiplicity import ADJUST
from orchestrator.stats.pairing import PairedDifferences
from orchestrator.stats.weights import SeedWeights
from orchestrator.verdicts.comparisons import Evidence, Test, comparison, configuration


def contrast_of(evidence: Evidence, test: Test, pairs: PairedDifferences, estimate: Estimate) -> Contrast:
    """Return a difference as a weighted sum of runs, to correlate it with others.

    Args:
        evidence: of its metric.
        test: the experiment, and the metric.
        pairs: of both sides.
        estimate: with an error.
    """
    plan, name = evidence.plan, test[0]
    each = dict.fromkeys(pairs.seeds, 1.0 / max(1, pairs.num_seeds))
    weights = pairs.weights or SeedWeights(each, each)
    sides = (configuration(plan, name), configuration(plan, plan.arms[name].reference or BASELINE))
    items = evidence.table.item_points2
    beyond = {
        arm: max(0.0, spread.variance_points2 - items.get(arm, 0.0)) for arm, spread in evidence.pool.spreads.items()
    }
    # An A/A arm has runs of its own.
    shift = plan.arms[name].seed_shift
    ours = {(sides[0], seed + shift): weight for seed, weight in weights.experiment.items()}
    theirs = {(sides[1], seed): -weight for seed, weight in weights.reference.items()}
    return Contrast(ours | theirs, beyond, pairs, estimate.error_points or math.inf)


def distinct_p_values(plan: Plan, p_of: Mapping[Test, float]) -> dict[tuple[frozenset[str], str], float]:
    """Return the p-value of each comparison by each metric; a comparison and its mirror image count once."""
    return {(comparison(plan, name), metric): p_value for (name, metric), p_value in p_of.items()}


def adjust(
    plan: Plan, p_of: Mapping[Test, float], contrasts: Mapping[Test, Contrast]
) -> dict[tuple[frozenset[str], str], float]:
    """Adjust the p-values of one family as `judging.correction` says; one for each comparison by each metric.

    Args:
        plan: the arms and the correction.
        p_of: test -> p-value.
        contrasts: test -> its difference, for the correlations. A test without one counts as independent.
    """
    distinct, first = distinct_p_values(plan, p_of), _first_tests(plan, p_of)
    correlation_CC = np.eye(len(distinct))
    keys = list(distinct)
    # Estimates by two metrics count as independent, which is on the safe side.
    for metric in {key[1] for key in keys}:
        places = [place for place, key in enumerate(keys) if key[1] == metric and first[key] in contrasts]
        correlation_CC[np.ix_(places, places)] = correlations([contrasts[first[keys[place]]] for place in places])
    adjusted = ADJUST[plan.campaign.judging.correction](list(distinct.values()), correlation_CC)
    return dict(zip(distinct, adjusted, strict=True))


def _first_tests(plan: Plan, p_of: Mapping[Test, float]) -> dict[tuple[frozenset[str], str], Test]:
    """Return the first test of each distinct comparison."""
    first: dict[tuple[frozenset[str], str], Test] = {}
    for test in p_of:
        first.setdefault((comparison(plan, test[0]), test[1]), test)
    return first
