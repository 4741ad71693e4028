"""Score a network on bursts, each at mean power 1; bursts are changed only where the configuration asks for it.

Letters: n bursts of a set, B bursts of a batch, V views of each, S samples, C classes.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from model.augment import ChangedCopies, normalize_rms
from model.data.batches import BurstSet
from model.train.losses import Loss
from model.train.run_folder import LocationScore

BATCH_SIZE = 256


@dataclass(frozen=True)
class Scores:
    """Class scores [n, C] of bursts, their true classes [n] and the mean loss."""

    logits: Tensor
    classes: Tensor
    loss: float

    @property
    def correct(self) -> int:
        """Number of bursts whose highest score is that of their true class."""
        return int((self.logits.argmax(1) == self.classes).sum())

    @property
    def accuracy(self) -> float:
        """Share, from 0 to 1, of bursts whose highest score is that of their true class."""
        return self.correct / len(self.classes)

    def summary(self) -> LocationScore:
        """Return the entry of `result.json` for this capture."""
        loss = self.loss if np.isfinite(self.loss) else None
        return LocationScore(bursts=len(self.classes), correct=self.correct, accuracy=self.accuracy, loss=loss)


@dataclass(frozen=True)
class Views:
    """The views of a burst that the network scores: the burst itself, then its changed copies.

    Each view has mean power 1 if `normalize` is true.
    """

    normalize: bool = True
    copies: ChangedCopies | None = None

    def of(self, x_B2S: Tensor, names: Sequence[str]) -> Iterator[Tensor]:
        """Yield one view [B, 2, S] of all bursts after the other; `names` has a name for each burst."""
        changed = self.copies(x_B2S, names) if self.copies is not None else ()
        for view_B2S in chain((x_B2S,), changed):
            yield normalize_rms(view_B2S) if self.normalize else view_B2S


def mean_scores(views_BC: Sequence[Tensor]) -> Tensor:
    """Return the logarithm of the mean class probabilities [B, C] over views; the scores of a single view are kept.

    This is the simple average of test-time augmentation (Shanmugam et al. 2021, arXiv 2011.11156, section 1). The
    softmax of the result is the mean probability again, so loss and predicted class are those of the mean.
    """
    if len(views_BC) == 1:
        return views_BC[0]
    log_p_VBC = torch.stack([logits_BC.log_softmax(1) for logits_BC in views_BC])
    return log_p_VBC.logsumexp(0) - math.log(len(views_BC))


def burst_names(bursts: BurstSet) -> list[str]:
    """Name each burst by its file and its place there, e.g. `LocD/3/17`; the name depends on nothing else."""
    # The path as the campaign writes it: the draws of a burst must not depend on a variable's value.
    return [f"{Path(str(part.path)).stem}/{key}" for part in bursts.parts for key in part.keys]


def score(
    model: Callable[[Tensor], tuple[Tensor, Tensor]],
    bursts: BurstSet,
    loss: Loss,
    device: torch.device,
    autocast: Callable[[], contextlib.AbstractContextManager[Any]] = contextlib.nullcontext,
    *,
    views: Views = Views(),
) -> Scores:
    """Run a network over bursts in file order, in evaluation mode.

    Returns:
        Logits in float32 on the CPU, averaged over the views by `mean_scores`; true classes; and the mean loss.
    """
    if isinstance(model, nn.Module):
        # No dropout while scoring.
        model.eval()
    names, logits = burst_names(bursts), list[Tensor]()
    with torch.inference_mode(), autocast():
        for start, batch in zip(count(0, BATCH_SIZE), bursts.in_order(BATCH_SIZE), strict=False):
            seen_B2S = views.of(batch.x_B2S.to(device), names[start : start + BATCH_SIZE])
            logits.append(mean_scores([model(view_B2S)[0].float() for view_B2S in seen_B2S]))
    # One copy at the end: after each copy of a batch a GPU would wait for its next work.
    logits_nC = torch.cat(logits).cpu()
    return Scores(logits_nC, bursts.class_of_burst, float(loss(logits_nC, bursts.class_of_burst)))
