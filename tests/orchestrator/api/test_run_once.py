"""A command opens the campaign file, looks at the code, hashes the captures and plans once."""

from collections import Counter
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from orchestrator.api.queue import RunOptions
from orchestrator.api.train import Budget, plan_again, run_until_decided
from orchestrator.api.work import SILENT
from orchestrator.campaign.selection import Request, open_campaign, plan_now, select_again
from orchestrator.cli.main import main
from orchestrator.code.git import Git
from orchestrator.code.sources import GitCode, find_code
from orchestrator.files import read_plain
from tests.orchestrator.api.test_train import UNTOLD, Ender

COUNTED = {
    "plans": ("orchestrator.campaign.selection.plan_runs", "orchestrator.campaign.snapshot.plan_runs"),
    "hashed captures": ("orchestrator.campaign.selection.fingerprint_files",),
    "interactions": ("orchestrator.campaign.arms.read_generated",),
    "pairs": ("orchestrator.campaign.generated.interaction_pairs",),
    "profiles": ("orchestrator.campaign.selection.at_profile",),
}
"""What is counted -> the functions whose calls count."""
ONCE = {"opened files": 1, "codes": 1, "plans": 1, "hashed captures": 1, "interactions": 1, "pairs": 1, "profiles": 1}
MOST_GIT = {"queue add": 6, "run": 17}
"""Most git commands where nothing is to be trained: six look at the code, the others at branches and keepers."""
Study = Any


def counting(counts: Counter[str], what: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def count(*arguments: Any, **options: Any) -> Any:
        counts[what] += 1
        return function(*arguments, **options)

    return count


@pytest.fixture
def counts(study: Study, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often a command does what costs time; git's commands are counted too."""
    counts: Counter[str] = Counter()
    for what, places in COUNTED.items():
        for place in places:
            module, _, name = place.rpartition(".")
            monkeypatch.setattr(place, counting(counts, what, getattr(import_module(module), name)))

    def read_counted(path: Path, *limits: int) -> bytes:
        counts["opened files"] += path.resolve() == study.file.resolve()
        return read_plain(path, *limits)

    monkeypatch.setattr("orchestrator.campaign.source.read_plain", read_counted)
    monkeypatch.setattr(GitCode, "__init__", counting(counts, "codes", GitCode.__init__))
    monkeypatch.setattr(Git, "_execute", counting(counts, "git", Git._execute))
    monkeypatch.chdir(study.paths.root)
    return counts


@pytest.fixture
def ended(study: Study) -> list[str]:
    """Every run of the campaign, with a result each that is believed."""
    ids = [study.end(study.train(run_id)) for run_id in study.add(seeds=(0, 1))]
    for run_id in ids:
        study.paths.run(run_id).provenance.write_text("{}")
    return ids


def without_git(counts: Counter[str]) -> dict[str, int]:
    return {what: number for what, number in counts.items() if what != "git"}


def test_a_plan(counts: Counter[str]) -> None:
    assert main(["plan"]) == 0
    # Where there is no GPU, it names the profiles of the file that need none.
    assert without_git(counts) == ONCE | {"profiles": 3}


def test_queue_add(counts: Counter[str]) -> None:
    assert main(["queue", "add"]) == 0
    assert without_git(counts) == ONCE


def test_queue_add_with_nothing_to_do(ended: list[str], counts: Counter[str]) -> None:
    assert main(["queue", "add"]) == 0
    assert without_git(counts) == ONCE
    assert counts["git"] <= MOST_GIT["queue add"]


def test_a_run_with_nothing_to_do(ended: list[str], counts: Counter[str]) -> None:
    assert main(["run"]) == 0
    assert without_git(counts) == ONCE
    assert counts["git"] <= MOST_GIT["run"]


@pytest.mark.parametrize("word", ["E5", "E5-s1"])
def test_why(study: Study, counts: Counter[str], word: str) -> None:
    study.end(study.start("baseline"))
    study.end(study.start("E5", seed=1))
    counts.clear()
    assert main(["why", word]) == 0
    assert without_git(counts) == ONCE


def test_why_of_a_run_at_another_profile_reads_the_file_once(study: Study, counts: Counter[str]) -> None:
    study.end(study.start("E5", profile="paper"))
    counts.clear()
    assert main(["why", "E5-s0"]) == 0
    assert (counts["opened files"], counts["profiles"]) == (1, 2)


class TestLooksAgain:
    """What may have changed while a command trains is looked at again; it is planned again only if it has changed."""

    def test_at_code_that_was_edited(self, study: Study, counts: Counter[str]) -> None:
        selection = open_campaign(Request(file=study.file))
        before = plan_now(selection, find_code(study.paths, snapshot=True))
        assert plan_again(selection, before).whole == before.whole
        assert (counts["codes"], counts["plans"]) == (2, 1)
        (study.paths.root / "model" / "__main__.py").write_text("print('two')\n")
        after = plan_again(selection, before)
        assert counts["plans"] == 2
        assert not set(after.whole.run_ids) & set(before.whole.run_ids)

    def test_at_captures_that_were_replaced(self, study: Study, counts: Counter[str]) -> None:
        selection = open_campaign(Request(file=study.file))
        before = plan_now(selection, find_code(study.paths, snapshot=True))
        (study.paths.root / "data" / "LocA.h5").write_bytes(b"other bursts")
        assert not set(plan_again(selection, before).whole.run_ids) & set(before.whole.run_ids)
        assert (counts["hashed captures"], counts["plans"]) == (2, 2)

    def test_at_folders_that_others_have_made(self, study: Study, counts: Counter[str]) -> None:
        selection = open_campaign(Request(file=study.file))
        before = plan_now(selection, find_code(study.paths, snapshot=True))
        run_id = study.start("E5")
        renamed = run_id.replace("E5", "F1")
        study.paths.run(run_id).path.rename(study.paths.run(renamed).path)
        assert plan_again(selection, before).whole.run_of["E5", 0] == renamed

    def test_in_each_round_of_looks(self, study: Study, counts: Counter[str], monkeypatch: pytest.MonkeyPatch) -> None:
        study.edit("seeds: 2\n", "seeds: 2\nstaging: {screen_seeds: 2, max_seeds: 3, confirm_seeds: 2}\n")
        ender = Ender(UNTOLD)
        monkeypatch.setattr("orchestrator.api.train.train", ender)
        run_until_decided(open_campaign(Request(file=study.file)), RunOptions(snapshot=True), SILENT, Budget())
        assert len(ender.rounds) == 2
        assert counts["plans"] == 1
        assert counts["codes"] == counts["hashed captures"] == len(ender.rounds) + 1


def test_another_selection_of_an_open_file_reads_nothing(study: Study, counts: Counter[str]) -> None:
    selection = open_campaign(Request(file=study.file, everything=True))
    again = select_again(selection, Request(file=study.file, experiments=("E5",)))
    assert list(again.arms) == ["baseline", "E5"]
    assert again.resolved is selection.resolved
    assert select_again(selection, Request(file=study.file, profile="paper")).campaign.profile == "paper"
    assert (counts["opened files"], counts["profiles"]) == (1, 2)
