"""What was queued last can be judged after everything has changed."""

from typing import Any

import msgspec

from orchestrator.api.queue import RunOptions, add
from orchestrator.campaign.selection import Request, make_plan, open_campaign
from orchestrator.campaign.snapshot import choose_plan, load_snapshot
from orchestrator.campaign.spec import StagingSpec
from orchestrator.code.sources import find_code
from orchestrator.queue.store import open_store


def request(study: Any, *experiments: str, **fields: Any) -> Request:
    return Request(file=study.file, profile="quick", experiments=experiments, **fields)


def test_nothing_is_recalled_before_anything_was_queued(study: Any) -> None:
    assert load_snapshot(open_campaign(request(study))) is None


def test_the_plan_that_was_queued_comes_back_whatever_became_of_file_and_code(study: Any) -> None:
    ids = study.add("H2", seeds=(0, 1))
    before = open_campaign(request(study, "H2"))
    study.edit("loss.gamma: 2.0", "loss.gamma: 3.0")
    (study.paths.root / "model" / "__main__.py").write_text("print('two')\n")
    study.commit()
    now = open_campaign(request(study, "H2"))
    plan_now = make_plan(now, find_code(study.paths, snapshot=True))
    assert not {run.id for run in plan_now.runs} & set(ids)
    queued = load_snapshot(now)
    assert queued is not None
    plan = queued.plan(request(study, "H2"))
    assert tuple(run.id for run in plan.runs) == ids
    assert plan.arms == before.arms
    assert msgspec.structs.replace(plan.campaign, seeds=()) == msgspec.structs.replace(before.campaign, seeds=())


def test_other_experiments_and_seeds_of_the_queued_campaign_may_be_asked_for(study: Any) -> None:
    study.add("E5")
    queued = load_snapshot(open_campaign(request(study)))
    assert queued is not None
    everything = queued.plan(request(study, everything=True, seeds=(3,)))
    assert set(everything.arms) == {"baseline", "E5", "H2"}
    assert {run.seed for run in everything.runs} == {3}
    assert set(queued.plan(request(study, "tag:size")).arms) == {"baseline", "E5", "H2"}
    assert set(queued.plan(request(study, "E5")).arms) == {"baseline", "E5"}


def test_generated_arms_come_back_with_their_seeds_and_interactions(study: Any) -> None:
    study.edit("seeds: 2", "seeds: 2\naa: 1\nablate: [E5, H2]\ninteractions: [[E5, H2]]")
    ids = study.add(seeds=(0, 1))
    before = open_campaign(request(study))
    study.edit("aa: 1\nablate: [E5, H2]\ninteractions: [[E5, H2]]", "")
    queued = load_snapshot(open_campaign(request(study)))
    assert queued is not None
    plan = queued.plan(request(study, seeds=(0, 1)))
    assert tuple(run.id for run in plan.runs) == ids
    assert plan.arms == before.arms
    assert plan.run_of["AA1", 1].startswith("AA1-s10001-")
    assert [pair.cells for pair in plan.interactions] == [("baseline", "E5", "H2-alone", "H2")]


def test_it_says_when_and_at_which_commit(study: Any) -> None:
    study.add("E5")
    queued = load_snapshot(open_campaign(request(study)))
    assert queued is not None
    base = study.git("rev-parse", "--short=12", "HEAD")
    dated = msgspec.structs.replace(queued, when="2026-11-20T17:03:59+00:00")
    assert dated.sentence().startswith(
        f"this is of the campaign as it was queued on 2026-11-20 17:03 UTC at commit {base}:"
    )
    assert "UTC: the file" in msgspec.structs.replace(dated, commit=None).sentence()


def test_it_says_which_command_gives_the_report_of_what_is_there_now(study: Any) -> None:
    study.add("E5")
    queued = load_snapshot(open_campaign(request(study)))
    assert queued is not None
    whole = "; `knockout run` trains what those lack, if anything, and reports on them"
    assert queued.sentence().endswith(whole)
    staged = msgspec.structs.replace(queued.campaign, staging=StagingSpec())
    sentence = msgspec.structs.replace(queued, campaign=staged).sentence()
    assert sentence.endswith(whole.replace("run`", "run --until-decided`"))


def test_what_another_version_wrote_is_not_recalled(study: Any) -> None:
    study.add("E5")
    opened = open_campaign(request(study))
    path = study.paths.queued_campaign("tiny", "quick")
    for content in (b'{"campaign": 1}', b'{"campa'):
        path.write_bytes(content)
        assert load_snapshot(opened) is None
    assert study.paths.queued_campaign("tiny", "paper") != path


def test_an_experiment_that_was_not_there_when_others_were_queued_is_of_the_campaign_as_it_is_now(study: Any) -> None:
    for run_id in study.add("E5"):
        study.end(run_id)
    study.edit(
        "experiments:\n", "experiments:\n  New: {title: n, group: g, hypothesis: h, change: {optim.clip_norm: 9.0}}\n"
    )
    study.edit("loss.gamma: 2.0", "loss.gamma: 3.0")
    code = find_code(study.paths, snapshot=True)
    for asked, is_queued in (("E5", True), ("New", False)):
        asking = request(study, asked, seeds=(0,))
        plan, sentence = choose_plan(open_campaign(asking), code)
        assert sentence.startswith("this is of the campaign as it was queued") == is_queued
        assert asked in plan.arms


def test_where_nothing_can_be_written_down_what_is_queued_waits_all_the_same(study: Any) -> None:
    study.paths.results.mkdir()
    (study.paths.results / "queued").write_text("mine")
    opened = open_campaign(Request(file=study.file, experiments=("E5",), seeds=(0,)))
    store = open_store(study.paths)
    try:
        queued = add(opened, store, RunOptions(snapshot=True))
        assert len(store.runs()) == 2
    finally:
        store.close()
    assert queued.notes[-1].startswith("the campaign cannot be saved as it was queued: ")
    assert load_snapshot(opened) is None
