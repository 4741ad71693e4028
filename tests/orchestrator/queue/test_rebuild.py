"""`knockout rebuild`: the queue's database, made again from the run folders."""

import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.campaign.selection import Request, make_plan, open_campaign
from orchestrator.cli.main import main
from orchestrator.code.sources import find_code
from orchestrator.errors import QueueLockedError
from orchestrator.processes import Process, birth_of
from orchestrator.queue.rebuild import read_rows, rebuild
from orchestrator.queue.store import QueuedRun, Store, open_store
from orchestrator.runs.folder import Result
from orchestrator.runs.results import finished_results
from orchestrator.runs.states import RunState

ROOT = Path(__file__).parents[3]


@pytest.fixture
def folders(study: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Five runs: done, failed, too slow, interrupted with an epoch, and one that stopped before its first."""
    monkeypatch.chdir(study.paths.root)
    *ids, last = study.add("H2", seeds=(0, 1))
    # As if nothing had been queued yet: only the folders are there.
    study.paths.database.unlink()
    shutil.rmtree(study.paths.run(last).path)
    for number, run_id in enumerate(ids):
        origin = {"started": f"2026-02-19T01:00:{number:02d}+00:00"}
        study.paths.run(run_id).provenance.write_text(json.dumps(origin))
    for run_id, state, failure in zip(ids, ("done", "failed", "too_slow"), (None, "crashed", None), strict=False):
        study.end(run_id, state, failure)
    study.train(ids[3])
    return list(ids)


@pytest.fixture
def queued(study: Any, folders: list[str]) -> list[str]:
    """The database as the runs themselves would have made it."""
    store = open_store(study.paths)
    for run_id in folders:
        claim_and_end(store, study, run_id)
    store.close()
    return folders


def claim_and_end(store: Store, study: Any, run_id: str) -> None:
    """Queue a run, let this process train it, and let it end as its folder says."""
    experiment, seed = run_id.split("-")[:2]
    state = RunState.QUEUED
    store.add([QueuedRun(id=run_id, experiment=experiment, seed=int(seed[1:]), profile="quick", state=state)])
    claimed = store.claim(Process.own(), [run_id])
    assert claimed is not None
    folder = study.paths.run(run_id)
    result = folder.read_result()
    if result:
        store.end(claimed, RunState(result.state), reason=result.reason, failure=result.failure)
    else:
        when = "after epoch 1" if folder.read_epochs() else "before its first epoch"
        store.end(claimed, RunState.INTERRUPTED, reason=f"stopped {when}; it goes on from there")


def rows_of(study: Any) -> list[QueuedRun]:
    store = open_store(study.paths)
    rows = store.runs()
    store.close()
    return rows


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
    files = sorted(path.name for path in study.paths.results.iterdir() if not path.name.startswith("knockout.db-"))
    for file in study.paths.results.glob("knockout.db*"):
        file.unlink()
    assert main(["rebuild"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("the queue is made again from 5 run folders: ")
    assert all(count in said for count in ("1 done", "1 failed", "1 too_slow", "2 interrupted"))
    assert status(capsys) == before
    assert sorted(path.name for path in study.paths.results.iterdir()) == files


@pytest.fixture
def placed(study: Any) -> list[str]:
    """Six runs that wait, in the order they were queued."""
    return list(study.add("H2", seeds=(0, 1)))


def say_queued(study: Any, ids: list[str]) -> None:
    """Let runs have been queued in this order."""
    for number, run_id in enumerate(ids):
        path = study.paths.run(run_id).order
        order = json.loads(path.read_bytes()) | {"queued": f"2026-02-19T01:00:00.000000+00:00/{number:06d}"}
        path.write_text(json.dumps(order))


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_deleting_the_database_and_rebuilding_gives_the_same_rows(
    study: Any, placed: list[str], data: st.DataObject
) -> None:
    """All but attempts and workers: whatever states the runs are in, and in whatever order they were queued."""
    ids = data.draw(st.permutations(placed))
    say_queued(study, ids)
    endings = [data.draw(st.sampled_from(("queued", "interrupted", "done", "too_slow", "failed"))) for _ in ids]
    rows = []
    for run_id, ending in zip(ids, endings, strict=True):
        folder = study.paths.run(run_id)
        folder.provenance.unlink(missing_ok=True)
        folder.result.unlink(missing_ok=True)
        reason, failure = "", "crashed" if ending == "failed" else None
        if ending != "queued":
            folder.provenance.write_text("{}")
            reason = "stopped before its first epoch; it goes on from there"
        if ending not in ("queued", "interrupted"):
            study.end(run_id, ending, failure)
            reason = f"it is {ending}"
        experiment, seed = run_id.split("-s")[0], int(run_id.split("-s")[1][0])
        rows.append((run_id, experiment, seed, "quick", ending, reason, failure))
    study.paths.database.unlink()
    rebuild(study.paths)

    def told(row: QueuedRun) -> tuple[Any, ...]:
        return row.id, row.experiment, row.seed, row.profile, row.state, row.reason, row.failure

    assert list(map(told, rows_of(study))) == rows


def test_a_run_that_never_started_waits_again_in_the_order_it_was_queued(study: Any, placed: list[str]) -> None:
    ids = placed[::-1]
    say_queued(study, ids)
    study.paths.database.unlink()
    rebuilt = rebuild(study.paths).rows
    assert [row.id for row in rebuilt] == ids
    assert {(row.state, row.reason, row.attempt) for row in rebuilt} == {(RunState.QUEUED, "", 0)}
    store = open_store(study.paths)
    claimed = [run.id for run in iter(lambda: store.claim(Process.own()), None)]
    store.close()
    assert claimed == ids


@pytest.mark.parametrize("what", ["whole", "broken", "deleted"])
def test_a_database_is_replaced_together_with_its_log(
    study: Any, queued: list[str], capsys: pytest.CaptureFixture[str], what: str
) -> None:
    before = status(capsys)
    # As a process that was killed leaves it: the last transactions are only in the log.
    kill = (
        "import os, sys; from orchestrator.queue.store import Store; store = Store(sys.argv[1]);"
        "store.forget([row.id for row in store.runs()]); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", kill, study.paths.database_url], check=False, cwd=ROOT)
    assert study.paths.database.with_name("knockout.db-wal").exists()
    if what == "broken":
        study.paths.database.write_bytes(b"no database at all" * 100)
    if what == "deleted":
        study.paths.database.unlink()
    assert main(["rebuild"]) == 0
    assert status(capsys) == before


def test_a_broken_database_is_replaced(study: Any, folders: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    study.paths.database.write_bytes(b"no database at all" * 100)
    study.paths.database.with_name("knockout.db-wal").write_bytes(b"nor its log")
    assert main(["rebuild"]) == 0
    assert set(status(capsys)) == set(folders)


def make_older(database: Path) -> None:
    """Put a queue into a database as another version would have made it."""
    connection = sqlite3.connect(database)
    connection.execute("CREATE TABLE runs (id VARCHAR PRIMARY KEY, job_pid INTEGER)")
    connection.execute("INSERT INTO runs VALUES ('E5-s0-00000000', 12)")
    connection.commit()
    connection.close()


def test_another_versions_database_is_replaced(
    study: Any, folders: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    make_older(study.paths.database)
    assert main(["status"]) == 2
    assert "`knockout rebuild` makes it again from the run folders" in capsys.readouterr().err
    assert main(["rebuild"]) == 0
    assert set(status(capsys)) == set(folders)


def test_a_stopped_script_goes_on_from_its_checkpoint_whatever_rows_it_has_told(study: Any, folders: list[str]) -> None:
    folder = study.paths.run(folders[0])
    folder.result.unlink(missing_ok=True)
    folder.provenance.write_text("{}")
    folder.attempts.touch()
    study.queue(folders[0], "queued")
    rebuild(study.paths)
    (row,) = (row for row in rows_of(study) if row.id == folders[0])
    assert row.state is RunState.INTERRUPTED
    assert row.reason == "stopped; it goes on from its last checkpoint, or starts over where it has none"


class TestASharedDatabase:
    """One that KNOCKOUT_DATABASE names."""

    @pytest.fixture
    def shared(self, study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("KNOCKOUT_DATABASE", f"sqlite:///{tmp_path / 'shared.db'}")
        return tmp_path / "shared.db"

    def test_its_rows_are_replaced_in_place(self, study: Any, folders: list[str], shared: Path) -> None:
        study.queue("E6-s0-00000000", "done")
        worker = Process("ada", 12, "boot/3")
        store = open_store(study.paths)
        store.send_heartbeat(worker)
        inode = shared.stat().st_ino
        rebuild(study.paths)
        # Others that have it open see the new rows.
        assert sorted(row.id for row in store.runs()) == sorted(folders)
        assert store.workers.list_living() == [worker]
        store.close()
        assert shared.stat().st_ino == inode
        assert not study.paths.database.exists()

    def test_another_versions_rows_give_way(self, study: Any, folders: list[str], shared: Path) -> None:
        make_older(shared)
        rebuild(study.paths)
        assert sorted(row.id for row in rows_of(study)) == sorted(folders)

    def test_one_that_cannot_be_reached_is_told(
        self, study: Any, folders: list[str], shared: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        shared.mkdir()
        assert main(["rebuild"]) == 2
        assert f"{shared}: the queue cannot be used: unable to open database file" in capsys.readouterr().err


def test_folders_that_cannot_be_read_are_told_and_left_out(
    study: Any, folders: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    runs = study.paths.runs
    (runs / "empty").mkdir()
    (runs / folders[0]).rename(runs / "H2-s0-12345678")
    study.paths.run(folders[1]).config.write_text("{")
    study.paths.run(folders[2]).result.write_text('{"format": 99}')
    study.paths.run(folders[3]).epochs.write_text("not an epoch\n")
    assert main(["rebuild"]) == 0
    said = capsys.readouterr().out
    assert "from 1 run folders: 1 interrupted" in said
    assert said.count("left out: ") == 5
    for name in ("empty", "H2-s0-12345678", *folders[1:4]):
        assert f"{runs / name}: this run folder cannot be read: " in said
    assert "its config.json is of experiment baseline, seed 0" in said
    assert set(status(capsys)) == {folders[4]}


def test_a_torn_result_is_an_interrupted_run(study: Any, folders: list[str]) -> None:
    study.paths.run(folders[0]).result.write_text('{"format": 1, "sta')
    states = {row.id: row.state for row in read_rows(study.paths).rows}
    assert states[folders[0]] is RunState.INTERRUPTED


@pytest.mark.parametrize("has_order", [True, False])
def test_the_first_queued_comes_first_or_else_the_first_started(
    study: Any, folders: list[str], has_order: bool
) -> None:
    for number, run_id in enumerate(reversed(folders)):
        folder = study.paths.run(run_id)
        path, field = (folder.order, "queued") if has_order else (folder.provenance, "started")
        content = json.loads(path.read_bytes()) | {field: f"2026-02-19T01:00:{number:02d}+00:00"}
        path.write_text(json.dumps(content))
        if not has_order:
            folder.order.unlink()
    assert [row.id for row in read_rows(study.paths).rows] == folders[::-1]


def test_a_database_that_a_living_worker_holds_is_refused(
    study: Any, queued: list[str], sleeper: "subprocess.Popen[bytes]", capsys: pytest.CaptureFixture[str]
) -> None:
    host = Process.own().host
    study.queue("E6-s0-00000000", "done", host=host, pid=sleeper.pid, born=birth_of(sleeper.pid))
    before = rows_of(study)
    assert main(["rebuild"]) == 2
    said = capsys.readouterr().err
    assert f"E6-s0-00000000 is held by process {sleeper.pid} on {host}" in said
    assert "`knockout stop` lets it save and end, then rebuild" in said
    assert rows_of(study) == before
    sleeper.kill()
    sleeper.wait()
    assert main(["rebuild"]) == 0


@pytest.mark.parametrize("what", ["whole", "broken", "deleted"])
def test_a_job_that_lives_refuses_a_rebuild_whatever_the_database_says(
    study: Any, queued: list[str], capsys: pytest.CaptureFixture[str], what: str
) -> None:
    if what == "broken":
        study.paths.database.write_bytes(b"no database at all" * 100)
    if what == "deleted":
        study.paths.database.unlink()
    with study.paths.run(queued[3]).hold():
        assert main(["rebuild"]) == 2
    assert f"{study.paths.runs / queued[3]} is held by its job; `knockout stop`" in capsys.readouterr().err
    assert main(["rebuild"]) == 0


def test_a_locked_database_is_refused(study: Any, queued: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.queue.database.LOCK_SECONDS", 0.05)
    other = sqlite3.connect(study.paths.database, isolation_level=None)
    # In this mode others cannot even read.
    other.execute("PRAGMA locking_mode=EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(QueueLockedError, match="another program holds it; end that one and try again"):
        rebuild(study.paths)
    other.close()
    assert len(rebuild(study.paths).rows) == len(queued)


def test_a_database_that_cannot_be_replaced_is_refused(
    study: Any, folders: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    study.paths.database.mkdir()
    assert main(["rebuild"]) == 2
    said = capsys.readouterr().err
    assert f"{study.paths.database}: the queue cannot be replaced: Is a directory; move it away, or give" in said
    assert sorted(path.name for path in study.paths.results.glob("rebuild-*")) == []


def test_without_run_folders_it_says_where_it_looked(
    study: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(study.paths.root)
    assert main(["rebuild"]) == 2
    assert f"{study.paths.runs}: there are no run folders to make the queue from" in capsys.readouterr().err
    assert not study.paths.results.exists()


def test_queueing_again_after_the_database_is_lost_lists_the_same(study: Any, queued: list[str]) -> None:
    seen = []
    for _ in range(2):
        assert len(study.add("H2", seeds=(0, 1))) == 6
        seen.append({row.id: (row.state, row.reason, row.failure) for row in rows_of(study)})
        study.paths.database.unlink()
    assert seen[0] == seen[1]
    assert len(seen[0]) == 6


def test_a_rebuilt_queue_trains_what_is_missing_and_nothing_else(study: Any, queued: list[str]) -> None:
    """Law 2: a finished run is never trained again."""
    assert main(["rebuild"]) == 0
    ids = study.add("H2", seeds=(0, 1))
    plan = make_plan(open_campaign(Request(file=study.file)), find_code(study.paths, snapshot=True))
    assert len(finished_results(study.paths, plan.run_ids)) == 3
    store = open_store(study.paths)
    claimed = [run.id for run in iter(lambda: store.claim(Process.own(), ids), None)]
    store.close()
    missing = {
        run_id for run_id in plan.run_of.values() if not isinstance(study.paths.run(run_id).read_result(), Result)
    }
    assert set(claimed) == missing
    assert len(claimed) == 3
