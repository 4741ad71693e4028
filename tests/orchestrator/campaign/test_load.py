"""What a campaign file may say, and how a mistake in it is told."""

from pathlib import Path

import pytest

from orchestrator.campaign.configs import look_up
from orchestrator.campaign.load import at_profile, load_campaign, seed_list
from orchestrator.errors import SpecError
from tests.orchestrator.campaign.conftest import LITTLE, Check, changed, resolve

ROOT = Path(__file__).parents[3]


def test_the_little_campaign_is_accepted(check: Check) -> None:
    check(LITTLE)


@pytest.mark.parametrize("profile", ["quick", "paper", "gpu", "rtl433"])
def test_the_source_study_is_accepted_at_its_profiles(profile: str) -> None:
    spec, source = load_campaign(ROOT / "experiments.yaml")
    campaign = at_profile(spec, source, profile)
    with source.locating():
        arms = resolve(campaign).arms
    assert arms["K1"].same_as == "E5"
    assert arms["I1"].stack == ("E5", "H2", "I1")


def test_paper_is_exactly_the_sources_setting() -> None:
    spec, source = load_campaign(ROOT / "experiments.yaml")
    campaign = at_profile(spec, source, "paper")
    job = resolve(campaign).arms["baseline"].params
    optim = job["optim"]
    assert (job["model"]["dim"], job["model"]["depth"], job["data"]["samples"]) == (512, 4, 8192)
    assert (optim["epochs"], optim["schedule"]["patience"], optim["early_stopping"]) == (600, 20, 100)
    assert (optim["learning_rate"], optim["batch_size"], optim["clip_norm"]) == (3e-4, 128, 1.0)
    assert (job["runtime"]["precision"], job["runtime"]["compile"], campaign.seeds) == ("fp16", True, (1337,))
    assert campaign.guards.epoch_seconds == 10.0


def test_profile_gpu_is_the_papers_network_batch_and_guards_on_emulated_bursts_of_its_length() -> None:
    spec, source = load_campaign(ROOT / "experiments.yaml")
    paper, gpu = (at_profile(spec, source, profile) for profile in ("paper", "gpu"))
    theirs, ours = (resolve(campaign).arms["baseline"].params for campaign in (paper, gpu))
    assert [ours[name] for name in ("model", "loss", "augment")] == [
        theirs[name] for name in ("model", "loss", "augment")
    ]
    for knob in ("data.samples", "optim.batch_size", "runtime.precision", "runtime.compile"):
        assert look_up(ours, knob) == look_up(theirs, knob)
    assert (gpu.guards, gpu.slots_per_gpu, gpu.default_experiments) == (paper.guards, 1, ("E5", "H2", "roll"))
    captures = ours["data"]["captures"]
    packets = {name: capture["packets"] for name, capture in theirs["data"]["captures"].items()}
    assert {name: capture["packets"] for name, capture in captures.items()} == packets
    ranges = [(captures[name]["devices"], captures[name]["packets"]) for name in ours["data"]["train"]]
    assert sum((devices[1] - devices[0]) * (rows[1] - rows[0]) for devices, rows in ranges) == 7000
    folders = {Path(capture["path"]).parent for capture in captures.values()}
    quick = {Path(each["path"]).parent for each in at_profile(spec, source, "quick").data["captures"].values()}
    assert folders.isdisjoint(quick)


SHARED = """\
slots_per_gpu: 2
guards: {relative_to_reference: 2.0}
"""


def test_a_profile_says_how_many_jobs_a_gpu_has_or_takes_the_files_number(tmp_path: Path) -> None:
    path = tmp_path / "experiments.yaml"
    path.write_text(f"{LITTLE}{SHARED}".replace("  quick:\n", "  alone: {slots_per_gpu: 1}\n  quick:\n"))
    spec, source = load_campaign(path)
    assert [at_profile(spec, source, profile).slots_per_gpu for profile in ("quick", "alone")] == [2, 1]


@pytest.mark.parametrize("value", ["0", "9", "1.5", "two"])
def test_a_number_of_slots_that_no_gpu_can_have_is_refused(check: Check, value: str) -> None:
    with pytest.raises(SpecError, match=r"experiments\.yaml:26: slots_per_gpu: Expected `int`"):
        check(f"{LITTLE}slots_per_gpu: {value}\n")


@pytest.mark.parametrize(
    ("old", "new", "where"),
    [
        ("seeds: 2\n", "seeds: 2\nslots_per_gpu: 2\n", ":6: slots_per_gpu"),
        ("quick:\n", "quick:\n    slots_per_gpu: 2\n", ":16: profiles.quick.slots_per_gpu"),
    ],
)
def test_two_jobs_on_a_gpu_are_refused_if_a_limit_by_the_clock_is_on(
    check: Check, old: str, new: str, where: str
) -> None:
    with pytest.raises(SpecError) as refused:
        check(changed(old, new) + "guards: {epoch_seconds: 10.0}\n")
    assert str(refused.value).partition("experiments.yaml")[2] == (
        f"{where}: 2 is refused: jobs on one GPU slow each other, and `epoch_seconds` is a limit by the clock, so a "
        "run would be stopped for its neighbour; say `slots_per_gpu: 1`, or `epoch_seconds: null` and "
        "`relative_to_reference: 2.0` in `guards`"
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "model: {dim: 16}",
            "model: {dmi: 16}",
            r":19: baseline\.model\.dmi: there is no `dmi` here; did you mean `dim`",
        ),
        ("model: {dim: 16}", "model: {dim: 4}", r":19: baseline\.model\.dim: Expected `int` >= 8, found `4`"),
        ("{learning_rate: 1e-3}", "{learning_rate: fast}", r":17: profiles\.quick\.baseline\.optim\.learning_rate"),
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
            "title: Focal",
            "title: Focal\n    on: E4",
            r":23: .*`E5` stands on `E4`, which is no experiment.*there are baseline, E5",
        ),
        ("title: Focal", "title: Focal\n    on: E5", r":23: .*in a circle: E5 on E5"),
        (
            "  E5:",
            "  baseline:",
            r":21: experiments\.baseline: `baseline` is the experiment with no change, .* another",
        ),
        ("  E5:", f"  {'E' * 41}:", r":21: experiments\.E+: a name has at most 40 letters, found 41: `E+`"),
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
            r":16: profiles\.quick\.default_experiments\[0\]: there is no experiment `E6`; .*E5",
        ),
    ],
)
def test_a_mistake_is_told_with_its_line(check: Check, old: str, new: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        check(changed(old, new))


GENERATING = """\
  H2: {title: Heads, group: size, hypothesis: h, on: E5, change: {model.num_heads: 4}}
  K1: {title: Back, group: size, hypothesis: h, on: H2, change: {model.num_heads: 8}}
  G3: {title: Gamma, group: loss, hypothesis: h, on: E5, change: {loss.gamma: 3.0}}
  S1: {title: Smooth, group: loss, hypothesis: h, on: E5, change: {loss.label_smoothing: 0.1}}
  cosine: {title: Cosine, group: optimisation, hypothesis: h, change: {optim.schedule.kind: cosine}}
  patient: {title: Patience, group: optimisation, hypothesis: h, change: {optim.schedule.patience: 5}}
  drop: {title: Drop, group: loss, hypothesis: h, change: {optim.schedule: {kind: cosine, warmup_epochs: 3}}}
  F0: {title: Focal alone, group: loss, hypothesis: h, change: {loss.kind: focal}}
  G1: {title: Gamma, group: loss, hypothesis: h, on: F0, change: {loss.gamma: 3.0}}
  A1: {title: Code, group: code, hypothesis: h, patch: a.diff}
  A2: {title: Code, group: code, hypothesis: h, ref: other}
  chance: {title: Chance, group: control, hypothesis: h, control: shuffled_labels}
  a-name-so-long-that-it-fills-thirty: {title: t, group: long, hypothesis: h, change: {model.depth: 2}}
"""


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("interactions: [[E5, H3]]", r":39: interactions\[0\]: there is no experiment `H3`; there are E5, H2, K1"),
        ("interactions:\n  - [E5, H2]\n  - [H2, E5]", r":41: interactions\[1\]: the pair of `H2` and `E5` is given tw"),
        ("interactions: [[H2, H2]]", r":39: .*`H2` is paired with itself; a pair is of two experiments"),
        ("interactions: [[H2, K1]]", r":39: .*`H2` and `K1` both change `model\.num_heads`, so no arm can have the ch"),
        ("interactions: [[cosine, drop]]", r":39: .*`cosine` and `drop` both change `optim\.schedule\.kind`"),
        (
            "interactions: [[patient, cosine]]",
            r":39: .*`patient-and-cosine` cannot be made: optim\.schedule\.patience: `patience` has no effect here: on",
        ),
        (
            "interactions: [[A1, A2]]",
            r":39: .*`A1` and `A2` exclude each other: a `ref` takes the whole code, and both",
        ),
        (
            "interactions: [[chance, H2]]",
            r":39: .*`chance` is a control, so there is nothing to learn from it with oth",
        ),
        (
            "interactions: [[H2, a-name-so-long-that-it-fills-thirty]]",
            r":39: .*`H2-and-a-name-so-long-that-it-fills-thirty`, which is longer than 40 letters; give its",
        ),
        ("ablate: [E5, H3]", r":39: ablate\[1\]: there is no experiment `H3`; there are E5, H2, K1"),
        (
            "ablate:\n  - E5\n  - tag:lost",
            r":41: ablate\[1\]: no experiment is of the group `lost`; did you mean `loss`",
        ),
        ("ablate: [E5, [H2, E5]]", r":39: ablate\[1\]: `E5` is given twice, also in part `E5`; name it once"),
        (
            "ablate: [H2, K1]",
            r":39: ablate\[1\]: `H2` and `K1` exclude each other: `model\.num_heads` is 4 in one and 8 in the other",
        ),
        ("ablate: [A1, A2]", r":39: .*`A1` and `A2` exclude each other: a `ref` takes the whole code"),
        ("ablate: ['tag:control']", r":39: .*`chance` is a control"),
        (
            "ablate: [K1]",
            r":39: ablate: `full` cannot be made: model\.num_heads: `model\.num_heads: 8` changes nothing: the stack",
        ),
        (
            "ablate: [cosine, patient]",
            r":39: ablate: `full` cannot be made: optim\.schedule\.patience: `patience` has no effect here",
        ),
        (
            "ablate: [patient, drop]",
            r":39: ablate: `full` cannot be made: another change takes back what `patient` makes of `optim\.sch",
        ),
        (
            "ablate:\n  - F0\n  - G1",
            r":40: ablate\[0\]: `full-without-F0` cannot be made: loss\.gamma: `gamma` has no effect here: only kind "
            "`focal` has it; take experiments that need each other as one part",
        ),
    ],
)
def test_a_mistake_in_what_is_to_be_generated_is_told_with_its_line(check: Check, lines: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        check(f"{LITTLE}{GENERATING}{lines}\n")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seeds: 2", "seeds: [0, 10000]", r":29: aa: A/A arms train at seeds 10000 apart, .* found 0 and 10000"),
        ("  E5:", "  AA1:", r":29: aa: this makes an experiment `AA1`, and the file has an experiment of that name"),
        (
            "group: optimisation",
            "group: ablation",
            r":23: experiments\.E5\.group: the group `ablation` is kept for arms that the file asks for by",
        ),
        (
            "title: Focal",
            "title: Focal\n    on: chance",
            r":23: experiments\.E5\.on: `chance` is a control; no experiment stands on it",
        ),
        (
            "title: Focal",
            "title: Focal\n    control: shuffled_labels\n    on: meaningless",
            r":27: experiments\.E5\.change\.data\.shuffled_labels: `data\.shuffled_labels: True` changes nothing",
        ),
    ],
)
def test_a_mistake_about_controls_is_told_with_its_line(check: Check, old: str, new: str, message: str) -> None:
    others = """\
  chance: {title: Chance, group: control, hypothesis: h, control: shuffled_labels}
  meaningless: {title: Chance, group: control, hypothesis: h, change: {data.shuffled_labels: true}}

aa: 1
"""
    with pytest.raises(SpecError, match=message):
        check(changed(old, new) + others)


def test_a_profile_that_names_the_group_of_what_is_not_asked_for_is_refused(check: Check) -> None:
    text = changed("quick:\n    baseline", "quick:\n    default_experiments: [E5, 'tag:aa']\n    baseline")
    with pytest.raises(
        SpecError, match=r":16: .*default_experiments\[1\]: there is no experiment `tag:aa`; there are E5"
    ):
        check(text)
    check(f"{text}aa: 1\n")


def test_an_unknown_profile_is_told_with_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "experiments.yaml"
    path.write_text(LITTLE)
    spec, source = load_campaign(path)
    with pytest.raises(SpecError, match=r"there is no profile `quik`; did you mean `quick`"):
        at_profile(spec, source, "quik")


def test_an_experiment_with_the_name_of_a_trial_is_told_with_its_line(check: Check) -> None:
    search = "searches: {focal: {title: t, on: focal-t1, space: {loss.gamma: {kind: float, low: 1.0, high: 2.0}}}}\n"
    with pytest.raises(SpecError, match=r":21: .*`focal-t1` is what a trial of search `focal` is called; choose"):
        check(changed("  E5:", "  focal-t1:") + search)


def test_what_is_to_be_in_a_file_is_checked_as_that_file(tmp_path: Path) -> None:
    path = tmp_path / "experiments.yaml"
    with pytest.raises(SpecError, match=rf"{path}:4: margim: there is no `margim`"):
        load_campaign(path, changed("margin: 1.0", "margim: 1.0"))
    assert not path.exists()


def test_two_experiments_in_a_circle_are_told(check: Check) -> None:
    first = "  E6:\n    {title: a, group: b, hypothesis: c, on: E7, change: {model.depth: 2}}\n"
    second = "  E7:\n    {title: a, group: b, hypothesis: c, on: E6, change: {model.depth: 3}}\n"
    with pytest.raises(SpecError, match="in a circle: E6 on E7 on E6"):
        check(LITTLE + first + second)


def test_seeds_are_a_count_or_a_list() -> None:
    assert seed_list(3) == (0, 1, 2)
    assert seed_list((1337,)) == (1337,)


def test_a_profile_may_have_a_task_of_its_own() -> None:
    spec, source = load_campaign(ROOT / "experiments.yaml")
    assert "433 MHz" in at_profile(spec, source, "rtl433").question
    assert at_profile(spec, source, "quick").question == spec.question


def test_more_runs_than_any_campaign_has_are_refused(check: Check) -> None:
    experiments = "".join(
        f"  x{n}: {{title: a, group: b, hypothesis: c, change: {{loss.kind: focal}}}}\n" for n in range(9)
    )
    text = changed("seeds: 2", "seeds: 10000") + experiments
    with pytest.raises(
        SpecError, match=r"yaml:5: seeds: 11 experiments at 10,000 seeds are 110,000 runs, and a campaign"
    ):
        check(text)
