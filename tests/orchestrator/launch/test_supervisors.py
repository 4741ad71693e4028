"""Supervisors are forked from one process that has its imports done."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from orchestrator.launch.commands import PACKAGE, SUPERVISORS
from orchestrator.launch.supervisors import RunReaders, main
from orchestrator.processes import MARK
from orchestrator.supervisor.launch_file import Progress, ProgressFile
from tests.builders.supervised import PYTHON, SLEEP, Stranger, a_stranger, wait_until


@pytest.fixture
def stranger(tmp_path: Path) -> Iterator[Stranger]:
    with a_stranger(tmp_path) as found:
        yield found


class Server:
    """The standby, and what is asked and answered."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def ask(self, stranger: Stranger) -> int:
        """Ask for a supervisor; return its number."""
        assert self.process.stdin is not None
        folder = str(stranger.folder.path)
        request = {"words": [folder], "folder": "/", "log": str(stranger.folder.log), "environment": {}}
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return int(self.hear()["pid"])

    def hear(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer


@contextmanager
def a_server() -> Iterator[Server]:
    command = [sys.executable, "-m", SUPERVISORS]
    environment = {name: value for name, value in os.environ.items() if name != MARK}
    with subprocess.Popen(
        command, cwd=PACKAGE, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield Server(process)
        finally:
            process.kill()


def test_it_tells_the_number_and_the_end_of_each(stranger: Stranger) -> None:
    stranger.order(*PYTHON, "print('trained')")
    with a_server() as server:
        pid = server.ask(stranger)
        assert server.hear() == {"pid": pid, "status": 0}
        # Only now its imports are known to be done, so the start is measured.
        stranger.folder.result.unlink()
        begun = time.perf_counter()
        again = server.ask(stranger)
        assert server.hear() == {"pid": again, "status": 0}
        # An interpreter with these imports takes several times as long.
        assert time.perf_counter() - begun < 5
    assert stranger.result().state == "done"
    assert stranger.log().count("trained") == 2


def test_a_supervisor_outlives_it_and_hears_requests_to_stop(stranger: Stranger) -> None:
    stranger.order(*PYTHON, SLEEP)
    with a_server() as server:
        pid = server.ask(stranger)
        wait_until(lambda: "up" in stranger.log())
        server.process.kill()
        server.process.wait()
    assert os.getpgid(pid) == pid
    assert stranger.folder.holder() is not None
    # The supervisor carries no mark: its command does.
    assert f"{MARK}=".encode() not in Path(f"/proc/{pid}/environ").read_bytes()
    os.kill(pid, signal.SIGTERM)
    wait_until(lambda: stranger.folder.holder() is None)
    assert "asked to stop" in stranger.log()
    assert stranger.marked() == []


def test_it_ends_with_its_input(stranger: Stranger) -> None:
    with a_server() as server:
        assert server.process.stdin is not None
        server.process.stdin.close()
        assert server.process.wait(timeout=60) == 0


def test_a_bug_of_a_supervisor_stands_in_the_log(stranger: Stranger) -> None:
    stranger.folder.launch.mkdir()
    with a_server() as server:
        pid = server.ask(stranger)
        assert server.hear()["pid"] == pid
    assert "launch.json" in stranger.log()


def test_one_run_may_be_supervised_without_it(stranger: Stranger) -> None:
    stranger.order(
        *PYTHON, "print('step 1: loss 0.5')", progress=Progress(patterns=("step {step}: loss {loss}",), step="step")
    )
    assert main([str(stranger.folder.path)]) == 0
    assert [(row.step, row.values) for row in stranger.rows()] == [(1.0, {"loss": 0.5})]


def test_readers_know_patterns_and_tables(tmp_path: Path) -> None:
    readers = RunReaders()
    follower = readers.follow_log(Progress(patterns=("epoch {epoch} acc {acc}%",), step="epoch"), 2)
    (row,) = follower.feed("epoch 3 acc 91.5%\n")
    assert (row.step, row.values, row.attempt) == (3.0, {"acc": 91.5}, 2)
    (tmp_path / "m.csv").write_text("epoch,loss\n1,0.5\n")
    (row,) = readers.read_table(ProgressFile(kind="csv", path="m.csv", step="epoch"), tmp_path / "m.csv")
    assert (row.step, row.values) == (1.0, {"loss": 0.5})
