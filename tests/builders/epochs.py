"""Epochs of a run, as records."""

from typing import Any

import msgspec
from msgspec import structs

from orchestrator.runs.folder import EpochRecord, RunFolder

PLAIN = EpochRecord(
    epoch=1,
    seconds=1.0,
    train_loss=1.0,
    val_loss=1.0,
    val_accuracy=0.5,
    learning_rate=1e-3,
    grad_norm=1.0,
    skipped_steps=0,
    bursts_per_second=1.0,
    peak_memory_bytes=1,
)


def an_epoch(number: int = 1, **changes: Any) -> EpochRecord:
    """Build an epoch; `changes` are fields of the record."""
    return structs.replace(PLAIN, epoch=number, **changes)


def epochs_of(*accuracies: float) -> list[EpochRecord]:
    """Build the first epochs of a run, by their validation accuracies."""
    return [an_epoch(number, val_accuracy=accuracy) for number, accuracy in enumerate(accuracies, start=1)]


def append_epoch(folder: RunFolder, record: EpochRecord) -> None:
    """Add a line to `epochs.jsonl`, as a job does."""
    with folder.epochs.open("ab") as file:
        file.write(msgspec.json.encode(record) + b"\n")
