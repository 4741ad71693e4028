"""Short questions to `model`, each answered by a process that this one waits for.

The answering code is the user's, and a library that it imports may print anything. So the answer is the last printed
line that can be read as one.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Annotated, TypeVar

import msgspec
import psutil
from msgspec import Meta, Struct

import model
from model.config import DataConfig, JobConfig
from orchestrator.closed import Config
from orchestrator.errors import DataError, FaultKind, kind_of_status
from orchestrator.processes import UTF_8

USERS_MISTAKE = 2
"""Exit status of a module of `model` for a mistake of the user; its last line is `module: sentence`."""
INSTALLED = Path(model.__file__).parents[1]
"""Folder of the `model` that was installed with this orchestrator."""
Answer = TypeVar("Answer")
ASK_SECONDS = 600.0
"""Longest wait for an answer without training; importing torch from a slow network alone takes minutes."""
MAX_READ_BYTES = 2**24
"""Most bytes that are read of what a process printed, from the end."""


class EmulateSpec(Config, frozen=True, kw_only=True):
    """How `knockout data emulate` makes missing captures."""

    seed: Annotated[int, Meta(ge=0)] = 1
    packets: Annotated[int, Meta(ge=1, le=1_000_000, description="bursts a transmitter at each location")] = 100
    samples: Annotated[int, Meta(ge=64, le=2**24, description="samples a burst")] = 8192


# `model` has structs of the same names, Description and Speed, and prints them. They are two on purpose. The code that
# answers may be an experiment's own, of any version, so only the fields that are needed here are read.
class Description(Struct, frozen=True, kw_only=True):
    """The size of a configuration's model; `problem` says why its job cannot run here, None if it can."""

    tokens: int
    parameters: int
    problem: str | None = None


def describe_jobs(configs: list[JobConfig], root: Path, *, with_data: bool) -> list[Description]:
    """Ask the campaign's `model` for the tokens, parameters and problems of configurations.

    Args:
        configs: the configurations.
        root: the campaign's folder; capture paths are relative to it.
        with_data: whether to open the captures.

    Returns:
        A description for each configuration, in their order.

    Raises:
        DataError: the process died, hung, or gave no answer that can be read.
    """
    where = ["--data-folder", str(root)] if with_data else []
    printed = _ask(["model.describe", *where], msgspec.json.encode(configs), root, ASK_SECONDS)
    answers = find_answers(printed, list[Description])
    answer = next((answer for answer in answers if len(answer) == len(configs)), None)
    if answer is None:
        raise DataError(_no_answer("model.describe", printed))
    return answer


def check_job(folder: Path, code: Path, data_folder: Path) -> str | None:
    """Ask an experiment's code whether it can do the job of a run folder.

    Args:
        folder: the run folder.
        code: the folder with the `model` that is asked.
        data_folder: capture paths are relative to it.

    Returns:
        Why it cannot; None if it can.

    Raises:
        DataError: there is no answer, and the machine may be the reason: the process hung, or was killed.
    """
    words = ["model", str(folder.resolve()), "--check", "--data-folder", str(data_folder.resolve())]
    done = _call(words, b"", code, ASK_SECONDS)
    if done.returncode == 0:
        return None
    problem = next((answer.problem for answer in find_answers(done.stdout, Description)), None)
    if problem:
        return problem
    ending = f"`python -m model --check` {_describe_status(done.returncode)}: {_last_line(done.stderr)}"
    if kind_of_status(done.returncode) is not FaultKind.OWN_DOING:
        raise DataError(ending)
    return ending


def find_answers(printed: bytes, kind: type[Answer]) -> Iterator[Answer]:
    """Yield the printed lines that can be read as an answer of a type, the last one first. Pure."""
    decoder = msgspec.json.Decoder(kind)
    opening = b"[" if getattr(kind, "__origin__", kind) is list else b"{"
    for line in reversed(printed.splitlines()):
        # Output without a line break may stand before the answer in the same line.
        start = line.find(opening)
        while start >= 0:
            try:
                answer = decoder.decode(line[start:])
            except msgspec.DecodeError:
                start = line.find(opening, start + 1)
            else:
                yield answer
                break


def _no_answer(module: str, printed: bytes) -> str:
    return (
        f"`python -m {module}` gave no answer that can be read; the last that it printed was: {_last_line(printed)}; "
        f"try `python -m {module} --help` in the campaign's folder"
    )


def _last_line(printed: bytes) -> str:
    lines = printed.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def _describe_status(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    return f"was ended by signal {-status} ({signal.Signals(-status).name})"


def emulate_captures(folder: Path, spec: EmulateSpec, *, keep: bool = False) -> str:
    """Make emulated captures; return what the process printed about them.

    Args:
        folder: for the captures.
        spec: how they are made.
        keep: whether existing files of the same names stay.

    Raises:
        DataError: they could not be made.
    """
    # Absolute, but with its links: messages must name the folder as the user does.
    options = {"--folder": folder.absolute(), "--seed": spec.seed, "--packets": spec.packets, "--samples": spec.samples}
    words = [str(word) for pair in options.items() for word in pair]
    return _ask(["model.studies.radio.data", *words, *["--keep"] * keep], b"", INSTALLED).decode(errors="replace")


class Speed(Struct, frozen=True, kw_only=True):
    """The measured times of some epochs on noise, as `model.speed` prints them."""

    device: str
    epoch_seconds: tuple[float, ...]
    data_seconds: tuple[float | None, ...]
    skipped_steps: int
    peak_memory_bytes: int


def measure_speed(config: JobConfig, epochs: int, device: str = "auto") -> Speed:
    """Train a configuration for some epochs on noise, and measure them.

    Raises:
        DataError: this machine cannot train it, or the training failed.
    """
    command = ["model.speed", "--epochs", str(epochs), "--device", device]
    printed = _ask(command, msgspec.json.encode(config), INSTALLED)
    speed = next(find_answers(printed, Speed), None)
    if speed is None:
        raise DataError(_no_answer("model.speed", printed))
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


def shard_captures(folder: Path, data: DataConfig, root: Path, sha256: Mapping[str, str]) -> str:
    """Cut shards out of captures; return what the process printed about them.

    Args:
        folder: for the shards and their manifest.
        data: the wanted bursts; paths are relative to `root`.
        root: the campaign's folder.
        sha256: path of a capture in `data` -> hash of the file.

    Raises:
        DataError: a capture does not fit, or the folder holds something else.
    """
    order = {"data": data, "data_folder": str(root.resolve()), "out": str(folder.resolve()), "sha256": sha256}
    return _ask(["model.data.shards"], msgspec.json.encode(order), INSTALLED).decode(errors="replace")


def find_shared_bursts(data: DataConfig, root: Path, sha256: Mapping[str, str], remembered: Path) -> str | None:
    """Say which roles share bursts, by content, that they must not share; None if there are none.

    Args:
        data: the captures and their roles; paths are relative to `root`.
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
    answer = _ask(["model.data.shared_bursts"], msgspec.json.encode(question), INSTALLED)
    return msgspec.json.decode(answer, type=str | None)


def _ask(module: list[str], question: bytes, code: Path, limit: float | None = None) -> bytes:
    # `-m` looks in the working folder first, so that folder must not hold a different package named `model`.
    done = _call(module, question, code if (code / "model" / "describe.py").exists() else INSTALLED, limit)
    if done.returncode == 0:
        return done.stdout
    lines = done.stderr.decode(errors="replace").splitlines()
    said = next((line for line in reversed(lines) if line.startswith(f"{module[0]}: ")), None)
    if done.returncode == USERS_MISTAKE and said is not None:
        raise DataError(said.removeprefix(f"{module[0]}: "))
    raise DataError(f"`python -m {module[0]}` {_describe_status(done.returncode)}: {_last_line(done.stderr)}")


def _call(
    module: list[str], question: bytes, folder: Path, limit: float | None = None
) -> "subprocess.CompletedProcess[bytes]":
    """Run a module of `model`, at most for `limit` seconds.

    Input and output are files. With pipes, a process that the module leaves behind could keep this one waiting.

    Raises:
        DataError: the module was still at work after that time.
    """
    command = [sys.executable, "-m", *module]
    # PYTHONSAFEPATH would keep `-m` from looking in the working folder.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    # Python must not write byte code into the user's checkout.
    environment |= {**UTF_8, "PYTHONDONTWRITEBYTECODE": "1"}
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(question)
        given.seek(0)
        process = subprocess.Popen(command, stdin=given, stdout=out, stderr=err, cwd=folder, env=environment)
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            _end(process)
            raise DataError(
                f"`python -m {module[0]}` was still at work after {limit:.0f} s and was ended; the last that it said: "
                f"{_last_line(_read_end(err))}"
            ) from None
        except BaseException:  # an interrupt of this process may not have reached the other
            _end(process)
            raise
        return subprocess.CompletedProcess(command, status, _read_end(out), _read_end(err))


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process and all its children."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
    process.kill()
    process.wait()


def _read_end(file: IO[bytes]) -> bytes:
    file.seek(max(0, file.seek(0, os.SEEK_END) - MAX_READ_BYTES))
    return file.read()
