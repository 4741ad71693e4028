"""The check of a GPU machine, over tiny commands in place of its steps."""

import json
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import pytest

from gpu import check as checking
from gpu.check import check, collect, conclude, environment_of, main, plan_steps
from gpu.steps import Step, Verdict, explain_no_test, explain_silence

ROOT = Path(__file__).parents[2]
NO_CARD = "torch sees no CUDA GPU here"


def step(name: str, code: str, explain: Any = explain_silence) -> Step:
    return Step(name, 30, (sys.executable, "-c", code), explain)


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Hold what torch says of the card; empty means that there is one."""
    said: list[str] = []
    monkeypatch.setattr(checking, "find_card_problem", lambda variables: said[0] if said else None)
    return said


@pytest.fixture
def planned(monkeypatch: pytest.MonkeyPatch) -> list[Step]:
    """Hold the steps in place of the real ones."""
    steps = [step("one", "print('it works')")]
    monkeypatch.setattr(checking, "plan_steps", lambda root, started: steps)
    return steps


def test_without_a_card_the_check_ends_at_once_with_status_2(
    card: list[str], planned: list[Step], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card.append(NO_CARD)
    assert check(tmp_path, tmp_path / "out", dry=False) == 2
    assert capsys.readouterr().out == f"{NO_CARD}: no step can show anything, so none is run\n"
    assert list(tmp_path.iterdir()) == []


def test_a_dry_check_goes_through_the_steps_without_a_card(
    card: list[str], planned: list[Step], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    card.append(NO_CARD)
    planned.append(step("tests", "print('3 skipped in 0.1s')", explain_no_test))
    assert check(tmp_path, tmp_path / "out", dry=True) == 1
    told = capsys.readouterr().out
    assert told.startswith(f"{NO_CARD}: no step can show anything\n")
    assert "not shown    0 s  no test ran: 3 skipped in 0.1s" in told


def test_all_steps_run_and_are_summed_up_though_one_fails(
    card: list[str], planned: list[Step], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planned.insert(0, step("bad", "import sys; print('it broke'); sys.exit(3)"))
    out = tmp_path / "out"
    assert check(tmp_path, out, dry=False) == 1
    told = capsys.readouterr().out
    assert told.index("    it broke") < told.index("    it works")
    summary = (out / "summary.txt").read_text()
    assert [line.split()[:2] for line in summary.splitlines()] == [["bad", "failed"], ["one", "ok"], ["all", "of"]]
    assert summary in told
    assert told.endswith(f"in {out}: bad.log, one.log, summary.txt\n")


def test_if_all_steps_are_ok_the_status_is_0_and_the_copy_is_a_repository(
    card: list[str], planned: list[Step], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    assert check(tmp_path, tmp_path / "out", dry=False) == 0
    assert (tmp_path / ".git").is_dir()


def test_wheels_that_cannot_be_installed_end_the_check(
    card: list[str], planned: list[Step], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(checking, "install_wheels", lambda root: "the wheels cannot be installed")
    assert check(tmp_path, tmp_path / "out", dry=False) == 1
    assert capsys.readouterr().out == "the wheels cannot be installed\n"


def test_a_copy_without_git_is_checked_all_the_same(
    card: list[str], planned: list[Step], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(checking, "make_repository", lambda root: "git is not installed")
    assert check(tmp_path, tmp_path / "out", dry=False) == 0
    assert capsys.readouterr().out.startswith("git is not installed\none")


def test_the_steps_are_five_with_limits_of_ten_minutes_in_all() -> None:
    steps = plan_steps(ROOT, 0.0)
    assert [(one.name, one.limit_seconds) for one in steps] == [
        ("machine", 60),
        ("cuda-tests", 140),
        ("benchmark", 80),
        ("doctor", 110),
        ("campaign", 200),
    ]
    assert {one.command[0] for one in steps} == {sys.executable}


def test_the_steps_import_the_wheels_then_the_project_then_what_the_user_has() -> None:
    found = environment_of(Path("/copy"), {"PYTHONPATH": "/mine", "HOME": "/home/me"})
    assert found["PYTHONPATH"] == "/copy/.gpu/site:/copy:/mine"
    assert found["HOME"] == "/home/me"
    assert environment_of(Path("/copy"), {})["PYTHONPATH"] == "/copy/.gpu/site:/copy"


def test_what_the_check_has_made_is_collected_and_nothing_older(tmp_path: Path) -> None:
    run, report, out = tmp_path / "results" / "runs" / "E5-s0", tmp_path / "reports" / "latest", tmp_path / "out"
    for folder in (run, report, out, tmp_path / "docs", tmp_path / "orchestrator"):
        folder.mkdir(parents=True)
    (tmp_path / "orchestrator" / "__init__.py").touch()
    (tmp_path / "orchestrator" / "__main__.py").write_text("import sys; print(sys.argv[1:])")
    (run / "epochs.jsonl").write_text("{}\n")
    (run / "result.json").write_text(json.dumps({"state": "done"}))
    (run / "checkpoint.pt").write_text("heavy")
    (report / "report.md").write_text("# Report")
    (tmp_path / "docs" / "gpu.md").write_text("of another day")
    started = time.time()
    os.utime(tmp_path / "docs" / "gpu.md", (started - 60, started - 60))
    assert collect(tmp_path, out, started, dict(os.environ)) == ["epochs.tgz", "report.md", "status.json"]
    with tarfile.open(out / "epochs.tgz") as archive:
        names = ["results/runs/E5-s0/epochs.jsonl", "results/runs/E5-s0/result.json"]
        assert sorted(archive.getnames()) == names
    assert (out / "status.json").read_text() == "['status', '--json']\n"


def test_without_runs_nothing_is_collected(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert collect(tmp_path, tmp_path / "out", 0.0, {}) == []


@pytest.mark.parametrize("word", ["failed", "not shown", "time"])
def test_only_ok_is_success(word: str, tmp_path: Path) -> None:
    verdicts = [Verdict("a", "ok", 1.0, "", ()), Verdict("b", word, 2.0, "", ())]
    assert conclude(verdicts[:1], tmp_path, []) == 0
    assert conclude(verdicts, tmp_path, []) == 1
    assert (tmp_path / "summary.txt").read_text().endswith("all of it: 3 s\n")


def test_an_old_python_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(checking, "OLDEST_PYTHON", (99, 0))
    assert main([]) == 1
    assert capsys.readouterr().out.startswith("Knockout needs Python 3.11 or newer, this is 3.")


def test_an_interrupt_gives_its_status(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(*_: object, dry: bool) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(checking, "check", interrupt)
    monkeypatch.setattr("signal.signal", lambda number, handler: None)
    assert main([]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_a_mark_whose_tests_are_all_skipped_is_no_success(tmp_path: Path) -> None:
    """The repository's conftest sees to it, so that `-m cuda` shows the same by hand."""
    (tmp_path / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = cuda: on a GPU\n")
    test = "import pytest\n\n@pytest.mark.cuda\ndef test_one():\n    {}\n\ndef test_other():\n    pass\n"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "cuda"]
    cases = (
        ("pytest.skip('no card')", 5, "no test ran: all 1 tests of `-m cuda` were skipped"),
        ("pass", 0, "1 passed, 1 deselected in "),
        ("assert 0", 1, "1 failed, 1 deselected in "),
    )
    for body, status, told in cases:
        (tmp_path / "test_it.py").write_text(test.format(body))
        # The conftest takes builders from the repository.
        paths = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run(command, cwd=tmp_path, env=paths, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout.splitlines()[-1].startswith(told)) == (status, True), done.stdout
