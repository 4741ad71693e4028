"""What the types of a campaign file refuse, with the line of the mistake."""

from pathlib import Path

import pytest

from orchestrator.campaign.selection import Request, open_campaign, profiles_without_gpu
from orchestrator.campaign.spec import StagingSpec
from orchestrator.errors import SpecError
from tests.orchestrator.campaign.conftest import LITTLE, Check, changed


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("seeds: 2", "seeds: 100000000", r"seeds: Expected `int` <= 10000"),
        ("seeds: 2", "seeds: [4294967296]", r"seeds\[0\]: Expected `int` <= 4294967295"),
        ("seeds: 2", "seeds: 2\nstaging: {max_seeds: 1000000000}", "staging.max_seeds: Expected `int` <= 10000"),
        ("seeds: 2", "seeds: 2\nstaging: {confirm_seeds: 1000000000}", "staging.confirm_seeds: Expected"),
        ("seeds: 2", "seeds: 2\naa: 1000000000", "aa: Expected `int` <= 100"),
        ("optim: {learning_rate: 1e-3}", "optim: {epochs: 1000000000}", "Expected `int` <= 1000000"),
        ("path: d.h5, devices: [0, 2]", "path: d.h5, devices: [0, 1000000000]", "ends beyond 10,000,000"),
    ],
)
def test_counts_without_measure_are_refused(check: Check, old: str, new: str, words: str) -> None:
    with pytest.raises(SpecError, match=rf"experiments\.yaml:\d+: .*({words})"):
        check(changed(old, new))


def test_more_seeds_at_most_than_at_least_are_wanted(check: Check) -> None:
    with pytest.raises(SpecError, match=r":6: staging: max_seeds 3 is fewer than the 4 that every experiment is given"):
        check(changed("seeds: 2", "seeds: 2\nstaging: {screen_seeds: 4, max_seeds: 3}"))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "margin: 1.0",
            "margim: 1.0",
            r"experiments\.yaml:4: margim: there is no `margim` here; did you mean `margin`",
        ),
        ("margin: 1.0", "margin: '1e-3'", r":4: margin: Expected `float | null`, got `str`, found `'1e-3'`"),
        ("quick:\n    baseline", "quick:\n    basline", r":16: profiles\.quick\.basline.*did you mean `baseline`"),
        (
            "{loss.kind: focal, loss.gamma: 2.0}",
            "{}",
            r":21: experiments\.E5: an experiment changes something",
        ),
        (
            "    change: {loss.kind: focal, loss.gamma: 2.0}",
            "    control: shufled",
            r":25: experiments\.E5\.control: Invalid .*'shufled'; valid are shuffled_labels",
        ),
        (
            "title: Focal",
            "title: Focal\n    patch: a.diff\n    ref: other",
            r":21: experiments\.E5: an experiment's code comes from a `patch` or from a `ref`, not from both",
        ),
    ],
)
def test_a_field_that_cannot_be_so_is_told_with_its_line(check: Check, old: str, new: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        check(changed(old, new))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("interactions: [[E5, H2, K1]]", r":26: interactions\[0\]: Expected `array` of length 2, got 3, found `\['E5'"),
        ("interactions: [[E5, 2]]", r":26: interactions\[0\]\[1\]: Expected `str`, got `int`, found `2`"),
        ("ablate: [[]]", r":26: ablate\[0\]: this must not be empty"),
        ("aa: -1", r":26: aa: Expected `int` >= 0, found `-1`"),
    ],
)
def test_what_is_to_be_generated_has_its_form(check: Check, lines: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        check(f"{LITTLE}{lines}\n")


@pytest.mark.parametrize(
    ("screen", "most", "looks"), [(2, 10, (2, 3, 5, 8, 10)), (2, 2, (2,)), (4, 7, (4, 6, 7)), (3, 4, (3, 4))]
)
def test_each_look_has_half_as_many_seeds_more_up_to_the_most(screen: int, most: int, looks: tuple[int, ...]) -> None:
    assert StagingSpec(screen_seeds=screen, max_seeds=most).looks == looks


def test_the_seeds_of_the_confirmation_follow_those_of_every_look() -> None:
    staging = StagingSpec(screen_seeds=2, max_seeds=4, confirm_seeds=3)
    assert tuple(staging.fresh_seeds) == (4, 5, 6)
    assert staging.all_seeds((1, 9)) == (0, 1, 2, 3, 4, 5, 6, 9)


def test_a_profile_needs_a_gpu_if_it_trains_in_fp16_by_its_own_word_the_files_or_by_default(tmp_path: Path) -> None:
    path = tmp_path / "experiments.yaml"
    others = "  half: {baseline: {runtime: {precision: bf16}}}\n  full: {baseline: {runtime: {precision: fp32}}}\n"
    text = LITTLE.replace("profiles:\n", f"profiles:\n{others}")
    path.write_text(text)
    assert profiles_without_gpu(open_campaign(Request(file=path))) == ("half", "full")
    path.write_text(text.replace("model: {dim: 16}", "model: {dim: 16}\n  runtime: {precision: fp32}"))
    assert profiles_without_gpu(open_campaign(Request(file=path))) == ("half", "full", "quick")
