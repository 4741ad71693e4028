"""The knobs of the optimisation."""

from typing import Annotated, Literal

from msgspec import Meta, field

from model.config.base import Config, NonNegative, Positive, require_finite

Warmup = Annotated[int, Meta(ge=0, description="epochs in which the rate rises linearly from near 0")]


class PlateauConfig(Config, frozen=True, kw_only=True, tag_field="kind", tag="plateau"):
    """Learning rate times `factor` after `patience` epochs without a lower validation loss."""

    patience: Annotated[int, Meta(ge=0, description="epochs")] = 20
    factor: Annotated[float, Meta(gt=0, lt=1)] = 0.5
    warmup_epochs: Warmup = 0


class CosineConfig(Config, frozen=True, kw_only=True, tag_field="kind", tag="cosine"):
    """A half cosine from the learning rate down to `final_factor` of it at the last step (arXiv 1608.03983, eq. 5)."""

    final_factor: Annotated[float, Meta(ge=0, lt=1, description="share of the rate that is left at the end")] = 0.0
    warmup_epochs: Warmup = 0


class OneCycleConfig(Config, frozen=True, kw_only=True, tag_field="kind", tag="one_cycle"):
    """Up to `peak_factor` times the learning rate, then down to almost 0 (Smith and Topin, arXiv 1708.07120)."""

    peak_factor: Annotated[float, Meta(gt=0, description="highest rate over learning_rate")] = 10.0
    rising: Annotated[float, Meta(gt=0, lt=1, description="share of the steps that the rate rises")] = 0.3


ScheduleConfig = PlateauConfig | CosineConfig | OneCycleConfig


class OptimConfig(Config, frozen=True, kw_only=True):
    """The optimiser, its learning rate, and when training stops."""

    optimizer: Annotated[
        Literal["adamw", "muon"],
        Meta(description="muon: the blocks' matrices by Muon (arXiv 2502.16982), everything else by AdamW"),
    ] = "adamw"
    learning_rate: Positive = 3e-4
    weight_decay: NonNegative = 0.0
    clip_norm: Annotated[float, Meta(gt=0, description="largest norm of the gradient")] = 1.0
    batch_size: Annotated[int, Meta(ge=1, description="bursts a step")] = 128
    epochs: Annotated[int, Meta(ge=1, le=1_000_000)] = 600
    early_stopping: Annotated[
        int, Meta(ge=1, description="stop after so many epochs without a lower validation loss")
    ] = 100
    average_last: Annotated[
        int,
        Meta(
            ge=0,
            description="score the mean of the weights after so many last epochs, each kept as a copy in memory; "
            "0 scores the epoch of the lowest validation loss",
        ),
    ] = 0
    schedule: ScheduleConfig = field(default_factory=PlateauConfig)

    def __post_init__(self) -> None:
        require_finite(self)
        warmup_epochs = getattr(self.schedule, "warmup_epochs", 0)
        if warmup_epochs >= self.epochs:
            raise ValueError(f"schedule.warmup_epochs {warmup_epochs} leaves nothing of {self.epochs} epochs to train")
        if self.average_last > self.epochs:
            raise ValueError(
                f"average_last {self.average_last} is more than the {self.epochs} epochs that are trained; "
                f"say {self.epochs} or fewer"
            )
