"""One job: read a run folder, train, score, and write the results into the folder."""

import contextlib
import errno
import signal
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import numpy as np
import torch
from numpy.typing import NDArray

from model.augment import build_test_time
from model.config import CaptureConfig
from model.data.batches import BurstSet, open_role
from model.data.captures import CaptureAwayError, CaptureChangedError
from model.data.sessions import find_sessions
from model.data.unchanged import stamp_captures
from model.endings import (
    AWAY,
    CHANGED,
    DISK_FULL,
    HELD,
    INTERRUPTED,
    describe_system_error,
    find_system_error,
    status_of,
)
from model.train.device import choose_arithmetic, choose_device
from model.train.run_folder import EpochRecord, HeldError, Result, RunFolder
from model.train.score import Scores
from model.train.step import NonFiniteError
from model.train.study import Study, StudyBuilder
from model.train.trainer import Trainer

OUT_OF_MEMORY = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)
"""Texts of torch's plain `RuntimeError` without memory; neither its class nor a number shows the reason."""
CUDA_OWN_DOING = (700, 710)
"""CUDA's numbers for an illegal address and a failed assertion, which are bugs. Other errors may be the GPU's fault."""

Tell = Callable[[str], object]


class StopRequest:
    """Remembers a request to stop. The job finishes its epoch first; a second request ends it at once."""

    def __init__(self) -> None:
        self.asked = False
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, self._ask)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        # The second signal gets the default handler, which ends the process at once.
        signal.signal(number, signal.SIG_DFL)

    def __call__(self) -> bool:
        """Whether the job was asked to stop."""
        return self.asked


def run_job(
    build_study: StudyBuilder,
    folder: RunFolder,
    data_folder: Path,
    device_name: str = "auto",
    tell: Tell = lambda _: None,
) -> int:
    """Train and score what `config.json` says, and write `result.json`; return the exit status.

    Raises:
        JobError: the machine cannot do what is asked.
        CaptureError: a capture is missing or does not fit.
        OSError: the folder cannot be written, or a file cannot be read.
    """
    return run_alone(folder, lambda held: train_alone(build_study, held, data_folder, device_name, tell), tell)


def run_alone(folder: RunFolder, work: Callable[[RunFolder], int], tell: Tell) -> int:
    """Do `work` while no other job may write the folder; return its exit status, or that of an error that can pass.

    After such an error the folder holds only whole files and no result, so the run can continue.
    """
    try:
        with folder.hold() as held:
            return work(held)
    except HeldError as error:
        status, sentence = HELD, str(error)
    except CaptureChangedError as error:
        status, sentence = CHANGED, f"{error}; what was saved before is kept"
    except Exception as error:
        found = status_of(error) or status_of_device(error)
        if found is None:
            raise
        status, sentence = found, describe_passing(error, folder)
    with contextlib.suppress(OSError):  # the failing file may be the log itself
        tell(sentence)
    return status


def describe_passing(error: BaseException, folder: RunFolder) -> str:
    """Return a sentence about an error that can pass, and what to do."""
    if isinstance(error, CaptureAwayError):
        return str(error)
    found = find_system_error(error)
    if found is None:
        return f"the GPU failed: {error}; run again to go on"
    if found.errno in DISK_FULL:
        return f"the disk is full: {describe_system_error(found)} in {folder.path}, free some and run again to go on"
    return f"the system refused: {describe_system_error(found)}; run again to go on once that is mended"


def status_of_device(error: BaseException) -> int | None:
    """Return the exit status after a failure of the GPU that can pass; None for any other error."""
    if not isinstance(error, torch.AcceleratorError) or is_out_of_memory(error):
        return None
    return None if getattr(error, "error_code", None) in CUDA_OWN_DOING else AWAY


def train_alone(build_study: StudyBuilder, folder: RunFolder, data_folder: Path, device_name: str, tell: Tell) -> int:
    """Do the same as `run_job` in a folder that this job holds.

    A run with a loss that is not finite, or without enough memory, ends as failed, with the class of its failure.
    """
    result = folder.read_result()
    if result is not None:
        return 0 if result.state == "done" else 1
    stop = StopRequest()
    try:
        trainer = _build_trainer(build_study(folder.read_config()), data_folder, choose_device(device_name))
        return _train(trainer, folder, data_folder, stop, tell)
    except NonFiniteError as error:
        return _fail(folder, "nonfinite", str(error))
    except (MemoryError, OSError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        return _fail(folder, "out_of_memory", describe_out_of_memory(error, len(folder.read_epochs())))


def _build_trainer(study: Study, data_folder: Path, device: torch.device) -> Trainer:
    config = study.config
    choose_arithmetic(device, config.runtime.precision)
    # Stamped before they are opened, so that a change between the two is found.
    stamps = stamp_captures(config.data, data_folder)
    train, validate = (
        open_role(config.data, names, data_folder) for names in (config.data.train, config.data.validate)
    )
    return Trainer(study, train, validate, device, before_save=stamps.require_unchanged)


def _train(trainer: Trainer, folder: RunFolder, data_folder: Path, stop: StopRequest, tell: Tell) -> int:
    config = trainer.config
    trainer.resume(folder, tell)
    tell(f"{config.experiment}, seed {config.seed}, on {trainer.device.type}, from epoch {trainer.progress.epoch + 1}")
    if not trainer.fit(folder, stop, lambda record: tell(describe_epoch(record))):
        tell("asked to stop; the checkpoint holds all finished epochs")
        return INTERRUPTED
    _finish(folder, trainer, data_folder)
    return 0


def _fail(folder: RunFolder, failure: str, reason: str) -> int:
    epochs = len(folder.read_epochs())
    folder.write_result(Result(state="failed", failure=failure, reason=reason, epochs=epochs))
    return 1


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that the machine or the GPU has no memory left."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error) for words in OUT_OF_MEMORY)
    )


def describe_out_of_memory(error: BaseException, num_epochs: int) -> str:
    """Return a sentence about when memory ran out, with the error's own text."""
    when = f"after epoch {num_epochs}" if num_epochs else "before the end of the first epoch"
    asked = " ".join(str(error).split())
    return f"the job ran out of memory {when}" + (f": {asked}" if asked else "")


def describe_epoch(record: EpochRecord) -> str:
    """Return an epoch's line for the log."""
    losses = f"train loss {_number(record.train_loss)}, val loss {_number(record.val_loss)}"
    skipped = f", {record.skipped_steps} steps skipped" if record.skipped_steps else ""
    return f"epoch {record.epoch}: {losses}, val accuracy {record.val_accuracy:.3f}, {record.seconds:.2f} s{skipped}"


def _number(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4f}"


def _finish(folder: RunFolder, trainer: Trainer, data_folder: Path) -> None:
    """Score the network once on every held-out capture, at the best epoch or the mean of the last; write the result."""
    config, progress = trainer.config, trainer.progress
    trainer.restore_best()
    scores = {name: _score_capture(trainer, name, data_folder) for name in trainer.study.splits()}
    arrays = {
        f"{name}/{field}": values
        for name, (bursts, scored) in scores.items()
        for field, values in _arrays(bursts, scored, config.data.captures[name])
    }
    # Scoring read the captures once more. If one changed since, its scores must not be saved.
    trainer.before_save()
    folder.write_predictions(lambda file: np.savez_compressed(file, allow_pickle=False, **arrays))
    early = progress.epoch < config.optim.epochs
    why = f"no lower validation loss for {config.optim.early_stopping} epochs" if early else "all epochs trained"
    folder.write_result(
        Result(
            state="done",
            reason=f"{why}; scored {progress.describe_scored()}",
            best_epoch=progress.scored_epoch,
            epochs=progress.epoch,
            scores={name: scored.summary() for name, (_, scored) in scores.items()},
        )
    )


def _score_capture(trainer: Trainer, name: str, folder: Path) -> tuple[BurstSet, Scores]:
    config = trainer.config
    bursts = open_role(config.data, (name,), folder)
    copies = build_test_time(config.test_time, config.seed, bursts.sample_rate_hz)
    return bursts, trainer.score(bursts, copies)


def _arrays(bursts: BurstSet, scored: Scores, capture: CaptureConfig) -> list[tuple[str, NDArray[np.generic]]]:
    # A scored set has one part, which is the capture.
    session_n = find_sessions(bursts.parts[0], capture)
    return [
        ("key", bursts.keys),
        ("device", bursts.devices),
        ("label", scored.classes.numpy()),
        ("logits", scored.logits.numpy()),
        *([] if session_n is None else [("session", session_n)]),
    ]
