"""Train on shards with the source study's command line, by the same configuration and trainer as every run.

    python -m model.studies.radio.by_hand --manifest ./shards/manifest.json --epochs 600 --lr 3e-4 --augment \
        --compile --focal_loss --save_path ./saved_models/focal_loss.pth

`model.studies.radio.flags` has all flags. The run folder `<save_path>.run` holds epochs, checkpoint and scores, so the
same command continues a stopped training. On a CPU `--compile` is ignored, with a note: compiling costs minutes there
and gains less.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from model.config import JobConfig, differing_knobs, encode_run
from model.data.captures import CaptureError
from model.data.shards import Manifest, read_manifest
from model.endings import INTERRUPTED
from model.files import stream_atomically, write_atomically
from model.studies.radio.flags import Command, FlagError, parse
from model.studies.radio.study import RadioStudy
from model.train.checkpoint import read_checkpoint, write_checkpoint
from model.train.device import JobError, choose_device
from model.train.job import run_job
from model.train.run_folder import RunFolder

Tell = Callable[[str], object]


def run_folder_of(save_path: Path) -> RunFolder:
    """Return the run folder beside a `--save_path`."""
    return RunFolder(save_path.with_name(f"{save_path.name}.run"))


def train(command: Command, tell: Tell) -> int:
    """Train as a command line says, or continue its training; return the exit status.

    Raises:
        FlagError: a value is outside its range.
        CaptureError: the manifest or a shard is missing or does not fit.
        JobError: the machine cannot do it, or the run folder holds another training.
    """
    device = choose_device(command.device)
    manifest = read_manifest(command.manifest)
    config = fit_to_device(command.job(manifest.data(), device.type), device.type, tell)
    folder = run_folder_of(command.save_path)
    _claim(folder, config, manifest)
    status = run_job(RadioStudy, folder, command.manifest.parent, device.type, tell)
    if status == INTERRUPTED:
        tell("the same command goes on from there")
    elif status == 0:
        _write_best(folder, command.save_path)
        tell(f"best model: {command.save_path}")
    _tell_result(folder, tell)
    return status


def fit_to_device(config: JobConfig, device_type: str, tell: Tell) -> JobConfig:
    """Without CUDA, turn compiling off and refuse half precision.

    Raises:
        JobError: the precision is fp16 and there is no CUDA.
    """
    if device_type == "cuda":
        return config
    if config.runtime.precision == "fp16":
        raise JobError(f"--precision fp16 needs CUDA, and this is {device_type}; say auto, fp32 or bf16")
    if config.runtime.compile:
        tell(f"--compile is left out: on {device_type} compiling costs minutes and gains less")
    return msgspec.structs.replace(config, runtime=msgspec.structs.replace(config.runtime, compile=False))


def _claim(folder: RunFolder, config: JobConfig, manifest: Manifest) -> None:
    """Begin a run folder, or check that the existing one holds the same training on the same shards."""
    origin = {"shards": {name: shard.sha256 for name, shard in manifest.captures.items()}}
    if not folder.config.exists():
        write_atomically(folder.provenance, _json(origin))
        write_atomically(folder.config, encode_run(config))
        return
    try:
        begun, shards = folder.read_config(), msgspec.json.decode(folder.provenance.read_bytes())
    except (msgspec.MsgspecError, FileNotFoundError) as error:
        raise JobError(f"{folder.path}: this is no run folder of this version ({error}); remove it") from None
    other = differing_knobs(begun, config)
    if shards != origin:
        other.append("the shards' content")
    if other:
        raise JobError(
            f"{folder.path} holds another training, which differs in {', '.join(other)}; "
            "name another --save_path, or remove that folder"
        )


def _json(content: object) -> bytes:
    return msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"


def _write_best(folder: RunFolder, save_path: Path) -> None:
    """Write the parameters that were scored as a checkpoint without the states that training needs."""
    content = read_checkpoint(folder.checkpoint, "cpu")
    kept = {name: content[name] for name in ("format", "config", "best_epoch", "best_loss")}
    kept["best_model"] = content["best_model"] or content["model"]
    stream_atomically(save_path, lambda file: write_checkpoint(file, kept))


def _tell_result(folder: RunFolder, tell: Tell) -> None:
    result = folder.read_result()
    if result is None:
        return
    tell(f"{result.state}: {result.reason}")
    for name, score in result.scores.items():
        tell(f"{name}: accuracy {score.accuracy:.4f} ({score.correct} of {score.bursts} bursts)")


def tell_terminal(line: str) -> None:
    """Print a line. If the reader has gone, e.g. a `head` that ended, print one note; training continues."""
    try:
        print(line, flush=True)
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        with contextlib.suppress(OSError):
            print(
                f"model.studies.radio.by_hand: nothing more is shown ({error.strerror}); training goes on",
                file=sys.stderr,
            )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0 trained, 1 failed, 2 a mistake in the command or the data.

    After the following statuses the same command continues the training:

    - 65: a shard changed.
    - 69: the system refused something.
    - 74: the disk is full.
    - 75: another process trains in the folder.
    - 130: the training was interrupted.
    """
    try:
        command = parse(sys.argv[1:] if arguments is None else arguments)
        return train(command, tell_terminal)
    except (FlagError, CaptureError, JobError) as error:
        print(f"model.studies.radio.by_hand: {error}", file=sys.stderr)
    except OSError as error:
        print(f"model.studies.radio.by_hand: {error.filename}: {error.strerror}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
