"""The best point of a search becomes an experiment, and the rest of the file stays as its author wrote it."""

import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from orchestrator.campaign.load import load_campaign
from orchestrator.campaign.plan import Plan
from orchestrator.campaign.scored import Objective
from orchestrator.campaign.search_spec import FloatSpace, SearchSpec
from orchestrator.cli.main import main
from orchestrator.errors import SpecError, UsageError
from orchestrator.runs.states import RunState
from orchestrator.search.objective import Score
from orchestrator.search.promote import insert_experiment, promote, require_begun
from orchestrator.search.results import Searched, TrialRecord

CAMPAIGN = """\
# ours
campaign: tiny   # a name
title: A tiny campaign
question: Tell ten transmitters apart.
margin: 1.0
seeds: 2
data:
  captures:
    LocA: {path: a.h5, devices: [0, 10], packets: [0, 6]}
    LocB: {path: b.h5, devices: [0, 10], packets: [0, 6]}
    LocC: {path: c.h5, devices: [0, 10], packets: [0, 6]}
    LocD: {path: d.h5,
           devices: [0, 10], packets: [0, 6]}
  train: [LocA]
  validate: [LocB]
  choose: [LocC]
  report: [LocD]
profiles: {quick: {}}
experiments:
  E5: {title: "Focal", group: loss, hypothesis: Why., change: {loss.kind: focal, loss.gamma: 2.0}}   # the source's

  # the last one
  H2:
    title:    Heads
    group: size
    hypothesis: Why.
    on: E5
    change: {model.num_heads: 4}   # half

# what follows is for searches
searches: {}
"""
BEST = {"loss.gamma": 2.75, "loss.label_smoothing": 0.0}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "experiments.yaml"
    path.write_text(CAMPAIGN)
    return path


@pytest.fixture(scope="module")
def found(a_plan: Callable[..., Plan]) -> Callable[..., Searched]:
    def finding(change: dict[str, Any] | None = BEST) -> Searched:
        score = Score(mean=61.2, standard_error=2.0, per_seed=(61.2,), bursts=100)
        best = TrialRecord(number=7, arm="focal-t007", change=change or {}, state="done", score=score, runs=("r",))
        return Searched(
            name="focal",
            campaign=a_plan({"E5": {"change": {"loss.kind": "focal", "loss.gamma": 2.0}}}).campaign,
            spec=SearchSpec(title="Focus", space={"loss.gamma": FloatSpace(low=0.1, high=5.0)}),
            stack="E5",
            objective=Objective(splits=("LocC",)),
            seeds=(0, 1),
            default={"loss.gamma": 2.0, "loss.label_smoothing": 0.0},
            study="tiny/quick/focal/1",
            trials=(best,) if change else (),
        )

    return finding


def test_the_winner_is_put_after_the_last_experiment_and_no_other_line_changes(
    file: Path, found: Callable[..., Searched]
) -> None:
    promoted = promote(file, found())
    lines = file.read_text().splitlines(keepends=True)
    (start,) = (number for number, line in enumerate(lines) if line == "  focal-best:\n")
    assert "".join(lines[:start] + lines[start + 6 :]) == CAMPAIGN
    assert lines[start - 1].endswith("# half\n")
    assert (promoted.experiment, promoted.fresh_seeds) == ("focal-best", "2-3")


def test_the_winner_is_an_experiment_that_changes_what_differs_from_the_stack(
    file: Path, found: Callable[..., Searched]
) -> None:
    promote(file, found(), "focus")
    experiment = load_campaign(file)[0].experiments["focus"]
    assert (experiment.on, experiment.group, experiment.change) == ("E5", "search", {"loss.gamma": 2.75})
    assert experiment.title == "Focus, loss.gamma 2.75, loss.label_smoothing 0.0"
    assert experiment.hypothesis == "Best of 1 points of search focal at profile quick, 61.2 % on LocC, seeds 0 and 1."


def test_a_name_that_is_taken_is_refused_with_its_line(file: Path, found: Callable[..., Searched]) -> None:
    promote(file, found())
    before = file.read_text()
    with pytest.raises(SpecError, match=r"experiments.yaml:\d+: there is an experiment `focal-best` already.*--as"):
        promote(file, found())
    assert file.read_text() == before


def test_a_file_that_would_be_no_campaign_any_more_is_left_alone(file: Path, found: Callable[..., Searched]) -> None:
    with pytest.raises(SpecError) as caught:
        promote(file, found({"loss.gama": 2.0}))
    said = str(caught.value)
    assert re.match(rf"{file}:\d+: experiments.focal-best.change.loss.gama: there is no knob `loss.gama`", said)
    assert said.endswith("; so the file would be no campaign any more, and nothing was written")
    assert file.read_text() == CAMPAIGN


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "a name is letters and digits joined by single `.`, `_` or `-`, and begins with a letter, found ``"),
        ("a b", "a name is letters and digits"),
        ("focus\n", "a name is letters and digits"),
        ("x" * 100, "a name has at most 40 letters, found 100"),
        ("baseline", "`baseline` is the experiment with no change"),
        ("focal-t001", "`focal-t001` is what a trial of search `focal` is called; choose another name"),
    ],
)
def test_a_name_that_no_experiment_can_have_is_told_as_the_option(
    file: Path, found: Callable[..., Searched], name: str, problem: str
) -> None:
    with pytest.raises(UsageError) as caught:
        promote(file, found(), name)
    assert str(caught.value).startswith(f"--as: {problem}")
    assert file.read_text() == CAMPAIGN


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_every_byte_that_was_there_stays_and_new_lines_end_as_the_others(
    file: Path, found: Callable[..., Searched], newline: str
) -> None:
    before = CAMPAIGN.replace("\n", newline).encode()
    file.write_bytes(before)
    promote(file, found())
    after = file.read_bytes()
    start = after.index(b"  focal-best:")
    added = len(after) - len(before)
    assert after[:start] + after[start + added :] == before
    assert after.count(b"\n") == after.count(newline.encode())


def test_a_file_behind_a_link_is_written_where_it_lies_and_keeps_its_mode(
    file: Path, found: Callable[..., Searched], tmp_path: Path
) -> None:
    file.chmod(0o640)
    link = tmp_path / "link.yaml"
    link.symlink_to(file.name)
    promote(link, found())
    assert link.is_symlink()
    assert "  focal-best:\n" in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o640


def test_a_value_of_the_stack_is_no_change_even_where_its_condition_fails_in_the_stack(
    file: Path, found: Callable[..., Searched]
) -> None:
    """A knob that the default point leaves out may be at the stack's own value in the best one."""
    searched = structs.replace(found(BEST | {"model.num_heads": 8}), default={"loss.gamma": 2.0})
    promote(file, searched)
    assert load_campaign(file)[0].experiments["focal-best"].change == {"loss.gamma": 2.75}


def test_where_the_stack_itself_is_best_there_is_nothing_to_promote(file: Path, found: Callable[..., Searched]) -> None:
    with pytest.raises(UsageError, match="the best point of search `focal` is E5 itself"):
        promote(file, found({"loss.gamma": 2.0, "loss.label_smoothing": 0.0}))


def test_without_a_finished_trial_there_is_nothing_to_promote(file: Path, found: Callable[..., Searched]) -> None:
    with pytest.raises(UsageError, match="`focal` has no finished trial yet; `knockout search focal`"):
        promote(file, found(None))


def test_a_search_without_a_file_of_trials_has_none_and_no_file_is_made(tmp_path: Path) -> None:
    storage = tmp_path / "optuna.db"
    with pytest.raises(UsageError, match="`focal` has no finished trial yet; `knockout search focal`"):
        require_begun("focal", storage)
    assert list(tmp_path.iterdir()) == []
    storage.touch()
    require_begun("focal", storage)
    require_begun("focal", None)


def test_the_command_makes_no_trials_where_there_are_none(lab: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["promote", "focal", "-f", str(lab.study.file)]) == 2
    assert "`focal` has no finished trial yet" in capsys.readouterr().err
    assert not (lab.study.paths.results / "optuna.db").exists()


@pytest.fixture
def won(lab: Any) -> Callable[[], str]:
    """Promotes the only trial of a search that has scored, and returns its run."""

    def winning() -> str:
        trials = lab.open()
        trials.study.enqueue_trial({"loss.gamma": 2.71828, "loss.label_smoothing": 0.0123457})
        trials.ask()
        (run,) = trials.all()[0].user_attrs["runs"]
        lab.end(run, 0.6)
        trials.settle()
        promote(lab.study.file, trials.read())
        return str(run)

    return winning


def test_a_promoted_point_is_the_run_of_its_trial_and_only_other_seeds_are_trained(
    lab: Any, won: Callable[[], str]
) -> None:
    """Law 2: a finished run is never trained again."""
    run = won()
    assert run.startswith("focal-t000-s0-")
    added = lab.study.add("focal-best", seeds=(0, 1))
    assert run in added
    assert [name.rpartition("-")[0] for name in added if "focal-best" in name] == ["focal-best-s1"]
    assert lab.state_of(run) is RunState.DONE


def test_fresh_seeds_train_nothing_at_the_seed_of_the_search(lab: Any, won: Callable[[], str]) -> None:
    run = won()
    added = lab.study.add("focal-best", seeds=(1, 2))
    assert run not in added
    assert [name.rpartition("-")[0] for name in added if "focal-best" in name] == ["focal-best-s1", "focal-best-s2"]


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("a: 1\nexperiments:\n    X:\n      b: |\n        some\n        text\nc: 2\n", "        text\n    Q:\n"),
        ("experiments:\n  X: {a: 1}", "  X: {a: 1}\n  Q:\n"),
        ("experiments:\n  X: {a: 1,\n      b: 2}\n# end\n", "      b: 2}\n  Q:\n"),
        ("a: 1\n", "a: 1\nexperiments:\n  Q:\n"),
        ("a: 1\r\nexperiments:\r\n  X: |\r\n    b\r\nc: 2", "    b\r\n  Q:\r\n    title: q\r\nc: 2"),
    ],
)
def test_experiments_end_where_their_last_line_is(text: str, after: str) -> None:
    assert after in insert_experiment(text, "Q", {"title": "q"}, Path("x.yaml"))


def test_experiments_within_braces_are_refused() -> None:
    with pytest.raises(SpecError, match=r"x.yaml: `experiments` is not written as indented lines"):
        insert_experiment("experiments: {X: {a: 1}}\n", "Q", {"title": "q"}, Path("x.yaml"))
