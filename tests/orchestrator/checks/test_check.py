"""`knockout check` over small scripts of strangers: what it says, what it offers, and what it leaves alone."""

import subprocess
from pathlib import Path

import pytest

from orchestrator.checks.check import FAULT, FINE, NOT_RUN
from orchestrator.errors import SpecError
from tests.builders.checked import (
    BUFFERED,
    DRIFTING,
    EXACT,
    GLOBALS,
    LEAVES_PROCESSES,
    NO_SEED,
    TRAINS,
    Checking,
    kinds,
    of,
    python,
    snapshot,
    texts,
)

ARGPARSE = {"command": python("train.py", "--seed={seed}", "{params}"), "code": "[train.py]"}
LOSS = "metrics: {val_loss: {better: lower, margin: 0.1}}\nbaseline: {lr: 0.1, epochs: 2}"


def argparse_repository(mine: Checking) -> None:
    mine.commit({"train.py": TRAINS, "net.py": "width = 2\n", ".gitignore": "data/\nexperiments.yaml\n"})
    mine.write({"data/scale.txt": "3.0"})
    mine.campaign({**ARGPARSE, "progress": '{stdout: "epoch {epoch}: val loss {val_loss}"}'}, LOSS)


def test_a_script_that_misses_its_data_is_told_where_they_are(mine: Checking) -> None:
    argparse_repository(mine)
    before = mine.file.read_text()
    checked = mine.check()
    assert checked.status == NOT_RUN
    assert "seed 0: the command ended with exit status 1" in texts(checked, "ran")
    read = [finding for finding in of(checked, "read") if finding.kind == "problem"]
    assert [finding.text for finding in read] == [
        "No such file: data/scale.txt. It is in your checkout, and not in git: add it to `task.data`"
    ]
    assert [offer.line for finding in read for offer in finding.offers] == ["task.data.scale: data/scale.txt"]
    assert texts(checked, "stop") == "the command did not run to its end; `knockout check --write` adds 2 lines"
    assert mine.file.read_text() == before


def test_write_adds_what_is_missing_and_checks_until_it_runs(mine: Checking) -> None:
    argparse_repository(mine)
    before = snapshot(mine.root)
    checked = mine.check(is_writing=True)
    assert checked.status == FINE
    assert mine.values["task"]["data"] == {"scale": "data/scale.txt"}
    assert mine.values["task"]["code"] == ["train.py", "net.py"]
    assert mine.values["task"]["outputs"] == ["net.pt"]
    assert "+  data: {scale: data/scale.txt}\n" in checked.difference
    assert "what was missing is named now; checking again" in mine.told
    assert {name for name, content in snapshot(mine.root).items() if before.get(name) != content} == {mine.file.name}
    again = mine.check(is_writing=True)
    assert (again.status, again.difference, kinds(again)["read"]) == (FINE, "", "ok")


def test_a_fine_script_is_described_line_by_line(mine: Checking) -> None:
    argparse_repository(mine)
    mine.check(is_writing=True)
    checked = mine.check(sets=("epochs=3",))
    assert "train.py --seed=0 --lr=0.1 --epochs=3\nexit 0, 3 runs" in texts(checked, "ran")
    assert texts(checked, "read") == "2 files of `task.code`"
    assert texts(checked, "wrote") == "nothing beside its code"
    assert texts(checked, "steps") == "3 rows of `val_loss`, 3 steps; prints at once: too short to tell"
    assert texts(checked, "metric").startswith("val_loss 0.")
    assert texts(checked, "metric").endswith("; lower is better; judged")
    assert texts(checked, "seed") == "the same seed gives the same numbers; another gives others"
    assert texts(checked, "items").startswith("none: verdicts will be by seeds alone")
    assert texts(checked, "resume") == "not said; a stopped run starts over"
    assert texts(checked, "fine").startswith("`knockout run` would train 1 experiment x 2 seeds")
    assert mine.told == ["run 1 of 3: seed 0", "run 2 of 3: seed 0", "run 3 of 3: seed 1"]


def test_a_seed_without_an_effect_is_a_fault(mine: Checking) -> None:
    mine.commit({"train.py": NO_SEED})
    mine.campaign({"command": python("train.py", "{seed}"), "code": "[train.py]"})
    checked = mine.check(is_writing=True)
    assert checked.status == FAULT
    assert texts(checked, "seed").startswith("the seed has no effect: seeds 0 and 1 tell the same")
    checked = mine.check()
    assert checked.status == FAULT
    assert texts(checked, "seed") == (
        "the seed has no effect: seeds 0 and 1 give the same numbers (val_loss 0.25), so all seeds would be one run; "
        "let the script use the seed that the command passes"
    )


def test_a_shell_script_of_one_echo_gets_progress_and_a_metric(mine: Checking) -> None:
    mine.commit({"train.sh": 'echo "val_loss: 1.$1"\n'})
    mine.campaign({"command": "[sh, train.sh, '{seed}']", "code": "[train.sh]"})
    checked = mine.check(is_writing=True)
    assert mine.values["task"]["progress"] == {"stdout": "preset:key_value"}
    assert mine.values["metrics"] == {"val_loss": {"better": "lower", "margin": "1%"}}
    assert texts(checked, "start") == "`sh` is no Python, so each run starts by itself"
    assert "no Python told what it opens" in texts(checked, "read")
    again = mine.check()
    assert again.status == FINE
    assert texts(again, "metric") == "val_loss 1; lower is better; judged"
    assert texts(again, "seed") == "the same seed gives the same numbers; another gives others"


def test_lines_that_come_at_the_end_are_a_fault_where_guards_wait_for_them(mine: Checking) -> None:
    mine.commit({"train.py": BUFFERED})
    task = {
        "command": python("train.py", "--seed={seed}"),
        "code": "[train.py]",
        "progress": '{stdout: "epoch {epoch}: loss {loss}"}',
    }
    metrics = "metrics: {loss: {better: lower, margin: 0.1}}"
    mine.campaign(task, f"{metrics}\nguards: {{run_seconds: 60}}")
    checked = mine.check()
    assert checked.status == FAULT
    assert of(checked, "steps")[-1].text == (
        "its lines came all at once at its end; guards could not act: flush, or put `stdbuf -oL` before the command"
    )


def test_processes_that_outlive_the_command_are_named_and_ended(mine: Checking) -> None:
    mine.commit({"train.py": LEAVES_PROCESSES})
    mine.campaign({"command": python("train.py", "--seed={seed}"), "code": "[train.py]"})
    checked = mine.check()
    assert checked.status == FINE
    left = texts(checked, "left")
    assert left.startswith("2 processes outlived the command and were ended: ")
    for pid in left.rpartition(": ")[2].split(", "):
        assert not Path("/proc", pid).exists()


@pytest.mark.parametrize(("drift", "kind"), [(EXACT, "ok"), (DRIFTING, "problem")], ids=["exact", "drifting"])
def test_a_resumed_run_is_compared_with_one_that_never_stopped(mine: Checking, drift: str, kind: str) -> None:
    mine.commit({"train.py": GLOBALS.replace("DRIFT", drift)})
    task = {
        "command": python("train.py", "--seed={seed}", "{params}", "{resume}"),
        "style": "literal",
        "code": "[train.py]",
        "outputs": "[out]",
        "progress": '{stdout: "step {step}: loss {loss}"}',
        "resume": "{when: out/ckpt.txt, arguments: [--init_from=resume]}",
    }
    mine.campaign(task, "metrics: {loss: {better: lower, margin: 0.1}}\nbaseline: {max_iters: 12}")
    checked = mine.check(with_resume=True)
    (found,) = of(checked, "resume")
    assert found.kind == kind, found.text
    assert "it went on from ckpt.txt: " in found.text
    said = "the same numbers as never stopped" if kind == "ok" else "other numbers than never stopped (loss "
    assert said in found.text
    assert checked.status == (FINE if kind == "ok" else FAULT)


def test_the_users_checkout_and_repository_stay_byte_for_byte(mine: Checking) -> None:
    argparse_repository(mine)
    mine.write({"net.py": "width = 4\n"})
    # `git status` itself writes the index anew.
    status = mine.git("status", "--porcelain")
    before = snapshot(mine.root)
    mine.check()
    assert snapshot(mine.root) == before
    assert mine.git("status", "--porcelain") == status
    assert mine.git("worktree", "list").count("\n") == 1


def test_code_that_git_does_not_track_is_named(mine: Checking) -> None:
    mine.commit({"train.py": "import extra\nprint('loss: 1')\n", ".gitignore": "experiments.yaml\n"})
    mine.write({"extra.py": ""})
    mine.campaign({"command": python("train.py", "{seed}"), "code": "[train.py]"})
    checked = mine.check()
    assert checked.status == NOT_RUN
    assert "git does not track extra.py, so no run has it; `git add extra.py` and commit" in texts(checked, "read")


def test_a_run_that_takes_too_long_is_ended(mine: Checking) -> None:
    mine.commit({"train.py": "import time\ntime.sleep(60)\n"})
    mine.campaign({"command": python("train.py", "{seed}"), "code": "[train.py]"})
    checked = mine.check(limit_seconds=0.5)
    assert checked.status == NOT_RUN
    assert "was ended; the limit is 0.5 s" in texts(checked, "ran")


def test_a_folder_outside_git_is_checked_in_a_copy(mine: Checking) -> None:
    mine.write({"train.py": TRAINS, "net.py": "width = 2\n", "data/scale.txt": "3.0"})
    mine.campaign({**ARGPARSE, "progress": '{stdout: "epoch {epoch}: val loss {val_loss}"}'}, LOSS)
    checked = mine.check(is_writing=True)
    assert checked.status == FINE
    assert "net.py" in mine.values["task"]["code"]
    assert not (mine.root / "net.pt").exists()


def test_a_file_that_is_no_campaign_is_refused_before_anything_runs(mine: Checking) -> None:
    mine.commit({"train.py": NO_SEED})
    mine.campaign({"command": python("train.py"), "code": "[train.py]"})
    with pytest.raises(SpecError, match=r"experiments\.yaml:4: task\.command: the seed never reaches the script"):
        mine.check()
    assert mine.told == []
    with pytest.raises(SpecError, match="there is no such file; name the campaign with -f FILE"):
        Checking(mine.root / "elsewhere").check()


def test_a_link_to_the_campaign_file_stays_a_link(mine: Checking, tmp_path: Path) -> None:
    mine.commit({"train.sh": 'echo "val_loss: 1.$1"\n'})
    mine.campaign({"command": "[sh, train.sh, '{seed}']", "code": "[train.sh]"})
    mine.file.chmod(0o640)
    mine.check(is_writing=True)
    assert mine.file.stat().st_mode & 0o777 == 0o640
    assert subprocess.run(["git", "status"], cwd=mine.root, check=True, capture_output=True).returncode == 0


def test_a_campaign_deep_in_a_repository_names_code_and_data_beside_its_folder(mine: Checking) -> None:
    script = "import sys\nsys.path.insert(0, '..')\nimport shared\n"
    script += "print('loss:', int(sys.argv[1]) + float(open('../data/MNIST/raw').read()))\n"
    mine.commit({"mnist/train.py": script, "shared.py": "", ".gitignore": "data/\nexperiments.yaml\n"})
    mine.write({"data/MNIST/raw": "3"})
    deep = Checking(mine.root / "mnist")
    deep.campaign({"command": python("train.py", "{seed}"), "code": "[train.py]"})
    checked = deep.check(is_writing=True)
    assert checked.status == FINE, checked.findings
    assert deep.values["task"]["data"] == {"raw": "../data/MNIST/raw"}
    assert "../shared.py, which `task.code` does not name" in texts(checked, "read")


def test_workers_in_sessions_of_their_own_are_heard(mine: Checking) -> None:
    worker = (
        "import sys\nopen('data/part').read()\nprint('rank', sys.argv[2])\nprint('loss:', 1.0 + int(sys.argv[1]))\n"
    )
    launcher = (
        "import subprocess, sys\nwords = [sys.executable, 'worker.py', sys.argv[1]]\n"
        "for one in [subprocess.Popen([*words, str(rank)], start_new_session=True) for rank in range(2)]:\n"
        "    assert one.wait() == 0\n"
    )
    mine.commit({"launch.py": launcher, "worker.py": worker, ".gitignore": "data/\nexperiments.yaml\n"})
    mine.write({"data/part": "1"})
    mine.campaign({"command": python("launch.py", "{seed}"), "code": "[launch.py]"})
    checked = mine.check(is_writing=True)
    assert checked.status == FINE
    assert mine.values["task"]["code"] == ["launch.py", "worker.py"]
    assert mine.values["task"]["data"] == {"part": "data/part"}
