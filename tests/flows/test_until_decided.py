"""A campaign that adds seeds until each experiment is decided, through the real command line."""

import pandas as pd
import pytest

from tests.builders.study_harness import BASE, Study

STAGED = """\
margin: 60.0
staging: {screen_seeds: 2, max_seeds: 3, confirm_seeds: 2}
profiles: {fine: {margin: 0.01}}
baseline: {optim: {epochs: 1}}
"""


def trained(study: Study) -> list[str]:
    return [folder.path.name.rpartition("-")[0] for folder in study.folders()]


@pytest.fixture(scope="module")
def decided(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, str, str]:
    """A campaign in no repository whose seeds have been given out; what that printed, and what `next` says."""
    study = Study(tmp_path_factory.mktemp("decided"))
    study.write_campaign(BASE, STAGED)
    assert "the budget is spent; wanted next: 4 runs" in study.must("run", "--until-decided", "--budget", "0s")
    assert trained(study) == []
    printed = study.must("run", "--until-decided", "--budget", "10m")
    assert trained(study) == ["E5-s0", "E5-s1", "baseline-s0", "baseline-s1"]
    latest = study.repo / "reports" / "latest"
    assert "; decided at the look at 2 seeds, at the level 3.8 %" in (latest / "report.md").read_text()
    assert pd.read_csv(latest / "verdicts.csv").set_index("experiment").loc["E5", "verdict"] == "no_change"
    return study, printed, study.must("next")


def test_seeds_are_given_out_until_all_is_decided(decided: tuple[Study, str, str]) -> None:
    _, printed, wanted = decided
    assert "4 runs trained, 0 had their result already" in printed
    assert "decided: 1 of 1" in printed
    assert "interval: of the look that decided; it covers more than 95 %, the report says how much" in printed
    assert "no run is wanted" in wanted


def test_outside_a_repository_a_copy_of_the_code_runs(decided: tuple[Study, str, str]) -> None:
    assert "since no git repository holds it; no branches are made" in decided[1]


def test_what_is_not_decided_is_given_more_and_next_names_the_run(decided: tuple[Study, str, str]) -> None:
    """The profile `fine` has the same runs and a smaller margin."""
    study = decided[0]
    found = study.ask("next", "--profile", "fine")
    assert (found["seed"], found["serves"]) == (2, ["E5"])
    assert found["seconds"] > 0
    assert found["command"] == f"knockout run {found['experiment']} --seeds 2-2 --profile fine"
    done = study.knockout("run", "--until-decided", "--profile", "fine")
    assert "2 runs trained, 4 had their result already" in done.stdout, done.stdout + done.stderr
    assert "decided: 0 of 1; undecided after all their seeds: 1" in done.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "--budget", "2h"), "--budget is for --until-decided; say both"),
        (("run", "--until-decided", "--seeds", "3"), "the looks choose the seeds themselves"),
        (("next", "--seeds", "3"), "leave --seeds out"),
        (("run", "--until-decided", "--budget", "2"), "'2' is no time; say 90s, 30m or 2h"),
    ],
)
def test_a_mistake_is_a_sentence(decided: tuple[Study, str, str], words: tuple[str, ...], message: str) -> None:
    done = decided[0].knockout(*words)
    assert done.returncode == 2
    assert message in done.stderr
