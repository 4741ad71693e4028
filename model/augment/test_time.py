"""Changed copies of bursts for test-time augmentation. B bursts, K copies, L samples."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from model.augment.channel import Noise
from model.augment.receiver import CarrierOffset
from model.augment.transform import Conditions, Transform
from model.config import TestTimeConfig
from model.streams import generator


class ChangedCopies:
    """Copies of each burst as another receiver might record it: another carrier offset, then more noise.

    A burst's copies depend only on the seed and the burst's name. So they are the same bits every time, in any order
    and any batch.
    """

    def __init__(self, config: TestTimeConfig, seed: int, sample_rate_hz: float) -> None:
        self.num_copies, self.seed = config.copies, seed
        self.conditions = Conditions(sample_rate_hz)
        self.transforms: dict[str, Transform] = {}
        if config.carrier_offset is not None:
            self.transforms["carrier_offset"] = CarrierOffset(config.carrier_offset)
        if config.noise is not None:
            self.transforms["noise"] = Noise(config.noise)

    def __call__(self, x_B2L: Tensor, names: Sequence[str]) -> Iterator[Tensor]:
        """Yield `num_copies` times changed bursts [B, 2, L], not normalised; `names` has a name for each burst."""
        x_BL = torch.complex(x_B2L[:, 0], x_B2L[:, 1])
        # Burst by burst: draws for a whole batch would depend on which bursts stand in it.
        copies_BKL = torch.stack([self._copies(x_L, name) for x_L, name in zip(x_BL, names, strict=True)])
        for copy_BL in copies_BKL.unbind(1):
            yield torch.stack([copy_BL.real, copy_BL.imag], dim=1)

    def _copies(self, x_L: Tensor, burst: str) -> Tensor:
        """Return the copies [K, L] of one burst."""
        x_KL = x_L.expand(self.num_copies, -1)
        for name, transform in self.transforms.items():
            stream = generator(self.seed, "test_time", burst, name, device=x_L.device)
            x_KL = transform(x_KL, self.conditions, stream)
        return x_KL


def build_test_time(config: TestTimeConfig | None, seed: int, sample_rate_hz: float) -> ChangedCopies | None:
    """Build the maker of copies; None if the configuration asks for none."""
    return None if config is None else ChangedCopies(config, seed, sample_rate_hz)
