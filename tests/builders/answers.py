"""Answers of the radio study, given in this process: a process a question would cost the tests minutes."""

import io
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from model.studies.radio import task
from orchestrator.task import call as calls

Completed = "subprocess.CompletedProcess[bytes]"
real_call = calls.call
kept: dict[tuple[tuple[str, ...], bytes], Any] = {}
"""Question -> its answer, where that depends on the question alone."""


def call_here(words: Sequence[str], question: bytes, folder: Path, limit: float | None = None) -> Any:
    """Answer a question to the installed radio study here; start a process for every other one."""
    is_radio = task.NAME in words and not (folder / "model" / "studies").is_symlink()
    own = folder / "model" / "studies" / "radio" / "task.py"
    if not is_radio or (own.is_file() and not own.samefile(task.__file__)):
        return real_call(words, question, folder, limit)
    key = (tuple(words[-1:]), question)
    depends_on_files = words[-1] == "prepare" or b'"deep":true' in question or b"${" in question
    if depends_on_files or key not in kept:
        kept[key] = answer(words, question)
    return kept[key]


def answer(words: Sequence[str], question: bytes) -> Any:
    out, err = io.StringIO(), io.StringIO()
    given = SimpleNamespace(buffer=io.BytesIO(question))
    with mock.patch.object(sys, "stdin", given), redirect_stdout(out), redirect_stderr(err):
        status = task.main([words[-1]])
    return subprocess.CompletedProcess(list(words), status, out.getvalue().encode(), err.getvalue().encode())


def ask_nobody_twice(patch: Callable[[str, object], None]) -> None:
    """Have the radio study's answers given in this process, and keep none of them on the disk."""
    patch("orchestrator.task.call.call", call_here)
    patch("orchestrator.task.ask.find_key", lambda *_: None)
