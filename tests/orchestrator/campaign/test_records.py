"""One bad run folder keeps no other out, is told with what to do, and is trained again when it is queued."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec import structs

from orchestrator.api.queue import Queued, RunOptions, add
from orchestrator.api.report import report
from orchestrator.api.why import explain_verdict
from orchestrator.campaign.records import Gathered, gather
from orchestrator.campaign.selection import Request, make_plan, open_campaign
from orchestrator.code.sources import find_code
from orchestrator.queue.store import open_store
from orchestrator.report.steps import say_steps
from orchestrator.runs.folder import RunFolder
from orchestrator.runs.order import read_order
from orchestrator.runs.record import read_run
from tests.builders.results import write_done


@pytest.fixture
def ended(study: Any) -> dict[tuple[str, int], RunFolder]:
    """A campaign of which two experiments are done at two seeds."""
    study.add("E5", seeds=(0, 1))
    folders = {}
    for number, (experiment, seed) in enumerate((name, seed) for name in ("baseline", "E5") for seed in (0, 1)):
        path = next(study.paths.runs.glob(f"{experiment}-s{seed}-*"))
        folder = study.paths.run(path.name)
        write_done(folder, 5 + number % 3)
        folders[experiment, seed] = folder
    return folders


def spoil_result(folder: RunFolder) -> None:
    arrays = dict(np.load(folder.predictions))
    np.savez(folder.predictions, **arrays | {"LocD/logits": np.roll(arrays["LocD/logits"], 1, axis=1)})


def gathered(study: Any) -> Gathered:
    opened = open_campaign(Request(file=study.file, experiments=("E5",), seeds=(0, 1)))
    return gather(study.paths, make_plan(opened, find_code(study.paths, snapshot=True)))


def queue_again(study: Any) -> Queued:
    store = open_store(study.paths)
    try:
        return add(
            open_campaign(Request(file=study.file, experiments=("E5",), seeds=(0, 1))), store, RunOptions(snapshot=True)
        )
    finally:
        store.close()


def test_what_is_not_believed_is_told_once_with_the_command_that_trains_it_again(study: Any, ended: Any) -> None:
    folder = ended["E5", 1]
    spoil_result(folder)
    found = gathered(study)
    assert len(found.records) == 3
    assert list(found.refused) == [folder.path.name]
    said = found.refused[folder.path.name]
    assert said.startswith(f"{folder.path}: this run is not believed: result.json says ")
    assert said.endswith("; `knockout run E5 --profile quick --seeds 1-1` sets it aside and trains the run again")


def test_the_report_is_of_the_others_and_lists_what_is_left_out(study: Any, ended: Any) -> None:
    folder = ended["E5", 1]
    spoil_result(folder)
    outcome = report(Request(file=study.file, everything=True))
    text = outcome.report.read_text()
    assert "**1 run is left out.**" in text
    assert text.count(f"results/runs/{folder.path.name}: this run is not believed") == 1
    assert str(study.paths.root) not in text
    assert len(outcome.judgements["baseline"].score_of) == 2
    assert list(outcome.judgements["E5"].score_of) == [0]
    assert [problem.partition(":")[0] for problem in outcome.problems] == [str(folder.path)]


def test_a_doubtful_result_is_set_aside_and_goes_on_from_its_checkpoint(study: Any, ended: Any) -> None:
    folder = ended["E5", 1]
    folder.checkpoint.write_bytes(b"a checkpoint")
    before = folder.result.read_bytes()
    spoil_result(folder)
    queued = queue_again(study)
    assert len(queued.finished) == 3
    assert not folder.result.exists()
    assert not folder.predictions.exists()
    assert folder.path.joinpath("result.json.set-aside").read_bytes() == before
    assert folder.checkpoint.read_bytes() == b"a checkpoint"
    assert any("it is set aside as" in note and folder.path.name in note for note in queued.notes)
    assert queue_again(study).finished == queued.finished


@pytest.mark.parametrize("number", [1, 2])
def test_a_folder_that_contradicts_itself_is_set_aside_whole(study: Any, ended: Any, number: int) -> None:
    folder = ended["E5", 1]
    for _ in range(number):
        write_done(folder)
        folder.provenance.write_text('{"run": "H2-s0-12345678"}')
        assert len(queue_again(study).finished) == 3
    aside = study.paths.results / "set-aside"
    kept = [folder.path.name, f"{folder.path.name}-2"][:number]
    assert sorted(path.name for path in aside.iterdir()) == kept
    assert not folder.provenance.exists()
    assert folder.config.exists()


def test_missing_predictions_are_made_again(study: Any, ended: Any) -> None:
    ended["baseline", 0].predictions.unlink()
    assert len(queue_again(study).finished) == 3
    assert not ended["baseline", 0].result.exists()


def test_nothing_is_set_aside_where_the_system_refuses(study: Any, ended: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Path.open

    def refuse(path: Path, *how: Any, **more: Any) -> Any:
        if path == ended["E5", 1].predictions:
            raise PermissionError(13, "Permission denied", str(path))
        return read(path, *how, **more)

    monkeypatch.setattr(Path, "open", refuse)
    assert len(queue_again(study).finished) == 4
    assert ended["E5", 1].result.exists()
    assert "its owner can give you the right to read it" in gathered(study).refused[ended["E5", 1].path.name]


def test_the_arithmetic_of_a_verdict_names_what_is_left_out(study: Any, ended: Any) -> None:
    spoil_result(ended["E5", 1])
    steps = explain_verdict(open_campaign(Request(file=study.file)), "E5")
    assert len(steps.left_out) == 1
    assert say_steps(steps)[-1].startswith(f"left out: {ended['E5', 1].path}: this run is not believed: ")


def test_a_folder_of_another_name_is_placed_anew_under_the_name_that_it_has(study: Any, ended: Any) -> None:
    old = ended["E5", 1]
    new = old.path.with_name(f"trial-t007-s1-{old.path.name[-8:]}")
    old.path.rename(new)
    folder = RunFolder(new)
    config = msgspec.json.decode(folder.config.read_bytes())
    folder.config.write_bytes(msgspec.json.encode(config | {"experiment": "trial-t007"}))
    folder.order.write_bytes(msgspec.json.encode(structs.replace(read_order(folder), run=new.name)))
    write_done(folder)
    assert len(queue_again(study).finished) == 4
    folder.provenance.write_text('{"seed": 9}')
    assert len(queue_again(study).finished) == 3
    assert read_run(new.name, folder).experiment == "trial-t007"
