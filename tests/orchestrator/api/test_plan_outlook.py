"""`knockout plan` says what the campaign finds, by the runs that are done, or how to know it."""

import json
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from orchestrator.api.plan import (
    Budget,
    Cost,
    Preview,
    count_trainings,
    describe_budget,
    describe_cost,
    find_seeds,
    is_judged_alike,
    preview,
)
from orchestrator.campaign.selection import Request, open_campaign
from orchestrator.cli.main import main
from orchestrator.errors import RunError
from tests.builders.results import write_done

UNKNOWN = (
    "nobody knows yet how much runs differ by their seed alone, so nobody can say what this campaign finds: "
    "`knockout run baseline --profile quick --seeds 4` tells it (4 trainings)"
)


@pytest.fixture(autouse=True)
def a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this machine have a GPU: the study trains in fp16."""
    monkeypatch.setattr("orchestrator.api.plan.find_gpu_problem", lambda profile, others: None)


def look(study: Any, budget: Budget | None = None, **request: Any) -> Preview:
    return preview(open_campaign(Request(file=study.file, **request)), budget)


def train(study: Any, *experiments: str, seeds: tuple[int, ...] = (0, 1)) -> None:
    for place, name in enumerate(experiments):
        for seed in seeds:
            finish(study, name, seed, 4 + (place + 2 * seed) % 4)


def finish(study: Any, experiment: str, seed: int, correct: int) -> None:
    write_done(study.paths.run(study.start(experiment, seed)), correct)


def build_cost(run_seconds: float | None = 60.0) -> Cost:
    return Cost(num_runs=4, num_slots=2, run_seconds=run_seconds, free_bytes=10**9)


def test_a_new_campaign_says_which_pilot_tells_what_it_finds(study: Any) -> None:
    found = look(study)
    assert (found.outlook, found.outlook_notes) == (None, (UNKNOWN,))


def test_an_aa_arm_is_the_pilot_of_a_campaign_that_has_one(study: Any) -> None:
    study.edit("seeds: 2", "seeds: 2\naa: 1")
    [sentence] = look(study).outlook_notes
    assert "`knockout run AA1 --profile quick --seeds 2` tells it (4 trainings)" in sentence


def test_what_compares_nothing_finds_nothing(study: Any) -> None:
    found = look(study, experiments=("baseline",))
    assert (found.outlook, found.outlook_notes) == (None, ())


def test_one_run_of_each_tells_nothing_yet(study: Any) -> None:
    train(study, "baseline", "E5", seeds=(0,))
    assert look(study).outlook_notes == (UNKNOWN,)


def test_runs_of_the_baseline_alone_tell_it_also_at_seeds_that_are_not_asked_for(study: Any) -> None:
    for seed, correct in enumerate((4, 6, 5, 7)):
        finish(study, "baseline", seed, correct)
    found = look(study)
    assert found.outlook is not None
    # Accuracies of 40, 60, 50 and 70 % have a variance of 500/3 squared points.
    assert found.outlook.spread_points == pytest.approx((500 / 3) ** 0.5)
    assert found.outlook.num_compared == 2
    assert found.outlook.now is not None
    assert found.outlook.now.design.seeds == 2
    assert found.outlook_notes[1].startswith("this rests on 4 finished runs of 1 configuration: from seed to seed")


def test_a_person_and_a_program_read_it(
    study: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    train(study, "baseline", "E5", "H2")
    monkeypatch.chdir(study.paths.root)
    assert main(["plan", "--budget", "40"]) == 0
    said = capsys.readouterr().out
    assert "0 runs to train\nwith 2 seeds and 2 comparisons this campaign finds a difference of " in said
    assert "\nwithin 40 trainings: " in said
    assert main(["plan", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["outlook"]["num_compared"] == 2
    assert told["outlook"]["now"]["design"] == {"seeds": 2, "reference_seeds": 2, "items": 1}
    assert told["outlook"]["now"]["trainings"] == 6
    assert len(told["outlook_notes"]) == 3


def test_more_seeds_than_there_are_runs_can_be_asked_about(study: Any) -> None:
    train(study, "baseline", "E5", "H2")
    few, many = (look(study, seeds=tuple(range(number))).outlook for number in (2, 8))
    assert few is not None
    assert many is not None
    assert few.now is not None
    assert many.now is not None
    assert many.now.design.seeds == 8
    assert many.now.smallest_points < few.now.smallest_points


def test_runs_of_the_campaign_as_it_was_queued_tell_it_after_an_edit(study: Any) -> None:
    study.add("E5", seeds=(0, 1))
    train(study, "baseline", "E5")
    (study.paths.root / "model" / "__main__.py").write_text("print('other')\n")
    study.commit()
    found = look(study)
    assert len(found.rows[0].to_train) == 2
    assert found.outlook is not None
    assert ", of the campaign as it was queued before it changed: " in found.outlook_notes[1]


def test_captures_that_are_missing_leave_it_unknown(study: Any) -> None:
    train(study, "baseline", "E5")
    (study.paths.root / "data" / "LocA.h5").unlink()
    assert look(study).outlook_notes == (UNKNOWN,)


def test_runs_that_disagree_on_their_items_are_said(study: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    train(study, "baseline", "E5")

    def refuse(plan: object, records: object) -> None:
        raise RunError("runs disagree on the stratum of item `00/0`")

    monkeypatch.setattr("orchestrator.report.power.learn", refuse)
    assert look(study).outlook_notes == (
        "what this campaign finds cannot be worked out: runs disagree on the stratum of item `00/0`",
    )


def test_seeds_are_those_of_the_campaigns_own_experiments(study: Any) -> None:
    study.edit("seeds: 2", "seeds: 2\naa: 1")
    selection = open_campaign(Request(file=study.file))
    shift = selection.every_arm["AA1"].seed_shift
    for name in ("baseline-s3-0123abcd", f"AA1-s{shift + 5}-0123abcd", "other-s9-0123abcd", "E5-s4", "AA1-s1-0123abcd"):
        (study.paths.runs / name).mkdir(parents=True)
    assert find_seeds(selection.paths, selection.every_arm) == (3, 5)


def test_another_metric_tells_nothing(study: Any) -> None:
    campaign = open_campaign(Request(file=study.file)).campaign
    [name] = [name for name, metric in campaign.metrics.items() if metric == campaign.judged]
    other = structs.replace(campaign.judged, compare="ratio")
    assert is_judged_alike(campaign, campaign)
    assert not is_judged_alike(structs.replace(campaign, metrics={**campaign.metrics, name: other}), campaign)


class TestBudget:
    def test_a_number_of_trainings_is_itself(self) -> None:
        assert count_trainings(build_cost(), Budget(trainings=60)) == 60
        assert describe_budget(build_cost(None), Budget(trainings=60)) is None

    def test_a_time_pays_for_as_many_trainings_as_all_slots_do_in_it(self) -> None:
        assert count_trainings(build_cost(), Budget(seconds=3600.0)) == 120
        assert describe_cost(build_cost(), 120) == "60 min"

    def test_a_time_has_no_meaning_before_a_run_is_done(self, study: Any) -> None:
        assert count_trainings(build_cost(None), Budget(seconds=7200.0)) is None
        assert describe_cost(build_cost(None), 60) is None
        assert look(study, Budget(seconds=7200.0)).outlook_notes == (
            UNKNOWN,
            "a budget of 2.0 h has no meaning yet: how long a run takes is known once one of this profile is done; "
            "give a number of trainings, such as --budget 60",
        )


def test_a_plan_with_an_outlook_starts_nothing(study: Any) -> None:
    train(study, "baseline", "E5")
    before = study.git("status", "--porcelain=v2", "--branch"), study.git("for-each-ref"), tree(study.paths.runs)
    look(study)
    assert (
        study.git("status", "--porcelain=v2", "--branch"),
        study.git("for-each-ref"),
        tree(study.paths.runs),
    ) == before


def tree(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))
