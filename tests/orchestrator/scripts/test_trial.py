"""A command is run in a copy of the code, for a short time, and all of its processes end."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.processes import MARK, find_members, run_mark
from orchestrator.scripts.trial import Place, TooLargeError, find_place, run_trial, sweep, throw_away_code
from tests.builders import scripts

AWAY = (
    "import subprocess, sys; "
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)"
)


INIT = """
import sys
from pathlib import Path
from orchestrator.scripts.init import InitOptions, init_campaign
try:
    init_campaign(Path("train.py"), Path("experiments.yaml"), InitOptions())
except KeyboardInterrupt:
    sys.exit(130)
"""


def members(scratch: Path) -> int:
    return len(find_members(scratch, scratch / "job.lock", None))


class TestRun:
    def test_tells_how_a_command_ended(self, tmp_path: Path) -> None:
        code = "import os, sys; print(os.getcwd()); print('a\\nlast', file=sys.stderr); sys.exit(3)"
        trial = run_trial([sys.executable, "-c", code], tmp_path, tmp_path)
        assert (trial.status, trial.output, trial.last_error, trial.num_swept) == (3, f"{tmp_path}\n", "last", 0)

    def test_gives_no_input_and_a_mark(self, tmp_path: Path) -> None:
        code = f"import os, sys; print(repr(sys.stdin.read()), os.environ['{MARK}'], os.environ['WANDB_MODE'])"
        trial = run_trial([sys.executable, "-c", code], tmp_path, tmp_path)
        assert trial.output == f"'' {run_mark(tmp_path)} disabled\n"

    def test_ends_what_a_command_leaves_behind_in_a_session_of_its_own(self, tmp_path: Path) -> None:
        trial = run_trial([sys.executable, "-c", AWAY], tmp_path, tmp_path)
        assert (trial.status, trial.num_swept, members(tmp_path)) == (0, 1, 0)

    def test_ends_a_command_whose_time_is_out(self, tmp_path: Path) -> None:
        stubborn = f"import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); {AWAY}; time.sleep(600)"
        trial = run_trial([sys.executable, "-c", stubborn], tmp_path, tmp_path, seconds=1.0)
        assert (trial.status, trial.num_swept, members(tmp_path)) == (None, 2, 0)

    def test_a_command_that_cannot_be_started_is_an_error_of_the_system(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError):
            run_trial(["no-such-program"], tmp_path, tmp_path)

    def test_works_in_a_thread(self, tmp_path: Path) -> None:
        ended: list[int | None] = []
        run = threading.Thread(target=lambda: ended.append(run_trial(["true"], tmp_path, tmp_path).status))
        run.start()
        run.join()
        assert ended == [0]

    def test_keeps_the_handlers_of_signals(self, tmp_path: Path) -> None:
        before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)]
        run_trial(["true"], tmp_path, tmp_path)
        assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)] == before

    def test_a_sweep_of_nothing_ends_nothing(self, tmp_path: Path) -> None:
        assert sweep(tmp_path) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupted_init_leaves_no_process_and_no_worktree(stranger: Any, number: signal.Signals) -> None:
    stranger.commit({"train.py": scripts.ENDLESS})
    temporary = stranger.root.parent / "temporary"
    temporary.mkdir()
    command = [sys.executable, "-c", INIT]
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONPATH": str(Path(__file__).parents[3])}
    with subprocess.Popen(command, cwd=stranger.root, env=environment, stderr=subprocess.PIPE) as init:
        while not (found := list(temporary.glob("knockout-init-*/copy/left_behind.txt"))):
            assert init.poll() is None
            time.sleep(0.05)
        scratch = found[0].parents[1] / "scratch"
        assert members(scratch) >= 1
        inode = run_mark(scratch)
        init.send_signal(number)
        _, told = init.communicate(timeout=60)
    assert init.returncode == 130, told
    assert list(temporary.iterdir()) == []
    assert inode not in marks()
    assert stranger.git("worktree", "list").count("\n") == 1
    assert not stranger.file.exists()


def marks() -> set[str]:
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            variables = (folder / "environ").read_bytes().split(b"\0")
            found |= {one.partition(b"=")[2].decode() for one in variables if one.startswith(MARK.encode() + b"=")}
    return found


class TestPlace:
    def test_a_repository_is_known_by_its_commit_and_files(self, stranger: Any) -> None:
        stranger.commit({"sub/train.py": "", "top.py": ""})
        stranger.write({"new.py": ""})
        place = find_place(stranger.root / "sub")
        assert (place.prefix, place.tracked) == ("sub/", frozenset({"train.py"}))
        assert place.commit == stranger.git("rev-parse", "HEAD").strip()

    def test_a_folder_without_one_or_without_a_commit_is_only_a_folder(self, stranger: Any) -> None:
        assert find_place(stranger.root) == Place(root=stranger.root)
        stranger.git("init", "--quiet")
        assert find_place(stranger.root) == Place(root=stranger.root)


class TestCopy:
    def test_has_the_users_uncommitted_files(self, stranger: Any) -> None:
        stranger.commit({"a.py": "1", "gone.py": "", "moved.py": "x", ".gitignore": "data/\n"})
        stranger.write({"a.py": "2", "new/b.py": "3", "data/rows.csv": "4"})
        (stranger.root / "gone.py").unlink()
        stranger.git("mv", "moved.py", "new.py")
        with throw_away_code(find_place(stranger.root)) as (code, scratch):
            found = {path.relative_to(code).as_posix() for path in code.rglob("*") if path.is_file()} - {".git"}
            assert found == {"a.py", ".gitignore", "new/b.py", "new.py"}
            assert (code / "a.py").read_text() == "2"
            assert list(scratch.iterdir()) == []
        assert not code.exists()
        assert stranger.git("worktree", "list").count("\n") == 1

    def test_of_a_folder_of_the_repository_begins_there(self, stranger: Any) -> None:
        stranger.commit({"sub/train.py": "", "top.py": ""})
        with throw_away_code(find_place(stranger.root / "sub")) as (code, _):
            assert [path.name for path in code.iterdir()] == ["train.py"]
            assert (code.parent / "top.py").is_file()

    def test_outside_git_skips_environments_links_and_large_files(
        self, stranger: Any, monkeypatch: pytest.MonkeyPatch, in_place: Callable[[], list[str]]
    ) -> None:
        monkeypatch.setattr("orchestrator.scripts.trial.MAX_FILE_BYTES", 10)
        stranger.write({"train.py": "1", "lib/a.py": "", ".venv/x": "", "__pycache__/y": "", "big.bin": 11 * "x"})
        (stranger.root / "link.py").symlink_to("train.py")
        with throw_away_code(Place(root=stranger.root)) as (code, _):
            found = sorted(path.relative_to(code).as_posix() for path in code.rglob("*") if path.is_file())
            assert found == ["lib/a.py", "train.py"]
        assert in_place() == []

    def test_outside_git_is_bounded(self, stranger: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("orchestrator.scripts.trial.MAX_COPY_BYTES", 3)
        stranger.write({"a": "12", "b": "34"})
        with pytest.raises(TooLargeError), throw_away_code(Place(root=stranger.root)):
            pass
