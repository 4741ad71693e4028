"""Score a model on bursts, each at mean power 1; augmentation only where the configuration wants it at test time.

As a command it is the source study's evaluation:

    python -m model.studies.radio.evaluate --tx_start 35 --tx_end 45 --pkt_start 0 --pkt_end 100 --device auto \
        --normalize --data_path LocD.h5 --model_path results/runs/E5-s0-3466db1c/checkpoint.pt --output metrics.json

Letters: B bursts, V views of each, S samples, C classes.
"""

import argparse
import contextlib
import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from model.augment import ChangedCopies, build_test_time, normalize_rms
from model.config import CaptureConfig, JobConfig, decode_job
from model.data.batches import BurstSet, device_classes
from model.data.captures import CaptureError, open_bursts
from model.layers.blocks import backend_for
from model.studies.radio.network import Classifier
from model.train.checkpoint import CheckpointError, read_checkpoint
from model.train.losses import Loss, build_loss
from model.train.run_folder import LocationScore, write_atomically

BATCH_SIZE = 256


class JobError(ValueError):
    """A job that cannot be done as configured; a sentence for the user."""


@dataclass(frozen=True)
class Scores:
    """Class scores [n, C] of bursts, against their classes [n]."""

    logits: Tensor
    classes: Tensor
    loss: float

    @property
    def correct(self) -> int:
        """How many bursts have their own class first."""
        return int((self.logits.argmax(1) == self.classes).sum())

    @property
    def accuracy(self) -> float:
        """Share of bursts that have their own class first."""
        return self.correct / len(self.classes)

    def summary(self) -> LocationScore:
        """Return what `result.json` says of a location."""
        loss = self.loss if np.isfinite(self.loss) else None
        return LocationScore(bursts=len(self.classes), correct=self.correct, accuracy=self.accuracy, loss=loss)


@dataclass(frozen=True)
class Views:
    """What of a burst the model sees: the burst itself, then its changed copies, each at mean power 1 if normalised."""

    normalize: bool = True
    copies: ChangedCopies | None = None

    def of(self, x_B2S: Tensor, names: Sequence[str]) -> Iterator[Tensor]:
        """Yield the views [B, 2, S] of bursts one after the other; `names` has one a burst."""
        changed = self.copies(x_B2S, names) if self.copies is not None else ()
        for view_B2S in chain((x_B2S,), changed):
            yield normalize_rms(view_B2S) if self.normalize else view_B2S


def mean_scores(views_BC: Sequence[Tensor]) -> Tensor:
    """Return the logarithm of the mean class probabilities [B, C] over views; a single view's scores stay as they are.

    The simple average of test-time augmentation (Shanmugam et al. 2021, arXiv 2011.11156, section 1). The logarithm is
    a score like any other: the loss and the first class are those of the mean probabilities.
    """
    if len(views_BC) == 1:
        return views_BC[0]
    log_p_VBC = torch.stack([logits_BC.log_softmax(1) for logits_BC in views_BC])
    return log_p_VBC.logsumexp(0) - math.log(len(views_BC))


def burst_names(bursts: BurstSet) -> list[str]:
    """Name each burst by its file and its place there, so that it has one name however it is asked for."""
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
    """Run a model over bursts in file order, in evaluation mode.

    Returns:
        Logits in float32 on the CPU, averaged over the views as in `mean_scores`; classes; and the mean loss.
    """
    if isinstance(model, nn.Module):
        model.eval()
    names, logits = burst_names(bursts), list[Tensor]()
    with torch.inference_mode(), autocast():
        for start, batch in zip(count(0, BATCH_SIZE), bursts.in_order(BATCH_SIZE), strict=False):
            seen_B2S = views.of(batch.x_B2S.to(device), names[start : start + BATCH_SIZE])
            logits.append(mean_scores([model(view_B2S)[0].float() for view_B2S in seen_B2S]).cpu())
    logits_nC = torch.cat(logits)
    return Scores(logits_nC, bursts.class_of_burst, float(loss(logits_nC, bursts.class_of_burst)))


def load_classifier(path: Path, device: torch.device) -> tuple[Classifier, JobConfig]:
    """Load the best model of a `checkpoint.pt`, on a backend that fits the device.

    Raises:
        CaptureError: the file is missing or is no checkpoint of ours.
    """
    if not path.is_file():
        raise CaptureError(f"{path}: there is no such checkpoint; a run folder holds one as checkpoint.pt")
    try:
        content = read_checkpoint(path, "cpu")
    except CheckpointError:
        raise CaptureError(f"{path}: this is not a checkpoint of a Knockout run, or not a whole one") from None
    if "best_model" not in content or "config" not in content:
        raise CaptureError(f"{path}: this is not a checkpoint of a Knockout run")
    config = decode_job(content["config"].encode())
    state = content["best_model"] or content["model"]
    num_tokens = config.model.num_tokens(config.data.samples)
    model = Classifier(config.model, state["head.bias"].numel(), num_tokens, backend_for(device))
    model.load_state_dict(state)
    return model.to(device), config


def choose_device(name: str) -> torch.device:
    """Return the device of that name; `auto` is CUDA where there is a GPU.

    Raises:
        JobError: CUDA is asked for where there is none.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise JobError("there is no CUDA GPU here; use `--device auto`, or a machine with a GPU")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def evaluate(options: argparse.Namespace) -> dict[str, Any]:
    """Score a checkpoint on a part of a capture.

    Raises:
        CaptureError: checkpoint or capture are missing or do not fit.
        JobError: CUDA is asked for where there is none.
    """
    device = choose_device(options.device)
    model, config = load_classifier(options.model_path, device)
    capture = CaptureConfig(
        path=str(options.data_path),
        devices=(options.tx_start, options.tx_end),
        packets=(options.pkt_start, options.pkt_end),
    )
    part = open_bursts(
        options.data_path,
        capture,
        samples=config.data.samples,
        default_sample_rate_hz=config.data.sample_rate_hz,
    )
    classes = device_classes(config.data)
    unknown = sorted(set(part.devices.tolist()) - set(classes))
    if unknown:
        raise CaptureError(f"{options.data_path}: devices {unknown} are none that the model was trained on")
    bursts = BurstSet((part,), classes)
    copies = build_test_time(config.test_time, config.seed, bursts.sample_rate_hz)
    views = Views(normalize=options.normalize, copies=copies)
    scores = score(model, bursts, build_loss(config.loss), device, views=views)
    return {
        "accuracy": scores.accuracy,
        "correct": scores.correct,
        "bursts": len(bursts),
        "loss": scores.loss,
        "accuracy_by_device": _by_device(scores, bursts),
        "confusion": _confusion(scores, len(classes)),
        "model_path": str(options.model_path),
        "data_path": str(options.data_path),
    }


def _by_device(scores: Scores, bursts: BurstSet) -> dict[str, float]:
    hit = (scores.logits.argmax(1) == scores.classes).numpy()
    return {str(device): float(hit[bursts.devices == device].mean()) for device in np.unique(bursts.devices)}


def _confusion(scores: Scores, num_classes: int) -> list[list[int]]:
    """Count bursts by true class (rows) and first class (columns)."""
    cells = scores.classes * num_classes + scores.logits.argmax(1)
    counts = torch.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes)
    return [[int(count) for count in row] for row in counts]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m model.studies.radio.evaluate", description="Score a checkpoint on a capture."
    )
    parser.add_argument("--tx_start", type=int, required=True, help="first device, counted from 0")
    parser.add_argument("--tx_end", type=int, required=True, help="one past the last device")
    parser.add_argument("--pkt_start", type=int, required=True, help="first packet of each device")
    parser.add_argument("--pkt_end", type=int, required=True, help="one past the last packet")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--normalize", action="store_true", help="scale each burst to a mean power of 1")
    parser.add_argument("--data_path", type=Path, required=True, help="capture file (HDF5)")
    parser.add_argument("--model_path", type=Path, required=True, help="checkpoint.pt of a run folder")
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command; 2 is the user's mistake, said in a sentence."""
    options = _parser().parse_args(arguments)
    try:
        metrics = evaluate(options)
    except ValueError as error:
        print(f"model.studies.radio.evaluate: {error}", file=sys.stderr)
        return 2
    write_atomically(options.output, (json.dumps(metrics, indent=2) + "\n").encode())
    print(f"accuracy {metrics['accuracy']:.4f} ({metrics['correct']} of {metrics['bursts']} bursts)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
