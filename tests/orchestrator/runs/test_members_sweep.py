"""Every process with the mark is ended, wherever it went."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.processes import Process
from orchestrator.runs import members
from orchestrator.runs.members import Swept, end_processes, mark_variables, wait_for_end
from tests.builders.supervised import IGNORES_TERM, PYTHON, SLEEP, Stranger, a_stranger


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[Stranger]:
    with a_stranger(tmp_path) as found:
        yield found


@contextmanager
def marked(stranger: Stranger, script: str) -> Iterator[subprocess.Popen[str]]:
    environment = os.environ | mark_variables(stranger.folder)
    with subprocess.Popen(
        [*PYTHON, script], env=environment, start_new_session=True, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def test_nothing_there_is_nothing_done(stranger: Stranger) -> None:
    assert end_processes(stranger.folder) == Swept()


def test_a_process_is_asked_first(stranger: Stranger) -> None:
    with marked(stranger, SLEEP) as process:
        assert end_processes(stranger.folder) == Swept(ended=(process.pid,))
        assert process.wait() == -signal.SIGTERM


def test_one_that_ignores_it_is_killed(stranger: Stranger) -> None:
    with marked(stranger, IGNORES_TERM) as process:
        assert end_processes(stranger.folder, term_seconds=0.2) == Swept(ended=(process.pid,))
        assert process.wait() == -signal.SIGKILL


def test_all_may_be_killed_at_once(stranger: Stranger) -> None:
    with marked(stranger, SLEEP) as one, marked(stranger, SLEEP) as other:
        assert end_processes(stranger.folder, term_seconds=0).ended == tuple(sorted((one.pid, other.pid)))
        assert (one.wait(), other.wait()) == (-signal.SIGKILL, -signal.SIGKILL)


def test_processes_of_another_user_are_named(stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    own = Process.own()
    monkeypatch.setattr(members, "list_members", lambda _: [own])
    monkeypatch.setattr(members, "ask_to_end", refuse)
    monkeypatch.setattr(members, "end_members", lambda _: [])
    swept = end_processes(stranger.folder, term_seconds=0.01, kill_seconds=0.01)
    assert swept == Swept(left=(own.pid,))


def test_the_wait_for_helpers_ends_with_them(stranger: Stranger) -> None:
    begun = time.monotonic()
    wait_for_end(stranger.folder, 30)
    with marked(stranger, "import time; print('up', flush=True); time.sleep(0.2)"):
        wait_for_end(stranger.folder, 30)
    with marked(stranger, SLEEP):
        wait_for_end(stranger.folder, 0.1)
    assert time.monotonic() - begun < 20
