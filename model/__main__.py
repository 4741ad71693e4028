"""`python -m model RUN_FOLDER`: do the job that the folder's `config.json` describes, or only `--check` it."""

import argparse
import errno
import os
import sys
from pathlib import Path

import msgspec

from model.data.captures import CaptureError
from model.describe import describe
from model.evaluate import JobError
from model.job import run_alone, train_alone
from model.own_code import ForeignCodeError, require_own_code
from model.run_folder import Result, RunFolder

UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 done, 1 the run failed, 2 it cannot be done as asked.

    These can go on: 74 the disk is full, 75 another job is at work in the folder, 130 interrupted.
    """
    parser = argparse.ArgumentParser(prog="python -m model", description="One training job.")
    parser.add_argument("run_folder", type=Path, help="holds config.json; results go there")
    parser.add_argument("--data-folder", type=Path, default=Path(), help="captures' paths are relative to this")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--check", action="store_true", help="say what the job comes to, and train nothing")
    options = parser.parse_args(arguments)
    folder = RunFolder(options.run_folder)
    try:
        if options.check:
            return _check(folder, options.data_folder)
        return run_alone(folder, lambda: _run(folder, options), _tell)
    except FileNotFoundError as error:
        return _say(f"{error.filename}: there is no such file; a run folder holds a config.json")
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        where = error.filename or folder.path
        return _say(f"{where}: {error.strerror}; a job must be able to read its data and to write its run folder")
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        return _say(f"{folder.config}: {error}")


def _run(folder: RunFolder, options: argparse.Namespace) -> int:
    try:
        require_own_code()
        return train_alone(folder, options.data_folder, options.device, _tell)
    except (JobError, CaptureError, ForeignCodeError) as error:
        epochs = len(folder.read_epochs())
        folder.write_result(Result(state="failed", failure="rejected", reason=str(error), epochs=epochs))
        return _say(str(error))


def _check(folder: RunFolder, data_folder: Path) -> int:
    try:
        require_own_code()
    except ForeignCodeError as error:
        return _say(str(error))
    answer = describe(folder.read_config(), data_folder)
    print(msgspec.json.encode(answer).decode())
    return 2 if answer.problem else 0


def _tell(line: str) -> None:
    try:
        print(line, flush=True)
    except OSError:
        # The line is kept, and tried again when the process ends: failing there would be its exit status.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise


def _say(message: str) -> int:
    print(f"model: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
