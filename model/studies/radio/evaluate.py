"""Score a checkpoint on a part of a capture: the source study's evaluation command.

    python -m model.studies.radio.evaluate --tx_start 35 --tx_end 45 --pkt_start 0 --pkt_end 100 --device auto \
        --normalize --data_path LocD.h5 --model_path results/runs/E5-s0-3466db1c/checkpoint.pt --output metrics.json
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model.augment import build_test_time
from model.config import CaptureConfig, JobConfig, decode_job
from model.data.batches import BurstSet, device_classes
from model.data.captures import CaptureError, open_bursts
from model.files import write_atomically
from model.layers.blocks import backend_for
from model.studies.radio.network import Classifier
from model.train.checkpoint import CheckpointError, read_checkpoint
from model.train.device import choose_device
from model.train.losses import build_loss
from model.train.score import Scores, Views, score


def load_classifier(path: Path, device: torch.device) -> tuple[Classifier, JobConfig]:
    """Load the best model of a `checkpoint.pt` onto a device, with the device's backend.

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


def evaluate(options: argparse.Namespace) -> dict[str, Any]:
    """Score a checkpoint on a part of a capture.

    Raises:
        CaptureError: the checkpoint or the capture is missing or does not fit.
        JobError: the device is CUDA and there is no GPU.
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
    """Count bursts by true class (rows) and predicted class (columns)."""
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
    """Run the command; return 2 after a sentence about the user's mistake, else 0."""
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
