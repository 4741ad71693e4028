"""What `knockout data` and `knockout doctor` ask of the installed radio study: captures, shards, seconds an epoch."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from orchestrator.closed import Config
from orchestrator.errors import DataError
from orchestrator.processes import UTF_8
from orchestrator.task.call import ask, find_answers, name_of, no_answer


class EmulateSpec(Config, frozen=True, kw_only=True):
    """How `knockout data emulate` makes missing captures."""

    seed: Annotated[int, Meta(ge=0)] = 1
    packets: Annotated[int, Meta(ge=1, le=1_000_000, description="bursts a transmitter at each location")] = 100
    samples: Annotated[int, Meta(ge=64, le=2**24, description="samples a burst")] = 8192


def _module(name: str) -> tuple[str, ...]:
    return (sys.executable, "-m", name)


def emulate_captures(folder: Path, spec: EmulateSpec) -> str:
    """Make emulated captures; return what the process printed about them.

    Args:
        folder: for the captures.
        spec: how they are made.

    Raises:
        DataError: they could not be made.
    """
    # Absolute, but with its links: messages must name the folder as the user does.
    options = {"--folder": folder.absolute(), "--seed": spec.seed, "--packets": spec.packets, "--samples": spec.samples}
    words = [str(word) for pair in options.items() for word in pair]
    return ask((*_module("model.studies.radio.data"), *words), b"", None).decode(errors="replace")


class Speed(Struct, frozen=True, kw_only=True):
    """The measured times of some epochs on noise, as `model.speed` prints them."""

    device: str
    epoch_seconds: tuple[float, ...]
    data_seconds: tuple[float | None, ...]
    skipped_steps: int
    peak_memory_bytes: int


def measure_speed(params: Mapping[str, Any], epochs: int, device: str = "auto") -> Speed:
    """Train a configuration of the radio study for some epochs on noise, and measure them.

    Raises:
        DataError: this machine cannot train it, or the training failed.
    """
    command = (*_module("model.speed"), "--epochs", str(epochs), "--device", device)
    job = {"experiment": "speed", "profile": "speed", "seed": 0, **params}
    printed = ask(command, msgspec.json.encode(job), None)
    speed = next(find_answers(printed, Speed), None)
    if speed is None:
        raise DataError(no_answer(name_of(command), printed))
    return speed


def run_marked_tests(root: Path, mark: str) -> tuple[bool, str]:
    """Run the model's tests that have a mark; return whether all passed and at least one ran, and pytest's last line.

    Args:
        root: the checkout, which holds the tests.
        mark: the mark.
    """
    # Other versions of a package may warn of something; that is no failure of a test.
    options = ["-q", "-p", "no:cacheprovider", "-o", "filterwarnings=default"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-m", mark, *options, "tests/model"],
        capture_output=True,
        check=False,
        cwd=root,
        env={**os.environ, **UTF_8, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    said = (done.stdout + done.stderr).decode(errors="replace").strip().splitlines() or ["pytest said nothing"]
    if done.returncode == 0 and " passed" not in said[-1]:
        return False, f"no test ran: {said[-1]}"
    return done.returncode == 0, said[-1]


def shard_captures(folder: Path, data: Mapping[str, Any], root: Path, sha256: Mapping[str, str]) -> str:
    """Cut shards out of captures; return what the process printed about them.

    Args:
        folder: for the shards and their manifest.
        data: the wanted bursts, a section `data` of the radio study; paths are relative to `root`.
        root: the campaign's folder.
        sha256: path of a capture in `data` -> hash of the file.

    Raises:
        DataError: a capture does not fit, or the folder holds something else.
    """
    order = {"data": data, "data_folder": str(root.resolve()), "out": str(folder.resolve()), "sha256": sha256}
    return ask(_module("model.data.shards"), msgspec.json.encode(order), None).decode(errors="replace")


def find_shared_bursts(data: Mapping[str, Any], root: Path, sha256: Mapping[str, str], remembered: Path) -> str | None:
    """Say which roles share bursts, by content, that they must not share; None if there are none.

    Args:
        data: the captures and their roles, a section `data` of the radio study; paths are relative to `root`.
        root: the campaign's folder.
        sha256: path of a capture in `data` -> hash of the file.
        remembered: the folder that keeps hashes of bursts.

    Raises:
        DataError: a capture does not fit, or changes while it is read.
    """
    question = {
        "data": data,
        "data_folder": str(root.resolve()),
        "sha256": sha256,
        "remembered": str(remembered.resolve()),
    }
    answer = ask(_module("model.data.shared_bursts"), msgspec.json.encode(question), None)
    return msgspec.json.decode(answer, type=str | None)
