"""Short questions to `model`, answered by a process that this one waits for."""

import subprocess
import sys
from pathlib import Path

import msgspec
from msgspec import Struct

from model.config import JobConfig
from orchestrator.errors import DataError
from orchestrator.spec import EmulateSpec


class Description(Struct, frozen=True, kw_only=True):
    """What a configuration comes to; `problem` says why the job cannot be done here, if so."""

    tokens: int
    parameters: int
    problem: str | None = None


def describe_jobs(configs: list[JobConfig], data_folder: Path | None, code: Path | None = None) -> list[Description]:
    """Ask `model` for tokens, parameters and problems of configurations; captures are opened if a folder is given.

    Raises:
        DataError: the process died.
    """
    where = ["--data-folder", str(data_folder)] if data_folder else []
    answer = _ask(["model.describe", *where], msgspec.json.encode(configs), code)
    return msgspec.json.decode(answer, type=list[Description])


def emulate_captures(folder: Path, spec: EmulateSpec) -> str:
    """Make emulated captures; return what was said about them.

    Raises:
        DataError: they could not be made.
    """
    options = {"--folder": folder, "--seed": spec.seed, "--packets": spec.packets, "--samples": spec.samples}
    words = [str(word) for pair in options.items() for word in pair]
    return _ask(["model.data.emulate", *words], b"", None).decode()


def _ask(module: list[str], question: bytes, code: Path | None) -> bytes:
    done = subprocess.run([sys.executable, "-m", *module], input=question, capture_output=True, check=False, cwd=code)
    if done.returncode != 0:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
        raise DataError(f"`python -m {module[0]}` ended with status {done.returncode}: {last[0]}")
    return done.stdout
