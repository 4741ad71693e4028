"""The typed campaign: what `experiments.yaml` may say. Frozen and closed. Pure."""

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct, field

from model.config import CaptureConfig
from orchestrator.closed import Config, Positive
from orchestrator.runs.identity import ID_PATTERN, MAX_ID_LENGTH
from orchestrator.runs.order import GuardSpec
from orchestrator.task.ask import EmulateSpec
from orchestrator.task.knobs import Change

BASELINE = "baseline"

ExperimentId = Annotated[str, Meta(pattern=ID_PATTERN, max_length=MAX_ID_LENGTH)]
TRIAL_LETTERS = 6
"""What the name of a search is followed by in the id of a trial's arm: `-t0123`."""
SearchId = Annotated[str, Meta(pattern=ID_PATTERN, max_length=MAX_ID_LENGTH - TRIAL_LETTERS)]
TAG = "tag:"
"""Before the name of a group, where experiments are named."""
Named = Annotated[
    str, Meta(pattern=rf"^({TAG}.+|{ID_PATTERN[1:-1]})$", description="an experiment, or `tag:` and a group of them")
]
Control = Literal["aa", "shuffled_labels"]
"""What is run to test the protocol, not an idea: the baseline against itself, or training on labels without meaning."""
SHUFFLED_LABELS = "data.shuffled_labels"
"""The knob of the control of that name."""
AA_SEED_STEP = 10_000
"""How far the seeds of an A/A arm lie from those of the one before."""

MAX_SEEDS = 10_000
"""Most seeds of a campaign: far more than any verdict needs."""
Seed = Annotated[int, Meta(ge=0, lt=2**32)]
NumSeeds = Annotated[int, Meta(ge=1, le=MAX_SEEDS)]
Seeds = NumSeeds | Annotated[tuple[Seed, ...], Meta(min_length=1, max_length=MAX_SEEDS)]
"""How many seeds (0, 1, ...), or which."""

Word = Annotated[str, Meta(min_length=1)]


class JudgingSpec(Config, frozen=True, kw_only=True):
    """How verdicts are reached."""

    level: Annotated[
        float, Meta(gt=0, lt=0.5, description="chance of a false verdict; intervals cover one minus this")
    ] = 0.05
    correction: Annotated[
        Literal["holm", "benjamini_hochberg"],
        Meta(description="for testing many: holm bounds the chance of any false verdict, the other their share"),
    ] = "holm"
    family: Annotated[
        Literal["campaign", "group"], Meta(description="what is tested together: all comparisons, or those of a group")
    ] = "campaign"


class StagingSpec(Config, frozen=True, kw_only=True):
    """How seeds are given out: few to all, more to those that are undecided, fresh ones to what improved."""

    screen_seeds: Annotated[int, Meta(ge=2, le=MAX_SEEDS, description="seeds that every experiment is given")] = 2
    max_seeds: Annotated[
        int, Meta(ge=2, le=MAX_SEEDS, description="seeds after which an experiment stays inconclusive")
    ] = 10
    confirm_seeds: Annotated[
        int,
        Meta(ge=2, le=MAX_SEEDS, description="seeds after those of max_seeds, on which an improvement is confirmed"),
    ] = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.max_seeds < self.screen_seeds:
            raise ValueError(
                f"max_seeds {self.max_seeds} is fewer than the {self.screen_seeds} that every experiment is given "
                "(screen_seeds); raise max_seeds"
            )

    @property
    def looks(self) -> tuple[int, ...]:
        """The numbers of seeds at which verdicts are given: each half as many again, up to the greatest number."""
        numbers = [self.screen_seeds]
        while numbers[-1] < self.max_seeds:
            numbers.append(min(self.max_seeds, numbers[-1] + (numbers[-1] + 1) // 2))
        return tuple(numbers)

    @property
    def fresh_seeds(self) -> range:
        """The seeds of the confirmation: after all that a verdict may rest on, so that the two never overlap."""
        return range(self.max_seeds, self.max_seeds + self.confirm_seeds)

    def all_seeds(self, seeds: tuple[int, ...]) -> tuple[int, ...]:
        """Return some seeds and all that may be asked for, in their order."""
        return tuple(sorted({*seeds, *range(self.fresh_seeds.stop)}))


class DataSpec(Config, frozen=True, kw_only=True):
    """The captures of a campaign; the fields are those of the job's `DataConfig`, and how to make them."""

    captures: dict[str, CaptureConfig]
    train: tuple[str, ...]
    validate: tuple[str, ...]
    report: tuple[str, ...]
    choose: tuple[str, ...] = ()
    layout: Literal["rffi-hdf5", "shards"] = "rffi-hdf5"
    samples: int = 8192
    sample_rate_hz: float = 1e6
    emulate: EmulateSpec | None = None


class Reported(Config, frozen=True, kw_only=True):
    """What the source claims. Percent and percentage points on LocD."""

    accuracy: Annotated[float, Meta(ge=0, le=100)] | None = None
    delta: float | None = None
    versus: Annotated[str | None, Meta(description="what the delta was taken against, as the source says")] = None
    bursts: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="how many bursts its run was scored on; the baseline's holds for all that do not say"),
    ] = None
    outcome: Annotated[str | None, Meta(description="e.g. too_slow, where there is no score")] = None
    note: str | None = None


class ExperimentSpec(Config, frozen=True, kw_only=True):
    """One named change to a declared reference."""

    title: str
    group: Annotated[str, Meta(description="the report's section, e.g. architecture")]
    hypothesis: Annotated[str, Meta(description="why the change might matter")]
    change: Annotated[Change, Meta(description="dotted knob -> value")] = {}
    patch: Annotated[Word | None, Meta(description="a diff of files under model/, beside the campaign file")] = None
    ref: Annotated[Word | None, Meta(description="a branch, tag or commit whose model/ is run")] = None
    on: Annotated[ExperimentId, Meta(description="the stack it changes; baseline if not said")] = BASELINE
    change_in: Annotated[
        dict[str, Change], Meta(description="profile -> the change there, where `change` does not fit")
    ] = {}
    control: Annotated[
        Literal["shuffled_labels"] | None,
        Meta(description="shuffled_labels: trained on labels without meaning, so that scores must fall to chance"),
    ] = None
    reported: Reported | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.change or self.patch or self.ref or self.control):
            raise ValueError("an experiment changes something: give it `change` (knobs), `patch` (a diff) or `ref`")
        if self.patch and self.ref:
            raise ValueError("an experiment's code comes from a `patch` or from a `ref`, not from both")


class BaselineSpec(Config, frozen=True, kw_only=True):
    """The experiment with no change. Each part is as in the job's config; what is not said is the source's."""

    model: dict[str, Any] = {}
    loss: dict[str, Any] = {}
    augment: dict[str, Any] = {}
    optim: dict[str, Any] = {}
    runtime: dict[str, Any] = {}
    title: str = "Baseline"
    hypothesis: str = ""
    reported: Reported | None = None


class ProfileSpec(Config, frozen=True, kw_only=True):
    """A scale of the same campaign: what differs from the rest of the file."""

    about: Annotated[str, Meta(description="what may be concluded from it")] = ""
    task: Annotated[str, Meta(description="the campaign's task, where it differs here")] = ""
    data: Annotated[dict[str, Any], Meta(description="fields that replace those of `data`")] = {}
    baseline: Annotated[dict[str, Any], Meta(description="merged into `baseline`")] = {}
    guards: Annotated[dict[str, Any], Meta(description="fields that replace those of `guards`")] = {}
    seeds: Seeds | None = None
    margin: Annotated[float, Meta(gt=0)] | None = None
    default_experiments: Annotated[
        tuple[Named, ...], Meta(description="what a command means that names no experiment; all, if not said")
    ] = ()


class FloatSpace(Config, frozen=True, kw_only=True, tag_field="kind", tag="float"):
    """A real number from `low` to `high`, both included."""

    low: float
    high: float
    log: Annotated[bool, Meta(description="whether its logarithm is what is spread evenly")] = False
    step: Annotated[Positive | None, Meta(description="only low, low + step, ... are tried")] = None
    when: Annotated[Change, Meta(description="searched only where these knobs of the space have these values")] = {}

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_range(self.low, self.high, log=self.log, has_step=self.step is not None)


class IntSpace(Config, frozen=True, kw_only=True, tag_field="kind", tag="int"):
    """A whole number from `low` to `high`, both included."""

    low: int
    high: int
    log: bool = False
    step: Annotated[int, Meta(ge=1)] | None = None
    when: Change = {}

    def __post_init__(self) -> None:
        super().__post_init__()
        _require_range(self.low, self.high, log=self.log, has_step=self.step is not None)


class CategoricalSpace(Config, frozen=True, kw_only=True, tag_field="kind", tag="categorical"):
    """One of some values without an order."""

    choices: Annotated[tuple[str | int | float | bool | None, ...], Meta(min_length=2)]
    when: Change = {}

    def __post_init__(self) -> None:
        super().__post_init__()
        for place, choice in enumerate(self.choices):
            if choice in self.choices[:place]:
                raise ValueError(f"`choices` has {choice!r} twice; keep one of them")


def _require_range(low: float, high: float, *, log: bool, has_step: bool) -> None:
    if not low < high:
        raise ValueError(f"low {low} must be below high {high}")
    if log and low <= 0:
        raise ValueError(f"with log, low must be above 0, found {low}")
    if log and has_step:
        raise ValueError("log and step exclude each other; leave one of them out")


Space = FloatSpace | IntSpace | CategoricalSpace


class ObjectiveSpec(Config, frozen=True, kw_only=True):
    """What a search makes as high as it can: the accuracy on captures that nothing is reported on."""

    captures: Annotated[tuple[str, ...], Meta(description="those of `choose`, if not said")] = ()
    insist: Annotated[bool, Meta(description="whether validation accuracy alone will do, against the advice")] = False


class MedianPruning(Config, frozen=True, kw_only=True, tag_field="kind", tag="median"):
    """A point is given up once its best epoch lies below the median of the others' at the same epoch."""

    startup_trials: Annotated[int, Meta(ge=1, description="points that are trained to their end first")] = 5
    warmup_epochs: Annotated[int, Meta(ge=1, description="first epochs after which nothing is given up")] = 3


class WilcoxonPruning(Config, frozen=True, kw_only=True, tag_field="kind", tag="wilcoxon"):
    """A point is given up once its epochs lie below those of the best point, by the signed-rank test."""

    p_threshold: Annotated[float, Meta(gt=0, lt=1, description="given up below this p-value")] = 0.1
    warmup_epochs: Annotated[int, Meta(ge=1, description="first epochs after which nothing is given up")] = 3


class PointSpec(Config, frozen=True, kw_only=True):
    """A point that a search tries first."""

    at: Annotated[Change, Meta(description="a value for every knob of the space", min_length=1)]
    reported: Reported | None = None


class SearchSpec(Config, frozen=True, kw_only=True):
    """A search for the best values of some knobs on a stack."""

    title: str
    on: Annotated[ExperimentId, Meta(description="the stack it varies; its own values are the default point")] = (
        BASELINE
    )
    space: Annotated[dict[str, Space], Meta(description="dotted knob -> where it may lie", min_length=1)]
    sampler: Annotated[
        Literal["tpe", "gp", "random"], Meta(description="who suggests; gp takes the noise of scores into account")
    ] = "tpe"
    pruner: Annotated[
        MedianPruning | WilcoxonPruning | None,
        Meta(description="who gives points up early, by their validation accuracy after each epoch; null: nobody"),
    ] = None
    trials: Annotated[int, Meta(ge=1, le=100_000, description="points to visit, in all")] = 50
    seeds: Annotated[Seeds, Meta(description="seeds that each point is trained at")] = 1
    objective: ObjectiveSpec = field(default_factory=ObjectiveSpec)
    enqueue: Annotated[tuple[PointSpec, ...], Meta(description="points that are tried first")] = ()


class CampaignSpec(Config, frozen=True, kw_only=True):
    """One `experiments.yaml`."""

    campaign: ExperimentId
    title: str
    task: Annotated[str, Meta(description="what is learned from what; the report's first paragraph")]
    margin: Annotated[float, Meta(gt=0, description="points of accuracy that would matter")]
    seeds: Seeds
    data: dict[str, Any]
    guards: GuardSpec = field(default_factory=GuardSpec)
    judging: JudgingSpec = field(default_factory=JudgingSpec)
    staging: StagingSpec | None = None
    default_profile: str = "quick"
    profiles: Annotated[dict[str, ProfileSpec], Meta(min_length=1)]
    baseline: BaselineSpec = field(default_factory=BaselineSpec)
    experiments: dict[ExperimentId, ExperimentSpec] = {}
    interactions: Annotated[
        tuple[tuple[ExperimentId, ExperimentId], ...],
        Meta(description="pairs of experiments; of each, neither, one, the other and both are run on one common base"),
    ] = ()
    ablate: Annotated[
        tuple[Named | Annotated[tuple[Named, ...], Meta(min_length=1)], ...],
        Meta(description="parts of a full stack, which is run with all of them and without each"),
    ] = ()
    aa: Annotated[int, Meta(ge=0, le=100, description="how many times the baseline is judged against itself")] = 0
    searches: dict[SearchId, SearchSpec] = {}


class ProfiledCampaign(Struct, frozen=True, kw_only=True):
    """A campaign at one scale: the profile's differences are in place."""

    name: str
    title: str
    task: str
    profile: str
    about: str
    margin: float
    seeds: tuple[int, ...]
    data: DataSpec
    guards: GuardSpec
    baseline: BaselineSpec
    experiments: dict[str, ExperimentSpec]
    judging: JudgingSpec = field(default_factory=JudgingSpec)
    staging: StagingSpec | None = None
    default_experiments: tuple[str, ...] = ()
    interactions: tuple[tuple[str, str], ...] = ()
    ablate: tuple[str | tuple[str, ...], ...] = ()
    aa: int = 0
    searches: dict[str, SearchSpec] = {}
