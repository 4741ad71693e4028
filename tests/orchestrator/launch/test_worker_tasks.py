"""Whole runs of strangers' scripts through a worker: done, failed, stopped, killed, resumed, and two at once."""

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.runs.folder import RunFolder
from orchestrator.runs.job_lock import Holder
from orchestrator.runs.order import GuardSpec
from orchestrator.runs.states import RunState
from tests.builders.supervised import DAEMON, IGNORES_TERM, LAUNCHER, TRAIN
from tests.builders.task_runs import (
    FAST_PYTHON,
    Follower,
    KeptLauncher,
    TaskYard,
    a_task_yard,
    log_of,
    marked,
    result_of,
)

WRITES = """
import json, os, sys, time, knockout
params, seed = json.load(open(os.environ["KNOCKOUT_PARAMS"])), os.environ["KNOCKOUT_SEED"]
assert not os.path.exists("out.txt"), "another run was here"
open("out.txt", "w").write(f"{params['lr']} {seed}")
time.sleep(0.3)
assert open("out.txt").read() == f"{params['lr']} {seed}"
run = knockout.current()
assert (run.active, str(run.seed), run.params) == (True, seed, params)
run.log(1, train_loss=0.5)
print("epoch 1: loss 0.5")
os.makedirs("out", exist_ok=True)
open("out/last.pt", "w").write(seed)
print(sys.argv[1:], open("data/numbers.txt").read())
"""
FILES = {
    "train.py": TRAIN,
    "writes.py": WRITES,
    "launcher.py": LAUNCHER,
    "daemon.py": DAEMON,
    "deaf.py": IGNORES_TERM,
    "sleep.py": "import time; print('up', flush=True); time.sleep(60)",
    "fails.py": "print('epoch 1: loss 0.25'); raise SystemExit('no such layer')",
    "steps.py": "import sys, time\nfor step, loss in enumerate(sys.argv[1:], 1):\n"
    "    print(f'step {step}: loss {loss}', flush=True)\n    time.sleep(0.15)\ntime.sleep(60)\n",
}
STEPS = {"stdout": "step {step}: loss {loss}", "step": "step"}
TRAINED = {
    "command": [*FAST_PYTHON, "train.py", "{run_folder}", "{params.steps}", "0.02", "{resume}"],
    "progress": STEPS,
    "resume": {"when": "{run_folder}/*.ckpt", "arguments": ["{checkpoint}"], "grace_seconds": 5},
}
"""A training that saves each step into its run folder, and goes on from there."""


@pytest.fixture(scope="module")
def launcher() -> Iterator[KeptLauncher]:
    launcher = KeptLauncher()
    yield launcher
    launcher.end()


@pytest.fixture
def yard(tmp_path: Path, launcher: KeptLauncher, monkeypatch: pytest.MonkeyPatch) -> Iterator[TaskYard]:
    monkeypatch.delenv("KNOCKOUT_DATABASE", raising=False)
    for name, seconds in (("POLL", 0.01), ("SHOW", 0.0), ("CLAIM", 0.02), ("RECONCILE", 0.05)):
        monkeypatch.setattr(f"orchestrator.launch.worker.{name}_SECONDS", seconds)
    monkeypatch.setattr("orchestrator.launch.settle.WAITS_SECONDS", (0.05,) * 6)
    with a_task_yard(tmp_path, launcher, FILES) as yard:
        (yard.paths.root / "data").mkdir()
        (yard.paths.root / "data" / "numbers.txt").write_text("1 2 3")
        yield yard


def steps_of(folder: RunFolder) -> list[float | None]:
    return [record.step for record in folder.read_epochs()]


def supervisor_of(folder: RunFolder) -> Holder:
    holder = folder.holder()
    assert holder is not None
    return holder


def says(folder: RunFolder, text: str) -> Callable[[], bool]:
    return lambda: text in log_of(folder)


def test_two_runs_at_once_that_write_the_same_names_never_see_each_other(yard: TaskYard) -> None:
    task = {
        "command": [sys.executable, "writes.py", "{params}", "--seed={seed}"],
        "data": {"numbers": "data/numbers.txt"},
        "outputs": ["out"],
        "progress": {"stdout": "epoch {epoch}: loss {loss}", "step": "epoch"},
    }
    folders = [yard.queue("a", task, seed=seed, params={"lr": 0.5}) for seed in (0, 1)]
    yard.drain()
    for seed, folder in enumerate(folders):
        assert yard.outcome(folder) == (RunState.DONE, "the command ended with exit status 0"), log_of(folder)
        assert f"['--lr=0.5', '--seed={seed}'] 1 2 3" in log_of(folder)
        assert (folder.outputs / "out" / "last.pt").read_text() == str(seed)
        (record,) = folder.read_epochs()
        assert record.told == {"train_loss": 0.5, "loss": 0.5}
        assert result_of(folder).epochs == 1
    assert len(yard.checkouts.opened) == 2
    assert sorted(path.name for path in yard.paths.root.iterdir()) == [*sorted({"data", "results", *FILES})]


def test_what_runs_it_is_written_down(yard: TaskYard) -> None:
    folder = yard.queue("a", TRAINED, params={"steps": 1})
    yard.drain()
    origin = json.loads(folder.provenance.read_text())
    assert (origin["program"], origin["python"]) == (sys.executable, f"Python {sys.version}")
    assert origin["environment"]["msgspec"] is not None
    assert origin["seed"] == 0


def test_a_run_that_fails_says_why(yard: TaskYard) -> None:
    folder = yard.queue("a", {"command": [*FAST_PYTHON, "fails.py"]})
    yard.drain()
    state, reason = yard.outcome(folder)
    assert state is RunState.FAILED
    assert reason.startswith("the command ended with exit status 1; the last lines of its log:")
    assert "no such layer" in reason
    assert result_of(folder).failure == "crashed"


def test_a_program_that_is_not_there_is_no_crash(yard: TaskYard) -> None:
    folder = yard.queue("a", {"command": ["no-such-program", "train.py"]})
    yard.drain()
    assert result_of(folder).failure == "rejected"
    assert "`no-such-program` cannot be started" in yard.outcome(folder)[1]


def test_a_parameter_that_cannot_be_passed_on_is_no_crash(yard: TaskYard) -> None:
    folder = yard.queue("a", {"command": ["sh", "{params}"]}, params={"name": "zero\0byte"})
    yard.drain()
    assert (yard.outcome(folder)[0], result_of(folder).failure) == (RunState.FAILED, "rejected")


@pytest.mark.parametrize("script", ["sleep.py", "launcher.py"])
def test_a_run_that_is_asked_to_stop_is_interrupted_whatever_its_status(yard: TaskYard, script: str) -> None:
    folder = yard.queue("a", {"command": [*FAST_PYTHON, script]})
    up = says(folder, "worker 1" if script == "launcher.py" else "up")
    yard.drain(Follower(up, lambda: signal.raise_signal(signal.SIGINT)))
    state, reason = yard.outcome(folder)
    assert state is RunState.INTERRUPTED
    assert reason.startswith("asked to stop; the command ended ")
    assert folder.read_result() is None
    assert marked(yard) == []


def test_workers_in_sessions_of_their_own_end_with_a_run_that_is_killed(yard: TaskYard) -> None:
    folder = yard.queue("a", {"command": [*FAST_PYTHON, "launcher.py"]})

    def interrupt_twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    yard.drain(Follower(says(folder, "worker 1"), interrupt_twice))
    assert marked(yard) == []
    assert yard.outcome(folder)[0] is RunState.INTERRUPTED


def test_what_outlives_its_command_is_ended_and_named(yard: TaskYard) -> None:
    folder = yard.queue("a", {"command": [*FAST_PYTHON, "daemon.py"]})
    yard.drain()
    state, reason = yard.outcome(folder)
    assert state is RunState.DONE
    assert "1 process outlived the command and was ended" in reason


def test_a_run_whose_supervisor_is_killed_goes_on_from_its_checkpoint(yard: TaskYard) -> None:
    folder = yard.queue("a", TRAINED, params={"steps": 30})
    worker = yard.drain(Follower(says(folder, "step 9:"), lambda: os.kill(supervisor_of(folder).pid, signal.SIGKILL)))
    assert yard.outcome(folder)[0] is RunState.DONE, worker.problems
    assert steps_of(folder) == list(range(1, 31))
    told = [line for line in log_of(folder).splitlines() if line.startswith("step ")]
    assert len(told) <= 32
    assert len(yard.checkouts.opened) == 2


def test_a_run_that_was_stopped_goes_on_with_the_next_worker(yard: TaskYard) -> None:
    folder = yard.queue("a", TRAINED, params={"steps": 20})
    yard.drain(Follower(says(folder, "step 5:"), lambda: signal.raise_signal(signal.SIGINT)))
    assert yard.outcome(folder)[0] is RunState.INTERRUPTED
    assert yard.store.move(folder.path.name, RunState.INTERRUPTED, RunState.QUEUED)
    yard.drain()
    assert yard.outcome(folder)[0] is RunState.DONE
    assert log_of(folder).count("step 1: ") == 1
    assert steps_of(folder) == list(range(1, 21))


def test_a_run_without_a_contract_starts_over_in_a_fresh_checkout(yard: TaskYard) -> None:
    task = {"command": [*FAST_PYTHON, "train.py", ".", "15", "0.02"], "progress": STEPS}
    folder = yard.queue("a", task)
    yard.drain(Follower(says(folder, "step 5:"), lambda: os.kill(supervisor_of(folder).pid, signal.SIGKILL)))
    assert yard.outcome(folder)[0] is RunState.DONE
    assert log_of(folder).count("step 1: ") == 2
    assert steps_of(folder) == list(range(1, 16))


def test_a_checkpoint_beside_the_code_outlives_its_supervisor(yard: TaskYard) -> None:
    """The script renames a file onto its name, so the link to the run folder is gone when the supervisor is killed."""
    task = {
        "command": [*FAST_PYTHON, "train.py", ".", "30", "0.02", "{resume}"],
        "outputs": ["last.ckpt"],
        "progress": STEPS,
        "resume": {"when": "last.ckpt", "arguments": ["{checkpoint}"]},
    }
    folder = yard.queue("a", task)
    yard.drain(Follower(says(folder, "step 9:"), lambda: os.kill(supervisor_of(folder).pid, signal.SIGKILL)))
    assert yard.outcome(folder)[0] is RunState.DONE
    assert log_of(folder).count("step 1: ") == 1
    assert (folder.outputs / "last.ckpt").read_text() == "30"


@pytest.mark.parametrize("script", ["sleep.py", "deaf.py"])
def test_a_run_that_takes_too_long_is_too_slow(yard: TaskYard, script: str) -> None:
    folder = yard.queue("a", {"command": [*FAST_PYTHON, script]}, guards=GuardSpec(run_seconds=0.5))
    yard.drain()
    state, reason = yard.outcome(folder)
    assert state is RunState.TOO_SLOW
    assert "the limit is 0.5 s (run_seconds)" in reason


@pytest.mark.parametrize(
    ("losses", "guards", "failure", "said"),
    [
        (["1", "nan"], GuardSpec(), "nonfinite", "the `loss` of epoch 2 is not a finite number"),
        (
            ["1", "9", "9"],
            GuardSpec(divergence_factor=2.0, divergence_epochs=2, watch="loss"),
            "diverged",
            "the `loss` diverged to 9: the lowest so far is 1",
        ),
    ],
)
def test_guards_watch_the_numbers_that_a_script_prints(
    yard: TaskYard, losses: list[str], guards: GuardSpec, failure: str, said: str
) -> None:
    task = {"command": [*FAST_PYTHON, "steps.py", *losses], "progress": STEPS}
    folder = yard.queue("a", task, guards=guards)
    yard.drain()
    assert (yard.outcome(folder)[0], result_of(folder).failure) == (RunState.FAILED, failure)
    assert said in result_of(folder).reason


def hang(seconds: float) -> GuardSpec:
    return GuardSpec(hang_seconds=seconds, hang_grace_seconds=0.5)


def test_a_script_that_falls_silent_has_hung_if_it_told_steps(yard: TaskYard) -> None:
    folder = yard.queue("a", {"command": [*FAST_PYTHON, "steps.py", "1"], "progress": STEPS}, guards=hang(0.6))
    yard.drain()
    assert result_of(folder).failure == "hung"


def test_a_script_that_never_tells_steps_may_be_silent(yard: TaskYard) -> None:
    task = {"command": [*FAST_PYTHON, "-c", "import time; print('config'); time.sleep(1.5)"]}
    folder = yard.queue("a", task, guards=hang(0.4))
    yard.drain()
    assert yard.outcome(folder)[0] is RunState.DONE


def test_too_few_gpus_are_named(yard: TaskYard) -> None:
    task: dict[str, Any] = {"command": [*FAST_PYTHON, "sleep.py"], "devices": {"gpus": 2}}
    folder = yard.queue("a", task)
    yard.drain()
    state, reason = yard.outcome(folder)
    assert state is RunState.INTERRUPTED
    assert "the task wants 2 GPUs (`devices.gpus`), and a slot of this worker has 0" in reason


def test_data_that_changed_since_are_refused(yard: TaskYard) -> None:
    task = {"command": [*FAST_PYTHON, "sleep.py"], "data": {"numbers": "data/numbers.txt"}}
    folder = yard.queue("a", task, data={"numbers": "0" * 64})
    yard.drain()
    assert "the data `numbers` has changed since the run was queued" in yard.outcome(folder)[1]


def test_runs_of_a_task_with_preload_are_forked_with_its_modules(yard: TaskYard) -> None:
    script = "import os, sys; print(os.environ['KNOCKOUT_SEED'], sys.argv[1:], 'wave' in sys.modules)"
    (yard.code / "look.py").write_text(script)
    task = {"command": [*FAST_PYTHON, "look.py", "{params}"], "preload": ["wave"]}
    folders = [yard.queue("a", task, seed=seed, params={"lr": 0.5}) for seed in (0, 1, 2)]
    yard.drain()
    for seed, folder in enumerate(folders):
        assert yard.outcome(folder)[0] is RunState.DONE, log_of(folder)
        assert log_of(folder) == f"{seed} ['--lr=0.5'] True\n"


def test_a_shell_script_starts_by_itself_whatever_the_task_preloads(yard: TaskYard) -> None:
    folder = yard.queue("a", {"command": ["sh", "-c", "echo val_loss: 1.2"], "preload": ["wave"]})
    yard.drain()
    assert log_of(folder) == "val_loss: 1.2\n"
