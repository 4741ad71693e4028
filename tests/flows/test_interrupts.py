"""A `run` that is interrupted or killed keeps its epochs, and the next `run` goes on from them."""

import json
import signal
import subprocess
from pathlib import Path

import pytest

from tests.builders.fake_study import make_fake_study
from tests.builders.study_harness import Study, wait_for

NUM_EPOCHS = 40
LONG = f"baseline: {{optim: {{epochs: {NUM_EPOCHS}}}}}"
EPOCH_SECONDS = 1.0
"""So long that no run can end between an epoch and what a test does then."""


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return make_fake_study(tmp_path, LONG, epoch_seconds=EPOCH_SECONDS)


def wait_for_epochs(study: Study, process: "subprocess.Popen[str]", count: int) -> Path:
    """Wait until a run of a living `process` has `count` finished epochs, and return their file."""

    def look() -> Path | None:
        assert process.poll() is None, process.communicate()
        files = (folder.epochs for folder in study.folders() if folder.epochs.exists())
        return next((file for file in files if file.read_bytes().count(b"\n") >= count), None)

    found: Path = wait_for(look, f"a run has {count} epochs")
    return found


def test_a_run_that_is_interrupted_or_killed_keeps_its_epochs_and_goes_on(study: Study) -> None:
    """Laws 3 and 4 in one: finished epochs stay, and the end is the same as without interrupts."""
    kept: list[str] = []
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        with study.start("run", "baseline", "--seeds", "1", "--slots", "1") as process:
            epochs = wait_for_epochs(study, process, len(kept) + 2)
            process.send_signal(number)
            if number == signal.SIGKILL:
                break  # its job lives on for a moment, and holds what `run` printed into
            printed, _ = process.communicate()
        assert process.returncode == 130, printed
        assert "results and checkpoints are kept" in printed
        assert "0 runs trained, 0 had their result already" in printed
        before, kept = kept, epochs.read_text().splitlines()
        assert len(before) + 2 <= len(kept) < NUM_EPOCHS
        assert kept[: len(before)] == before
    study.environment["FAULTS_EPOCH_SECONDS"] = "0"
    study.must("run", "baseline", "--seeds", "1")
    lines = epochs.read_text().splitlines()
    assert lines[: len(kept)] == kept
    assert [json.loads(line)["epoch"] for line in lines] == list(range(1, NUM_EPOCHS + 1))
    assert study.git("worktree", "list").count("\n") == 0


def test_a_second_interrupt_ends_jobs_at_once(study: Study) -> None:
    with study.start("run", "baseline", "--seeds", "2") as process:
        wait_for_epochs(study, process, 1)
        process.send_signal(signal.SIGINT)
        # Two signals of one number that arrive together are one, so the second has another number.
        process.send_signal(signal.SIGTERM)
        printed, _ = process.communicate()
    assert process.returncode == 130, printed
    assert {row["state"] for row in study.rows()} == {"interrupted"}
    assert not [folder for folder in study.folders() if folder.holder()]
    assert study.git("worktree", "list").count("\n") == 0
