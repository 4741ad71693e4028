"""A run of any task keeps the contract of the run folder: a script under the supervisor, and each study of ours."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import HELD, INTERRUPTED
from orchestrator.runs.folder import RunFolder
from tests.builders.supervised import wait_until
from tests.contract.tasks import NUM_EPOCHS, Run, radio, script

TASKS = {"script": script, "radio": radio}
"""Task -> a run of it. A new study joins with a line."""


def content_of(folder: RunFolder) -> dict[str, bytes]:
    """Return what the run has written, without its log and its lock."""
    paths = (path for path in folder.path.iterdir() if path.is_file() and path not in (folder.log, folder.lock))
    return {path.name: path.read_bytes() for path in paths}


@pytest.mark.parametrize("name", TASKS)
class TestTask:
    @pytest.fixture
    def run(self, name: str, tmp_path: Path) -> Iterator[Run]:
        with TASKS[name](tmp_path) as run:
            yield run

    @pytest.fixture(autouse=True)
    def impatient(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for half in ("model.train", "orchestrator.runs"):
            monkeypatch.setattr(f"{half}.job_lock.LOCK_SECONDS", 0.5)

    def begun(self, run: Run) -> int:
        """Start a run, and wait for its first step."""
        already, pid = run.num_steps(), run.start()
        wait_until(lambda: run.num_steps() > already, 60.0)
        return pid

    def test_a_finished_run_has_its_result_and_is_not_trained_again(self, run: Run) -> None:
        assert run.wait(run.start()) == 0
        result = run.folder.read_result()
        assert result is not None
        assert (result.state, result.failure) == ("done", None)
        assert run.num_steps() == NUM_EPOCHS
        assert run.folder.holder() is None
        assert run.folder.last_holder().attempt == 1
        before = content_of(run.folder)
        assert run.wait(run.start()) == 0
        assert content_of(run.folder) == before

    def test_a_run_that_is_asked_to_stop_has_no_result_and_goes_on_later(self, run: Run) -> None:
        pid = self.begun(run)
        os.kill(pid, signal.SIGTERM)
        assert run.wait(pid) == INTERRUPTED
        assert run.folder.read_result() is None
        assert run.folder.holder() is None
        assert run.wait(run.start()) == 0
        assert run.folder.read_result().state == "done"
        assert run.folder.last_holder().attempt == 2

    def test_a_run_that_is_at_work_is_held_and_one_that_is_killed_goes_on(self, run: Run) -> None:
        pid = self.begun(run)
        assert run.folder.holder().pid == pid
        os.kill(pid, signal.SIGSTOP)  # it must not end before the other has asked
        assert run.wait(run.start()) == HELD
        os.kill(pid, signal.SIGKILL)
        assert run.wait(pid) == -signal.SIGKILL
        assert run.wait(run.start()) == 0
        assert run.num_steps() >= NUM_EPOCHS - 1
        assert run.folder.read_result().state == "done"
