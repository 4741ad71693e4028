"""`knockout queue list`, `cancel`, `retry` and `stop`."""

import json
import os
import signal
import subprocess
import sys
from typing import Any

import msgspec
import pytest

from orchestrator.cli.main import main
from orchestrator.processes import Process, birth_of, own_place, run_mark
from orchestrator.queue.store import QueuedRun, Store, open_store
from orchestrator.runs.job_lock import Holder
from orchestrator.runs.results import describe_holder
from orchestrator.runs.states import Failure, RunState

ADA = Process("ada", 12, "boot/3")


@pytest.fixture(autouse=True)
def in_the_campaigns_folder(study: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(study.paths.root)


@pytest.fixture
def here(sleeper: "subprocess.Popen[bytes]") -> Process:
    """Another living process of this machine."""
    born = birth_of(sleeper.pid)
    assert born is not None
    return Process(Process.own().host, sleeper.pid, born)


@pytest.fixture
def gone() -> Process:
    """A process of this machine that has ended."""
    pid = int(subprocess.run(["sh", "-c", "echo $$"], capture_output=True, text=True, check=True).stdout)
    return Process(Process.own().host, pid, f"{own_place()}/1")


def columns(worker: Process) -> dict[str, Any]:
    return {"host": worker.host, "pid": worker.pid, "born": worker.born}


def beat(study: Any, *workers: Process) -> None:
    """Let workers say that they live."""
    store = open_store(study.paths)
    for worker in workers:
        store.send_heartbeat(worker)
    store.close()


def rows_of(study: Any) -> dict[str, QueuedRun]:
    store = open_store(study.paths)
    rows = store.runs()
    store.close()
    return {row.id: row for row in rows}


def states(study: Any) -> dict[str, str]:
    return {run_id: row.state.value for run_id, row in rows_of(study).items()}


class TestList:
    def test_what_waits_and_runs_is_listed_in_order(self, study: Any, capsys: pytest.CaptureFixture[str]) -> None:
        study.queue("H2-s0-1", "queued")
        study.queue("E5-s0-1", "done")
        study.queue("E5-s1-1", "running", attempt=2, **columns(ADA))
        beat(study, ADA)
        assert main(["queue", "list"]) == 0
        assert capsys.readouterr().out.splitlines() == [
            "H2-s0-1  queued  profile quick, attempt 0",
            "E5-s1-1  running  profile quick, attempt 2, process 12 on ada",
        ]
        assert main(["queue", "list", "--json"]) == 0
        rows = json.loads(capsys.readouterr().out)
        listed = [(row["id"], row["host"], row["pid"], row["born"], row["attempt"]) for row in rows]
        assert listed == [("H2-s0-1", None, None, None, 0), ("E5-s1-1", "ada", 12, "boot/3", 2)]

    def test_a_run_whose_worker_is_gone_waits_again(
        self, study: Any, gone: Process, capsys: pytest.CaptureFixture[str]
    ) -> None:
        study.queue("E5-s0-1", "running", attempt=1, **columns(gone))
        assert main(["queue", "list"]) == 0
        assert capsys.readouterr().out == "E5-s0-1  queued  profile quick, attempt 1\n"
        assert rows_of(study)["E5-s0-1"].reason == f"process {gone.pid} on {gone.host} went away before its first epoch"

    def test_an_empty_queue_is_said_and_no_database_is_made(
        self, study: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["queue", "list"]) == 0
        assert capsys.readouterr().out == "no run waits and none is under way\n"
        assert not study.paths.database.exists()


class TestCancel:
    def test_waiting_runs_are_cancelled_and_never_claimed(self, study: Any, capsys: pytest.CaptureFixture[str]) -> None:
        ids = [study.queue(f"E5-s{seed}-1") for seed in range(3)]
        assert main(["cancel", "E5-s0", ids[2]]) == 0
        said = capsys.readouterr().out
        assert "E5-s0-1 is cancelled; the next `knockout run` or `queue add` that plans it queues it again\n" in said
        assert list(states(study).values()) == ["cancelled", "queued", "cancelled"]
        store = open_store(study.paths)
        claimed = store.claim(Process.own(), ids)
        assert claimed is not None
        assert claimed.id == ids[1]
        assert store.claim(Process.own(), ids) is None
        # The live table prints the reason of what has ended.
        assert next(row.reason for row in store.runs() if row.state is RunState.CANCELLED).startswith("cancelled by")
        store.close()

    def test_an_interrupted_run_is_cancelled(self, study: Any) -> None:
        study.queue("E5-s0-1", "interrupted")
        assert main(["cancel", "E5-s0"]) == 0
        assert states(study) == {"E5-s0-1": "cancelled"}

    def test_a_run_whose_worker_is_gone_is_cancelled(self, study: Any, gone: Process) -> None:
        study.queue("E5-s0-1", "running", **columns(gone))
        assert main(["cancel", "E5-s0"]) == 0
        assert states(study) == {"E5-s0-1": "cancelled"}

    @pytest.mark.parametrize(
        ("state", "what"),
        [
            ("running", "E5-s1-1 is running, not waiting: process 12 on ada trains it; `knockout stop` lets it save"),
            ("done", "E5-s1-1 is done, not waiting: it has ended, so there is nothing to cancel"),
        ],
    )
    def test_a_run_that_does_not_wait_is_refused_and_the_others_keep_waiting(
        self, study: Any, capsys: pytest.CaptureFixture[str], state: str, what: str
    ) -> None:
        study.queue("E5-s0-1")
        study.queue("E5-s1-1", state, **columns(ADA))
        beat(study, ADA)
        assert main(["cancel", "E5-s0-1", "E5-s1-1"]) == 2
        assert what in capsys.readouterr().err
        assert states(study)["E5-s0-1"] == "queued"

    def test_an_unknown_run_is_told(self, study: Any, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["cancel", "E5-s0-1"]) == 2
        assert "there is no run `E5-s0-1`; there is none at all yet" in capsys.readouterr().err
        assert not study.paths.database.exists()


@pytest.fixture
def failed(study: Any) -> list[str]:
    """Three failed runs: out of memory, crashed, out of memory; each was queued with its code."""
    ids = list(study.add("H2"))
    store = open_store(study.paths)
    for run_id, failure in zip(ids, ("out_of_memory", "crashed", "out_of_memory"), strict=True):
        study.end(run_id, "failed", failure)
        fail(store, run_id, failure)
    store.close()
    return ids


def fail(store: Store, run_id: str, failure: str) -> None:
    claimed = store.claim(Process.own(), [run_id])
    assert claimed is not None
    assert store.end(claimed, RunState.FAILED, reason="it is failed", failure=failure)


def end(study: Any, run_id: str, state: RunState) -> None:
    """Let a worker end a run."""
    store = open_store(study.paths)
    claimed = store.claim(Process.own(), [run_id])
    assert claimed is not None
    study.end(run_id, state.value)
    assert store.end(claimed, state, reason=f"it is {state.value}")
    store.close()


def has_result(study: Any, run_id: str) -> bool:
    return bool(study.paths.run(run_id).result.exists())


class TestRetry:
    def test_a_named_run_waits_again_without_its_result(
        self, study: Any, failed: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        order = study.paths.run(failed[1]).order.read_bytes()
        assert main(["retry", "E5-s0"]) == 0
        assert capsys.readouterr().out.splitlines() == [
            f"{failed[1]} waits again (crashed)",
            "`knockout work` trains what waits",
        ]
        assert states(study) == {failed[0]: "failed", failed[1]: "queued", failed[2]: "failed"}
        assert [has_result(study, run_id) for run_id in failed] == [True, False, True]
        row = rows_of(study)[failed[1]]
        assert (row.reason, row.failure, row.attempt) == ("", None, 1)
        # What it is to be trained with is what it was queued with.
        assert study.paths.run(failed[1]).order.read_bytes() == order

    def test_the_code_it_was_queued_with_stays_whatever_the_checkout_holds_by_now(
        self, study: Any, failed: list[str]
    ) -> None:
        before = json.loads(study.paths.run(failed[1]).order.read_bytes())["code"]
        (study.paths.root / "model" / "__main__.py").write_text("print('two')\n")
        assert main(["retry", failed[1]]) == 0
        assert json.loads(study.paths.run(failed[1]).order.read_bytes())["code"] == before

    def test_all_failed_runs_wait_again(self, study: Any, failed: list[str]) -> None:
        study.queue("K1-s0-00000000", "done")
        assert main(["retry", "--failed"]) == 0
        assert states(study) == dict.fromkeys(failed, "queued") | {"K1-s0-00000000": "done"}
        assert not any(has_result(study, run_id) for run_id in failed)

    def test_all_of_a_class_wait_again(self, study: Any, failed: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["retry", "--failed", "--class", "out_of_memory"]) == 0
        assert list(states(study).values()) == ["queued", "failed", "queued"]
        capsys.readouterr()
        assert main(["retry", "--failed", "--class", "hung"]) == 0
        assert capsys.readouterr().out == "no run has failed with hung\n"

    def test_no_failed_run_is_said_and_no_database_is_made(
        self, study: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["retry", "--failed"]) == 0
        assert capsys.readouterr().out == "no run has failed\n"
        assert not study.paths.database.exists()

    def test_a_class_that_is_not_there_is_refused(self, study: Any, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["retry", "--failed", "--class", "tired"]) == 2
        classes = ", ".join(Failure)
        assert capsys.readouterr().err == f"knockout: there is no class of failures `tired`; there are {classes}\n"

    def test_a_run_that_has_not_failed_is_refused_and_the_others_stay(
        self, study: Any, failed: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        study.queue("K1-s0-00000000", "done")
        assert main(["retry", failed[0], "K1-s0"]) == 2
        assert "K1-s0-00000000 is done, and only failed runs are tried again" in capsys.readouterr().err
        assert states(study)[failed[0]] == "failed"
        assert has_result(study, failed[0])

    def test_a_run_that_was_too_slow_waits_again_where_another_seed_is_done(
        self, study: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        slow, done = (run for run in study.add("E5", seeds=(0, 1)) if run.startswith("E5"))
        end(study, slow, RunState.TOO_SLOW)
        assert main(["retry", slow]) == 2
        said = capsys.readouterr().err
        assert (
            f"{slow} is too_slow, and no other seed of its configuration is done; its ruling stands. To train" in said
        )
        end(study, done, RunState.DONE)
        assert main(["retry", slow]) == 0
        assert capsys.readouterr().out.startswith(f"{slow} waits again (too_slow)\n")
        assert (states(study)[slow], has_result(study, slow)) == ("queued", False)

    def test_a_run_that_was_too_slow_is_not_compared_with_another_configuration(
        self, study: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        slow = study.add("E5")[1]
        end(study, slow, RunState.TOO_SLOW)
        study.edit("loss.gamma: 2.0", "loss.gamma: 3.0")
        end(study, study.add("E5", seeds=(1,))[1], RunState.DONE)
        assert main(["retry", slow]) == 2
        assert "no other seed of its configuration is done" in capsys.readouterr().err

    def test_a_run_without_code_keeps_its_result(
        self, study: Any, failed: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Its patch or ref was refused when it was queued, so that it would be refused for ever."""
        folder = study.paths.run(failed[1])
        order = json.loads(folder.order.read_bytes())
        order["code"] |= {"commit": None}
        folder.order.write_text(json.dumps(order))
        store = open_store(study.paths)
        store.move(failed[1], RunState.FAILED, RunState.QUEUED)
        fail(store, failed[1], "rejected")
        store.close()
        why = f"{failed[1]} has no code to train, its patch or ref was refused; correct that and queue it again"
        assert main(["retry", failed[1]]) == 2
        assert capsys.readouterr().err == f"knockout: {why}\n"
        assert main(["retry", "--failed", "--class", "rejected"]) == 0
        assert capsys.readouterr().out == f"{why}\n"
        assert main(["retry", "--failed"]) == 0
        assert why in capsys.readouterr().out
        assert list(states(study).values()) == ["queued", "failed", "queued"]
        assert has_result(study, failed[1])

    def test_a_run_that_nobody_can_start_is_refused(
        self, study: Any, failed: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        path = study.paths.run(failed[0]).order
        path.unlink()
        assert main(["retry", failed[0]]) == 2
        said = capsys.readouterr().err
        assert said == f"knockout: {path}: there is no such file; queue the run again with `knockout queue add`\n"
        assert has_result(study, failed[0])


class TestStop:
    def test_every_worker_is_asked_and_named(
        self, study: Any, here: Process, gone: Process, capsys: pytest.CaptureFixture[str]
    ) -> None:
        beat(study, here, ADA, gone)
        assert main(["stop"]) == 0
        lets = "lets its trainings save, and ends"
        assert sorted(capsys.readouterr().out.splitlines()) == sorted(
            f"asked to stop: process {worker.pid} on {worker.host} {lets}" for worker in (here, ADA)
        )
        store = open_store(study.paths)
        assert all(store.send_heartbeat(worker).is_asked_to_stop for worker in (here, ADA))
        store.close()

    def test_nobody_at_work_is_said(self, study: Any, gone: Process, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["stop"]) == 0
        assert capsys.readouterr().out == "nobody is at work\n"
        assert not study.paths.database.exists()
        beat(study, gone)
        assert main(["stop"]) == 0
        assert capsys.readouterr().out == "nobody is at work\n"

    def test_a_job_whose_worker_is_gone_is_asked_itself(
        self, study: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run_id = study.start("E5")
        study.queue(run_id, "running", host=Process.own().host, pid=2**22 + 1, born=f"{own_place()}/1")
        asked: list[Process] = []
        monkeypatch.setattr("orchestrator.queue.reconcile.ask_to_end", asked.append)
        with study.paths.run(run_id).hold():
            assert main(["stop"]) == 0
        assert capsys.readouterr().out == (
            f"asked to stop: the job of {run_id}, whose worker is gone, lets its trainings save, and ends\n"
        )
        assert asked == [Process.own()]

    def test_what_a_job_left_behind_is_asked_to_end_and_named(
        self, study: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A daemon keeps the lock although its job and worker are gone, and the queue may know nothing of it."""
        folder = study.paths.run(study.start("E5"))
        daemon = "import fcntl, sys, time; file = open(sys.argv[1], 'ab+'); fcntl.flock(file, fcntl.LOCK_EX); print(); "
        command = [sys.executable, "-uc", daemon + "time.sleep(60)", str(folder.lock)]
        gone = Holder(pid=2**22 + 1, host=Process.own().host, born=f"{own_place()}/1", attempt=1)
        folder.lock.write_bytes(msgspec.json.encode(gone))
        environment = {**os.environ, "KNOCKOUT_RUN": run_mark(folder.path)}
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as left:
            assert left.stdout is not None
            left.stdout.readline()
            assert describe_holder(folder) == (
                f"process {left.pid} on {gone.host}, which its job left behind, is at work on it"
            )
            assert main(["stop"]) == 0
            assert left.wait(timeout=10) == -signal.SIGTERM
        assert "asked to stop: the job of E5-s0-" in capsys.readouterr().out
        assert describe_holder(folder) is None
