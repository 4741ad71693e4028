"""Short questions to `model`, answered by a process that this one waits for."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
from msgspec import Struct

import model
from model.config import JobConfig
from orchestrator.errors import DataError
from orchestrator.spec import EmulateSpec

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


def emulate_captures(folder: Path, spec: EmulateSpec) -> str:
    """Make emulated captures; return what was said about them.

    Raises:
        DataError: they could not be made.
    """
    options = {"--folder": folder.resolve(), "--seed": spec.seed, "--packets": spec.packets, "--samples": spec.samples}
    words = [str(word) for pair in options.items() for word in pair]
    return _ask(["model.data.emulate", *words], b"", INSTALLED).decode()


def _ask(module: list[str], question: bytes, code: Path) -> bytes:
    # `-m` looks in the working folder first; a folder with another `model` than ours must not be it.
    folder = code if (code / "model" / "describe.py").exists() else INSTALLED
    done = subprocess.run(
        [sys.executable, "-m", *module],
        input=question,
        capture_output=True,
        check=False,
        cwd=folder,
        # Byte code would be a new file in the user's checkout.
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    if done.returncode != 0:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        raise DataError(f"`python -m {module[0]}` ended with status {done.returncode}: {last[0]}")
    return done.stdout
