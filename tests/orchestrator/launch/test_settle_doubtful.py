"""Before a result is believed: the captures are those of the order, and its predictions say the same."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.launch.settle import refuse_doubtful
from orchestrator.runs.folder import RunFolder
from orchestrator.runs.order import Order, read_order
from tests.builders.epochs import an_epoch, append_epoch
from tests.builders.results import write_done


@pytest.fixture
def folder(study: Any) -> RunFolder:
    """A run that has just ended."""
    run: RunFolder = study.paths.run(study.start("E5"))
    write_done(run)
    append_epoch(run, an_epoch())
    run.checkpoint.write_bytes(b"checkpoint")
    return run


def names(folder: RunFolder) -> set[str]:
    return {path.name for path in folder.path.iterdir()}


def capture(study: Any, order: Order) -> Path:
    path: Path = study.paths.root / next(iter(order.captures))
    return path


def test_a_result_stands_where_nothing_speaks_against_it(study: Any, folder: RunFolder) -> None:
    before = names(folder)
    assert refuse_doubtful(study.paths, folder, read_order(folder)) is None
    assert names(folder) == before


def test_no_epoch_counts_where_a_capture_has_other_bytes(study: Any, folder: RunFolder) -> None:
    order = read_order(folder)
    path = capture(study, order)
    path.write_bytes(path.read_bytes() + b"more")
    reason = refuse_doubtful(study.paths, folder, order)
    assert reason == (
        f"{path} changed while the run trained, so its result is set aside; put the data back and run "
        "again, or queue a run on the new ones"
    )
    for kept in (folder.result, folder.predictions, folder.checkpoint, folder.epochs):
        assert not kept.exists()
        assert kept.with_name(kept.name + ".set-aside").exists()


def test_where_a_capture_is_away_the_checkpoint_stays(study: Any, folder: RunFolder) -> None:
    order = read_order(folder)
    capture(study, order).unlink()
    reason = refuse_doubtful(study.paths, folder, order)
    assert reason is not None
    assert reason.endswith("its result cannot be checked and is set aside: run again to score it")
    assert (folder.result.exists(), folder.checkpoint.exists()) == (False, True)


def test_a_result_that_its_predictions_contradict_is_scored_again(study: Any, folder: RunFolder) -> None:
    with np.load(folder.predictions) as arrays:
        spoilt = {name: arrays[name][:-1] for name in arrays.files}
    np.savez(folder.predictions, **spoilt)
    reason = refuse_doubtful(study.paths, folder, read_order(folder))
    assert reason is not None
    assert reason.endswith("the result is set aside: run again to score it anew")
    assert (folder.result.exists(), folder.predictions.exists(), folder.checkpoint.exists()) == (False, False, True)
