"""Runs of a stranger's script beside each other, interrupted and stopped, in real worktrees by the command line."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.builders.stranger_repo import StrangerRepo
from tests.builders.study_harness import wait_for
from tests.faults.strangers import marked

MEETS = """\
import os, sys, time
seed, meeting = sys.argv[1].partition("=")[2], sys.argv[2]
assert not os.path.exists("state.txt") and not os.path.exists("out/state.txt"), "another run was here"
os.makedirs("out", exist_ok=True)
for name in ("state.txt", "out/state.txt", "train.py"):
    open(name, "w").write(f"of seed {seed}")
open(os.path.join(meeting, seed), "w").close()
while len(os.listdir(meeting)) < 2:
    time.sleep(0.02)
time.sleep(0.3)
for name in ("state.txt", "out/state.txt", "train.py"):
    assert open(name).read() == f"of seed {seed}", name
print(f"step 1: loss 0.{seed}", flush=True)
"""
"""Two runs write the same names, wait until both have, and read them again."""
MEETING = """\
campaign: meeting
seeds: [1, 2]
task:
  command: [python3, train.py, "--seed={{seed}}", "{meeting}"]
  code: [train.py]
  outputs: [out]
  progress: {{stdout: "step {{step}}: loss {{loss}}"}}
metrics:
  loss: {{better: lower, margin: 0.1}}
"""
GRACE_SECONDS = 30.0
"""Longest wait of a user for the end of an interrupted command; the machine of the tests is busy."""


def test_two_runs_at_once_in_their_worktrees_never_see_each_others_files(tmp_path: Path) -> None:
    repo, meeting = StrangerRepo(tmp_path, "globals"), tmp_path / "meeting"
    meeting.mkdir()
    (repo.repo / "train.py").write_text(MEETS)
    (repo.repo / "experiments.yaml").write_text(MEETING.format(meeting=meeting))
    repo.commit("two meet")
    before = repo.stamp()
    repo.must("queue", "add")
    repo.must("work", "--slots", "2")
    results = [json.loads(path.read_bytes()) for path in repo.results()]
    assert [result["state"] for result in results] == ["done", "done"], results
    kept = {folder.read_config().seed: (folder.outputs / "out" / "state.txt").read_text() for folder in repo.folders()}
    assert kept == {1: "of seed 1", 2: "of seed 2"}
    assert repo.stamp() == before
    assert len(repo.git("worktree", "list").splitlines()) == 1


class Interrupted:
    """A repository whose runs take long, and what is interrupted in it."""

    def __init__(self, folder: Path, *, resumes: bool) -> None:
        self.repo = StrangerRepo(folder, "globals")
        self.repo.edit("experiments.yaml", "step_seconds: 0.0", "step_seconds: 1.0")
        self.repo.edit("experiments.yaml", "eval_interval: 5", "eval_interval: 1")
        if not resumes:
            self.repo.edit("experiments.yaml", "  resume: {when: out/ckpt.json, arguments: [--init_from=resume]}\n", "")
            self.repo.edit("experiments.yaml", ', "{resume}"', "")
        # The script looks for a file before each wait: then runs that were queued with slow steps take no time.
        self.fast = folder / "fast"
        self.repo.edit(
            "train.py", "time.sleep(step_seconds)", f"os.path.exists({str(self.fast)!r}) or time.sleep(step_seconds)"
        )
        self.repo.commit("slow")
        self.before = self.repo.stamp()

    def interrupt(self, number: int, *words: str, to_group: bool) -> tuple[int, str]:
        """Start a command, send a signal once a run trains, and return the status and what was printed."""
        command = subprocess.Popen(
            self.repo.command(*words), cwd=self.repo.repo, env=self.repo.environment, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        wait_for(lambda: command.poll() is not None or self.has_trained(), "a run has printed three steps")
        started = time.monotonic()
        (os.killpg if to_group else os.kill)(command.pid, number)
        printed, _ = command.communicate(timeout=120)
        assert time.monotonic() - started < GRACE_SECONDS, printed
        return command.returncode, printed

    def has_trained(self) -> bool:
        return any(b"\nstep 2: " in folder.log.read_bytes() for folder in self.repo.folders() if folder.log.exists())


@pytest.mark.parametrize("resumes", [True, False])
@pytest.mark.parametrize(
    ("number", "words", "to_group"),
    [(signal.SIGINT, ("run", "baseline", "--seeds", "1"), True), (signal.SIGTERM, ("work",), False)],
    ids=["Ctrl-C to run", "SIGTERM to work"],
)
def test_an_interrupted_command_says_what_to_do_and_the_next_one_goes_on(
    tmp_path: Path, number: int, words: tuple[str, ...], to_group: bool, resumes: bool
) -> None:
    place = Interrupted(tmp_path, resumes=resumes)
    repo = place.repo
    if words[0] == "work":
        repo.must("queue", "add", "baseline", "--seeds", "1")
    status, printed = place.interrupt(number, *words, to_group=to_group)
    assert status == 130, printed
    assert f"results and checkpoints are kept, `knockout {words[0]}` goes on from them" in printed
    assert "Traceback" not in printed
    assert [row["state"] for row in repo.rows()] == ["interrupted"]
    assert list(marked(repo.folders())) == []
    (folder,) = repo.folders()
    told = folder.log.read_bytes()
    place.fast.touch()
    repo.must(*words)
    assert [row["state"] for row in repo.rows()] == ["done"]
    later = folder.log.read_bytes()[len(told) :]
    assert (b"resuming from step" in later, b"step 0: " in later) == (resumes, not resumes)
    assert [record.step for record in folder.read_epochs()] == list(range(21))
    assert repo.stamp() == place.before
    assert len(repo.git("worktree", "list").splitlines()) == 1
