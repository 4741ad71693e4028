"""Short questions to the commands of a task, each answered by a process that this one waits for.

The answering code is the user's, and a library that it imports may print anything. So the answer is the last printed
line that can be read as one.
"""

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from orchestrator.errors import DataError, FaultKind, kind_of_status
from orchestrator.task import call as calls
from orchestrator.task.call import (
    ask,
    describe_status,
    fill_words,
    find_answers,
    find_code_folder,
    last_line,
    name_of,
    no_answer,
)
from orchestrator.task.kept import find_key, keep, read_kept
from orchestrator.task.spec import Command, TaskSpec

T = TypeVar("T")
ASK_SECONDS = 600.0
"""Longest wait for an answer without training; importing torch from a slow network alone takes minutes."""


# The code that answers may be an experiment's own, of any version, so only the fields that are needed here are read.
class Problem(Struct, frozen=True, kw_only=True):
    """Why a configuration is refused."""

    message: str
    at: tuple[str, ...] = ()
    """Path of the value at fault in the parameters."""


class Read(Struct, frozen=True, kw_only=True):
    """A file whose content is part of what a run computes."""

    at: tuple[str, ...]
    """Where its path stands in the parameters."""
    path: str
    """As the campaign writes it, with the names of variables."""


class About(Struct, frozen=True, kw_only=True):
    """What a task says of one configuration, beside its parameters."""

    splits: dict[str, str] = {}
    """Scored split -> `judged`, `shown`, `choose` or `validate`; the first judged one is judged."""
    sessions: dict[str, tuple[tuple[int, int], ...]] = {}
    """Scored split -> half-open ranges of the last number of an item's key; each range is a cluster of a stratum."""
    epochs: int | None = None
    needs: tuple[str, ...] = ()
    """Some of `gpu` and `compiler`."""
    chance: float | None = None
    """The share that guessing gets right."""
    shuffled: bool = False
    """Whether it trains on shuffled labels."""
    notes: tuple[str, ...] = ()
    """Sentences for the report."""
    command: tuple[str, ...] | None = None
    """A command that trains it by hand."""


class Answer(About, frozen=True, kw_only=True):
    """The answer of `check` about one configuration."""

    params: dict[str, Any] = {}
    """Complete, with defaults; may be empty if there is a problem."""
    problem: Problem | None = None
    reads: tuple[Read, ...] = ()
    facts: dict[str, Any] = {}
    """What a deep check found, such as the number of parameters."""

    @property
    def about(self) -> About:
        """The answer without the parameters and what depends on this moment."""
        return About(**{name: getattr(self, name) for name in About.__struct_fields__})


def ask_schema(task: TaskSpec, root: Path) -> dict[str, Any]:
    """Ask a task for the JSON Schema of its parameters; empty where no command gives one.

    Raises:
        DataError: the process died, hung, or gave no answer that can be read.
    """
    if not isinstance(task.schema, tuple):
        return {}
    return _ask_kept(task, task.schema, b"", root, dict[str, Any])


def check_configs(
    task: TaskSpec,
    root: Path,
    configs: Sequence[Mapping[str, Any]],
    *,
    deep: bool = False,
    hashes: Mapping[str, str] | None = None,
    remembered: Path | None = None,
) -> list[Answer]:
    """Ask a task about configurations.

    Args:
        task: the task; without the command `check`, each configuration is its own answer.
        root: the campaign's folder; paths in the configurations are relative to it.
        configs: the parameters, as the campaign writes them; the baseline first.
        deep: whether to open files too, and to say whether this machine can train them.
        hashes: path of a file, as the campaign writes it -> SHA-256 of its bytes; by these, copies are told.
        remembered: folder in which the task may keep what it found out about files.

    Returns:
        An answer for each configuration, in their order.

    Raises:
        DataError: the process died, hung, or gave no answer that can be read.
    """
    if task.check is None or not configs:
        return [Answer(params=dict(params)) for params in configs]
    question = {
        "root": str(root.resolve()),
        "deep": deep,
        "configs": configs,
        "hashes": hashes,
        "remembered": None if remembered is None else str(remembered.resolve()),
    }
    content = calls.encode_question(question)
    if deep:
        found = _read_answer(task.check, root, ask(task.check, content, root, ASK_SECONDS), list[Answer], len(configs))
    else:
        found = _ask_kept(task, task.check, content, root, list[Answer], len(configs))
    return found


def prepare_data(task: TaskSpec, root: Path, configs: Sequence[Mapping[str, Any]]) -> str:
    """Have a task make the data that its configurations lack; return what the process printed about them.

    Args:
        task: a task with the command `prepare`.
        root: the campaign's folder.
        configs: the parameters, as the campaign writes them.

    Raises:
        DataError: the data could not be made.
    """
    question = calls.encode_question({"root": str(root.absolute()), "configs": configs})
    return ask(task.prepare or (), question, root).decode(errors="replace")


def check_job(task: TaskSpec, params: Mapping[str, Any], code: Path, root: Path) -> str | None:
    """Ask an experiment's own code whether it can train a configuration.

    Args:
        task: the task; without the command `check`, nobody is asked.
        params: the parameters.
        code: the folder with the code that is asked.
        root: the campaign's folder; paths in the parameters are relative to it.

    Returns:
        Why it cannot; None if it can.

    Raises:
        DataError: there is no answer, and the machine may be the reason: the process hung, or was killed.
    """
    if task.check is None:
        return None
    question = {"root": str(root.resolve()), "deep": True, "configs": [params], "hashes": None, "remembered": None}
    words = fill_words(task.check, root)
    done = calls.call(words, calls.encode_question(question), code, ASK_SECONDS)
    if done.returncode == 0:
        answer = _read_answer(task.check, root, done.stdout, list[Answer], 1)[0]
        return None if answer.problem is None else answer.problem.message
    ending = f"`{name_of(words)}` {describe_status(done.returncode)}: {last_line(done.stderr)}"
    if kind_of_status(done.returncode) is not FaultKind.OWN_DOING:
        raise DataError(ending)
    return ending


def _ask_kept(
    task: TaskSpec, command: Command, question: bytes, root: Path, kind: type[T], length: int | None = None
) -> T:
    """Ask a question whose answer depends on the question and the code alone; a kept answer is taken."""
    words = fill_words(command, root)
    folder = find_code_folder(words, root)
    key = find_key(words, question, folder, task.code)
    kept = read_kept(key)
    if kept is not None:
        with contextlib.suppress(msgspec.DecodeError):
            return msgspec.json.decode(kept, type=kind)
    answer = _read_answer(command, root, ask(command, question, root, ASK_SECONDS), kind, length)
    keep(key, msgspec.json.encode(answer))
    return answer


def _read_answer(command: Sequence[str], root: Path, printed: bytes, kind: type[T], length: int | None = None) -> T:
    answers = find_answers(printed, kind)
    for answer in answers:
        if length is None or (isinstance(answer, list) and len(answer) == length):
            return answer
    raise DataError(no_answer(name_of(fill_words(command, root)), printed))
