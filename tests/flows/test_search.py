"""A search in a temporary git repository, through the real command line: killed, continued, shared and pruned."""

import signal
from pathlib import Path

import optuna
from optuna.trial import TrialState

from tests.builders.study_harness import make_study, wait_for

SEARCH = """\
data:
  captures:
    LocC: {path: data/LocC.h5, devices: [0, 10], packets: [0, 8]}
  choose: [LocC]
searches:
  focal:
    title: How much focus
    on: E5
    space:
      loss.gamma: {kind: float, low: 0.01, high: 5.0}
    trials: 4
    enqueue:
      - at: {loss.gamma: 3.0}
"""


def trials_of(repo: Path) -> list[optuna.trial.FrozenTrial]:
    url = f"sqlite:///{repo / 'results' / 'optuna.db'}"
    (summary,) = optuna.get_all_study_summaries(storage=url)
    return optuna.load_study(study_name=summary.study_name, storage=url).get_trials()


def test_a_search_that_is_killed_goes_on_without_losing_a_trial(tmp_path: Path) -> None:
    study = make_study(tmp_path, SEARCH, PYTHONWARNINGS="error")
    with study.start("search", "focal") as first:
        wait_for(lambda: study.results() or first.poll() is not None, "a first trial ends", seconds=120)
        first.send_signal(signal.SIGKILL)
    before = {trial.number: trial.state for trial in trials_of(study.repo)}
    assert TrialState.RUNNING in before.values()

    said = study.must("search", "focal")
    trials = trials_of(study.repo)
    assert "search focal: 4 points visited of 4, on E5" in said
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 4
    assert trials[0].params == {"loss.gamma": 3.0}
    assert len(study.results()) == 4

    study.must("search", "focal")
    assert (len(trials_of(study.repo)), len(study.results())) == (4, 4)
    assert study.git("branch", "--list", "experiment/*") == ""

    said = study.must("promote", "focal")
    assert "`knockout run focal-best --profile quick --seeds 1-2`" in said
    assert "focal-best" in study.must("show", "focal-best")


def test_two_searches_at_once_share_the_points(tmp_path: Path) -> None:
    study = make_study(tmp_path, SEARCH)
    with (
        study.start("search", "focal", "--workers", "1") as first,
        study.start("search", "focal", "--workers", "1") as second,
    ):
        said = [search.communicate(timeout=300) for search in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], said
    trials = trials_of(study.repo)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 4
    assert len({trial.user_attrs["runs"][0] for trial in trials}) == len(study.results()) == 4
    assert len({trial.user_attrs["owner"] for trial in trials}) == 2


PRUNED = """\
baseline: {optim: {epochs: 60, learning_rate: 3.0e-3}}
searches:
  focal:
    space: {optim.learning_rate: {kind: float, low: 1.0e-12, high: 3.0e-3, log: true}}
    pruner: {kind: wilcoxon, warmup_epochs: 3}
    enqueue:
      - at: {loss.gamma: 2.0, optim.learning_rate: 3.0e-3}
"""


def test_a_point_that_does_not_learn_is_pruned_and_does_not_wait(tmp_path: Path) -> None:
    """In nearly all of the space a run learns nothing, so at least one of the three points is pruned."""
    study = make_study(tmp_path, SEARCH, PRUNED, PYTHONWARNINGS="error")
    said = study.must("search", "focal", "--workers", "1")
    trials = trials_of(study.repo)
    pruned = [trial for trial in trials if trial.state is TrialState.PRUNED]
    assert f"4 points visited of 4, {len(pruned)} of them pruned, on E5" in said
    rows = {row["id"]: row for row in study.rows()}
    for trial in pruned:
        (run,) = trial.user_attrs["runs"]
        assert rows[run]["state"] == "cancelled"
        assert rows[run]["reason"].endswith("its validation accuracy lies below the best point")
        assert 4 <= len((study.runs / run / "epochs.jsonl").read_text().splitlines()) < 60
    assert len(study.results()) == 4 - len(pruned) < 4
    study.must("work")
    assert len(study.results()) == 4 - len(pruned)
