"""One process that answers: started in the folder of its code, with a time limit, and ended with all its children."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import IO, TypeVar

import msgspec
import psutil

from orchestrator.errors import DataError
from orchestrator.processes import UTF_8
from orchestrator.task.templates import PYTHON, ROOT, fill

T = TypeVar("T")
USERS_MISTAKE = 2
"""Exit status of a command for a mistake of the user; its last line is `module: sentence`."""
MAX_READ_BYTES = 2**24
"""Most bytes that are read of what a process printed, from the end."""


def fill_words(command: Sequence[str], root: Path) -> list[str]:
    """Return a command with `{python}` and `{root}` filled in."""
    values = {PYTHON: sys.executable, ROOT: str(root.resolve())}
    return [fill(word, values) for word in command]


def find_answers(printed: bytes, kind: type[T]) -> Iterator[T]:
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


def no_answer(name: str, printed: bytes) -> str:
    """Return the sentence about a command whose output holds no answer."""
    return f"`{name}` gave no answer that can be read; the last that it printed was: {last_line(printed)}"


def name_of(words: Sequence[str]) -> str:
    """Return how messages name a command."""
    first = "python" if words[0] == sys.executable else words[0]
    return " ".join((first, *words[1:]))


def last_line(printed: bytes) -> str:
    """Return the last line of an output."""
    lines = printed.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"


def describe_status(status: int) -> str:
    """Say how a process ended."""
    if status >= 0:
        return f"ended with status {status}"
    return f"was ended by signal {-status} ({signal.Signals(-status).name})"


def find_code_folder(words: Sequence[str], root: Path | None) -> Path:
    """Return the working folder of a command: that of the module which `-m` names, else the campaign's folder.

    `-m` looks in the working folder first. A campaign's own module comes before an installed one.
    """
    here = root or Path.cwd()
    # A script by its path is found in the campaign's folder anyway.
    module = next((after for word, after in pairwise(words) if word == "-m"), None)
    if module is None:
        return here
    place = here / module.replace(".", "/")
    if root is not None and (place.with_suffix(".py").is_file() or (place / "__main__.py").is_file()):
        return root
    return installed_folder(module.partition(".")[0]) or here


def encode_question(question: object) -> bytes:
    """Return a question as JSON of ASCII letters. A path that is no UTF-8 keeps its bytes, as lone surrogates."""
    return json.dumps(msgspec.to_builtins(question)).encode("ascii")


def installed_folder(package: str) -> Path | None:
    """Return the folder that holds an installed package, which is not imported; None if there is none."""
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        return None
    places = spec.submodule_search_locations if spec is not None else None
    return Path(next(iter(places))).parent if places else None


def ask(command: Sequence[str], question: bytes, root: Path | None, limit: float | None = None) -> bytes:
    """Run a command with a question on its standard input; return what it printed.

    Args:
        command: the words, with templates.
        question: what it reads.
        root: the campaign's folder; None for a module that is installed beside this orchestrator.
        limit: most seconds that it may take.

    Raises:
        DataError: it refused the question, died, or was still at work after that time.
    """
    words = fill_words(command, root or Path.cwd())
    done = call(words, question, find_code_folder(words, root), limit)
    if done.returncode == 0:
        return done.stdout
    lines = done.stderr.decode(errors="replace").splitlines()
    # A command is named by its module, or by its script.
    names = {f"{name}: " for word in words for name in (word, Path(word).name, Path(word).stem) if name}
    said = next((line for line in reversed(lines) if line.startswith(tuple(names))), None)
    if done.returncode == USERS_MISTAKE and said is not None:
        raise DataError(said.partition(": ")[2])
    raise DataError(f"`{name_of(words)}` {describe_status(done.returncode)}: {last_line(done.stderr)}")


def call(
    words: Sequence[str], question: bytes, folder: Path, limit: float | None = None
) -> "subprocess.CompletedProcess[bytes]":
    """Run a command, at most for `limit` seconds.

    Input and output are files. With pipes, a process that the command leaves behind could keep this one waiting.

    Raises:
        DataError: the command cannot be started, or was still at work after that time.
    """
    command = list(words)
    # PYTHONSAFEPATH would keep `-m` from looking in the working folder.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    # Python must not write byte code into the user's checkout.
    environment |= {**UTF_8, "PYTHONDONTWRITEBYTECODE": "1"}
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(question)
        given.seek(0)
        try:
            process = subprocess.Popen(command, stdin=given, stdout=out, stderr=err, cwd=folder, env=environment)
        except OSError as error:
            raise DataError(f"`{name_of(words)}` cannot be started in {folder}: {error.strerror}") from None
        try:
            status = process.wait(limit)
        except subprocess.TimeoutExpired:
            _end(process)
            raise DataError(
                f"`{name_of(words)}` was still at work after {limit:.0f} s and was ended; the last that it said: "
                f"{last_line(_read_end(err))}"
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
