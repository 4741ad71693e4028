"""One command as a run, with real processes: what it leaves, and what its end means."""

import os
import signal
import tempfile
from pathlib import Path

import pytest

from orchestrator.errors import AWAY, HELD, INTERRUPTED, NO_SPACE, REFUSED
from orchestrator.runs import job_lock
from orchestrator.runs.members import Swept
from orchestrator.supervisor import supervise as module
from orchestrator.supervisor.launch_file import Progress, ProgressFile, Resume
from orchestrator.supervisor.supervise import supervise
from tests.builders.strangers import as_nobody
from tests.builders.supervised import (
    DAEMON,
    LOG_LINES,
    PYTHON,
    SLEEP,
    LineFollower,
    LineReaders,
    Row,
    Stranger,
    a_stranger,
    train,
    wait_until,
)


class TestDone:
    def test_an_echo_of_a_shell_is_a_run(self, stranger: Stranger) -> None:
        assert stranger.run("sh", "-c", "echo step 1: loss 0.5", progress=LOG_LINES) == 0
        result = stranger.result()
        assert (result.state, result.epochs, result.failure) == ("done", 1, None)
        assert result.reason == "the command ended with exit status 0"
        assert stranger.log() == "step 1: loss 0.5\n"
        assert stranger.marked() == []

    def test_it_works_in_its_checkout_with_its_mark_and_without_what_is_hidden(
        self, stranger: Stranger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SLURM_JOB_ID", "7")
        monkeypatch.setenv("SLURM_NODEID", "3")
        words = "echo $(pwd) $PWD $LR [$SLURM_JOB_ID] [$SLURM_NODEID] $KNOCKOUT_RUN"
        fields = {"environment": {"LR": "0.1"}, "hidden": ("SLURM_*",), "shown": ("SLURM_NODE*",)}
        assert stranger.run("sh", "-c", words, **fields) == 0
        *told, mark = stranger.log().split()
        assert told == [str(stranger.checkout)] * 2 + ["0.1", "[]", "[3]"]
        assert mark.endswith(":lr-s0-0123abcd")

    def test_data_are_linked_in_outputs_are_kept_and_files_are_written(
        self, stranger: Stranger, tmp_path: Path
    ) -> None:
        (tmp_path / "text").mkdir()
        (tmp_path / "text" / "train.bin").write_text("7")
        script = "cat data/text/train.bin conf/a.json; mkdir -p out; echo net > out/net.pt; echo all > model.pt"
        status = stranger.run(
            *("sh", "-c", script),
            data={"data/text": str(tmp_path / "text")},
            outputs=("out", "model.pt"),
            files={"conf/a.json": '{"lr": 1}'},
        )
        assert (status, stranger.log()) == (0, '7{"lr": 1}')
        assert (stranger.folder.outputs / "out" / "net.pt").read_text() == "net\n"
        assert (stranger.folder.outputs / "model.pt").read_text() == "all\n"
        assert (tmp_path / "text" / "train.bin").read_text() == "7"

    def test_an_output_that_was_renamed_onto_its_link_is_kept(self, stranger: Stranger) -> None:
        assert stranger.run("sh", "-c", "echo net > half; mv half net.pt", outputs=("net.pt",)) == 0
        assert (stranger.folder.outputs / "net.pt").read_text() == "net\n"

    def test_a_finished_run_is_not_trained_again(self, stranger: Stranger) -> None:
        assert stranger.run("sh", "-c", "echo once") == 0
        assert supervise(stranger.folder.path) == 0
        assert stranger.log() == "once\n"

    def test_what_outlived_the_command_is_ended_and_told(self, stranger: Stranger) -> None:
        assert stranger.run(*PYTHON, DAEMON) == 0
        pid = stranger.log().split()[1]
        outlived = f"1 process outlived the command and was ended: {pid}"
        assert stranger.result().reason == f"the command ended with exit status 0; {outlived}"
        assert stranger.marked() == []


class TestProgress:
    def test_rows_have_a_step_an_arrival_an_attempt_and_no_seconds_at_first(self, stranger: Stranger) -> None:
        assert stranger.run(*train(".", 3, 0.15), progress=LOG_LINES) == 0
        rows = stranger.rows()
        assert [(row.step, row.values, row.attempt, row.source) for row in rows] == [
            (1.0, {"loss": 1.0}, 1, "log"),
            (2.0, {"loss": 0.5}, 1, "log"),
            (3.0, {"loss": 0.3333}, 1, "log"),
        ]
        assert rows[0].seconds is None
        assert all(row.seconds is not None and 0 <= row.seconds < 5 for row in rows[1:])
        assert sorted(row.at_seconds or 0 for row in rows) == [row.at_seconds for row in rows]

    def test_a_table_that_the_command_writes_is_copied(self, stranger: Stranger) -> None:
        script = "printf 'step,loss\\n1,0.5\\n' > m.csv; printf '2,0.25\\n' >> m.csv"
        progress = Progress(files=(ProgressFile(kind="csv", path="m.csv"),))
        assert stranger.run("sh", "-c", script, progress=progress) == 0
        assert [(row.step, row.source) for row in stranger.rows()] == [(1.0, "m.csv"), (2.0, "m.csv")]
        assert stranger.result().epochs == 2

    @pytest.mark.parametrize(
        "text",
        [
            pytest.param(b"caf\xc3\xa9 \xff\nstep 1: loss 0.5\n", id="unicode and what is none"),
            pytest.param(b"step 1: loss 0.5", id="no line's end"),
            pytest.param(b"\r 10%\r 90%\rstep 1: loss 0.5\r", id="a progress bar"),
            pytest.param(b"", id="nothing"),
        ],
    )
    def test_the_log_is_kept_byte_by_byte(self, stranger: Stranger, text: bytes) -> None:
        script = f"import sys; sys.stdout.buffer.write({text!r})"
        assert stranger.run(*PYTHON, script, progress=LOG_LINES) == 0
        assert stranger.folder.log.read_bytes() == text
        assert len(stranger.rows()) == (1 if text else 0)

    def test_ten_megabytes_of_log_are_read_in_small_pieces(self, stranger: Stranger) -> None:
        follower = LineFollower()

        class Readers(LineReaders):
            def follow_log(self, progress: Progress, attempt: int) -> LineFollower:
                return follower

        script = "print('x' * 10_000_000); print('step 1: loss 0.5')"
        assert stranger.run(*PYTHON, script, progress=LOG_LINES, readers=Readers()) == 0
        assert stranger.folder.log.stat().st_size > 10_000_000
        assert follower.largest <= 2**16
        assert [row.step for row in stranger.rows()] == [1.0]


class TestFailed:
    def test_its_own_exit_status_is_a_crash_with_the_end_of_the_log(self, stranger: Stranger) -> None:
        assert stranger.run("sh", "-c", "echo no such knob; exit 3") == 1
        result = stranger.result()
        assert (result.state, result.failure) == ("failed", "crashed")
        assert result.reason == "the command ended with exit status 3; the last lines of its log:\nno such knob"

    def test_without_a_log_the_reason_says_so(self, stranger: Stranger) -> None:
        assert stranger.run("sh", "-c", "exit 3") == 1
        assert stranger.result().reason == "the command ended with exit status 3, and left no log"

    def test_no_memory_is_seen_in_the_log(self, stranger: Stranger) -> None:
        assert stranger.run(*PYTHON, "raise MemoryError") == 1
        assert stranger.result().failure == "out_of_memory"

    def test_a_program_that_is_not_there_is_rejected(self, stranger: Stranger) -> None:
        assert stranger.run("pyhton", "train.py") == 1
        result = stranger.result()
        assert (result.state, result.failure) == ("failed", "rejected")
        assert result.reason == (
            "`pyhton` cannot be started: No such file or directory; name a program that is there and can be executed, "
            "or its whole path"
        )

    @pytest.mark.parametrize(
        ("fields", "said"),
        [
            ({"arguments": ("sh", "a\0b")}, "`sh` cannot be started: embedded null byte; take that out"),
            ({"outputs": ("a\0b",)}, "launch.json: a path cannot be used: "),
            ({"outputs": ("a" * 300,)}, "File name too long; name a shorter one"),
            ({"arguments": ("sh", "x" * 3_000_000)}, "`sh` cannot be started: Argument list too long"),
        ],
    )
    def test_what_no_system_can_do_is_rejected(
        self, stranger: Stranger, fields: dict[str, tuple[str, ...]], said: str
    ) -> None:
        assert stranger.run("true", **fields) == 1
        assert stranger.result().failure == "rejected"
        assert said in stranger.result().reason

    def test_something_in_the_place_of_a_link_is_rejected_and_left_alone(
        self, stranger: Stranger, tmp_path: Path
    ) -> None:
        (stranger.checkout / "out").mkdir()
        (stranger.checkout / "out" / "mine").write_text("mine")
        assert stranger.run("true", outputs=("out",)) == 1
        assert stranger.result().failure == "rejected"
        assert "something else is there" in stranger.result().reason
        assert (stranger.checkout / "out" / "mine").read_text() == "mine"

    def test_a_run_that_takes_too_long_is_ended(self, stranger: Stranger) -> None:
        assert stranger.run(*PYTHON, SLEEP, run_seconds=0.3) == 1
        result = stranger.result()
        assert (result.state, result.failure) == ("too_slow", None)
        assert "the limit is 0.3 s (run_seconds); 1 process did not end in time and was ended:" in result.reason
        assert stranger.marked() == []


class TestCanGoOn:
    @pytest.mark.parametrize(
        ("script", "status"),
        [
            pytest.param("kill -9 $$", AWAY, id="killed from outside"),
            pytest.param("kill $$", INTERRUPTED, id="asked from outside"),
            pytest.param("exit 137", AWAY, id="a shell whose child was killed"),
            pytest.param("exit 130", INTERRUPTED, id="the helper's status"),
            pytest.param("echo 'OSError: [Errno 28] No space left on device'; exit 1", NO_SPACE, id="full disk"),
        ],
    )
    def test_what_came_from_outside_leaves_no_result(self, stranger: Stranger, script: str, status: int) -> None:
        assert stranger.run("sh", "-c", script) == status
        assert not stranger.folder.result.exists()
        assert stranger.folder.log_tail(1)[0].startswith("[knockout] the command ended ")

    def test_words_of_an_earlier_attempt_do_not_count(self, stranger: Stranger) -> None:
        assert stranger.run("sh", "-c", "echo 'No space left on device'; exit 1") == NO_SPACE
        assert stranger.run("sh", "-c", "echo no such knob; exit 1") == 1
        assert stranger.result().reason.endswith("the last lines of its log:\nno such knob")

    def test_a_folder_that_cannot_be_written_is_said_and_left_alone(self, capfd: pytest.CaptureFixture[str]) -> None:
        with tempfile.TemporaryDirectory(dir="/tmp") as root, a_stranger(Path(root) / "study") as stranger:
            Path(root).chmod(0o755)
            stranger.order("true")
            stranger.folder.path.chmod(0o555)
            with as_nobody():
                assert supervise(stranger.folder.path) == AWAY
            stranger.folder.path.chmod(0o755)
            assert [path.name for path in stranger.folder.path.iterdir()] == ["launch.json"]
        assert "job.lock: Permission denied; give this user the right to it" in capfd.readouterr().err

    def test_data_that_are_away_may_come_back(self, stranger: Stranger, tmp_path: Path) -> None:
        assert stranger.run("true", data={"a": str(tmp_path / "gone")}) == AWAY
        assert stranger.log() == (
            f"[knockout] {tmp_path}/gone: the data `a` are not there; put them back, and run again to go on; "
            "the run can go on once that is mended\n"
        )

    def test_a_checkout_that_is_gone_may_be_made_anew(self, stranger: Stranger, tmp_path: Path) -> None:
        assert stranger.run("true", checkout=str(tmp_path / "gone")) == AWAY
        assert not stranger.folder.result.exists()

    def test_a_disk_that_is_full_leaves_no_result(self, stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise OSError(28, os.strerror(28), "result.json")

        monkeypatch.setattr(module.RunFolder, "write_result", refuse)
        assert stranger.run("true") == NO_SPACE
        assert "result.json: No space left on device; free some space" in stranger.log()

    def test_rows_that_cannot_be_written_now_are_written_at_the_end(
        self, stranger: Stranger, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real, tries = os.write, []

        def fail_twice(descriptor: int, content: bytes) -> int:
            if bytes(content[:8]) == b'{"step":' and len(tries) < 2:
                tries.append(descriptor)
                raise OSError(28, os.strerror(28))
            return real(descriptor, content)

        monkeypatch.setattr("orchestrator.supervisor.progress.os.write", fail_twice)
        assert stranger.run(*train(".", 3, 0.15), progress=LOG_LINES) == 0
        assert len(tries) == 2
        assert [row.step for row in stranger.rows()] == [1.0, 2.0, 3.0]


class TestRefused:
    def test_a_folder_without_a_launch_file(self, stranger: Stranger, capfd: pytest.CaptureFixture[str]) -> None:
        assert supervise(stranger.folder.path) == REFUSED
        assert "launch.json: there is no such file, so nothing says what to start" in capfd.readouterr().err

    def test_a_result_of_another_version_is_kept(self, stranger: Stranger) -> None:
        stranger.folder.result.write_text('{"state": "solved"}')
        assert stranger.run("true") == REFUSED
        assert stranger.folder.result.read_text() == '{"state": "solved"}'

    def test_two_at_once_on_one_folder(
        self, stranger: Stranger, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(job_lock, "LOCK_SECONDS", 0.2)
        stranger.order(*PYTHON, SLEEP)
        pid = stranger.start()
        wait_until(lambda: "up" in stranger.log())
        assert supervise(stranger.folder.path) == HELD
        assert f"process {pid} on" in capfd.readouterr().err
        assert "is at work on this run" not in stranger.log()
        os.kill(pid, signal.SIGTERM)
        assert stranger.wait(pid) == INTERRUPTED

    def test_a_process_of_an_earlier_attempt_that_cannot_be_ended_keeps_the_folder(
        self, stranger: Stranger, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(module, "end_processes", lambda _: Swept(left=(4711,)))
        assert stranger.run("true") == HELD
        assert "process 4711 of an earlier attempt cannot be ended; end it, and run again" in capfd.readouterr().err

    def test_an_error_of_a_reader_leaves_no_process(self, stranger: Stranger) -> None:
        class Broken(LineReaders):
            def follow_log(self, progress: Progress, attempt: int) -> LineFollower:
                return BrokenFollower()

        class BrokenFollower(LineFollower):
            def feed(self, text: str, at_seconds: float | None = None) -> list[Row]:
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            stranger.run(*PYTHON, SLEEP, progress=LOG_LINES, readers=Broken())
        assert stranger.marked() == []
        assert not stranger.folder.result.exists()

    def test_a_folder_that_another_job_takes_over_is_left(self, stranger: Stranger) -> None:
        stranger.order(*PYTHON, SLEEP)
        pid = stranger.start()
        wait_until(lambda: "up" in stranger.log())
        stranger.folder.lock.write_text('{"pid": 1, "host": "elsewhere", "attempt": 9}\n')
        assert stranger.wait(pid) == HELD
        assert not stranger.folder.result.exists()
        assert stranger.marked() == []


class TestGoesOn:
    def order(self, stranger: Stranger, steps: int = 6, seconds: float = 0.05) -> None:
        argument = "@KNOCKOUT_CHECKPOINT@"
        stranger.order(
            *train("out", steps, seconds),
            outputs=("out",),
            progress=LOG_LINES,
            resume=Resume(when="out/*.ckpt", arguments=train("out", steps, seconds, (argument,))),
        )

    def stop_at(self, stranger: Stranger, step: int, number: int = signal.SIGTERM) -> int:
        pid = stranger.start()
        wait_until(lambda: f"step {step}:" in stranger.log())
        os.kill(pid, number)
        return stranger.wait(pid)

    def test_from_its_newest_checkpoint(self, stranger: Stranger) -> None:
        self.order(stranger)
        assert self.stop_at(stranger, 3) == INTERRUPTED
        assert supervise(stranger.folder.path, LineReaders()) == 0
        assert stranger.result().epochs == 6
        assert next(row.step for row in stranger.rows() if row.attempt == 2) != 1.0

    def test_in_a_fresh_checkout_too(self, stranger: Stranger) -> None:
        self.order(stranger)
        assert self.stop_at(stranger, 3, signal.SIGKILL) == -signal.SIGKILL
        stranger.checkout.rename(stranger.root / "old")
        stranger.checkout.mkdir()
        assert supervise(stranger.folder.path, LineReaders()) == 0
        assert stranger.result().epochs == 6
        assert stranger.log().count("step 1:") == 1

    def test_without_a_contract_it_starts_over(self, stranger: Stranger) -> None:
        stranger.order(*train("out", 4, 0.05), outputs=("out",), fresh=("scores",), progress=LOG_LINES)
        (stranger.folder.path / "scores").mkdir()
        assert self.stop_at(stranger, 2) == INTERRUPTED
        (stranger.folder.outputs / "out" / "stale").touch()
        assert supervise(stranger.folder.path, LineReaders()) == 0
        assert [(row.step, row.attempt) for row in stranger.rows()] == [(step, 2) for step in (1.0, 2.0, 3.0, 4.0)]
        assert [path.name for path in (stranger.folder.outputs / "out").iterdir()] == ["last.ckpt"]
        assert not (stranger.folder.path / "scores").exists()
        assert (stranger.folder.path / "progress.jsonl.set-aside").exists()
