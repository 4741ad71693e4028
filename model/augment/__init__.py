"""Random changes of a training burst that a sender, a channel or a receiver can cause; each burst gets its own draw.

A transform works on complex samples, on any device. It runs outside autocast, because half precision would ruin the
phases. Each transform has its own random stream, so leaving one out changes no draw of another.

Letters: B bursts, L samples.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Generator, Tensor

from model.augment.channel import INTERPOLATION_ERROR, Multipath, Noise
from model.augment.mixup import Blend, Mixup
from model.augment.power import mean_power, normalize_rms
from model.augment.receiver import CarrierOffset, ConstantPhase, GainJitter, IqImbalance, PhaseNoise
from model.augment.test_time import ChangedCopies, build_test_time
from model.augment.timing import Crop, Roll
from model.augment.transform import Conditions, Transform
from model.config import AugmentConfig
from model.streams import generator

__all__ = [
    "INTERPOLATION_ERROR",
    "TRANSFORMS",
    "Augment",
    "Blend",
    "CarrierOffset",
    "ChangedCopies",
    "Conditions",
    "ConstantPhase",
    "Crop",
    "GainJitter",
    "IqImbalance",
    "Mixup",
    "Multipath",
    "Noise",
    "PhaseNoise",
    "Roll",
    "Transform",
    "build_augment",
    "build_test_time",
    "mean_power",
    "normalize_rms",
]

TRANSFORMS: dict[str, Callable[[Any], Transform]] = {
    "crop": Crop,
    "roll": Roll,
    "iq_imbalance": IqImbalance,
    "gain_jitter": GainJitter,
    "constant_phase": ConstantPhase,
    "phase_noise": PhaseNoise,
    "multipath": Multipath,
    "carrier_offset": CarrierOffset,
    "noise": Noise,
}
"""Field of `AugmentConfig` -> the transform that it configures. Mixup comes last, because it changes targets too."""


class Augment:
    """The transforms of a configuration, in its order, then RMS normalisation, then mixup and RMS normalisation again.

    Mixup needs bursts of equal power, or the louder burst would count for more than its share. A blend has another
    power than its parts, so it is normalised again: the network always sees a mean power of 1.
    """

    def __init__(
        self, transforms: Sequence[tuple[str, Transform]], sample_rate_hz: float, mixup: Mixup | None = None
    ) -> None:
        self.transforms, self.mixup = tuple(transforms), mixup
        self.conditions = Conditions(sample_rate_hz)
        self.streams: dict[str, Generator] = {}

    def start_epoch(self, seed: int, epoch: int, device: torch.device) -> None:
        """Open each transform's random stream for one epoch, so that a resumed run draws the same numbers."""
        self.conditions = Conditions(self.conditions.sample_rate_hz, epoch)
        names = [name for name, _ in self.transforms] + ["mixup"]
        self.streams = {name: generator(seed, "augment", name, epoch, device=device) for name in names}

    @torch.no_grad()
    def __call__(self, x_B2L: Tensor) -> tuple[Tensor, Blend | None]:
        """Return augmented bursts [B, 2, L], float32, mean power 1, no gradient; and the blend, if mixup is on."""
        x_B2L = normalize_rms(self._transformed(x_B2L))
        if self.mixup is None:
            return x_B2L, None
        x_B2L, blend = self.mixup(x_B2L, self.streams["mixup"])
        return normalize_rms(x_B2L), blend

    def _transformed(self, x_B2L: Tensor) -> Tensor:
        # Without a transform the way to complex numbers and back would only cost time.
        if not self.transforms:
            return x_B2L
        x_BL = torch.complex(x_B2L[:, 0], x_B2L[:, 1])
        for name, transform in self.transforms:
            x_BL = transform(x_BL, self.conditions, self.streams[name])
        return torch.stack([x_BL.real, x_BL.imag], dim=1)


def build_augment(config: AugmentConfig, sample_rate_hz: float) -> Augment:
    """Build the transforms that a configuration names, in the order of its fields."""
    chosen = {name: getattr(config, name) for name in config.__struct_fields__ if name in TRANSFORMS}
    transforms = [(name, TRANSFORMS[name](knobs)) for name, knobs in chosen.items() if knobs is not None]
    mixup = None if config.mixup is None else Mixup(config.mixup)
    return Augment(transforms, sample_rate_hz, mixup)
