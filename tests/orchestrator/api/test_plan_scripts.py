"""`knockout plan` and `show` of a stranger's script: its command line, its time by the clock, and what a stop costs."""

import os
from pathlib import Path
from typing import Any

import pytest

from orchestrator.api.plan import describe_stops, plan
from orchestrator.api.show import show
from orchestrator.campaign.selection import Request, collect_inputs, make_plan, open_campaign
from orchestrator.cli.main import main
from orchestrator.code.sources import find_code
from orchestrator.files import write_json
from orchestrator.runs.folder import Result
from orchestrator.runs.paths import Paths
from orchestrator.supervisor.attempts import Attempt, append_attempt
from orchestrator.task.spec import parse_task

CAMPAIGN = """\
campaign: points
seeds: [3, 4]
task:
  command: [python3, train.py, "--seed={seed}", "--out={run_folder}/out", "--data={data.points}", "{params}"]
  code: [train.py]
  data: {points: points.csv}
metrics:
  loss: {better: lower, margin: 0.1, from: {stdout: "loss {loss}"}}
baseline: {rate: 0.1}
experiments:
  fast: {change: {rate: 0.3}}
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("KNOCKOUT_DATABASE", raising=False)
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "train.py").write_text("print('loss 1.0')\n")
    (folder / "points.csv").write_text("x\n1\n")
    (folder / "experiments.yaml").write_text(CAMPAIGN)
    return folder / "experiments.yaml"


def test_an_experiment_is_shown_with_the_command_line_of_its_first_seed(file: Path) -> None:
    assert show(Request(file=file), "fast").command == (
        *("python3", "train.py", "--seed=3", "--out={run_folder}/out", "--data=points.csv", "--rate=0.3"),
    )


def test_the_command_line_stands_below_the_parameters(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "fast", "--file", str(file)]) == 0
    said = capsys.readouterr().out
    assert "rate: 0.3\ncommand line: python3 train.py --seed=3 " in said


def test_a_script_that_tells_no_step_is_timed_by_the_clock(file: Path) -> None:
    planned = plan(Request(file=file))
    assert planned.preview.cost.run_seconds is None
    run_done(file.parent, begun_epoch_seconds=1000.0, ended_epoch_seconds=1042.0, spent_seconds=8.0)
    cost = plan(Request(file=file)).preview.cost
    assert (cost.num_runs, cost.run_seconds) == (3, 50.0)
    assert "a run that is stopped starts over, at most about 50 s of work" in "\n".join(
        plan(Request(file=file)).preview.notes
    )


def run_done(root: Path, begun_epoch_seconds: float, ended_epoch_seconds: float, spent_seconds: float) -> None:
    """Let one run of the campaign be done."""
    run_id = find_run(root)
    folder = Paths(root).run(run_id)
    folder.path.mkdir(parents=True)
    attempt: dict[str, Any] = {"number": 2, "checkout": "gone", "log_bytes": 0, "spent_seconds": spent_seconds}
    append_attempt(folder.attempts, Attempt(begun_epoch_seconds=begun_epoch_seconds, **attempt))
    write_json(folder.result, Result(state="done", reason="it is done", epochs=0))
    os.utime(folder.result, (ended_epoch_seconds, ended_epoch_seconds))


def find_run(root: Path) -> str:
    selection = open_campaign(Request(file=root / "experiments.yaml"))
    code = find_code(selection.paths, snapshot=True, code=selection.campaign.task.code)
    return make_plan(selection, code, collect_inputs(selection, code)).run_of["baseline", 3]


@pytest.mark.parametrize(
    ("more", "seconds", "words"),
    [
        ({}, None, "a run that is stopped starts over: the task has no `resume`"),
        ({}, 90.0, "starts over, at most about 90 s of work: the task has no `resume`"),
        ({"resume": {"when": "last.pt"}}, 90.0, "a run that is stopped goes on from its newest checkpoint"),
        ({"resume": {"when": "last.pt", "exact": False}}, 90.0, "and is marked: its numbers differ from those of one"),
    ],
)
def test_what_a_stop_costs_is_said(more: dict[str, Any], seconds: float | None, words: str) -> None:
    said = describe_stops(parse_task({"command": ["run", "{seed}"], "code": ["."], **more}), seconds)
    assert said is not None
    assert words in said


def test_jobs_that_hold_their_own_folder_lose_an_epoch_at_most() -> None:
    task = parse_task({"command": ["run", "{seed}"], "code": ["."], "supervised": False})
    assert describe_stops(task, 90.0) is None
