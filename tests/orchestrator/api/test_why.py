"""The parts of two identities, compared."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from orchestrator.api.why import Change, Comparison, PastRun, compare
from orchestrator.campaign.plan import Plan, PlannedRun
from orchestrator.runs.identity import CodeAndData

HASHES = {f"{name}.h5": f"da7a{name}" for name in ("LocA", "LocB", "LocD")}
INPUTS = CodeAndData(code_tree="c0de", files=HASHES)
OTHER_CODE = CodeAndData(code_tree="0ther", files=HASHES)


@pytest.fixture(scope="module")
def planned(a_plan: Callable[..., Plan]) -> PlannedRun:
    """E5, seed 1."""
    plan = a_plan({"E5": {"change": {"loss.kind": "focal"}}})
    return next(run for run in plan.runs if run.id == plan.run_of["E5", 1])


def build_past(planned: PlannedRun, **fields: Any) -> PastRun:
    """The run itself, as its folder tells it, but for `fields`."""
    told = {
        "id": planned.id,
        "params": msgspec.json.decode(msgspec.json.encode(planned.params)),
        "identity": planned.identity,
        "code_tree": "c0de",
        "files": HASHES,
        "commit": "0123456789" * 4,
        "state": "done",
    }
    return PastRun(**told | fields)


def compare_with(
    planned: PlannedRun, inputs: CodeAndData = INPUTS, files: tuple[str, ...] | None = (), **fields: Any
) -> Comparison:
    return compare(build_past(planned, **fields), planned, inputs, (0, 1), files)


def test_the_same_run_differs_in_nothing(planned: PlannedRun) -> None:
    same = compare_with(planned)
    assert same.is_same
    assert (same.config, same.data, same.code, same.format) == ({}, {}, None, None)
    assert same.sentences() == [f"{planned.id}: the same: `knockout run` takes this result"]


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (None, "`knockout run` goes on with it, since it has no result yet"),
        ("failed", "`knockout run` takes this result, and `knockout run --retry` trains it again"),
        ("too_slow", "`knockout run` takes this result"),
    ],
)
def test_what_becomes_of_the_same_run_depends_on_how_it_ended(
    planned: PlannedRun, state: str | None, words: str
) -> None:
    assert compare_with(planned, state=state).sentences() == [f"{planned.id}: the same: {words}"]


def test_a_seed_outside_the_campaigns_must_be_asked_for(planned: PlannedRun) -> None:
    [sentence] = compare(build_past(planned), planned, INPUTS, (0,), ()).sentences()
    assert sentence.endswith("the same: `knockout run --seeds 1-1` takes this result")


def test_knobs_on_one_side_alone_are_absent_on_the_other(planned: PlannedRun) -> None:
    config = build_past(planned).params
    epochs = planned.params["optim"]["epochs"]
    config["optim"] = {"old": 1} | {name: value for name, value in config["optim"].items() if name != "epochs"}
    found = compare_with(planned, id="E5-s1-00000000", identity="0" * 64, params=config)
    assert found.config == {"optim.old": Change(before=1), "optim.epochs": Change(after=epochs)}
    assert f"config: optim.epochs: absent -> {epochs}" in found.sentences()
    assert "config: optim.old: 1 -> absent" in found.sentences()


def test_a_capture_that_has_moved_is_the_same_and_one_with_other_bursts_is_not(planned: PlannedRun) -> None:
    config = build_past(planned).params
    config["data"]["captures"]["LocA"]["path"] = "elsewhere/LocA.h5"
    captures = {"elsewhere/LocA.h5": "da7aLocA", "LocB.h5": "da7aLocB", "LocD.h5": "0ther"}
    past = build_past(planned, id="E5-s1-00000000", params=config, files=captures)
    found = compare(past, planned, INPUTS, (0, 1), ())
    assert found.config == {}
    assert found.data == {"captures.LocD": Change(before="0ther", after="da7aLocD")}
    assert found.sentences()[1:] == ["data: captures.LocD: 0ther -> da7aLocD"]


def test_changed_code_is_told_with_its_files(planned: PlannedRun) -> None:
    found = compare_with(planned, OTHER_CODE, ("model/train/job.py (+1 -0)",), id="E5-s1-00000000")
    assert found.code == Change(before="c0de", after="0ther")
    assert found.sentences() == [
        f"E5-s1-00000000: not what `knockout run` would train now, which is {planned.id}",
        "code: it has another hash: c0de -> 0ther",
        "  model/train/job.py (+1 -0)",
    ]


def test_code_whose_files_nobody_knows_is_told_so(planned: PlannedRun) -> None:
    found = compare_with(planned, OTHER_CODE, None, id="E5-s1-00000000")
    assert found.sentences()[2] == "  its commit is not in this repository, so the files that differ are unknown"


def test_another_identity_of_the_same_parts_is_a_matter_of_format(planned: PlannedRun) -> None:
    found = compare_with(planned, id="E5-s1-00000000", identity="0" * 64)
    assert found.format is not None
    assert found.sentences()[1].startswith("format: the identity is hashed in another way: ")


def test_the_same_identity_under_another_id_is_another_experiments_run(planned: PlannedRun) -> None:
    found = compare_with(planned, id="K1-s1-00000000")
    assert not found.is_same
    words = f"identity: the same, but the plan counts it as {planned.id}, whose configuration it shares"
    assert found.sentences()[1:] == [words]
