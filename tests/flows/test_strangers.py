"""Scripts that Knockout has never seen, each with its campaign file, through the real command line to a report."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from tests.builders.stranger_repo import STRANGERS, StrangerRepo

NEEDS = {"r": "Rscript"}
STYLES = sorted(folder.name for folder in STRANGERS.iterdir() if folder.is_dir())


def repo_of(folder: Path, name: str) -> StrangerRepo:
    if (program := NEEDS.get(name)) is not None and shutil.which(program) is None:
        pytest.skip(f"{program} is not there")
    return StrangerRepo(folder, name)


@pytest.fixture(scope="module", params=STYLES)
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> StrangerRepo:
    """Return a repository whose campaign has run; its user's files are byte for byte what they were."""
    repo = repo_of(tmp_path_factory.mktemp(request.param), request.param)
    before = repo.stamp()
    repo.must("run")
    assert repo.stamp() == before
    return repo


def test_every_run_is_done_in_a_folder_of_its_own(finished: StrangerRepo) -> None:
    results = [json.loads(path.read_bytes()) for path in finished.results()]
    assert results
    assert {result["state"] for result in results} == {"done"}
    assert len(results) == len(list(finished.runs.iterdir()))


def test_every_experiment_has_a_verdict_and_a_score_at_each_seed(finished: StrangerRepo) -> None:
    tables = list((finished.repo / "reports").glob("*/*.csv"))
    scores = next(pd.read_csv(path) for path in tables if path.name == "runs.csv")
    assert not scores["state"].ne("done").any()
    report = next((finished.repo / "reports").glob("*/report.md")).read_text(encoding="utf-8")
    assert "improved" in report or "regression" in report or "no_change" in report or "inconclusive" in report


def test_nothing_is_trained_again(finished: StrangerRepo) -> None:
    attempts = [path.read_bytes() for path in sorted(finished.runs.glob("*/attempts.jsonl"))]
    assert attempts
    finished.must("run")
    assert [path.read_bytes() for path in sorted(finished.runs.glob("*/attempts.jsonl"))] == attempts


def test_no_worktree_is_left(finished: StrangerRepo) -> None:
    assert len(finished.git("worktree", "list").splitlines()) == 1


def test_the_report_shows_the_command_line_of_each_experiment(finished: StrangerRepo) -> None:
    report = next((finished.repo / "reports").glob("*/report.md")).read_text(encoding="utf-8")
    assert report.count("The command line at seed ") == len(finished.ask("plan")["rows"])
    assert str(finished.repo) not in report
