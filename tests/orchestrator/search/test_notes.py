"""What is noted of a trial, and that databases of earlier versions are still read."""

import json
from pathlib import Path

import pytest

from orchestrator.runs.paths import Paths
from orchestrator.search.notes import TrialNote, add_note, as_attributes, read_note, run_ids
from orchestrator.search.objective import Score
from orchestrator.search.storage import KeptStudy, open_storage_study

SCORE = Score(mean=61.0, standard_error=1.5, per_seed=(60.0, 62.0), bursts=100)
KEPT = {
    "again_of": 0,
    "point": {"loss.gamma": 2.0},
    "reason": "the job died",
    "change": {"loss.gamma": 2.0},
    "sampler": "tpe",
    "owner": "moon/7/start",
    "cleared": True,
    "given_up": "given up after 4 epochs",
    "score": {"mean": 61.0, "standard_error": 1.5, "per_seed": [60.0, 62.0], "bursts": 100},
    "runs": ["focal-t001-s0-1d", "focal-t001-s1-1d"],
}
"""All user attributes of a trial, as every version has written them."""


@pytest.fixture
def kept(tmp_path: Path) -> KeptStudy:
    (tmp_path / "results").mkdir()
    return open_storage_study(Paths(tmp_path), None, "focal")


def test_a_trial_of_an_earlier_version_is_read(kept: KeptStudy) -> None:
    kept.study.enqueue_trial({}, user_attrs=KEPT | {"mine": "of the user"})
    (trial,) = kept.study.trials
    note = read_note(trial)
    assert (note.again_of, note.point, note.cleared, note.score) == (0, {"loss.gamma": 2.0}, True, SCORE)
    assert (note.pruning, note.owner, note.sampler) == ("given up after 4 epochs", "moon/7/start", "tpe")
    assert run_ids(trial) == tuple(KEPT["runs"])
    assert json.loads(json.dumps(as_attributes(note))) == KEPT


def test_fields_are_added_and_the_others_stay(kept: KeptStudy) -> None:
    kept.study.ask()
    trial = kept.trial(kept.study.trials[0])
    assert (read_note(kept.study.trials[0]), run_ids(kept.study.trials[0])) == (TrialNote(), ())
    add_note(trial, owner="moon/7/start", runs=("a",))
    add_note(trial, score=SCORE)
    assert read_note(kept.study.trials[0]) == TrialNote(owner="moon/7/start", runs=("a",), score=SCORE)


def test_the_runs_are_noted_last(kept: KeptStudy, monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial without runs has never queued one."""
    kept.study.ask()
    trial, keys = kept.trial(kept.study.trials[0]), []
    monkeypatch.setattr(trial, "set_user_attr", lambda key, value: keys.append(key))
    add_note(trial, runs=("a",), owner="moon/7/start", change={})
    assert keys == ["change", "owner", "runs"]


def test_an_attribute_of_another_type_is_refused(kept: KeptStudy) -> None:
    kept.study.enqueue_trial({}, user_attrs={"runs": 7})
    with pytest.raises(ValueError, match="Expected `array"):
        read_note(kept.study.trials[0])
