"""Short questions to `model`, answered by a process that this one waits for."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec
from msgspec import Struct

import model
from model.config import DataConfig, JobConfig
from orchestrator.errors import DataError
from orchestrator.spec import EmulateSpec

USERS_MISTAKE = 2
"""Exit status of a module of `model` that says in a sentence, after its own name, what the user is to mend."""
INSTALLED = Path(model.__file__).parents[1]
"""Where the `model` that came with this orchestrator lies."""


class Description(Struct, frozen=True, kw_only=True):
    """What a configuration comes to; `problem` says why the job cannot be done here, if so."""

    tokens: int
    parameters: int
    problem: str | None = None


def describe_jobs(configs: list[JobConfig], root: Path, *, with_data: bool) -> list[Description]:
    """Ask the campaign's `model` for tokens, parameters and problems of configurations.

    Args:
        configs: what to describe.
        root: the campaign's folder; capture paths are relative to it.
        with_data: whether to open the captures.

    Raises:
        DataError: the process died.
    """
    where = ["--data-folder", str(root)] if with_data else []
    answer = _ask(["model.describe", *where], msgspec.json.encode(configs), root)
    return msgspec.json.decode(answer, type=list[Description])


def check_job(folder: Path, code: Path, data_folder: Path) -> str | None:
    """Ask the code in `code` whether it can do the job of a run folder; return why not."""
    words = ["model", str(folder.resolve()), "--check", "--data-folder", str(data_folder.resolve())]
    done = _call(words, b"", code)
    if done.returncode == 0:
        return None
    try:
        problem = msgspec.json.decode(done.stdout, type=Description).problem
    except msgspec.DecodeError:
        problem = None
    last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
    return problem or f"`python -m model --check` ended with status {done.returncode}: {last[0]}"


def emulate_captures(folder: Path, spec: EmulateSpec, *, keep: bool = False) -> str:
    """Make emulated captures; return what was said about them.

    Args:
        folder: where they go.
        spec: what they are made from.
        keep: whether files of their names that are there stay as they are.

    Raises:
        DataError: they could not be made.
    """
    # Not resolved: what is said of the folder must name it as it is asked for.
    options = {"--folder": folder.absolute(), "--seed": spec.seed, "--packets": spec.packets, "--samples": spec.samples}
    words = [str(word) for pair in options.items() for word in pair]
    return _ask(["model.data.emulate", *words, *["--keep"] * keep], b"", INSTALLED).decode()


class Speed(Struct, frozen=True, kw_only=True):
    """What some epochs on noise took, as `model.speed` prints it."""

    device: str
    epoch_seconds: tuple[float, ...]
    data_seconds: tuple[float | None, ...]
    skipped_steps: int
    peak_memory_bytes: int


def measure_speed(config: JobConfig, epochs: int, device: str = "auto") -> Speed:
    """Train a configuration for some epochs on noise.

    Raises:
        DataError: this machine cannot, or the training failed.
    """
    command = ["model.speed", "--epochs", str(epochs), "--device", device]
    return msgspec.json.decode(_ask(command, msgspec.json.encode(config), INSTALLED), type=Speed)


def run_marked_tests(root: Path, mark: str) -> tuple[bool, str]:
    """Run the tests of a checkout with a mark; return whether none failed, and pytest's last line."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-m", mark, "-q", "-p", "no:cacheprovider", "tests"],
        capture_output=True,
        text=True,
        check=False,
        cwd=root,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    said = (done.stdout + done.stderr).strip().splitlines() or ["pytest said nothing"]
    return done.returncode == 0, said[-1]


def shard_captures(folder: Path, data: DataConfig, root: Path, sha256: Mapping[str, str]) -> str:
    """Cut shards out of captures; return what was said about them.

    Args:
        folder: where the shards and their manifest go.
        data: the bursts that are wanted; paths are relative to `root`.
        root: the campaign's folder.
        sha256: hash of each capture file, by its path in `data`.

    Raises:
        DataError: a capture does not fit, or the folder holds something else.
    """
    order = {"data": data, "data_folder": str(root.resolve()), "out": str(folder.resolve()), "sha256": sha256}
    return _ask(["model.data.shards"], msgspec.json.encode(order), INSTALLED).decode()


def find_shared_bursts(data: DataConfig, root: Path, sha256: Mapping[str, str], remembered: Path) -> str | None:
    """Say which roles share bursts by content that they must not share; None if there are none.

    Args:
        data: the captures and their roles; paths are relative to `root`.
        root: the campaign's folder.
        sha256: hash of each capture file, by its path in `data`.
        remembered: the folder in which hashes of bursts are kept.

    Raises:
        DataError: a capture does not fit, or changes while it is read.
    """
    question = {
        "data": data,
        "data_folder": str(root.resolve()),
        "sha256": sha256,
        "remembered": str(remembered.resolve()),
    }
    answer = _ask(["model.data.shared_bursts"], msgspec.json.encode(question), INSTALLED)
    return msgspec.json.decode(answer, type=str | None)


def _ask(module: list[str], question: bytes, code: Path) -> bytes:
    # `-m` looks in the working folder first; a folder with another `model` than ours must not be it.
    done = _call(module, question, code if (code / "model" / "describe.py").exists() else INSTALLED)
    if done.returncode != 0:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        if done.returncode == USERS_MISTAKE and last[0].startswith(f"{module[0]}: "):
            raise DataError(last[0].removeprefix(f"{module[0]}: "))
        raise DataError(f"`python -m {module[0]}` ended with status {done.returncode}: {last[0]}")
    return done.stdout


def _call(module: list[str], question: bytes, folder: Path) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [sys.executable, "-m", *module],
        input=question,
        capture_output=True,
        check=False,
        cwd=folder,
        # Byte code would be a new file in the user's checkout.
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
