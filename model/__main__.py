"""`python -m model RUN_FOLDER`: do the job that the folder's `config.json` describes, or only `--check` it."""

import argparse
import sys
from pathlib import Path

import msgspec

from model.data.captures import CaptureError
from model.describe import describe
from model.evaluate import JobError
from model.job import run_job
from model.own_code import ForeignCodeError, require_own_code
from model.run_folder import Result, RunFolder


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 done, 1 the run failed, 2 it cannot be done as asked, 130 interrupted and can go on."""
    parser = argparse.ArgumentParser(prog="python -m model", description="One training job.")
    parser.add_argument("run_folder", type=Path, help="holds config.json; results go there")
    parser.add_argument("--data-folder", type=Path, default=Path(), help="captures' paths are relative to this")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--check", action="store_true", help="say what the job comes to, and train nothing")
    options = parser.parse_args(arguments)
    folder = RunFolder(options.run_folder)
    try:
        return _check(folder, options.data_folder) if options.check else _run(folder, options)
    except FileNotFoundError as error:
        return _say(f"{error.filename}: there is no such file; a run folder holds a config.json")
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        return _say(f"{folder.config}: {error}")


def _run(folder: RunFolder, options: argparse.Namespace) -> int:
    try:
        require_own_code()
        return run_job(folder, options.data_folder, options.device, tell=lambda line: print(line, flush=True))
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


def _say(message: str) -> int:
    print(f"model: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
