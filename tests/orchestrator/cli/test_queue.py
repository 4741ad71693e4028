"""`knockout queue add` and `knockout work` as a person sees them."""

from typing import Any

import pytest

from orchestrator.api import work as api_work
from orchestrator.api.work import Worked
from orchestrator.cli.main import main
from orchestrator.queue.store import QueuedRun
from orchestrator.runs.states import RunState

PATCHED = "  P1: {title: Patched, group: code, hypothesis: Why., patch: p1.diff}\n"


def a_row(name: str, state: RunState, **columns: Any) -> QueuedRun:
    return QueuedRun(id=f"{name}-s0-1", experiment=name, seed=0, profile="quick", state=state, **columns)


def test_what_was_queued_is_counted(study: Any, capsys: pytest.CaptureFixture[str]) -> None:
    study.end(study.start("baseline"))
    assert main(["queue", "add", "E5", "--seeds", "1", "-f", str(study.file)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert "2 runs: 1 queued, 1 done; `knockout work` trains what waits" in said


def test_code_that_is_refused_gives_status_1(study: Any, capsys: pytest.CaptureFixture[str]) -> None:
    study.file.write_text(study.file.read_text() + PATCHED)
    (study.paths.root / "p1.diff").write_text("this is no diff\n")
    study.commit()
    assert main(["queue", "add", "P1", "--seeds", "1", "-f", str(study.file)]) == 1
    assert "P1 is rejected: " in capsys.readouterr().out


def test_where_nothing_waits_that_is_said(study: Any, capsys: pytest.CaptureFixture[str]) -> None:
    study.queue("E5-s0-1", "done")
    assert main(["work", "--slots", "1", "-f", str(study.file)]) == 0
    assert capsys.readouterr().out == "nothing waited\n"


@pytest.mark.parametrize(
    ("worked", "status", "said"),
    [
        (Worked(rows=[a_row("E5", RunState.DONE)], problems=(), is_complete=True), 0, "1 run ended: 1 done\n"),
        (
            Worked(rows=[a_row("E5", RunState.DONE)], problems=(), is_complete=False),
            130,
            "1 run ended: 1 done\nstopped: results and checkpoints are kept, `knockout work` "
            "goes on from them; without a checkpoint a run starts over\n",
        ),
        (Worked(rows=[], problems=("the disk is full",), is_complete=True), 1, "the disk is full\nno run ended\n"),
        (
            Worked(
                rows=[a_row("E5", RunState.DONE), a_row("H2", RunState.FAILED, failure="crashed", reason="it broke")],
                problems=(),
                is_complete=True,
            ),
            1,
            "2 runs ended: 1 done, 1 failed\nH2-s0-1 failed (crashed): it broke\n"
            "`knockout retry --failed` lets failed runs wait again, `knockout run --retry` trains them\n",
        ),
    ],
    ids=["done", "stopped", "a problem", "a failure"],
)
def test_the_status_says_how_the_work_ended(
    study: Any,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    worked: Worked,
    status: int,
    said: str,
) -> None:
    monkeypatch.setattr(api_work, "work", lambda *_: worked)
    assert main(["work", "-f", str(study.file)]) == status
    assert capsys.readouterr().out == said
