"""`python -m model RUN_FOLDER`: run the job of the folder's `config.json`, or only `--check` it."""

import argparse
import os
import sys
from pathlib import Path

import msgspec

from model.data.captures import CaptureAwayError, CaptureChangedError, CaptureError
from model.endings import REFUSED, describe_system_error
from model.kernels import prepare_kernels
from model.studies.radio.describe import describe
from model.studies.radio.study import RadioStudy
from model.train.device import JobError, choose_device
from model.train.job import run_alone, train_alone
from model.train.own_code import ForeignCodeError, require_own_code
from model.train.run_folder import Result, RunFolder


def main(arguments: list[str] | None = None) -> int:
    """Run the job; return its exit status: 0 done, 1 the run failed, 2 the job cannot be done as configured.

    After the following statuses the run can continue:

    - 65: captures changed.
    - 69: the system refused something.
    - 74: the disk is full.
    - 75: another job works in the folder.
    - 130: the job was interrupted.
    """
    parser = argparse.ArgumentParser(prog="python -m model", description="One training job.")
    parser.add_argument("run_folder", type=Path, help="folder with config.json; results are written there")
    parser.add_argument("--data-folder", type=Path, default=Path(), help="base of the captures' paths")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--check", action="store_true", help="describe the job; train nothing")
    options = parser.parse_args(arguments)
    folder = RunFolder(options.run_folder)
    if not folder.config.exists():
        return _say(f"{folder.config}: there is no such file; a run folder holds a config.json")
    try:
        if options.check:
            return _check(folder, options.data_folder)
        return run_alone(folder, lambda held: _run(held, options), _tell)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        return _say(f"{folder.config}: {error}")


def _run(folder: RunFolder, options: argparse.Namespace) -> int:
    try:
        require_own_code()
        if folder.read_result() is None:
            prepare_kernels(folder.read_config(), choose_device(options.device), _tell)
        return train_alone(RadioStudy, folder, options.data_folder, options.device, _tell)
    except (CaptureAwayError, CaptureChangedError):
        raise  # a missing or replaced file is no fault of the run
    except (JobError, CaptureError, ForeignCodeError) as error:
        epochs = len(folder.read_epochs())
        folder.write_result(Result(state="failed", failure="rejected", reason=str(error), epochs=epochs))
        return _say(str(error))


def _check(folder: RunFolder, data_folder: Path) -> int:
    try:
        require_own_code()
    except ForeignCodeError as error:
        return _say(str(error))
    try:
        answer = describe(folder.read_config(), data_folder)
    except OSError as error:
        return _say(f"{describe_system_error(error)}; a job must be able to read its configuration and its data")
    print(msgspec.json.encode(answer).decode())
    return REFUSED if answer.problem else 0


def _tell(line: str) -> None:
    """Write a line to the log. If that fails, the log ends, but the training continues."""
    try:
        print(line, flush=True)
    except OSError:
        # Python flushes stdout once more at its end. A failure there would change the exit status, so drop the rest.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _say(message: str) -> int:
    print(f"model: {message}", file=sys.stderr)
    return REFUSED


if __name__ == "__main__":
    sys.exit(main())
