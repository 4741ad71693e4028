"""`knockout queue list` and `knockout cancel`."""

import json
from typing import Any

import pytest

from orchestrator.cli import main
from orchestrator.states import RunState
from orchestrator.store import Store


@pytest.fixture(autouse=True)
def in_the_campaigns_folder(study: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(study.layout.root)


def states(study: Any) -> dict[str, str]:
    store = Store(study.layout.database)
    rows = store.runs()
    store.close()
    return {row.id: row.state.value for row in rows}


def test_the_queue_lists_what_waits_and_runs_in_order(study: Any, capsys: pytest.CaptureFixture[str]) -> None:
    study.queue("H2-s0-1", "queued")
    study.queue("E5-s0-1", "done")
    study.queue("E5-s1-1", "running", host="ada", pid=12, attempt=2)
    assert main(["queue", "list"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "H2-s0-1  queued  profile quick, attempt 0",
        "E5-s1-1  running  profile quick, attempt 2, process 12 on ada",
    ]
    assert main(["queue", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [(row["id"], row["host"], row["attempt"]) for row in rows] == [("H2-s0-1", None, 0), ("E5-s1-1", "ada", 2)]


def test_an_empty_queue_is_said_and_no_database_is_made(study: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["queue", "list"]) == 0
    assert capsys.readouterr().out == "no run waits and none is under way\n"
    assert not study.layout.database.exists()


def test_waiting_runs_are_cancelled_and_never_claimed(study: Any, capsys: pytest.CaptureFixture[str]) -> None:
    ids = [study.queue(f"E5-s{seed}-1") for seed in range(3)]
    assert main(["cancel", "E5-s0", ids[2]]) == 0
    assert "E5-s0-1 is cancelled; the next `knockout run` that plans it" in capsys.readouterr().out
    assert list(states(study).values()) == ["cancelled", "queued", "cancelled"]
    store = Store(study.layout.database)
    claimed = store.claim(ids)
    assert claimed is not None
    assert claimed.id == ids[1]
    assert store.claim(ids) is None
    # The live table prints the reason of what has ended.
    assert next(row.reason for row in store.runs() if row.state is RunState.CANCELLED).startswith("cancelled by")
    store.close()


@pytest.mark.parametrize(
    ("state", "what"),
    [
        ("running", "E5-s1-1 is running, not waiting: process 12 on ada trains it; Ctrl-C there lets it finish"),
        ("interrupted", "E5-s1-1 is interrupted, not waiting: nothing trains it until `knockout run` goes on with it"),
        ("done", "E5-s1-1 is done, not waiting: it has ended, so there is nothing to cancel"),
    ],
)
def test_a_run_that_does_not_wait_is_refused_and_the_others_keep_waiting(
    study: Any, capsys: pytest.CaptureFixture[str], state: str, what: str
) -> None:
    study.queue("E5-s0-1")
    study.queue("E5-s1-1", state, host="ada", pid=12)
    assert main(["cancel", "E5-s0-1", "E5-s1-1"]) == 2
    assert what in capsys.readouterr().err
    assert states(study)["E5-s0-1"] == "queued"


def test_an_unknown_run_is_told(study: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cancel", "E5-s0-1"]) == 2
    assert "there is no run `E5-s0-1`; there is none at all yet" in capsys.readouterr().err
    assert not study.layout.database.exists()
