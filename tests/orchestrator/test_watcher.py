"""How a live run ends, seen from outside, with real processes."""

import sys
import time
from pathlib import Path

import psutil
import pytest

from model.run_folder import EpochRecord, Result, RunFolder
from orchestrator.launchers.local import Job, Slot, kill_leftover, make_slots, process_started
from orchestrator.plan import Plan
from orchestrator.spec import GuardSpec
from orchestrator.states import RunState
from orchestrator.watcher import LiveRun, describe_death

STRICT = GuardSpec(epoch_seconds=1.0, warmup_epochs=0, slow_epochs=1)


def an_epoch(seconds: float) -> EpochRecord:
    return EpochRecord(
        epoch=1,
        seconds=seconds,
        train_loss=1.0,
        val_loss=1.0,
        val_accuracy=0.5,
        learning_rate=1e-3,
        grad_norm=1.0,
        skipped_steps=0,
        bursts_per_second=1.0,
        peak_memory_bytes=1,
    )


@pytest.fixture
def live(tmp_path: Path, request: pytest.FixtureRequest, a_plan: object) -> LiveRun:
    """A run whose job is the Python program of the test's `program` mark, in the place of `model`."""
    program = request.param
    code = tmp_path / "code" / "model"
    code.mkdir(parents=True)
    (code / "__init__.py").touch()
    (code / "__main__.py").write_text(program)
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    job = Job(folder, code.parent, tmp_path, Slot("cpu0", {}))
    assert callable(a_plan)
    plan: Plan = a_plan({})
    return LiveRun(run=plan.runs[0], folder=folder, job=job)


def wait(live: LiveRun) -> int:
    deadline = time.monotonic() + 30
    while (status := live.job.exit_status()) is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return status


@pytest.mark.parametrize("live", ["print('one'); print('two'); raise SystemExit(7)"], indirect=True)
def test_a_death_without_a_result_becomes_one_with_its_cause(live: LiveRun) -> None:
    state, result = live.end(wait(live))
    assert state is RunState.FAILED
    assert result is not None
    assert result.failure == "crashed"
    assert result.reason == "the job died with exit status 7; the last lines of train.log:\none\ntwo"
    assert live.folder.read_result() == result


@pytest.mark.parametrize("live", ["import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"], indirect=True)
def test_a_death_by_signal_names_the_signal(live: LiveRun) -> None:
    _, result = live.end(wait(live))
    assert result is not None
    assert result.reason == "the job died by signal SIGSEGV and left no log"


@pytest.mark.parametrize("live", ["raise SystemExit(130)"], indirect=True)
def test_a_job_that_was_asked_to_stop_is_interrupted_and_not_failed(live: LiveRun) -> None:
    assert live.end(wait(live)) == (RunState.INTERRUPTED, None)
    assert not live.folder.result.exists()


@pytest.mark.parametrize("live", ["import time; time.sleep(60)"], indirect=True)
def test_a_ruling_ends_the_job_and_is_its_result(live: LiveRun) -> None:
    assert live.check(STRICT, lambda: None) is None
    live.folder.append_epoch(an_epoch(5.0))
    ruling = live.check(STRICT, lambda: None)
    assert ruling is not None
    assert wait(live) < 0
    state, result = live.end(-9)
    assert state is RunState.TOO_SLOW
    assert result is not None
    assert (result.reason, result.epochs) == (ruling.reason, 1)


@pytest.mark.parametrize("live", ["import time; time.sleep(60)"], indirect=True)
def test_a_result_written_in_the_moment_before_a_ruling_stands(live: LiveRun) -> None:
    done = Result(state="done", reason="all epochs trained", epochs=1)
    live.folder.append_epoch(an_epoch(5.0))
    live.folder.write_result(done)
    live.check(STRICT, lambda: None)
    assert live.end(wait(live)) == (RunState.DONE, done)


CHILD = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"


@pytest.mark.parametrize("live", [CHILD], indirect=True)
def test_a_job_is_killed_with_all_it_started(live: LiveRun) -> None:
    deadline = time.monotonic() + 30
    while not (children := psutil.Process(live.job.pid).children()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    live.job.kill()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive


@pytest.mark.parametrize("live", ["import time; time.sleep(60)"], indirect=True)
def test_a_leftover_job_is_killed_only_if_it_is_the_same_process(live: LiveRun) -> None:
    started = process_started(live.job.pid)
    assert started is not None
    kill_leftover(live.job.pid, started - 1.0)
    assert live.job.exit_status() is None
    kill_leftover(live.job.pid, started)
    assert wait(live) == -9
    kill_leftover(live.job.pid, started)


def test_only_the_last_lines_of_a_long_log_are_told(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.log.write_text("\n".join(f"line {number}" for number in range(100)))
    assert describe_death(1, folder).splitlines()[1:] == [f"line {number}" for number in range(60, 100)]


def test_slots_share_the_cores_and_own_their_gpus() -> None:
    assert [slot.environment["OMP_NUM_THREADS"] for slot in make_slots(None, 0, 8)] == ["4", "4"]
    assert len(make_slots(None, 0, 1)) == 1
    gpus = make_slots(None, 2, 16)
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in gpus] == ["0", "1"]
    assert [slot.name for slot in make_slots(3, 2, 16)] == ["gpu0", "gpu1", "gpu0"]
    assert sys.platform != "linux" or "MALLOC_TRIM_THRESHOLD_" in gpus[0].environment
