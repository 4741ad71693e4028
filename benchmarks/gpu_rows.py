"""Measured numbers as rows of the table of `benchmarks.gpu`. Pure, so that tests can give the numbers."""

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.timing import Row

HEAD = ("| what | measured on or against | figure | wanted |", "| --- | --- | --- | --- |")
TIME_UP = "not measured: the time was up"
MAX_ERROR_CHARACTERS = 240
EPOCH_WANTED = "at most 10 s; the source took 5 to 6 s; aim 1.5 s"
DENSE_TFLOPS = {"H100 PCIe": 756.0, "H100 SXM": 989.0, "H100 80GB HBM3": 989.0, "H200 NVL": None, "H200": 989.0}
DENSE_TFLOPS |= {"A100": 312.0}
"""A part of a card's name -> its dense bf16 TFLOP/s by the vendor's data sheet; the first part that fits counts."""


@dataclass(frozen=True)
class EpochTimes:
    """The times of some steps and a validation, after a warm-up."""

    first_step_seconds: float
    """The very first step: it chooses kernels, and compiles."""
    warm_up_seconds: float
    """Everything before the timed steps, the first step included."""
    num_steps: int
    num_trained: int
    train_seconds: float
    num_validated: int
    validate_seconds: float
    num_skipped: int
    peak_bytes: int

    @property
    def step_seconds(self) -> float:
        """Mean seconds of a step."""
        return self.train_seconds / self.num_steps

    def epoch_seconds(self, num_train: int, num_validate: int) -> float:
        """Scale to an epoch of so many training and validation bursts."""
        train_seconds = self.train_seconds / self.num_trained * num_train
        return train_seconds + self.validate_seconds / self.num_validated * num_validate


def as_line(row: Row) -> str:
    """Return a line of the Markdown table."""
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def time_up_row(title: str) -> Row:
    return Row(title, "", TIME_UP)


def failed_row(title: str, error: BaseException) -> Row:
    """Tell an error in one line."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return Row(title, "", f"failed: {text[:MAX_ERROR_CHARACTERS]}")


def epoch_rows(variant: str, times: EpochTimes, num_train: int, num_validate: int) -> list[Row]:
    """Return the seconds of an epoch, and those of its first step."""
    measured = f"{times.num_steps} steps and {times.num_validated:,} validated bursts"
    scaled = f"{measured}, scaled to {num_train:,} and {num_validate:,}"
    skipped = f", {times.num_skipped} steps skipped" if times.num_skipped else ""
    steps = f"step {1000 * times.step_seconds:.1f} ms, validation of the timed bursts {times.validate_seconds:.2f} s"
    figure = f"{times.epoch_seconds(num_train, num_validate):.2f} s ({steps}{skipped})"
    first = f"{times.first_step_seconds:.1f} s (all before the timed steps {times.warm_up_seconds:.1f} s)"
    return [
        Row(f"an epoch of the paper's baseline, {variant}", scaled, figure, EPOCH_WANTED),
        Row(f"its first step, {variant}", "choosing kernels and compiling included", first),
    ]


def kernels_row(precision: str, num_processes: int, seconds: float | None) -> Row:
    """Return the seconds in which processes compiled fla's kernels; None if an earlier process had chosen them."""
    what = f"compiling fla's kernels, {precision}"
    if seconds is None:
        return Row(what, "Triton's cache on the disk", "nothing to do: they are chosen already")
    return Row(what, f"{num_processes} processes", f"{seconds:.1f} s")


def memory_row(variant: str, batch_size: int, peak_bytes: int, card_bytes: int | None) -> Row:
    against = f"the card's {card_bytes / 2**30:.0f} GiB" if card_bytes else "the process"
    what = f"peak memory of training and validation, {variant}, batch {batch_size}"
    return Row(what, against, f"{peak_bytes / 2**30:.2f} GiB")


def share_rows(
    variant: str, seconds_by_group: Mapping[str, float], largest: Mapping[str, str], step_seconds: float
) -> list[Row]:
    """Return each group's share of the time in which kernels run.

    Args:
        variant: the training that was looked at.
        seconds_by_group: group -> seconds of its kernels in a step.
        largest: group -> the names of its largest kernels.
        step_seconds: seconds of the step.
    """
    total = sum(seconds_by_group.values())
    return [
        Row(
            f"share of a step's kernels, {variant}: {group}",
            largest.get(group, "") or "no kernel",
            f"{seconds / total:.1%} ({1000 * seconds:.2f} ms of {1000 * step_seconds:.2f})",
        )
        for group, seconds in seconds_by_group.items()
    ]


def idle_row(variant: str, busy_seconds: float, step_seconds: float) -> Row:
    """Return the share of a step during which no kernel runs."""
    idle = max(0.0, 1.0 - busy_seconds / step_seconds)
    against = "kernels' seconds by the profiler, seconds of a step without it"
    return Row(f"share of a step in which the GPU computes nothing, {variant}", against, f"{idle:.1%}")


def flops_rows(variant: str, step_flops: int, step_seconds: float, measured_tflops: float, card: str) -> list[Row]:
    """Return the rate of a step beside that of a large matrix product, and of the data sheet."""
    achieved, sheet = step_flops / step_seconds / 1e12, datasheet_tflops(card)
    promised = f"data sheet: {sheet:.0f}" if sheet else "data sheet: unknown"
    share = f"{achieved / measured_tflops:.1%} of the matrix product"
    return [
        Row("bf16 product of two large square matrices", promised, f"{measured_tflops:.1f} TFLOP/s"),
        Row(
            f"a training step, {variant}",
            f"{step_flops / 1e12:.2f} TFLOP counted from shapes, {1000 * step_seconds:.1f} ms",
            f"{achieved:.1f} TFLOP/s, {share}",
        ),
    ]


def datasheet_tflops(card: str) -> float | None:
    """Return the data sheet's dense bf16 TFLOP/s of a card; None if it is not known."""
    return next((tflops for part, tflops in DENSE_TFLOPS.items() if part in card), None)


def augment_row(how: str, num_items: int, seconds: float) -> Row:
    what = f"augmentation alone, {how}"
    return Row(what, f"batches of {num_items}", f"{num_items / seconds:,.0f} bursts a second")


def rule_row(how: str, shape: str, seconds: float, fastest_seconds: float | None) -> Row:
    """Return a rule's time, forward and backward, beside that of fla's kernel if that is known."""
    times = f" ({seconds / fastest_seconds:.2f} times fla's)" if fastest_seconds else ""
    return Row(f"forward and backward, {how}", shape, f"{1000 * seconds:.3f} ms{times}")


def start_row(ready_seconds: float, start_seconds: float, variant: str) -> Row:
    what = f"a forked job, from the request until its first epoch of one step, {variant}"
    return Row(what, f"standby ready after {ready_seconds:.1f} s", f"{start_seconds:.1f} s")


def checkpoint_row(seconds: float, num_bytes: int) -> Row:
    figure = f"{seconds:.2f} s, {num_bytes / 1e6:.0f} MB"
    return Row("a checkpoint: network, optimiser and best network", "flushed to the disk, with its SHA-256", figure)
