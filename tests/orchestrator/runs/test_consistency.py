"""A run folder whose files contradict each other is not believed."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec import structs

from orchestrator.runs.consistency import find_contradiction, why_not_believed
from orchestrator.runs.folder import Result, RunFolder
from orchestrator.runs.order import Order, read_order
from orchestrator.runs.states import RunState


@pytest.fixture
def folder(study: Any) -> RunFolder:
    """A run that is done, as it was queued, started and scored."""
    run: RunFolder = study.paths.run(study.end(study.start("E5")))
    return run


def find(folder: RunFolder, order: Order | None = None, **provenance: Any) -> str | None:
    return find_contradiction(folder.path.name, folder.read_config(), order or read_order(folder), provenance)


def test_what_was_queued_and_trained_agrees(folder: RunFolder) -> None:
    assert find(folder) is None
    assert find(folder, run=folder.path.name, seed=0, identity=read_order(folder).identity) is None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"run": "H2-s0-12345678"}, "order.json is of run H2-s0-12345678"),
        ({"identity": "0" * 64}, "order.json says identity 00000000, but what it and config.json hold is of identity"),
        ({"files": {}}, "order.json says identity "),
    ],
)
def test_an_order_of_another_run_is_told(folder: RunFolder, change: dict[str, Any], words: str) -> None:
    found = find(folder, structs.replace(read_order(folder), **change))
    assert found is not None
    assert found.startswith(words)


def test_an_order_with_other_code_or_captures_is_told(folder: RunFolder) -> None:
    order = read_order(folder)
    for changed in (
        structs.replace(order, code=structs.replace(order.code, tree="0" * 40)),
        structs.replace(order, files=dict.fromkeys(order.files, "0" * 64)),
    ):
        assert "is of identity" in str(find(folder, changed))


@pytest.mark.parametrize(
    ("provenance", "words"),
    [
        ({"run": "H2-s0-12345678"}, "provenance.json is of run H2-s0-12345678"),
        ({"seed": 7}, "provenance.json is of seed 7"),
        ({"identity": "f" * 64}, "provenance.json is of identity ffffffff"),
    ],
)
def test_provenance_of_another_run_is_told(folder: RunFolder, provenance: dict[str, Any], words: str) -> None:
    assert find(folder, **provenance) == words


def test_a_configuration_of_another_seed_is_told(folder: RunFolder) -> None:
    config = structs.replace(folder.read_config(), seed=7)
    assert find_contradiction(folder.path.name, config, None, {}) == "config.json is of E5 at seed 7"


class TestWhyNotBelieved:
    def test_says_nothing_of_a_result_that_agrees(self, folder: RunFolder) -> None:
        assert why_not_believed(folder) is None

    def test_says_nothing_where_there_is_no_result(self, folder: RunFolder) -> None:
        folder.result.unlink()
        assert why_not_believed(folder) is None

    @pytest.mark.parametrize("state", [RunState.TOO_SLOW, RunState.FAILED])
    def test_asks_no_other_ending_for_predictions(self, folder: RunFolder, state: RunState) -> None:
        folder.predictions.unlink()
        folder.write_result(Result(state=state, reason="it ended", epochs=1))
        assert why_not_believed(folder) is None

    @pytest.mark.parametrize("spoil", [RunFolder.predictions.fget, RunFolder.result.fget, RunFolder.config.fget])
    def test_says_what_cannot_be_read(self, folder: RunFolder, spoil: Callable[[RunFolder], Any]) -> None:
        spoil(folder).write_bytes(b'{"format": "another"}')
        assert str(why_not_believed(folder)).startswith("its files cannot be read: ")

    def test_says_what_is_missing(self, folder: RunFolder) -> None:
        folder.predictions.unlink()
        assert why_not_believed(folder) == "predictions.npz is on no capture, scored are LocB and LocD"
