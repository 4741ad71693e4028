"""What `experiments.yaml` may say about a search: its space, its objective, its pruner. Frozen and closed. Pure."""

from typing import Annotated, Literal

from msgspec import Meta, field

from orchestrator.campaign.fields import BASELINE, ExperimentId, Reported, Seeds
from orchestrator.closed import Config, Positive
from orchestrator.task.knobs import Change
from orchestrator.task.metric_spec import Direction


class FloatSpace(Config, frozen=True, kw_only=True, tag_field="kind", tag="float"):
    """A real number from `low` to `high`, both included."""

    low: float
    high: float
    log: Annotated[bool, Meta(description="whether values are spread evenly on a logarithmic scale")] = False
    step: Annotated[Positive | None, Meta(description="try only low, low + step, ...")] = None
    when: Annotated[
        Change, Meta(description="search this knob only where other knobs of the space have these values")
    ] = {}

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
    """What a search makes better: a metric of role `choose`, or the accuracy on captures that no report uses."""

    metric: Annotated[str, Meta(description="the metric; by default the only one with `role: choose`")] = ""
    captures: Annotated[
        tuple[str, ...], Meta(description="captures to score on, in a built-in study; by default those of `choose`")
    ] = ()
    insist: Annotated[bool, Meta(description="allow validation accuracy as the objective, although it misleads")] = (
        False
    )
    watch: Annotated[
        str, Meta(description="the value of the progress that a pruner reads; by default the metric's own column")
    ] = ""
    watch_better: Annotated[
        Direction | None, Meta(description="its direction; by default that of the metric of its name")
    ] = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.metric and self.captures:
            raise ValueError("`metric` and `captures` exclude each other; leave one of them out")


class MedianPruning(Config, frozen=True, kw_only=True, tag_field="kind", tag="median"):
    """A point is pruned once its best epoch is worse than the median of the other points at the same epoch."""

    startup_trials: Annotated[int, Meta(ge=1, description="first points, which are always trained to their end")] = 5
    warmup_epochs: Annotated[int, Meta(ge=1, description="first epochs, after which no point is pruned yet")] = 3


class WilcoxonPruning(Config, frozen=True, kw_only=True, tag_field="kind", tag="wilcoxon"):
    """A point is pruned once its epochs are worse than those of the best point, by the signed-rank test."""

    p_threshold: Annotated[float, Meta(gt=0, lt=1, description="prune below this p-value")] = 0.1
    warmup_epochs: Annotated[int, Meta(ge=1, description="first epochs, after which no point is pruned yet")] = 3


class PointSpec(Config, frozen=True, kw_only=True):
    """A point that a search tries first."""

    at: Annotated[Change, Meta(description="a value for every knob of the space", min_length=1)]
    reported: Reported | None = None


class SearchSpec(Config, frozen=True, kw_only=True):
    """A search for the best values of some knobs on a stack."""

    title: str
    on: Annotated[
        ExperimentId, Meta(description="the stack that it varies; the values of the stack are the default point")
    ] = BASELINE
    space: Annotated[dict[str, Space], Meta(description="dotted knob -> range of its values", min_length=1)]
    sampler: Annotated[
        Literal["tpe", "gp", "random"],
        Meta(description="how points are suggested; gp takes the noise of scores into account"),
    ] = "tpe"
    pruner: Annotated[
        MedianPruning | WilcoxonPruning | None,
        Meta(description="when points are pruned, by a value of the progress after each epoch; null: never"),
    ] = None
    trials: Annotated[int, Meta(ge=1, le=100_000, description="points to visit in total")] = 50
    seeds: Annotated[Seeds, Meta(description="seeds that each point is trained at")] = 1
    objective: ObjectiveSpec = field(default_factory=ObjectiveSpec)
    enqueue: Annotated[tuple[PointSpec, ...], Meta(description="points that are tried first")] = ()
