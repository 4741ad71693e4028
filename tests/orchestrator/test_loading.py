"""What a campaign file may say, and how a mistake in it is told."""

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.errors import SpecError
from orchestrator.loading import at_profile, load_campaign, seed_list
from orchestrator.plan import resolve_arms

ROOT = Path(__file__).parents[2]

CAMPAIGN = """\
campaign: little
title: A little campaign
task: Tell radios apart.
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
profiles:
  quick:
    baseline:
      optim: {learning_rate: 1e-3}
baseline:
  model: {dim: 16}
experiments:
  E5:
    title: Focal
    group: optimisation
    hypothesis: Hard pairs.
    change: {loss.kind: focal, loss.gamma: 2.0}
"""
Check = Callable[[str], None]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    def load_and_resolve(text: str) -> None:
        path = tmp_path / "experiments.yaml"
        path.write_text(text)
        spec, source = load_campaign(path)
        campaign = at_profile(spec, source, None)
        with source.locating():
            resolve_arms(campaign)

    return load_and_resolve


def changed(old: str, new: str) -> str:
    assert CAMPAIGN.count(old) == 1
    return CAMPAIGN.replace(old, new)


def test_the_little_campaign_is_accepted(check: Check) -> None:
    check(CAMPAIGN)


@pytest.mark.parametrize("profile", ["quick", "paper"])
def test_the_source_study_is_accepted_at_its_profiles(profile: str) -> None:
    spec, source = load_campaign(ROOT / "experiments.yaml")
    campaign = at_profile(spec, source, profile)
    with source.locating():
        arms = resolve_arms(campaign)
    assert arms["K1"].same_as == "E5"
    assert arms["I1"].stack == ("E5", "H2", "I1")


def test_paper_is_exactly_the_sources_setting() -> None:
    spec, source = load_campaign(ROOT / "experiments.yaml")
    campaign = at_profile(spec, source, "paper")
    job = resolve_arms(campaign)["baseline"].config
    assert (job.model.dim, job.model.depth, job.data.samples) == (512, 4, 8192)
    assert (job.optim.epochs, job.optim.schedule.patience, job.optim.early_stopping) == (600, 20, 100)
    assert (job.optim.learning_rate, job.optim.batch_size, job.optim.clip_norm) == (3e-4, 128, 1.0)
    assert (job.runtime.precision, job.runtime.compile, campaign.seeds) == ("fp16", True, (1337,))
    assert campaign.guards.epoch_seconds == 10.0


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "margin: 1.0",
            "margim: 1.0",
            r"experiments\.yaml:4: margim: there is no `margim` here; did you mean `margin`",
        ),
        ("seeds: 2", "seeds: 2\nseeds: 3", r":6: `seeds` is given twice, first in line 5; keep one"),
        ("margin: 1.0", "margin: '1e-3'", r":4: margin: Expected `float`, got `str`, found `'1e-3'`"),
        ("margin: 1.0", "margin: 1e999", r":4: `1e999` reads as the number inf; quote it"),
        ("task: Tell radios apart.", "task: 2026-01-01", r":3: `2026-01-01` reads as a date; quote it"),
        (
            "model: {dim: 16}",
            "model: {dmi: 16}",
            r":19: baseline\.model\.dmi: there is no `dmi` here; did you mean `dim`",
        ),
        ("model: {dim: 16}", "model: {dim: 4}", r":19: baseline\.model\.dim: Expected `int` >= 8, found `4`"),
        ("{learning_rate: 1e-3}", "{learning_rate: fast}", r":17: profiles\.quick\.baseline\.optim\.learning_rate"),
        ("quick:\n    baseline", "quick:\n    basline", r":16: profiles\.quick\.basline.*did you mean `baseline`"),
        (
            "loss.kind: focal",
            "loss.kind: focl",
            r":25: .*loss\.kind: Invalid value 'focl'; valid are cross_entropy, focal",
        ),
        ("loss.gamma: 2.0", "loss.gama: 2.0", r":25: .*there is no knob `loss\.gama`; did you mean `loss\.gamma`"),
        (
            "loss.kind: focal, ",
            "",
            r":25: experiments\.E5\.change\.loss\.gamma: `gamma` has no effect here: only kind `focal` has it",
        ),
        ("{loss.kind: focal, loss.gamma: 2.0}", "{model.dim: 16}", r":25: .*`model\.dim: 16` changes nothing"),
        ("{loss.kind: focal, loss.gamma: 2.0}", "{seed: 7}", r":25: .*`seed` is not for an experiment to change"),
        (
            "{loss.kind: focal, loss.gamma: 2.0}",
            "{}",
            r":21: experiments\.E5: an experiment changes something",
        ),
        (
            "title: Focal",
            "title: Focal\n    on: E4",
            r":23: .*`E5` stands on `E4`, which is no experiment.*there are baseline, E5",
        ),
        ("title: Focal", "title: Focal\n    on: E5", r":23: .*in a circle: E5 on E5"),
        ("  E5:", "  'E 5':", r":21: .*a name is letters and digits joined by .*, found `E 5`"),
        (
            "report: [D]",
            "report: [A]",
            r"data: `report: A` and `train: A` share bursts; what is used to report must be un",
        ),
        ("packets: [4, 6]", "packets: [3, 6]", r"data: `validate: V` and `train: A` share bursts"),
        ("report: [D]", "report: [E]", r"data: `report` names the capture `E`; there are A, V, D"),
        ("packets: [0, 4]}\n  train", "packets: [4, 4]}\n  train", r"packets \[4, 4\] is empty"),
        ("title: Focal", "title: Focal\n    change_in: {slow: {model.dim: 8}}", r":23: .*there is no profile `slow`"),
        (
            "quick:\n    baseline",
            "quick:\n    default_experiments: [E6]\n    baseline",
            r":16: profiles\.quick\.default_experiments: there is no experiment `E6`; .*E5",
        ),
        ("margin: 1.0", "margin: [1", r"this is not YAML"),
        ("task: Tell radios apart.", "task: !!python/object:os.system x", r":3: cannot read|:3: .*reads as"),
    ],
)
def test_a_mistake_is_told_with_its_line(check: Check, old: str, new: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        check(changed(old, new))


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"nowhere\.yaml: there is no such file; name the campaign with -f FILE"):
        load_campaign(tmp_path / "nowhere.yaml")


@pytest.mark.parametrize("text", ["", "- 1", "just a word"])
def test_a_file_that_is_no_mapping_is_told(check: Check, text: str) -> None:
    with pytest.raises(SpecError, match="a campaign is a mapping"):
        check(text)


def test_an_unknown_profile_is_told_with_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "experiments.yaml"
    path.write_text(CAMPAIGN)
    spec, source = load_campaign(path)
    with pytest.raises(SpecError, match=r"there is no profile `quik`; did you mean `quick`"):
        at_profile(spec, source, "quik")


def test_nested_aliases_cannot_expand_without_end(check: Check) -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
    )
    with pytest.raises(SpecError, match="more than 100000 values"):
        check(bomb)


def test_two_experiments_in_a_circle_are_told(check: Check) -> None:
    first = "  E6:\n    {title: a, group: b, hypothesis: c, on: E7, change: {model.depth: 2}}\n"
    second = "  E7:\n    {title: a, group: b, hypothesis: c, on: E6, change: {model.depth: 3}}\n"
    with pytest.raises(SpecError, match="in a circle: E6 on E7 on E6"):
        check(CAMPAIGN + first + second)


def test_a_number_with_an_exponent_is_a_number(tmp_path: Path) -> None:
    path = tmp_path / "experiments.yaml"
    path.write_text(CAMPAIGN)
    spec, source = load_campaign(path)
    assert at_profile(spec, source, None).baseline.optim == {"learning_rate": 1e-3}


def test_seeds_are_a_count_or_a_list() -> None:
    assert seed_list(3) == (0, 1, 2)
    assert seed_list((1337,)) == (1337,)


def test_a_profile_may_have_a_task_of_its_own() -> None:
    spec, source = load_campaign(ROOT / "experiments.yaml")
    assert "433 MHz" in at_profile(spec, source, "rtl433").task
    assert at_profile(spec, source, "quick").task == spec.task
