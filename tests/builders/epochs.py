"""Epochs of a run, as records."""

from typing import Any

from msgspec import structs

from model.train.run_folder import EpochRecord

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
