"""The typed campaign: what `experiments.yaml` may say. Frozen and closed. Pure."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from orchestrator.campaign.fields import BASELINE, MAX_SEEDS, ExperimentId, Named, Reported, SearchId, Seeds, Word
from orchestrator.campaign.search_spec import SearchSpec
from orchestrator.closed import Config
from orchestrator.runs.order import GuardSpec
from orchestrator.task.knobs import Change
from orchestrator.task.metric_spec import MetricSpec
from orchestrator.task.spec import ItemsSpec, LabelsSpec, TaskSpec


class JudgingSpec(Config, frozen=True, kw_only=True):
    """How verdicts are reached."""

    level: Annotated[
        float, Meta(gt=0, lt=0.5, description="chance of a false verdict; intervals cover one minus this")
    ] = 0.05
    correction: Annotated[
        Literal["dunnett", "holm", "benjamini_hochberg"],
        Meta(
            description="for many tests: dunnett and holm bound the chance of any false verdict; dunnett knows that "
            "comparisons share a reference; benjamini_hochberg bounds the share of false ones"
        ),
    ] = "dunnett"
    family: Annotated[
        Literal["campaign", "group"],
        Meta(description="comparisons that are corrected together: all, or those of a group"),
    ] = "campaign"


MIN_REFERENCE_SEEDS = 5
"""Fewer runs of a reference say too little about the spread of an arm with one run."""


class StagingSpec(Config, frozen=True, kw_only=True):
    """How seeds are given out: few to all, more to undecided experiments, fresh seeds to improvements."""

    screen_seeds: Annotated[
        int, Meta(ge=1, le=MAX_SEEDS, description="seeds that every experiment gets; 1 needs reference_seeds")
    ] = 2
    max_seeds: Annotated[
        int, Meta(ge=2, le=MAX_SEEDS, description="seeds after which an experiment stays inconclusive")
    ] = 10
    confirm_seeds: Annotated[
        int,
        Meta(ge=2, le=MAX_SEEDS, description="fresh seeds beyond all others that confirm an improvement"),
    ] = 2
    reference_seeds: Annotated[
        int,
        Meta(
            ge=0,
            le=MAX_SEEDS,
            description="most seeds of a reference: k experiments share it, so it gets the root of k times their seeds",
        ),
    ] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.screen_seeds == 1 and self.reference_seeds < MIN_REFERENCE_SEEDS:
            raise ValueError(
                f"screen_seeds 1 takes the spread over seeds from the reference, and reference_seeds "
                f"{self.reference_seeds} shows too little of it; use reference_seeds of {MIN_REFERENCE_SEEDS} or more, "
                "or screen_seeds 2"
            )
        if self.max_seeds < self.screen_seeds:
            raise ValueError(
                f"max_seeds {self.max_seeds} is fewer than the {self.screen_seeds} that every experiment is given "
                "(screen_seeds); raise max_seeds"
            )

    @property
    def looks(self) -> tuple[int, ...]:
        """The numbers of seeds at which verdicts are given: each 1.5 times the one before, up to `max_seeds`."""
        numbers = [self.screen_seeds]
        while numbers[-1] < self.max_seeds:
            numbers.append(min(self.max_seeds, numbers[-1] + (numbers[-1] + 1) // 2))
        return tuple(numbers)

    @property
    def fresh_seeds(self) -> range:
        """The seeds of the confirmation. They follow all seeds of a verdict, so that the two never overlap."""
        first = max(self.max_seeds, self.reference_seeds)
        return range(first, first + self.confirm_seeds)

    def all_seeds(self, seeds: tuple[int, ...]) -> tuple[int, ...]:
        """Return the given seeds and all that a look or a confirmation may ask for, sorted."""
        return tuple(sorted({*seeds, *range(self.fresh_seeds.stop)}))


class ExperimentSpec(Config, frozen=True, kw_only=True):
    """One named change to a declared reference."""

    title: Annotated[str, Meta(description="in a few words; by default the change itself")] = ""
    group: Annotated[str, Meta(description="the report's section, e.g. architecture")] = "changes"
    hypothesis: Annotated[str, Meta(description="why the change might matter")] = ""
    change: Annotated[Change, Meta(description="dotted knob -> value")] = {}
    patch: Annotated[
        Word | None, Meta(description="path of a diff of files under model/, relative to the campaign file")
    ] = None
    ref: Annotated[Word | None, Meta(description="a branch, tag or commit; its model/ is run")] = None
    on: Annotated[ExperimentId, Meta(description="the stack that it changes; by default the baseline")] = BASELINE
    change_in: Annotated[
        dict[str, Change], Meta(description="profile -> the change at that profile, in place of `change`")
    ] = {}
    control: Annotated[
        Literal["shuffled_labels"] | None,
        Meta(description="shuffled_labels: train on meaningless labels, so that scores must fall to chance"),
    ] = None
    reported: Reported | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.change or self.patch or self.ref or self.control):
            raise ValueError("an experiment changes something: give it `change` (knobs), `patch` (a diff) or `ref`")
        if self.patch and self.ref:
            raise ValueError("an experiment's code comes from a `patch` or from a `ref`, not from both")


class BaselineSpec(Config, frozen=True, kw_only=True):
    """The experiment with no change. Its other keys are parameters; `params` holds those with a name of its own."""

    params: dict[str, Any] = {}
    title: str = "Baseline"
    hypothesis: str = ""
    reported: Reported | None = None


SlotsPerGpu = Annotated[
    int, Meta(ge=1, le=8, description="trainings at a time on one GPU, if it has the memory; no effect on a CPU")
]


class ProfileSpec(Config, frozen=True, kw_only=True):
    """A scale of the campaign: the fields that differ from the rest of the file."""

    about: Annotated[str, Meta(description="what may be concluded from it")] = ""
    question: Annotated[str, Meta(description="the campaign's question, if it differs at this profile")] = ""
    data: Annotated[dict[str, Any], Meta(description="fields that replace those of `data`")] = {}
    baseline: Annotated[dict[str, Any], Meta(description="merged into `baseline`")] = {}
    guards: Annotated[dict[str, Any], Meta(description="fields that replace those of `guards`")] = {}
    slots_per_gpu: SlotsPerGpu | None = None
    seeds: Seeds | None = None
    margin: Annotated[float, Meta(gt=0)] | None = None
    default_experiments: Annotated[
        tuple[Named, ...], Meta(description="the experiments of a command that names none; by default all")
    ] = ()


ONLY_PROFILE = "default"
"""Name of the profile of a file without `profiles`."""


class CampaignSpec(Config, frozen=True, kw_only=True):
    """One `experiments.yaml`."""

    campaign: ExperimentId
    title: Annotated[str, Meta(description="of the report; by default the campaign's name")] = ""
    question: Annotated[str, Meta(description="what is learned from what; first paragraph of the report")] = ""
    task: Annotated[TaskSpec, Meta(description="what is trained; by default the radio study")]
    metrics: Annotated[
        dict[str, MetricSpec], Meta(description="what is read of each run; by default what the task says")
    ] = {}
    margin: (
        Annotated[
            float, Meta(gt=0, description="smallest difference that matters, in points; where the task names metrics")
        ]
        | None
    ) = None
    seeds: Seeds
    data: Annotated[dict[str, Any], Meta(description="parameters of the task about its data, if it checks them")] = {}
    guards: GuardSpec = field(default_factory=GuardSpec)
    slots_per_gpu: SlotsPerGpu = 1
    judging: JudgingSpec = field(default_factory=JudgingSpec)
    staging: StagingSpec | None = None
    default_profile: Annotated[str, Meta(description="by default `quick` if there is one, else the first")] = ""
    profiles: Annotated[
        dict[str, ProfileSpec], Meta(min_length=1, description="scales of the campaign; by default one, `default`")
    ] = field(default_factory=lambda: {ONLY_PROFILE: ProfileSpec()})
    baseline: dict[str, Any] = {}
    experiments: dict[ExperimentId, ExperimentSpec] = {}
    interactions: Annotated[
        tuple[tuple[ExperimentId, ExperimentId], ...],
        Meta(description="pairs of experiments; for each, neither, one, the other and both are run on a common base"),
    ] = ()
    ablate: Annotated[
        tuple[Named | Annotated[tuple[Named, ...], Meta(min_length=1)], ...],
        Meta(description="parts of a full stack, which is run with all parts and without each one"),
    ] = ()
    aa: Annotated[int, Meta(ge=0, le=100, description="how often the baseline is judged against itself")] = 0
    searches: dict[SearchId, SearchSpec] = {}

    @property
    def usual_profile(self) -> str:
        """The profile of a command that names none."""
        return self.default_profile or ("quick" if "quick" in self.profiles else next(iter(self.profiles)))


class Campaign(Struct, frozen=True, kw_only=True):
    """A campaign at one profile: the profile's fields are in place."""

    name: str
    title: str
    question: str
    profile: str
    about: str
    task: TaskSpec
    """What is trained. Its items are those of every split that a run is scored on."""
    metrics: dict[str, MetricSpec] = {}
    """Name -> what is read of each run, in the order of the file. Empty until the task has named them."""
    splits: dict[str, str] = {}
    """What a run is scored on, or its metrics -> `judged`, `no_worse`, `shown`, `choose` or `validate`."""
    items: dict[str, ItemsSpec] = {}
    """Split -> its table of items, without the splits that only training looks at."""
    labels: LabelsSpec = field(default_factory=LabelsSpec)
    """What reports call items, strata, clusters and splits."""
    notes: tuple[str, ...] = ()
    """Sentences of the task about its data and its scores, for the report."""
    margin: float = 0.0
    """Margin of the judged metric, in its unit or as a share."""
    seeds: tuple[int, ...]
    data: dict[str, Any] = {}
    """The parameters of a section `data` of its own, with what only `prepare` needs."""
    guards: GuardSpec
    slots_per_gpu: int = 1
    baseline: BaselineSpec
    experiments: dict[str, ExperimentSpec]
    judging: JudgingSpec = field(default_factory=JudgingSpec)
    staging: StagingSpec | None = None
    default_experiments: tuple[str, ...] = ()
    interactions: tuple[tuple[str, str], ...] = ()
    ablate: tuple[str | tuple[str, ...], ...] = ()
    aa: int = 0
    searches: dict[str, SearchSpec] = {}

    def with_role(self, *roles: str) -> tuple[str, ...]:
        """Return the splits or metrics that have one of some roles, in their order."""
        return tuple(name for role in roles for name, own in self.splits.items() if own == role)

    @property
    def reported(self) -> tuple[str, ...]:
        """The splits or metrics that a report shows, the judged ones first."""
        return self.with_role("judged", "no_worse", "shown")

    @property
    def judged(self) -> MetricSpec:
        """The metric that verdicts are about: the first with that role."""
        return next(metric for metric in self.metrics.values() if metric.role == "judged")

    @property
    def confirming(self) -> MetricSpec:
        """The metric that confirmations read: that of role `confirm`, or the judged one if there is none."""
        return next((metric for metric in self.metrics.values() if metric.role == "confirm"), self.judged)
