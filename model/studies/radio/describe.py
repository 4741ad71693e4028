"""Describe a configuration without training: tokens, parameters, and whether this machine can run the job.

Nothing is trained and no burst is read, but every capture is opened.
"""

from pathlib import Path

import torch
from msgspec import Struct

from model.config import CapturePlace, JobConfig
from model.data.alike import require_layout, require_one_rate
from model.data.batches import device_classes
from model.data.captures import CaptureError, open_bursts
from model.data.sessions import find_sessions
from model.studies.radio.network import Classifier, count_parameters
from model.train.device import JobError, choose_device, require_possible


class Description(Struct, frozen=True, kw_only=True):
    """The number of tokens that the blocks mix, and of parameters that are learned.

    `problem` is the reason why this machine cannot run the job; None if it can.
    """

    tokens: int
    parameters: int
    problem: str | None = None


def describe(config: JobConfig, data_folder: Path | None) -> Description:
    """Build the network without memory for its parameters, and open the captures if a folder is given."""
    problem = None
    num_classes = len({device for name in config.data.train for device in range(*config.data.captures[name].devices)})
    # The device `meta` has shapes but no numbers, so a large network costs nothing.
    with torch.device("meta"):
        model = Classifier(config.model, num_classes, config.model.num_tokens(config.data.samples), "torch")
    if data_folder is not None:
        try:
            require_possible(config, choose_device("auto"))
            check_captures(config, data_folder)
        except (JobError, CaptureError) as error:
            problem = str(error)
    return Description(tokens=model.backbone.num_tokens, parameters=count_parameters(model), problem=problem)


def check_captures(config: JobConfig, data_folder: Path) -> None:
    """Open every capture that a job reads, without reading bursts.

    Raises:
        CaptureError: a file is missing, does not fit the configuration or the other files, or has no such sessions.
    """
    device_classes(config.data)
    require_layout(config.data)
    parts = [
        open_bursts(
            CapturePlace(data_folder, config.data.captures[name].path),
            config.data.captures[name],
            samples=config.data.samples,
            default_sample_rate_hz=config.data.sample_rate_hz,
        )
        for name in config.data.used
    ]
    require_one_rate(config.data, data_folder, parts)
    for name, part in zip(config.data.used, parts, strict=True):
        find_sessions(part, config.data.captures[name])
