"""`python -m benchmarks.quick_baseline`: accuracy, spread and cost of candidates for the baseline of profile quick.

A training is the same whatever is averaged. So each learning rate and number of epochs is trained once for each seed,
and the best epoch and the means of its last epochs are scored. The seeds are none of the profile's own, so the seeds of
a report have no part in the choice. Trainings run one after the other on one thread.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import msgspec
import torch

from benchmarks.overhead import ROOT
from benchmarks.page import publish
from model.config import JobConfig, job_from_builtins
from model.data.batches import open_role
from model.studies.radio.data import Emulation, make_captures
from model.studies.radio.study import RadioStudy
from model.train.averaging import LastEpochs
from model.train.run_folder import RunFolder
from model.train.trainer import Trainer
from orchestrator.campaign.selection import Request, open_campaign

MARKS = ("<!-- begin: written by python -m benchmarks.quick_baseline -->", "<!-- end -->")
FIRST_SEED = 1000
CAPTURES = ("LocC", "LocD")
PACKETS = 400
"""Packets of each device that LocD is scored on here: more than in the profile, so that the bursts matter less."""
HEAD = (
    "| learning rate | epochs | scored | LocC, mean ± spread | LocD, mean ± spread | processor seconds |",
    "| ---: | ---: | --- | ---: | ---: | ---: |",
)


@dataclass(frozen=True)
class Candidate:
    """A learning rate, a number of epochs, and the numbers of last epochs whose mean is scored; 0 is the best epoch."""

    learning_rate: float
    epochs: int
    averaged: tuple[int, ...]


CANDIDATES = (
    Candidate(2e-3, 12, (0, 2, 4, 6)),
    Candidate(1e-3, 12, (0, 4)),
    Candidate(6.7e-4, 12, (0, 4)),
)


@dataclass(frozen=True)
class Training:
    """One training: accuracy in percent by number of averaged epochs and capture, and its processor seconds."""

    accuracy: dict[tuple[int, str], float]
    cpu_seconds: float


def quick_job() -> dict[str, Any]:
    """Return the baseline of profile quick as plain values, without a seed."""
    selection = open_campaign(Request(file=ROOT / "experiments.yaml", profile="quick"))
    params = msgspec.to_builtins(selection.resolved.arms["baseline"].params)
    params["data"]["captures"]["LocD"]["packets"] = [0, PACKETS]
    return {"experiment": "baseline", "profile": "quick", **params}


def candidate_job(base: dict[str, Any], candidate: Candidate, seed: int) -> JobConfig:
    """Return the job of a candidate at a seed; nothing stops it early, and no checkpoint is written on the way."""
    optim = base["optim"] | {
        "learning_rate": candidate.learning_rate,
        "epochs": candidate.epochs,
        "early_stopping": candidate.epochs,
        "average_last": 0,
    }
    runtime = base["runtime"] | {"checkpoint_epochs": candidate.epochs}
    return job_from_builtins({**base, "seed": seed, "optim": optim, "runtime": runtime})


def train(job: JobConfig, averaged: Sequence[int], root: Path) -> Training:
    """Train once and score each way of averaging on `CAPTURES`; `root` holds the captures."""
    opened = [open_role(job.data, names, root) for names in (job.data.train, job.data.validate)]
    trainer = Trainer(RadioStudy(job), opened[0], opened[1], torch.device("cpu"))
    last = LastEpochs(max(averaged))
    started = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        trainer.fit(
            RunFolder(Path(folder)), lambda: False, lambda record: last.add(record.epoch, trainer.model.state_dict())
        )
    seconds = time.process_time() - started
    accuracy = {}
    for number in averaged:
        load(trainer, last, number)
        for name in CAPTURES:
            accuracy[number, name] = 100.0 * trainer.score(open_role(job.data, (name,), root)).accuracy
    return Training(accuracy, seconds)


def load(trainer: Trainer, last: LastEpochs, number: int) -> None:
    """Load the best epoch's parameters, or the mean of so many last ones."""
    if number == 0:
        trainer.restore_best()
        return
    part = LastEpochs(number)
    for epoch, state in last.kept:
        part.add(epoch, state)
    trainer.model.load_state_dict(part.mean())


def rows(candidate: Candidate, trainings: Sequence[Training]) -> Iterator[str]:
    """Yield a row of the table for each way of averaging."""
    seconds = mean(training.cpu_seconds for training in trainings)
    for number in candidate.averaged:
        scored = f"mean of the last {number}" if number else "best epoch"
        cells = [spread([training.accuracy[number, name] for training in trainings]) for name in CAPTURES]
        yield (
            f"| {candidate.learning_rate:g} | {candidate.epochs} | {scored} | {cells[0]} | {cells[1]} | {seconds:.1f} |"
        )


def spread(accuracies: Sequence[float]) -> str:
    """Return mean and standard deviation over seeds, in percent; without the latter for one seed."""
    of_seeds = f" ± {stdev(accuracies):.1f}" if len(accuracies) > 1 else ""
    return f"{mean(accuracies):.1f}{of_seeds}"


def lines(base: dict[str, Any], num_seeds: int, candidates: Sequence[Candidate]) -> Iterator[str]:
    """Yield the table line by line."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        emulation = Emulation(num_packets=PACKETS, num_samples=base["data"]["samples"])
        make_captures(root / "data" / "emulated", emulation, keep=False, tell=lambda _: None)
        yield ""
        yield from HEAD
        for candidate in candidates:
            seeds = range(FIRST_SEED, FIRST_SEED + num_seeds)
            jobs = [candidate_job(base, candidate, seed) for seed in seeds]
            yield from rows(candidate, [train(job, candidate.averaged, root) for job in jobs])
        yield ""
        last_seed = FIRST_SEED + num_seeds - 1
        yield f"Seeds {FIRST_SEED} to {last_seed}; seconds of one thread for training, without the scores."
        yield ""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quick_baseline", description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="seeds of each candidate (%(default)s)")
    parser.add_argument("--write", type=Path, help="file whose table between the marks is replaced")
    chosen = parser.parse_args()
    publish(lines(quick_job(), chosen.seeds, CANDIDATES), chosen.write, MARKS)


if __name__ == "__main__":
    main()
