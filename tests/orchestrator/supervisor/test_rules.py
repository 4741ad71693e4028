"""What is done with a running command, and what its end means."""

import pytest

from orchestrator.errors import AWAY, INTERRUPTED, NO_SPACE
from orchestrator.supervisor.rules import (
    Action,
    End,
    Limits,
    Moment,
    choose_action,
    conclude,
    describe_ended,
    find_signal,
)

LIMITS = Limits(grace_seconds=10, run_seconds=100)
TORCHRUN = ("  traceback : Signal 9 (SIGKILL) received by PID 4711",)
CLOSING = ("Signal 15 (SIGTERM) received by PID 4712",)


class TestAction:
    @pytest.mark.parametrize(
        ("moment", "wanted"),
        [
            (Moment(seconds=5), Action.WAIT),
            (Moment(seconds=100), Action.WAIT),
            (Moment(seconds=100.1), Action.END),
            (Moment(seconds=5, has_ended=True), Action.END),
            (Moment(seconds=5, requests=1), Action.ASK),
            (Moment(seconds=5, requests=1, has_ended=True), Action.END),
            (Moment(seconds=5, requests=2, has_ended=True), Action.END),
            (Moment(seconds=14.9, requests=1, asked_seconds=5), Action.WAIT),
            (Moment(seconds=15, requests=1, asked_seconds=5), Action.END),
            (Moment(seconds=6, requests=1, asked_seconds=5, has_ended=True), Action.WAIT),
            (Moment(seconds=6, requests=1, asked_seconds=5, has_ended=True, has_members=False), Action.END),
            (Moment(seconds=105, requests=1, asked_seconds=99), Action.WAIT),
            (Moment(seconds=6, requests=2, asked_seconds=5), Action.KILL),
            (Moment(seconds=0, requests=2), Action.KILL),
        ],
    )
    def test_of_a_moment(self, moment: Moment, wanted: Action) -> None:
        assert choose_action(moment, LIMITS) is wanted

    def test_without_a_limit_a_run_may_take_for_ever(self) -> None:
        assert choose_action(Moment(seconds=1e9), Limits(grace_seconds=1)) is Action.WAIT


class TestConclusion:
    @pytest.mark.parametrize(
        ("end", "state", "failure", "status"),
        [
            pytest.param(End(status=0), "done", None, 0, id="done"),
            pytest.param(End(status=0, is_asked=True), "interrupted", None, INTERRUPTED, id="asked, then 0"),
            pytest.param(End(status=1, is_asked=True), "interrupted", None, INTERRUPTED, id="asked, then 1"),
            pytest.param(End(status=-11, is_asked=True), "interrupted", None, INTERRUPTED, id="asked, then SIGSEGV"),
            pytest.param(End(status=-9, too_long_seconds=9, limit_seconds=8), "too_slow", None, 1, id="too long"),
            pytest.param(End(status=1), "failed", "crashed", 1, id="its own status"),
            pytest.param(End(status=255), "failed", "crashed", 1, id="status -1"),
            pytest.param(End(status=75), "failed", "crashed", 1, id="a status of our own jobs is the script's here"),
            pytest.param(End(status=-11), "failed", "crashed", 1, id="SIGSEGV"),
            pytest.param(End(status=139), "failed", "crashed", 1, id="a shell's SIGSEGV"),
            pytest.param(End(status=-9), "interrupted", None, AWAY, id="SIGKILL"),
            pytest.param(End(status=-1), "interrupted", None, AWAY, id="SIGHUP"),
            pytest.param(End(status=-15), "interrupted", None, INTERRUPTED, id="SIGTERM"),
            pytest.param(End(status=137), "interrupted", None, AWAY, id="a shell's SIGKILL"),
            pytest.param(End(status=143), "interrupted", None, INTERRUPTED, id="a shell's SIGTERM"),
            pytest.param(End(status=130), "interrupted", None, INTERRUPTED, id="the helper's status"),
            pytest.param(End(status=-9, memory_kills=1), "failed", "out_of_memory", 1, id="killed by the kernel"),
            pytest.param(End(status=137, memory_kills=2), "failed", "out_of_memory", 1, id="a shell's, by the kernel"),
            pytest.param(End(status=1, memory_kills=1), "failed", "crashed", 1, id="another's memory was short"),
            pytest.param(End(status=1, log_tail=TORCHRUN), "interrupted", None, AWAY, id="a worker was killed"),
            pytest.param(
                End(status=1, log_tail=TORCHRUN, memory_kills=1),
                "failed",
                "out_of_memory",
                1,
                id="a worker, by the kernel",
            ),
            pytest.param(End(status=1, log_tail=CLOSING), "failed", "crashed", 1, id="a launcher closed its workers"),
        ],
    )
    def test_of_an_end(self, end: End, state: str, failure: str | None, status: int) -> None:
        conclusion = conclude(end)
        assert (conclusion.state, conclusion.failure, conclusion.status) == (state, failure, status)

    @pytest.mark.parametrize(
        "line",
        [
            "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB",
            "RuntimeError: CUDA error: out of memory",
            "RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory: you tried",
            "MemoryError",
            "[rank0]: numpy._core._exceptions._ArrayMemoryError: Unable to allocate 8 TiB",
            "jaxlib.XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying",
            "terminate called after throwing an instance of 'std::bad_alloc'",
            "OSError: [Errno 12] Cannot allocate memory",
        ],
    )
    def test_no_memory_is_read_in_the_last_lines(self, line: str) -> None:
        conclusion = conclude(End(status=1, log_tail=("step 1", line)))
        assert conclusion.failure == "out_of_memory"
        assert conclusion.reason.endswith(f"because it ran out of memory; the last lines of its log:\nstep 1\n{line}")

    @pytest.mark.parametrize("line", ["the class MyMemoryErrors", "memory: 3", "out of memory tests: 3 passed"])
    def test_other_words_about_memory_are_a_crash(self, line: str) -> None:
        assert conclude(End(status=1, log_tail=(line,))).failure == "crashed"

    @pytest.mark.parametrize("words", ["[Errno 28] No space left on device", "[Errno 122] Disk quota exceeded"])
    def test_a_full_disk_interrupts(self, words: str) -> None:
        conclusion = conclude(End(status=1, log_tail=(words,)))
        assert (conclusion.state, conclusion.status) == ("interrupted", NO_SPACE)
        assert conclusion.reason == (
            "the command ended with exit status 1, because the disk is full; free some space, and run again"
        )

    @pytest.mark.parametrize("end", [End(status=0), End(status=1), End(status=-9), End(status=1, is_asked=True)])
    def test_what_outlived_the_command_stands_in_every_reason(self, end: End) -> None:
        told = "2 processes outlived the command and were ended: 23351, 23352"
        assert told in conclude(End(status=end.status, is_asked=end.is_asked, outlived=told)).reason

    def test_the_reason_of_a_run_that_took_too_long_names_the_limit(self) -> None:
        conclusion = conclude(End(status=-15, too_long_seconds=3600.26, limit_seconds=3600))
        assert conclusion.reason == "the command took 3600.3 s and was ended; the limit is 3600 s (run_seconds)"


def test_two_signals_of_workers_are_no_cause() -> None:
    told = (*TORCHRUN, "died with <Signals.SIGSEGV: 11>")
    assert find_signal(End(status=1, log_tail=told)) is None
    assert find_signal(End(status=1, log_tail=told[1:])) == 11


def test_ended_processes_are_counted() -> None:
    assert describe_ended((), (), has_ended=True) is None
    assert describe_ended((7,), (), has_ended=True) == "1 process outlived the command and was ended: 7"
    assert describe_ended((7, 8), (9,), has_ended=False) == (
        "2 processes did not end in time and were ended: 7, 8; 1 process could not be ended; end by hand: 9"
    )
