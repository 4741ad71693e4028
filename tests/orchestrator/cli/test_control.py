"""`knockout status`, and what a look at the queue loads."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import control
from orchestrator.cli.main import main
from orchestrator.processes import Process, own_place
from orchestrator.queue.store import open_store
from orchestrator.runs.states import RunState

ROOT = Path(__file__).parents[3]
HEAVY = {"pandas", "numpy", "scipy", "matplotlib", "torch", "git", "optuna", "ruamel", "rich", "h5py"}


@pytest.fixture(autouse=True)
def in_the_campaigns_folder(study: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(study.paths.root)


@pytest.fixture
def three(study: Any) -> None:
    study.queue("E5-s0-1", "done", reason="all epochs trained")
    study.queue("E5-s1-1", "failed", failure="crashed", reason="it broke\nTraceback")
    study.queue("H2-s0-1", profile="paper")


def test_every_run_has_a_line_and_the_states_are_counted(three: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "E5-s0-1  done         all epochs trained",
        "E5-s1-1  failed       it broke",
        "H2-s0-1  queued",
        "3 runs: 1 queued, 1 done, 1 failed",
    ]


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        (["E5"], ["E5-s0-1", "E5-s1-1"]),
        (["E5", "H2"], ["E5-s0-1", "E5-s1-1", "H2-s0-1"]),
        (["--profile", "paper"], ["H2-s0-1"]),
        (["--seeds", "1-3"], ["E5-s1-1"]),
        (["E5", "--seeds", "1"], ["E5-s0-1"]),
        (["E5", "--profile", "paper"], []),
        (["E6"], []),
    ],
)
def test_some_may_be_asked_for(
    three: None, capsys: pytest.CaptureFixture[str], words: list[str], ids: list[str]
) -> None:
    assert main(["status", "--json", *words]) == 0
    assert [row["id"] for row in json.loads(capsys.readouterr().out)] == ids


def test_a_program_reads_every_column(three: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--json", "E5", "--seeds", "1-1"]) == 0
    [row] = json.loads(capsys.readouterr().out)
    told = {name: row[name] for name in ("experiment", "seed", "profile", "state", "reason", "failure", "attempt")}
    assert told == {
        "experiment": "E5",
        "seed": 1,
        "profile": "quick",
        "state": "failed",
        "reason": "it broke\nTraceback",
        "failure": "crashed",
        "attempt": 0,
    }


def test_of_many_runs_those_done_are_counted_and_not_listed(
    three: None, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "MAX_LISTED", 2)
    assert main(["status"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "E5-s1-1  failed       it broke",
        "H2-s0-1  queued",
        "3 runs: 1 queued, 1 done, 1 failed; those that are done are not listed",
    ]


def test_an_empty_queue_is_said_and_no_database_is_made(study: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status"]) == 0
    assert capsys.readouterr().out == "no run has been queued yet; `knockout run` starts, `knockout queue add` queues\n"
    assert not study.paths.database.exists()


def test_a_run_whose_worker_is_gone_waits_again_and_says_so(study: Any, capsys: pytest.CaptureFixture[str]) -> None:
    host = Process.own().host
    study.queue("E5-s0-1", "running", host=host, pid=2**22 + 1, born=f"{own_place()}/1")
    assert main(["status"]) == 0
    line = f"E5-s0-1  queued       process {2**22 + 1} on {host} went away before its first epoch"
    assert capsys.readouterr().out.splitlines()[0] == line


def test_a_run_whose_job_outlived_its_worker_is_still_under_way(study: Any, capsys: pytest.CaptureFixture[str]) -> None:
    run_id = study.start("E5")
    study.queue(run_id, "running", host=Process.own().host, pid=2**22 + 1, born=f"{own_place()}/1")
    with study.paths.run(run_id).hold():
        assert main(["status"]) == 0
        assert main(["queue", "list"]) == 0
    status, _, listed = capsys.readouterr().out.splitlines()
    assert (
        status
        == f"{run_id}  running      its worker is gone and its job trains on; the next `knockout work` takes it over"
    )
    assert listed.endswith(", its worker is gone and its job trains on; the next `knockout work` takes it over")


def test_watching_ends_when_nothing_waits_or_runs(
    study: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study.queue("E5-s0-1")
    seen: list[float] = []

    def cancel(seconds: float) -> None:
        seen.append(seconds)
        store = open_store(study.paths)
        store.move("E5-s0-1", RunState.QUEUED, RunState.CANCELLED)
        store.close()

    monkeypatch.setattr(control, "WATCH_SECONDS", 0.25)
    monkeypatch.setattr("orchestrator.cli.control.time.sleep", cancel)
    assert main(["status", "--watch"]) == 0
    assert seen == [0.25]
    counts = [line for line in capsys.readouterr().out.splitlines() if line.startswith("1 run: ")]
    assert counts == ["1 run: 1 queued", "1 run: 1 cancelled"]


@pytest.mark.parametrize(
    "words", [["status"], ["queue", "list"], ["cancel", "H2-s0"], ["stop"], ["retry", "--failed"]], ids=" ".join
)
def test_a_look_at_the_queue_loads_nothing_heavy(study: Any, three: None, words: list[str]) -> None:
    check = (
        "import sys; from orchestrator.cli.main import main; status = main(sys.argv[1:]);"
        f"found = {HEAVY} & set(sys.modules); print(found); sys.exit(status or bool(found))"
    )
    command = [sys.executable, "-c", check, *words, "-f", str(study.file)]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_emptied_queue_is_told_where_runs_wait_for_it(study: Any, capsys: pytest.CaptureFixture[str]) -> None:
    study.add("E5")
    study.paths.database.write_bytes(b"")
    assert main(["status"]) == 0
    told = "the queue is empty, but 2 run folders have no result yet: `knockout rebuild` lets such runs wait again\n"
    assert capsys.readouterr().out == told
    study.end(next(path.name for path in study.paths.runs.iterdir()))
    assert main(["status"]) == 0
    assert "but 1 run folder has no result yet" in capsys.readouterr().out
