"""Whether a run goes on or starts over, and what stands in its folder then."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import DataError
from orchestrator.supervisor.attempts import Attempt, read_attempts
from orchestrator.supervisor.checkout import PlaceError
from orchestrator.supervisor.follow import Progress
from orchestrator.supervisor.launch_file import Resume
from orchestrator.supervisor.prepare import prepare
from tests.builders.supervised import LineReaders, Stranger

CONTRACT = {"outputs": ("out",), "resume": Resume(when="out/*.pt", arguments=("t", "--resume"))}


def begin(stranger: Stranger, **fields: Any) -> Attempt:
    launch = stranger.order("t", **fields)
    with stranger.folder.hold() as held:
        return prepare(held, launch, Progress(held, launch, LineReaders()))


def test_the_first_attempt_starts_from_nothing_though_the_code_holds_a_match(stranger: Stranger) -> None:
    (stranger.checkout / "weights.pt").touch()
    attempt = begin(stranger, resume=Resume(when="*.pt", arguments=("t",)))
    assert (attempt.number, attempt.checkpoint, attempt.log_bytes, attempt.spent_seconds) == (1, None, 0, 0.0)
    assert read_attempts(stranger.folder.attempts) == [attempt]


def test_a_later_one_goes_on_from_the_checkpoint_and_counts_what_was_spent(stranger: Stranger) -> None:
    first = begin(stranger, **CONTRACT)
    (stranger.checkout / "out" / "a.pt").touch()
    stranger.folder.log.write_text("step 1: loss")
    stranger.folder.lock.write_text("")  # as a job leaves it that is killed while it takes the folder
    attempt = begin(stranger, **CONTRACT)
    assert attempt.number == 2
    assert attempt.checkpoint == str(stranger.checkout / "out" / "a.pt")
    assert (
        0
        <= attempt.spent_seconds
        == pytest.approx(stranger.folder.log.stat().st_mtime - first.begun_epoch_seconds, abs=1)
    )
    assert stranger.log() == "step 1: loss\n"
    assert attempt.log_bytes == len(stranger.log())


@pytest.mark.parametrize("fields", [{"outputs": ("out",)}, CONTRACT], ids=["no contract", "no checkpoint"])
def test_else_it_starts_over(stranger: Stranger, fields: dict[str, Any]) -> None:
    begin(stranger, **fields)
    (stranger.checkout / "out" / "stale").touch()
    stranger.folder.progress.write_text("{}\n")
    (stranger.folder.path / "reported.jsonl").touch()
    attempt = begin(stranger, fresh=("reported.jsonl",), **fields)
    assert (attempt.checkpoint, attempt.spent_seconds) == (None, 0.0)
    assert list((stranger.checkout / "out").iterdir()) == []
    assert not stranger.folder.progress.exists()
    assert not (stranger.folder.path / "reported.jsonl").exists()


def test_a_start_removes_no_file_of_the_run_folders_own(stranger: Stranger) -> None:
    with pytest.raises(PlaceError, match=r"`job.lock` is a file of Knockout's own; name another one under `fresh`"):
        begin(stranger, fresh=("job.lock",))
    assert stranger.folder.lock.exists()


def test_a_checkout_that_is_away_is_named(stranger: Stranger, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone: the checkout of the run is not there; run again, so that it is made"):
        begin(stranger, checkout=str(tmp_path / "gone"))


def test_a_glob_that_is_none_is_refused(stranger: Stranger) -> None:
    begin(stranger)
    with pytest.raises(PlaceError, match=r"resume: `out/\*\*.pt` names no checkpoint \(.*\); write a path or a glob"):
        begin(stranger, resume=Resume(when="out/**.pt", arguments=("t",)))
