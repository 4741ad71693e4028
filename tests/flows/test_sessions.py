"""A campaign on captures of several sessions: its verdicts rest on sessions, and ranges need no new training."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from orchestrator.runs.predictions import read_predictions
from tests.builders.study_harness import BASE, Study, make_study

RANGES = "data: {captures: {LocD: {sessions: [[0, 2], [2, 5], [5, 8]]}}}\n"
COLUMN = "data: {captures: {LocD: {sessions: part}}}\n"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Return a study whose campaign has run before any session was declared."""
    study = make_study(tmp_path_factory.mktemp("study"))
    study.must("run")
    return study


def report_of(study: Study) -> str:
    study.must("report")
    return (study.repo / "reports/latest/report.md").read_text()


def test_ranges_make_sessions_the_units_of_runs_that_are_there(study: Study) -> None:
    # The other test of this study writes its own campaign.
    study.write_campaign(BASE)
    before = {folder.path.name for folder in study.folders()}
    assert "session" not in report_of(study)
    study.write_campaign(BASE, RANGES)
    study.must("run")
    assert {folder.path.name for folder in study.folders()} == before
    # Ten devices of three sessions each.
    assert "from sessions" in report_of(study)
    assert "Over the 30 sessions that" in study.must("why", "E5")


def test_ranges_that_leave_out_packets_are_refused_where_they_stand(study: Study) -> None:
    study.write_campaign(BASE, RANGES.replace("[5, 8]", "[5, 7]"))
    done = study.knockout("plan")
    assert done.returncode != 0
    assert "sessions leaves out packets [7, 8] of [0, 8]; give every packet that is taken a session" in done.stderr
    assert "experiments.yaml:" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_data_set_is_read_by_the_run_and_a_missing_one_is_told_before_training(tmp_path: Path) -> None:
    study = make_study(tmp_path, COLUMN)
    study.must("data", "emulate")
    done = study.knockout("run")
    assert done.returncode != 0
    assert "has no dataset `part` for `sessions`, it has" in done.stdout + done.stderr
    with h5py.File(study.repo / "data/LocD.h5", "a") as file:
        file["part"] = np.tile(np.arange(8) // 2, 10)
    study.must("run")
    session_B = read_predictions(study.folders()[0].predictions)["LocD"].session_B
    assert session_B is not None
    assert session_B.tolist()[:4] == ["0/0", "0/0", "0/1", "0/1"]
    assert "from sessions" in report_of(study)
    assert "Over the 40 sessions that" in study.must("why", "E5")
