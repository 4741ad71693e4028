"""The losses."""

from typing import Annotated

from msgspec import Meta

from model.config.base import Config


class CrossEntropyConfig(Config, frozen=True, kw_only=True, tag_field="kind", tag="cross_entropy"):
    """Cross-entropy."""

    label_smoothing: Annotated[float, Meta(ge=0, lt=1, description="share of the target spread over all classes")] = 0.0


class FocalConfig(Config, frozen=True, kw_only=True, tag_field="kind", tag="focal"):
    """Focal loss, Lin et al. 2017 (arXiv 1708.02002), eq. 4, with smoothed targets."""

    gamma: Annotated[float, Meta(gt=0, le=20, description="0 would be cross-entropy: say that instead")] = 2.0
    label_smoothing: Annotated[float, Meta(ge=0, lt=1, description="share spread over all classes")] = 0.0


LossConfig = CrossEntropyConfig | FocalConfig
