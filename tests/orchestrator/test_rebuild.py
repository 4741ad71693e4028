"""`knockout rebuild`: the queue's database, made again from the run folders."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from model.run_folder import Result
from orchestrator.campaign import Request, _queue, finished_results, make_plan, open_study
from orchestrator.checkouts import find_code
from orchestrator.cli import main
from orchestrator.launchers.local import process_started
from orchestrator.rebuild import read_rows
from orchestrator.states import RunState
from orchestrator.store import RUNS, QueuedRun, Store


@pytest.fixture
def folders(study: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Five runs: done, failed, too slow, interrupted with an epoch, and one that stopped before its first."""
    monkeypatch.chdir(study.layout.root)
    return [
        study.end(study.start("baseline")),
        study.end(study.start("E5"), "failed", "crashed"),
        study.end(study.start("H2"), "too_slow"),
        study.start("baseline", 1),
        study.start("E5", 1, num_epochs=0),
    ]


@pytest.fixture
def queued(study: Any, folders: list[str]) -> list[str]:
    """The database as the runs themselves would have made it."""
    store = Store(study.layout.database)
    for run_id in folders:
        experiment, seed = run_id.split("-")[:2]
        row = QueuedRun(
            id=run_id, position=0, experiment=experiment, seed=int(seed[1:]), profile="quick", state=RunState.QUEUED
        )
        store.add([row])
        store.claim([run_id])
        result = study.layout.run(run_id).read_result()
        when = "before its first epoch" if run_id.startswith("E5-s1") else "after an epoch"
        if result:
            store.settle(run_id, result)
        else:
            reason = f"stopped {when}; run again to go on"
            store.move(run_id, RunState.RUNNING, RunState.INTERRUPTED, reason=reason)
    store.close()
    return folders


def status(capsys: pytest.CaptureFixture[str]) -> dict[str, tuple[Any, ...]]:
    capsys.readouterr()
    assert main(["status", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    fields = ("experiment", "seed", "profile", "state", "reason", "failure")
    return {row["id"]: tuple(row[field] for field in fields) for row in rows}


def test_status_says_the_same_after_the_database_is_lost(
    study: Any, queued: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = status(capsys)
    assert len(before) == len(queued)
    for file in study.layout.results.glob("knockout.db*"):
        file.unlink()
    assert main(["rebuild"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("the queue is made again from 5 run folders: ")
    assert all(count in said for count in ("1 done", "1 failed", "1 too_slow", "2 interrupted"))
    assert status(capsys) == before
    assert sorted(path.name for path in study.layout.results.glob("*")) == ["fingerprints.json", "knockout.db", "runs"]


@pytest.mark.parametrize("what", ["whole", "broken", "deleted"])
def test_a_database_is_replaced_together_with_its_log(
    study: Any, queued: list[str], capsys: pytest.CaptureFixture[str], what: str
) -> None:
    before = status(capsys)
    # As a process that was killed leaves it: the last transactions are only in the log.
    kill = (
        "import os, sys, pathlib; from orchestrator.store import Store; store = Store(pathlib.Path(sys.argv[1]));"
        "store.forget([row.id for row in store.runs()]); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", kill, study.layout.database], check=False, cwd=Path(__file__).parents[2])
    assert study.layout.database.with_name("knockout.db-wal").exists()
    if what == "broken":
        study.layout.database.write_bytes(b"no database at all" * 100)
    if what == "deleted":
        study.layout.database.unlink()
    assert main(["rebuild"]) == 0
    assert status(capsys) == before


def test_a_broken_database_is_replaced(study: Any, folders: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    study.layout.database.write_bytes(b"no database at all" * 100)
    study.layout.database.with_name("knockout.db-wal").write_bytes(b"nor its log")
    assert main(["rebuild"]) == 0
    assert set(status(capsys)) == set(folders)


def test_folders_that_cannot_be_read_are_told_and_left_out(
    study: Any, folders: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    runs = study.layout.runs
    (runs / "empty").mkdir()
    (runs / folders[0]).rename(runs / "H2-s0-12345678")
    study.layout.run(folders[1]).config.write_text("{")
    study.layout.run(folders[2]).result.write_text('{"format": 99}')
    study.layout.run(folders[3]).epochs.write_text("not an epoch\n")
    assert main(["rebuild"]) == 0
    said = capsys.readouterr().out
    assert "from 1 run folders: 1 interrupted" in said
    assert said.count("left out: ") == 5
    for name in ("empty", "H2-s0-12345678", *folders[1:4]):
        assert f"{runs / name}: this run folder cannot be read: " in said
    assert "its config.json is of experiment baseline, seed 0" in said
    assert set(status(capsys)) == {folders[4]}


def test_a_torn_result_is_an_interrupted_run(study: Any, folders: list[str]) -> None:
    study.layout.run(folders[0]).result.write_text('{"format": 1, "sta')
    states = {row.id: row.state for row in read_rows(study.layout).rows}
    assert states[folders[0]] is RunState.INTERRUPTED


def test_the_first_started_comes_first(study: Any, folders: list[str]) -> None:
    for number, run_id in enumerate(reversed(folders)):
        path = study.layout.run(run_id).provenance
        origin = json.loads(path.read_bytes()) | {"started": f"2026-02-19T01:00:{number:02d}+00:00"}
        path.write_text(json.dumps(origin))
    assert [row.id for row in read_rows(study.layout).rows] == folders[::-1]


def test_a_database_that_a_living_run_holds_is_refused(
    study: Any, queued: list[str], sleeper: "subprocess.Popen[bytes]", capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(study.layout.database)
    holder = {"pid": sleeper.pid, "process_started": process_started(sleeper.pid)}
    with store.engine.begin() as connection:
        connection.execute(RUNS.update().where(RUNS.c.id == queued[0]).values(**holder))
    store.close()
    before = study.layout.database.read_bytes()
    assert main(["rebuild"]) == 2
    said = capsys.readouterr().err
    assert f"{queued[0]} is held by process {sleeper.pid} on " in said
    assert "wait until that `knockout run` ends, then rebuild" in said
    assert study.layout.database.read_bytes() == before
    sleeper.kill()
    sleeper.wait()
    assert main(["rebuild"]) == 0


def test_a_database_that_cannot_be_opened_is_refused(
    study: Any, folders: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    study.layout.database.mkdir()
    assert main(["rebuild"]) == 2
    assert "the queue cannot be opened (unable to open database file)" in capsys.readouterr().err


def test_without_run_folders_it_says_where_it_looked(
    study: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(study.layout.root)
    assert main(["rebuild"]) == 2
    assert f"{study.layout.runs}: there are no run folders to make the queue from" in capsys.readouterr().err
    assert not study.layout.results.exists()


def test_deleting_the_database_loses_nothing_but_the_waiting_order(study: Any, queued: list[str]) -> None:
    opened = open_study(Request(file=study.file))
    plan = make_plan(opened, find_code(study.layout, snapshot=True))
    finished = finished_results(study.layout, plan, forget_failures=False)
    assert len(finished) == 3
    seen = []
    for _ in range(2):
        store = Store(study.layout.database)
        _queue(store, plan, finished)
        seen.append({row.id: (row.state, row.reason, row.failure) for row in store.runs()})
        store.close()
        study.layout.database.unlink()
    assert seen[0] == seen[1]
    assert len(seen[0]) == len(plan.runs) == 6


def test_a_rebuilt_queue_trains_what_is_missing_and_nothing_else(study: Any, queued: list[str]) -> None:
    """Law 2: a finished run is never trained again."""
    assert main(["rebuild"]) == 0
    opened = open_study(Request(file=study.file))
    plan = make_plan(opened, find_code(study.layout, snapshot=True))
    store = Store(study.layout.database)
    _queue(store, plan, finished_results(study.layout, plan, forget_failures=False))
    claimed = []
    while run := store.claim([planned.id for planned in plan.runs]):
        claimed.append(run.id)
    store.close()
    missing = {
        run_id for run_id in plan.run_of.values() if not isinstance(study.layout.run(run_id).read_result(), Result)
    }
    assert set(claimed) == missing
    assert len(claimed) == 3
