"""The steps of one verdict as values: scores, spreads, errors and tests. Values only; `steps` works them out."""

from msgspec import Struct

from orchestrator.campaign.fields import Control
from orchestrator.stats.pairing import RestsOn
from orchestrator.stats.strata import StratumStep
from orchestrator.task.metric_spec import MetricSpec
from orchestrator.task.spec import LabelsSpec
from orchestrator.verdicts.judgement import MetricJudgement, Verdict


class SeedStep(Struct, frozen=True, kw_only=True):
    """The scores of one seed, over the items that every run on both sides was scored on."""

    seed: int
    experiment_score: float
    """In the metric's unit."""
    reference_score: float
    delta_points: float
    counts: "CountStep | None" = None
    """None unless the metric is a share of items that are right or wrong."""


class CountStep(Struct, frozen=True, kw_only=True):
    """How many items are right at one seed."""

    experiment_right: int
    reference_right: int
    experiment_alone: int
    """Number of items that only the experiment's run has right."""
    reference_alone: int


class PoolStep(Struct, frozen=True, kw_only=True):
    """The spread over seeds that the campaign's configurations show together."""

    num_arms: int
    """Number of configurations with a spread of their own."""
    deviation_points: float
    """Common standard deviation of one seed's score."""
    degrees_of_freedom: float
    """Its weight beside an arm's own spread; infinite if the arms differ no more than by chance."""
    outliers: tuple[str, ...] = ()
    """Configurations far wider than the others, which have no part in it and keep their own spread."""


class WeightStep(Struct, frozen=True, kw_only=True):
    """How the runs count where one side has more seeds than the other."""

    extra: dict[str, dict[int, float]]
    """Side -> seed -> score, in the metric's unit, of the runs whose seed the other side lacks."""
    common_share: dict[str, float]
    """Side -> the part of its mean that its runs at the common seeds are."""
    squares: dict[str, float]
    """Side -> the sum of the squares of its weights."""
    apart: float
    """The sum over seeds of the squared difference of the two sides' weights."""
    common_points: float
    """Standard deviation of what a seed does to all arms alike."""


class SpreadStep(Struct, frozen=True, kw_only=True):
    """The standard deviation of one seed's score of one arm, from its own runs and after pooling."""

    side: str
    """The experiment or its reference."""
    arm: str
    """The first arm of its configuration, whose runs it shares."""
    own_points: float
    own_degrees_of_freedom: float
    pooled_points: float
    pooled_degrees_of_freedom: float
    prior_share: float = 1.0
    """Share of the prior's weight that it takes; below 1 if the prior expects fewer arms so wide than there are."""


class ReplicateStep(Struct, frozen=True, kw_only=True):
    """The spread of runs that differ only in their seed: those of the baseline and of all A/A arms."""

    score_of: dict[int, float]
    """Seed of the training -> score, on the scale of the metric."""
    deviation_points: float
    """Standard deviation of one run's score."""
    degrees_of_freedom: float


class ErrorStep(Struct, frozen=True, kw_only=True):
    """The parts of the error, the error and the interval."""

    spread_points: float
    """Standard deviation of the difference at one seed."""
    spread_degrees_of_freedom: float
    seed_error_points: float
    item_error_points: float
    rest_error_points: float
    error_points: float
    degrees_of_freedom: float
    quantile: float
    low_points: float
    high_points: float


class SignificanceStep(Struct, frozen=True, kw_only=True):
    """The tests against no difference and against the margin."""

    t: float
    """The difference over its standard error."""
    p_value: float
    correction: str
    family: str
    rank: int
    """Rank among the family's p-values; the smallest has 1."""
    num_compared: int
    adjusted_p_value: float
    margin_points: float
    equivalence_t: float
    """The distance from the difference to the nearer end of the margin, in standard errors."""
    equivalence_p_value: float


class LookStep(Struct, frozen=True, kw_only=True):
    """The numbers of one look of several. They are copied from the judgement, not worked out again."""

    num_seeds: int
    level: float
    """The part of the level that this look spends."""
    error_points: float
    degrees_of_freedom: float
    low_points: float
    high_points: float
    p_value: float
    adjusted_p_value: float
    """Adjusted for the share of the look and for the comparisons of the family."""
    equivalence_p_value: float


class OtherStep(Struct, frozen=True, kw_only=True):
    """What a metric beside the main one says."""

    metric: MetricSpec
    found: MetricJudgement


class Arithmetic(Struct, frozen=True, kw_only=True):
    """All steps of one verdict; a step without enough data is None or empty."""

    experiment: str
    reference: str | None
    metric: MetricSpec
    labels: LabelsSpec
    level: float
    verdict: Verdict | None
    reason: str
    control: Control | None = None
    num_items: int
    dropped_seeds: tuple[int, ...]
    dropped_items: int
    rests_on: RestsOn = "items"
    test_ratio: float = 0.0
    """Items tested on over items trained on, where each seed draws its own."""
    seeds: tuple[SeedStep, ...] = ()
    delta_points: float | None = None
    own_spread_points: float | None = None
    """Standard deviation of the per-seed differences alone."""
    pool: PoolStep | None = None
    """None if too few configurations have two seeds, and for a control."""
    spreads: tuple[SpreadStep, ...] = ()
    """The spread of the experiment and of its reference."""
    replicates: ReplicateStep | None = None
    """Replaces `pool` and `spreads` for an A/A arm."""
    strata: tuple[StratumStep, ...] = ()
    error: ErrorStep | None = None
    tests: SignificanceStep | None = None
    weights: WeightStep | None = None
    """None if both sides have the same seeds, and in a campaign with looks."""
    extra_seeds: tuple[int, ...] = ()
    """Seeds of one side alone that count too."""
    collapsed: dict[str, tuple[int, ...]] = {}
    """Side -> seeds whose runs are set aside, since they lie far below its other runs."""
    is_sparse: bool = False
    """Whether so few items differ that the score interval gives their part of the error."""
    at_look: LookStep | None = None
    """Replaces all steps after `delta_points` in a campaign with looks."""
    others: tuple[OtherStep, ...] = ()
    """The metrics beside the main one. They do not change its verdict."""
    looked_again: str = ""
    """Says how often the verdict was shown at other numbers of seeds; empty if it was not."""
    left_out: tuple[str, ...] = ()
    """A sentence for each run whose folder cannot be read, or whose files contradict each other."""
