"""What a campaign sees before it is trained: learned from finished runs, and told in sentences. Pure.

`design.power` works the numbers out. Here they are learned from records, and written in the units of the metric.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from statistics import fmean, median

from msgspec import Struct
from scipy.special import chdtri

from orchestrator.campaign.arms import Arm, select_arms
from orchestrator.campaign.fields import BASELINE
from orchestrator.campaign.plan import Plan
from orchestrator.campaign.spec import Campaign
from orchestrator.design.designs import Arms, Design, Sight, cheapest, grid, see_all, sharpest
from orchestrator.design.looks import share_out
from orchestrator.design.power import POWER, ErrorModel, Rules, see
from orchestrator.runs.record import Records
from orchestrator.stats.pairing import PairedDifferences
from orchestrator.stats.prior import MIN_POOLED
from orchestrator.stats.spread import rounding_variance
from orchestrator.stats.variance import seed_spread, split_error
from orchestrator.task.metric_spec import ItemsSource
from orchestrator.verdicts.comparisons import (
    comparison,
    configuration,
    gather,
    pair_scores,
    runs_by_seed,
    scores_by_seed,
    scores_of,
    smallest_step,
)
from orchestrator.verdicts.scale import Scale
from orchestrator.verdicts.staged import plan_to_judge
from orchestrator.wording import counted

LIMIT = 0.05
"""Of each end of the interval of a spread, which covers 90 %."""
TIMES = {2: "twice", 4: "four times"}


class Known(Struct, frozen=True, kw_only=True):
    """What finished runs say about the error of a difference."""

    model: ErrorModel
    degrees_of_freedom: int
    """Of the spread over seeds."""
    num_runs: int
    num_configurations: int
    unit: str | None
    """What the items or clusters are called; None if no two runs have been compared by items."""


class Question(Struct, frozen=True, kw_only=True):
    """What is asked about a campaign."""

    plan: Plan
    """The arms whose verdicts are corrected together."""
    names: tuple[str, ...]
    """The arms that would be trained."""
    num_seeds: int
    known: Known
    from_before: bool = False
    """Whether the finished runs are of the campaign as it was queued, and its file, code or data have changed."""
    cost_of: Callable[[int], str | None]
    """Writes how long so many trainings take; None if nobody knows."""
    budget: int | None = None
    """Most trainings of a design; None for as many as the margin asks for."""

    @property
    def scale(self) -> Scale:
        """How differences are written."""
        return Scale(self.plan.campaign.judged)


class Outlook(Struct, frozen=True, kw_only=True):
    """What can be said of a campaign before it is trained. Points are on the scale of the judgement."""

    num_compared: int
    """Comparisons that are corrected together."""
    spread_points: float
    """Standard deviation of a run's score over seeds."""
    now: Sight | None
    """What the campaign sees as it was asked for; None with fewer than two seeds."""
    offers: tuple[Sight, ...]
    """Designs that find a difference of the margin, or the best within a budget."""


def learn(plan: Plan, records: Records) -> Known | None:
    """Learn the error of a difference from finished runs; None if no configuration has two.

    Where at least four configurations have two runs, the spread is the median of what verdicts use. Otherwise it is
    that of the runs around the mean of their configuration. What a seed does to all arms alike is then in it, so it may
    be too large.

    Args:
        plan: with every seed that has a run.
        records: run id -> what the run left.

    Raises:
        RunError: a run has an item twice, or two runs disagree on the group of an item.
    """
    groups = [values for values in _replicates(plan, records).values() if len(values) > 1]
    if not groups:
        return None
    metric, freedom = plan.campaign.judged, sum(len(values) - 1 for values in groups)
    spreads = [spread.variance_points2 for spread in gather(plan, records, metric).pool.spreads.values()]
    squares = sum(sum((value - fmean(values)) ** 2 for value in values) for values in groups)
    # Equal scores may hide a difference of less than one step.
    least = rounding_variance(_step(plan, records))
    run_points2 = max(least, median(spreads) if spreads else squares / freedom)
    pairs = _pairs(plan, records)
    return Known(
        model=_model(run_points2, pairs),
        degrees_of_freedom=freedom,
        num_runs=sum(map(len, groups)),
        num_configurations=len(groups),
        unit=_unit(plan.campaign, pairs),
    )


def _step(plan: Plan, records: Records) -> float:
    """Return the smallest step of a score, on the scale of the judgement."""
    metric = plan.campaign.judged
    of_arms = (scores_of(runs_by_seed(plan, records, name), metric.name) for name in plan.arms)
    return smallest_step(metric, [score for scores in of_arms for score in scores.values()])


def _replicates(plan: Plan, records: Records) -> dict[str, list[float]]:
    """Return the values of the runs that differ only in their seed, by configuration; on the judgement's scale."""
    metric = plan.campaign.judged
    found: dict[str, dict[int, float]] = defaultdict(dict)
    for name, arm in plan.arms.items():
        # A model that guesses says nothing about how a working one varies.
        if arm.control != "shuffled_labels":
            own = scores_by_seed(runs_by_seed(plan, records, name), metric.name)
            # An A/A arm is the baseline at other seeds.
            same = arm.reference if arm.seed_shift and arm.reference else configuration(plan, name)
            found[same] |= {seed + arm.seed_shift: Scale(metric).value(value) for seed, value in own.items()}
    return {name: list(values.values()) for name, values in found.items()}


def _pairs(plan: Plan, records: Records) -> list[PairedDifferences]:
    """Return the comparisons at two seeds or more; those of A/A arms only where there is no other."""
    metric, found = plan.campaign.judged, {}
    for name, arm in plan.arms.items():
        if arm.reference is not None and not arm.same_as and arm.control != "shuffled_labels":
            ours, theirs = (scores_of(runs_by_seed(plan, records, side), metric.name) for side in (name, arm.reference))
            found[name] = pair_scores(plan.campaign, metric, ours, theirs)
    usable = {name: pairs for name, pairs in found.items() if pairs.num_seeds > 1}
    return [usable[name] for name in usable if not plan.arms[name].control] or list(usable.values())


def _model(run_points2: float, pairs: Sequence[PairedDifferences]) -> ErrorModel:
    """Add what the comparisons say about items. Medians: one unusual arm must not speak for the others."""
    if not pairs:
        return ErrorModel(run_points2=run_points2)
    parts = [split_error(each, seed_spread(each)) for each in pairs]
    rest_points2 = median(part.rest * each.num_seeds / 2.0 for part, each in zip(parts, pairs, strict=True))
    has_items = pairs[0].rests_on != "seeds"
    return ErrorModel(
        run_points2=run_points2,
        rest_points2=min(run_points2, rest_points2),
        # With seeds alone, the part is what overlapping splits leave, which `test_ratio` says better.
        item_points2=median(part.item for part in parts) if has_items else 0.0,
        num_items=int(median(each.num_items for each in pairs)),
        num_strata=len(set(pairs[0].stratum_B.tolist())),
        test_ratio=max(each.test_ratio for each in pairs),
    )


def _unit(campaign: Campaign, pairs: Sequence[PairedDifferences]) -> str | None:
    if not pairs or pairs[0].rests_on == "seeds":
        return None
    return campaign.labels.cluster if pairs[0].rests_on == "clusters" else campaign.labels.item


def judged_plan(
    campaign: Campaign, every_arm: Mapping[str, Arm], names: Sequence[str], before: Plan, records: Records
) -> Plan:
    """Return the arms, without runs, whose verdicts would be corrected together once some experiments are trained.

    Args:
        campaign: as it is now.
        every_arm: of the campaign as it is now.
        names: the experiments that would be trained.
        before: the plan of the finished runs.
        records: run id -> what the run left.
    """
    judged = plan_to_judge(before, [name for name in names if name in before.arms], records)
    # With looks, only the experiments of a command are judged together.
    wanted = [*names, *(() if campaign.staging else judged.arms)]
    arms = select_arms(every_arm, [name for name in dict.fromkeys(wanted) if name in every_arm])
    return Plan(campaign=campaign, arms=arms, runs=(), run_of={})


def rules_of(plan: Plan) -> Rules:
    """Return how a comparison of a campaign is judged; in a campaign with looks, at the last look alone."""
    campaign = plan.campaign
    level, staging = campaign.judging.level, campaign.staging
    last = share_out(staging.looks, level)[-1] if staging else None
    return Rules(
        margin_points=Scale(campaign.judged).margin_points,
        level=level * (last.share if last else 1.0),
        equivalence_level=level * (last.equivalence_share if last else 1.0),
        num_compared=count_compared(plan),
    )


def count_compared(plan: Plan) -> int:
    """Return the number of comparisons that are corrected together; of the largest family if there are several."""
    families: dict[str, set[frozenset[str]]] = defaultdict(set)
    for name, arm in plan.arms.items():
        if arm.reference is not None and not arm.control:
            family = "campaign" if plan.campaign.judging.family == "campaign" else arm.group
            families[family].add(comparison(plan, name))
    metrics = sum(metric.role == "judged" for metric in plan.campaign.metrics.values())
    return metrics * max(map(len, families.values()), default=0)


def count_arms(plan: Plan, names: Iterable[str]) -> Arms:
    """Count the configurations that would be trained, and those of them that others are compared with."""
    trained = {configuration(plan, name) for name in names}
    references = {configuration(plan, reference) for name in names if (reference := plan.arms[name].reference)}
    return Arms(compared=len(trained - references), references=len(references))


def foresee(question: Question) -> tuple[Outlook, tuple[str, ...]]:
    """Return, as numbers and as sentences, what a campaign sees, and which design finds a difference of the margin.

    Args:
        question: of a campaign that compares something.
    """
    rules, known = rules_of(question.plan), question.known
    arms = count_arms(question.plan, question.names)
    look = partial(see, known.model, rules, _count_pooled(question.plan))
    now = None
    if question.num_seeds > 1:
        design = Design(seeds=question.num_seeds, reference_seeds=question.num_seeds)
        [now] = see_all([design], arms, look)
    # Without pooled spreads, or where each seed draws its own items, only pairs at one seed are compared.
    more = _count_pooled(question.plan) >= MIN_POOLED and not known.model.test_ratio
    sights = see_all(grid(has_items=known.unit is not None, more_of_reference=more), arms, look)
    offers = _offers(question, sights, rules.margin_points)
    outlook = Outlook(
        num_compared=rules.num_compared, spread_points=known.model.run_points2**0.5, now=now, offers=offers
    )
    now_words, basis = _describe_now(question, rules.num_compared, now), _describe_basis(question)
    return outlook, (now_words, basis, _describe_offers(question, sights, offers))


def _count_pooled(plan: Plan) -> int:
    return len({configuration(plan, name) for name, arm in plan.arms.items() if not arm.control})


def _offers(question: Question, sights: Sequence[Sight], margin_points: float) -> tuple[Sight, ...]:
    """Choose a design for each number of items: the cheapest for the margin, or the best within the budget."""
    found = []
    for items in sorted({sight.design.items for sight in sights}):
        own = [sight for sight in sights if sight.design.items == items]
        chosen = (
            cheapest(own, margin_points) if question.budget is None else sharpest(own, question.budget, margin_points)
        )
        found.append(chosen)
    return tuple(sight for sight in found if sight is not None)


def _describe_now(question: Question, num_compared: int, now: Sight | None) -> str:
    if now is None:
        return "with 1 seed this campaign gives no verdict: it takes two or more"
    design, metric = now.design, question.plan.campaign.judged.name
    at = "at its last look, with" if question.plan.campaign.staging else "with"
    return (
        f"{at} {counted(design.seeds, 'seed')} and {counted(num_compared, 'comparison')} this campaign finds a "
        f"difference of {_reach(question, now)} in `{metric}` with {100 * POWER:.0f} % power; an arm that makes no "
        f"difference is told no_change with {_chance(now.no_change_chance)}"
    )


def _describe_basis(question: Question) -> str:
    known, scale = question.known, question.scale
    spread, freedom = known.model.run_points2**0.5, known.degrees_of_freedom
    # Of a normal sample, the sum of squares over the variance is chi-squared.
    low, high = (scale.error(spread * (freedom / float(chdtri(freedom, end))) ** 0.5) for end in (LIMIT, 1 - LIMIT))
    runs = f"{counted(known.num_runs, 'finished run')} of {counted(known.num_configurations, 'configuration')}"
    before = ", of the campaign as it was queued before it changed" if question.from_before else ""
    lacks = "; what items add to the error is known once an experiment has two seeds" if _lacks_items(question) else ""
    return (
        f"this rests on {runs}{before}: from seed to seed a score varies by {scale.size(spread)} "
        f"(standard deviation; 90 % interval {low} to {high}){lacks}"
    )


def _lacks_items(question: Question) -> bool:
    """Whether the metric rests on items, and no two runs have been compared by them."""
    has_items = isinstance(question.plan.campaign.judged.source, ItemsSource)
    return has_items and not question.known.model.num_items and not question.known.model.test_ratio


def _describe_offers(question: Question, sights: Sequence[Sight], offers: Sequence[Sight]) -> str:
    if question.budget is not None:
        return _describe_budget(question, sights, offers)
    margin = question.scale.shown(question.scale.margin_points)
    wanted = f"a difference of the margin ({question.scale.reach(margin)})"
    if not offers:
        best = sharpest(sights)
        assert best is not None
        return (
            f"no design of up to {best.design.seeds} seeds an arm finds {wanted}: "
            f"{_describe_design(question, best)} find {_reach(question, best)}"
        )
    return f"to find {wanted}: {'; '.join(_describe_design(question, offer) for offer in offers)}"


def _describe_budget(question: Question, sights: Sequence[Sight], offers: Sequence[Sight]) -> str:
    within = f"within {counted(question.budget or 0, 'training')}"
    if not offers:
        least = min(sights, key=lambda sight: sight.trainings)
        return f"{within} no design gives verdicts: the smallest is {_describe_design(question, least)}"
    told = (f"{_describe_design(question, offer)} find {_reach(question, offer)}" for offer in offers)
    return f"{within}: {'; '.join(told)}"


def _describe_design(question: Question, sight: Sight) -> str:
    design = sight.design
    more = f"with {TIMES[design.items]} the {question.known.unit}s " if design.items > 1 else ""
    reference = f" and {design.reference_seeds} of {_reference_name(question)}"
    reference = reference if design.reference_seeds > design.seeds else ""
    cost = ", ".join(filter(None, (counted(sight.trainings, "training"), question.cost_of(sight.trainings))))
    most = "at most " if question.plan.campaign.staging else ""
    return f"{more}{counted(design.seeds, 'seed')} an arm{reference} ({most}{cost})"


def _reference_name(question: Question) -> str:
    references = {question.plan.arms[name].reference for name in question.names} - {None}
    return "the baseline" if references == {BASELINE} else "each reference"


def _reach(question: Question, sight: Sight) -> str:
    return question.scale.reach(question.scale.shown(sight.smallest_points))


def _chance(chance: float) -> str:
    """Write a chance in whole percent: 37 %, under 1 %."""
    if 0.01 <= chance <= 0.99:
        return f"{100 * chance:.0f} %"
    return "under 1 %" if chance < 0.5 else "over 99 %"
