"""What a campaign file may leave out, and what stands in its place."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.campaign.load import at_profile, load_campaign
from orchestrator.campaign.spec import Campaign
from orchestrator.errors import SpecError
from tests.orchestrator.campaign.conftest import resolve

SHORT = """\
campaign: short
margin: 1.0
seeds: 2
data:
  captures:
    A: {path: a.h5, devices: [0, 2], packets: [0, 4]}
    V: {path: a.h5, devices: [0, 2], packets: [4, 6]}
    D: {path: d.h5, devices: [0, 2], packets: [0, 4]}
  train: [A]
  validate: [V]
  report: [D]
experiments:
  wide:
    change: {model.dim: 768}
"""
"""An experiment of two lines; no title, question, profile, group or hypothesis."""
Load = Callable[[str], Campaign]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    def load(text: str) -> Campaign:
        path = tmp_path / "experiments.yaml"
        path.write_text(text)
        return at_profile(*load_campaign(path), None)

    return load


def test_what_is_left_out_has_a_default(load: Load) -> None:
    campaign = load(SHORT)
    assert (campaign.title, campaign.question, campaign.profile) == ("short", "", "default")
    arm = resolve(campaign).arms["wide"]
    assert (arm.title, arm.group, arm.hypothesis) == ("model.dim: 768", "changes", "")


@pytest.mark.parametrize(
    ("change", "title"),
    [
        ("change: {model.dim: 768, model.depth: 2}", "model.dim: 768, model.depth: 2"),
        ("patch: wide.diff", "patch wide.diff"),
        ("control: shuffled_labels", "data.shuffled_labels: true"),
    ],
)
def test_an_experiment_without_a_title_is_called_by_its_change(load: Load, change: str, title: str) -> None:
    arm = resolve(load(SHORT.replace("change: {model.dim: 768}", change))).arms["wide"]
    assert arm.title == title


@pytest.mark.parametrize(
    ("profiles", "usual"),
    [
        ("profiles: {small: {}, quick: {}}", "quick"),
        ("profiles: {small: {}, large: {}}", "small"),
        ("profiles: {small: {}, quick: {}}\ndefault_profile: small", "small"),
    ],
)
def test_a_command_that_names_no_profile_has_the_usual_one(load: Load, profiles: str, usual: str) -> None:
    assert load(f"{SHORT}{profiles}\n").profile == usual


def test_a_text_under_task_is_the_question(load: Load) -> None:
    profiles = "profiles: {quick: {task: Smaller.}, paper: {}}\n"
    assert load(f"task: Tell radios apart.\n{SHORT}").question == "Tell radios apart."
    assert load(f"task: Tell radios apart.\n{SHORT}{profiles}").question == "Smaller."


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            f"task: One.\nquestion: Another.\n{SHORT}",
            r":1: task: a text under `task` is the `question`, and there is a `question` too; keep one of them",
        ),
        (f"task: 2026-01-01\n{SHORT}", r":1: .*2026-01-01"),
        (f"task: [a]\n{SHORT}", r":1: .*task: Expected keys with values, got a list"),
        (f"{SHORT}profiles: {{}}\n", r":15: profiles"),
    ],
)
def test_a_wrong_question_or_an_empty_list_of_profiles_is_refused(load: Load, text: str, sentence: str) -> None:
    with pytest.raises(SpecError, match=sentence) as caught:
        load(text)
    assert re.search(r"experiments\.yaml:\d+", str(caught.value))
