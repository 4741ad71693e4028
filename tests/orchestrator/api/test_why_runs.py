"""`knockout why`, over run folders as a worker writes them."""

import json
import shutil
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.cli.main import main
from tests.builders.results import write_done

Ask = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ask(study: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Ask why; return the exit status, and what was said on stdout and stderr."""
    monkeypatch.chdir(study.paths.root)

    def why(*words: str) -> tuple[int, str, str]:
        status = main(["why", *words])
        said = capsys.readouterr()
        return status, said.out, said.err

    return why


def edit_json(path: Any, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_bytes())
    change(content)
    path.write_text(json.dumps(content))


def test_an_unchanged_campaign_takes_the_result(study: Any, ask: Ask) -> None:
    run_id = study.end(study.start("E5"))
    assert ask(run_id) == (0, f"{run_id}: the same: `knockout run` takes this result\n", "")
    assert ask("E5-s0") == ask(run_id)


def test_a_failed_run_may_be_trained_again(study: Any, ask: Ask) -> None:
    run_id = study.end(study.start("E5", 7), "failed", "crashed")
    words = "`knockout run --seeds 7-7` takes this result, and `knockout run --seeds 7-7 --retry` trains it again"
    assert words in ask(run_id)[1]


def test_an_unfinished_run_is_gone_on_with(study: Any, ask: Ask) -> None:
    assert "`knockout run` goes on with it, since it has no result yet" in ask(study.start("E5"))[1]


def test_a_seed_of_its_own_must_be_asked_for(study: Any, ask: Ask) -> None:
    assert "the same: `knockout run --seeds 7-7` takes this result" in ask(study.end(study.start("E5", 7)))[1]


def test_an_aa_run_is_compared_with_what_the_plan_has_at_the_campaigns_seed(study: Any, ask: Ask) -> None:
    study.edit("seeds: 2", "seeds: 2\naa: 1")
    run_id = study.end(study.start("AA1", 1))
    assert run_id.startswith("AA1-s10001-")
    assert ask(run_id)[1] == f"{run_id}: the same: `knockout run` takes this result\n"


def test_a_changed_knob_is_named_with_both_values(study: Any, ask: Ask) -> None:
    run_id = study.end(study.start("E5"))
    study.edit("loss.gamma: 2.0", "loss.gamma: 1.0")
    status, said, _ = ask(run_id)
    assert status == 0
    assert said.startswith(f"{run_id}: not what `knockout run` would train now, which is E5-s0-")
    assert said.splitlines()[1:] == ["config: loss.gamma: 2.0 -> 1.0"]


def test_a_knob_that_an_older_version_did_not_have_is_absent(study: Any, ask: Ask) -> None:
    run_id = study.end(study.start("E5"))
    edit_json(study.paths.run(run_id).config, lambda config: config["params"]["optim"].pop("epochs"))
    study.edit("loss.gamma: 2.0", "loss.gamma: 1.0")
    assert "config: optim.epochs: absent -> " in ask(run_id)[1]


def test_changed_code_is_listed_file_by_file(study: Any, ask: Ask) -> None:
    run_id = study.end(study.start("E5"))
    (study.paths.root / "model" / "__main__.py").write_text("print('two')\nprint('three')\n")
    (study.paths.root / "notes.txt").write_text("no code\n")
    uncommitted = ask(run_id)[1]
    assert uncommitted.splitlines()[1].startswith("code: it has another hash: ")
    assert uncommitted.splitlines()[2:] == ["  model/__main__.py (+2 -1)"]
    study.commit()
    assert ask(run_id)[1] == uncommitted


def test_code_of_a_commit_that_is_not_here_is_only_told_by_its_hash(study: Any, ask: Ask) -> None:
    run_id = study.end(study.start("E5"))
    (study.paths.root / "model" / "new.py").write_text("x = 1\n")
    edit_json(study.paths.run(run_id).provenance, lambda origin: origin.update(commit="0123456789" * 4))
    assert "its commit is not in this repository, so the files that differ are unknown" in ask(run_id)[1]


def test_a_changed_capture_is_named_and_a_moved_one_is_the_same(study: Any, ask: Ask) -> None:
    run_id = study.end(study.start("E5"))
    data = study.paths.root / "data"
    (data / "LocA.h5").rename(data / "moved.h5")
    study.edit("data/LocA.h5", "data/moved.h5")
    assert "the same" in ask(run_id)[1]
    (data / "LocD.h5").write_bytes(b"other bursts")
    lines = ask(run_id)[1].splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("data: captures.LocD: ")


def test_an_identity_hashed_in_another_way_is_a_matter_of_format(study: Any, ask: Ask) -> None:
    folder = study.paths.run(study.end(study.start("E5"))).path
    old = folder.with_name("E5-s0-00000000")
    folder.rename(old)
    edit_json(old / "provenance.json", lambda origin: origin.update(identity="0" * 64))
    assert "format: the identity is hashed in another way: it was written by another" in ask("E5-s0-0000")[1]


def test_a_configuration_of_another_format_is_refused(study: Any, ask: Ask) -> None:
    folder = study.paths.run(study.end(study.start("E5"))).path
    old = folder.with_name("E5-s0-00000000")
    folder.rename(old)
    edit_json(old / "config.json", lambda config: config.update(format=0))
    assert "is of format 0, wanted is 2; another version of Knockout wrote this run" in ask("E5-s0-0000")[2]


def test_a_run_that_an_earlier_experiment_has_too_is_told(study: Any, ask: Ask) -> None:
    k1 = "  K1: {title: Back, group: size, hypothesis: Why., change: {loss.kind: focal, loss.gamma: 2.0}}\n"
    study.edit("loss.gamma: 2.0", "loss.gamma: 3.0")
    study.file.write_text(study.file.read_text() + k1)
    run_id = study.end(study.start("K1"))
    assert "the same" in ask(run_id)[1]
    study.edit("loss.gamma: 3.0", "loss.gamma: 2.0")
    assert "takes this result" in ask(run_id)[1]
    own = run_id.replace("K1", "E5")
    shutil.copytree(study.paths.run(run_id).path, study.paths.run(own).path)
    assert f"identity: the same, but the plan counts it as {own}" in ask(run_id)[1]


def test_another_profile_may_be_asked_about(study: Any, ask: Ask) -> None:
    run_id = study.end(study.start("E5"))
    study.edit("paper: {}", "paper: {baseline: {optim: {epochs: 7}}}")
    assert "the same" in ask(run_id)[1]
    assert "config: optim.epochs: " in ask(run_id, "--profile", "paper")[1]


def test_why_leaves_no_trace_in_the_users_checkout(study: Any, ask: Ask) -> None:
    run_id = study.end(study.start("E5"))
    (study.paths.root / "model" / "new.py").write_text("x = 1\n")
    before = study.git("status", "--porcelain=v2", "--branch")
    index = (study.paths.root / ".git" / "index").read_bytes()
    ask(run_id)
    assert (study.paths.root / ".git" / "index").read_bytes() == index
    assert study.git("status", "--porcelain=v2", "--branch") == before


class TestAPatch:
    """An experiment with code of its own is compared with what its patch makes of the code now."""

    @pytest.fixture
    def patched(self, study: Any) -> str:
        """A run of P1, which stands on E5 and changes a line."""
        with study.file.open("a") as file:
            file.write("  P1: {title: Patched, group: code, hypothesis: Why., on: E5, patch: p1.diff}\n")
        self.patch(study, "two")
        return str(study.end(study.start("P1")))

    def patch(self, study: Any, word: str) -> None:
        diff = f"--- a/model/__main__.py\n+++ b/model/__main__.py\n@@ -1 +1 @@\n-print('one')\n+print('{word}')\n"
        (study.paths.root / "p1.diff").write_text(diff)

    def test_an_unchanged_one_is_the_same(self, patched: str, ask: Ask) -> None:
        assert "the same: `knockout run` takes this result" in ask(patched)[1]

    def test_a_changed_one_is_a_change_of_code(self, study: Any, patched: str, ask: Ask) -> None:
        self.patch(study, "three")
        lines = ask(patched)[1].splitlines()
        assert lines[1].startswith("code: it has another hash: ")
        assert lines[2:] == ["  model/__main__.py (+1 -1)"]

    def test_one_that_is_refused_now_has_no_files_to_compare(self, study: Any, patched: str, ask: Ask) -> None:
        (study.paths.root / "p1.diff").unlink()
        lines = ask(patched)[1].splitlines()
        assert lines[1].startswith("code: it has another hash: ")
        assert "the files that differ are unknown" in lines[2]


class TestVerdict:
    """A word that is an experiment's id is the experiment, though it begins the ids of its runs as well."""

    def test_of_an_experiment_is_worked_out_from_its_counts(self, study: Any, ask: Ask) -> None:
        for name, counts in (("E5", (5, 4)), ("baseline", (3, 3))):
            for seed, correct in enumerate(counts):
                score(study, study.start(name, seed), correct)
        status, said, _ = ask("E5")
        assert status == 0
        assert said.startswith("E5 against baseline on LocD: inconclusive\n")
        assert "   seed 0: 5 by E5, 3 by baseline (2 by E5 alone, 0 by baseline alone): +20.000 points\n" in said
        assert "(+20.000 +10.000) / 2 = +15.000 points." in said
        steps = json.loads(ask("E5", "--json")[1])
        assert [seed["counts"]["experiment_right"] for seed in steps["seeds"]] == [5, 4]
        assert steps["tests"]["num_compared"] == 1

    def test_of_one_that_has_not_run_is_said_to_be_so(self, study: Any, ask: Ask) -> None:
        said = "H2 against E5 on LocD: pending\n  not run: seeds 0 and 1 without a result yet\n"
        assert ask("H2") == (0, said, "")

    def test_beginning_of_an_id_is_a_run(self, study: Any, ask: Ask) -> None:
        run_id = study.end(study.start("E5"))
        assert ask("E5-")[1] == f"{run_id}: the same: `knockout run` takes this result\n"

    def test_is_of_the_campaign_as_it_was_queued_where_more_of_that_ended(self, study: Any, ask: Ask) -> None:
        for run_id, correct in zip(study.add("E5"), (5, 3), strict=True):
            score(study, run_id, correct)
        study.edit("loss.gamma: 2.0", "loss.gamma: 1.0")
        assert "seed 0: " in ask("E5")[1]
        study.edit("  H2:", "  H3:")
        assert "H3 against E5 on LocD: pending" in ask("H3")[1]

    def test_captures_that_are_gone_leave_what_was_queued(self, study: Any, ask: Ask) -> None:
        (study.paths.root / "data" / "LocD.h5").rename(study.paths.root / "data" / "away.h5")
        assert "LocD.h5: this capture is not there, so no run can belong to it" in ask("E5")[2]
        (study.paths.root / "data" / "away.h5").rename(study.paths.root / "data" / "LocD.h5")
        study.add("E5")
        (study.paths.root / "data" / "LocD.h5").unlink()
        assert ask("E5")[1].startswith("E5 against baseline on LocD: pending\n")

    def test_experiment_outside_the_default_ones_is_judged_among_all(self, study: Any, ask: Ask) -> None:
        study.edit("quick: {}", "quick: {default_experiments: [E5]}")
        assert ask("H2")[1].startswith("H2 against E5 on LocD: pending\n")


def score(study: Any, run_id: str, correct: int) -> None:
    """Give a run a result and predictions on ten bursts, of which it recognises the first `correct`."""
    write_done(study.paths.run(run_id), correct)


class TestRefusals:
    def test_an_unknown_run(self, study: Any, ask: Ask) -> None:
        assert ask("E5-s0") == (2, "", "knockout: there is no run `E5-s0`; there is none at all yet\n")
        run_id = study.start("E5")
        assert ask("E6-s0") == (2, "", f"knockout: there is no run `E6-s0`; the nearest is `{run_id}`\n")

    def test_an_unknown_experiment(self, study: Any, ask: Ask) -> None:
        study.start("E5")
        said = "knockout: there is no experiment or run `E55`; did you mean the experiment `E5`?\n"
        assert ask("E55") == (2, "", said)
        assert "there is no run `zzz`; the nearest is `E5-s0-" in ask("zzz")[2]

    def test_an_experiment_that_is_gone(self, study: Any, ask: Ask) -> None:
        run_id = study.end(study.start("H2"))
        study.edit("  H2:", "  H3:")
        status, _, said = ask(run_id)
        assert status == 2
        assert "experiments.yaml has no experiment `H2` any more, so nothing would be trained in this run's" in said

    def test_a_broken_folder(self, study: Any, ask: Ask) -> None:
        run_id = study.start("E5")
        study.paths.run(run_id).provenance.write_text("{")
        status, _, said = ask(run_id)
        assert status == 2
        assert "this run folder cannot be read: " in said
        assert said.endswith("; delete it to train the run again\n")

    def test_a_capture_that_is_missing(self, study: Any, ask: Ask) -> None:
        run_id = study.start("E5")
        (study.paths.root / "data" / "LocA.h5").unlink()
        status, _, said = ask(run_id)
        assert status == 2
        assert "LocA.h5: this capture is not there, so nobody can say what would be trained on it" in said
