"""Runs one command as a run: holds the folder, follows the command, sweeps, and writes the result last."""

import errno
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from msgspec import structs

from orchestrator.errors import AWAY, HELD, INTERRUPTED, REFUSED, DataError, RunError, explain_os_error, status_of
from orchestrator.processes import count_memory_kills
from orchestrator.runs.folder import Result, RunFolder
from orchestrator.runs.job_lock import HeldError
from orchestrator.runs.members import TERM_SECONDS, Swept, end_processes, list_members, mark_variables, wait_for_end
from orchestrator.runs.states import Failure, RunState
from orchestrator.supervisor.attempts import Attempt, build_environment, command_of
from orchestrator.supervisor.checkout import PlaceError, collect_outputs
from orchestrator.supervisor.command import Command
from orchestrator.supervisor.follow import Progress
from orchestrator.supervisor.launch_file import LaunchFile, read_launch
from orchestrator.supervisor.log import open_log, read_tail, write_sentences
from orchestrator.supervisor.preloaded import PreloadedCommand, build_request
from orchestrator.supervisor.prepare import prepare
from orchestrator.supervisor.progress import NothingTold, Readers
from orchestrator.supervisor.rules import (
    FAILED,
    Action,
    Conclusion,
    End,
    Limits,
    Moment,
    choose_action,
    conclude,
    describe_ended,
)
from orchestrator.supervisor.stop_requests import StopRequests

POLL_SECONDS = 0.1
"""How often the supervisor looks at the log; so exact are the times at which rows arrive."""
HOLD_SECONDS = 1.0
"""How often the supervisor looks whether another job has taken the folder."""
NOTHING_TOLD = NothingTold()
MAY_PASS = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.EIO, errno.ESTALE, errno.EINTR)
"""Errors of a start that say nothing about the program."""
AnyCommand = Command | PreloadedCommand
CHOOSE_PROGRAM = "name a program that is there and can be executed, or its whole path"


def supervise(path: Path, readers: Readers = NOTHING_TOLD) -> int:
    """Run the command of a run folder's `launch.json`; return the exit status.

    The status is 0 for a run that is done, and 1 for one that has failed or was too slow; both have a result. After
    every other status there is none. Status 2 says that `launch.json` is refused. The run can go on after the others,
    which are those of `model.endings`.

    Args:
        path: the run folder.
        readers: what patterns and tables mean.
    """
    folder = RunFolder(path)
    with StopRequests() as requests:
        try:
            launch = read_launch(folder.launch)
            with folder.hold() as held:
                return _Supervisor(held, launch, readers, requests).run()
        except HeldError as error:
            return _refuse(str(error), HELD)
        except RunError as error:
            return _refuse(str(error), REFUSED)
        except OSError as error:
            return _refuse(explain_os_error(error), status_of(error) or REFUSED)


def _refuse(sentence: str, status: int) -> int:
    # Another job may be at work in the folder, so its log is left alone.
    with suppress(OSError):
        sys.stderr.write(f"knockout: {sentence}\n")
        sys.stderr.flush()
    return status


@dataclass
class _Supervisor:
    """One attempt of one run, in a folder that this process holds."""

    folder: RunFolder
    launch: LaunchFile
    readers: Readers
    requests: StopRequests
    notes: list[str] = field(default_factory=list)
    """Sentences for the log, which are written once the command no longer writes there."""

    def run(self) -> int:
        try:
            status = self._run()
        except (DataError, OSError) as error:
            sentence = explain_os_error(error) if isinstance(error, OSError) else str(error)
            self.notes.append(f"{sentence}; the run can go on once that is mended")
            status = AWAY if isinstance(error, DataError) else status_of(error) or AWAY
        self._write_notes()
        return status

    def _run(self) -> int:
        self._clear()
        result = self._read_result()
        if result is not None:
            return 0 if result.state == RunState.DONE else FAILED
        if self.requests.count:
            return INTERRUPTED
        try:
            conclusion = self._train()
        except PlaceError as error:
            conclusion = _reject(str(error))
        return self._settle(conclusion)

    def _read_result(self) -> Result | None:
        try:
            return self.folder.read_result()
        except ValueError as error:
            raise RunError(f"{error}; move it away to train again") from None

    def _clear(self) -> None:
        """End what an earlier attempt left.

        Raises:
            HeldError: a process of it cannot be ended.
        """
        swept = end_processes(self.folder)
        if swept.left:
            who = f"process {swept.left[0]} of an earlier attempt"
            raise HeldError(f"{self.folder.path}: {who} cannot be ended; end it, and run again to go on")
        if swept.ended:
            self.notes.append(f"processes of an earlier attempt were ended: {', '.join(map(str, swept.ended))}")

    def _prepare(self, progress: Progress) -> Attempt:
        try:
            return prepare(self.folder, self.launch, progress)
        except OSError as error:
            if status_of(error) is not None:
                raise
            # A name that is too long, for example: the same command would find the same again.
            raise PlaceError(explain_os_error(error)) from None
        except ValueError as error:  # a zero byte in a path
            raise PlaceError(f"{self.folder.launch}: a path cannot be used: {error}; name another one") from None

    def _train(self) -> Conclusion:
        progress = Progress(self.folder, self.launch, self.readers)
        attempt = self._prepare(progress)
        self._write_notes()
        kills_before, limits = count_memory_kills(), self._limits(attempt)
        progress.begin(attempt)
        command = self._start(attempt)
        watch = _Watch(self.folder, command, self.requests, progress, limits, self._stop_signal)
        try:
            end = watch.run()
        except BaseException:
            # Whatever went wrong, no process may train on without a supervisor.
            end_processes(self.folder, term_seconds=0)
            raise
        finally:
            command.close()
        progress.finish(watch.seconds, is_whole=end.status == 0)
        collect_outputs(Path(self.launch.checkout), self.launch.outputs, self.folder.outputs)
        kills = (count_memory_kills() or 0) - (kills_before or 0)
        tail = read_tail(self.folder.log, attempt.log_bytes)
        too_long = end.too_long_seconds
        total = None if too_long is None else too_long + attempt.spent_seconds
        return conclude(
            structs.replace(
                end,
                memory_kills=kills,
                log_tail=tail,
                too_long_seconds=total,
                limit_seconds=self.launch.run_seconds,
            )
        )

    @property
    def _stop_signal(self) -> signal.Signals:
        return signal.Signals[self.launch.stop_signal]

    def _limits(self, attempt: Attempt) -> Limits:
        limit = self.launch.run_seconds
        return Limits(
            grace_seconds=self.launch.grace_seconds,
            run_seconds=None if limit is None else max(0.0, limit - attempt.spent_seconds),
        )

    def _start(self, attempt: Attempt) -> AnyCommand:
        """Start the command.

        Raises:
            PlaceError: there is no such program, or it cannot be executed.
            OSError: the system refuses a process now.
        """
        arguments, added = command_of(self.launch, attempt.checkpoint)
        environment = build_environment(os.environ, self.launch, added, mark_variables(self.folder))
        with open_log(self.folder.log) as log:
            if self.launch.preload:
                request = build_request(arguments, self.launch.checkout, self.folder.log, environment)
                # Whatever is wrong there, the command can start by itself.
                with suppress(OSError):
                    return PreloadedCommand(self.launch.preload, request, self.requests)
            try:
                return Command(arguments, Path(self.launch.checkout), environment, log)
            except OSError as error:
                if error.errno in MAY_PASS:
                    raise
                why = os.strerror(error.errno) if error.errno is not None else str(error)
                raise PlaceError(f"`{arguments[0]}` cannot be started: {why}; {CHOOSE_PROGRAM}") from None
            except ValueError as error:  # a zero byte in an argument or a variable
                raise PlaceError(f"`{arguments[0]}` cannot be started: {error}; take that out") from None

    def _settle(self, conclusion: Conclusion) -> int:
        """Write the result, last of all; return the exit status."""
        if conclusion.state is RunState.INTERRUPTED:
            self.notes.append(conclusion.reason)
            return conclusion.status
        epochs = len(self.folder.read_epochs())
        self.folder.write_result(
            Result(state=conclusion.state.value, failure=conclusion.failure, reason=conclusion.reason, epochs=epochs)
        )
        return conclusion.status

    def _write_notes(self) -> None:
        # The log may be on the disk that is full.
        with suppress(OSError), open_log(self.folder.log) as log:
            write_sentences(log, self.folder.log, self.notes)
            self.notes.clear()


def _reject(problem: str) -> Conclusion:
    return Conclusion(state=RunState.FAILED, failure=Failure.REJECTED, reason=problem, status=FAILED)


@dataclass
class _Watch:
    """Follows one command from its start until no process of it is left."""

    folder: RunFolder
    command: AnyCommand
    requests: StopRequests
    progress: Progress
    limits: Limits
    stop_signal: signal.Signals
    seconds: float = 0.0
    """Since the command was started."""

    def __post_init__(self) -> None:
        self._begun = time.monotonic()
        self._asked_seconds: float | None = None
        self._hold_due_seconds = HOLD_SECONDS

    def run(self) -> End:
        """Return how the command ended; every process of it is ended then.

        Raises:
            HeldError: another job has taken the folder.
        """
        action = Action.WAIT
        while action in (Action.WAIT, Action.ASK):
            # The status is looked at first: a request that comes after the end does not make it an interruption.
            status = self.command.status()
            self.seconds = time.monotonic() - self._begun
            moment = self._look(has_ended=status is not None)
            action = choose_action(moment, self.limits)
            # A command that ended meanwhile was not asked: the next turn sees its status.
            if action is Action.ASK and self.command.status() is None:
                self._asked_seconds = self.seconds
                self.command.signal_group(self.stop_signal)
            if action is Action.WAIT:
                self._wait()
        return self._end(status, moment, action)

    def _look(self, *, has_ended: bool) -> Moment:
        # All processes are looked through only while a request gives the last of them time.
        may_be_over = has_ended and self._asked_seconds is not None
        return Moment(
            seconds=self.seconds,
            requests=self.requests.count,
            asked_seconds=self._asked_seconds,
            has_ended=has_ended,
            has_members=not may_be_over or bool(list_members(self.folder)),
        )

    def _wait(self) -> None:
        is_more = self.progress.look(self.seconds)
        if self.seconds >= self._hold_due_seconds:
            self._hold_due_seconds = self.seconds + HOLD_SECONDS
            with suppress(OSError):  # a folder that cannot be read now shows nothing
                self.folder.require_hold()
        if not is_more:
            self.requests.wait(POLL_SECONDS, self.command.fileno())

    def _end(self, status: int | None, moment: Moment, action: Action) -> End:
        is_asked = moment.asked_seconds is not None or action is Action.KILL
        are_gone = moment.has_ended and not is_asked and wait_for_end(self.folder)
        swept = Swept() if are_gone else end_processes(self.folder, 0 if action is Action.KILL else TERM_SECONDS)
        if status is None:
            status = self._wait_for_status()
        return End(
            status=status,
            is_asked=is_asked,
            too_long_seconds=None if is_asked or moment.has_ended else moment.seconds,
            outlived=describe_ended(swept.ended, swept.left, has_ended=moment.has_ended),
        )

    def _wait_for_status(self) -> int:
        # A command that dropped its mark is found by its group.
        self.command.signal_group(signal.SIGKILL)
        while (status := self.command.status()) is None:
            self.requests.wait(POLL_SECONDS, self.command.fileno())
        return status
