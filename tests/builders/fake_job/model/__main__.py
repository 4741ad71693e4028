"""A job that keeps the whole contract of a run folder and trains nothing: an epoch is a nap and a hash.

The hash of an epoch is made from that of the epoch before, and the first one from the seed and the captures' bytes. So
an epoch that was left out, or trained from the wrong checkpoint or on another capture, shows in every number after it.
What it does it also writes into a journal outside the run folder, a line at a time: `KIND RUN PROCESS EPOCH`. `trained`
comes before the epoch's checkpoint, `saved` after it, `recorded` after its line in `epochs.jsonl`, and `ending` and
`ended` stand around the writing of `result.json`.
"""

import argparse
import contextlib
import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import msgspec
import numpy as np

from model.endings import CHANGED, HELD, INTERRUPTED, describe_system_error, find_system_error, status_of
from model.train.run_folder import EpochRecord, HeldError, LocationScore, Result, RunFolder

BURSTS = 20
PADDING = b" " * 2**14
PIECES = 16
"""A checkpoint is written in so many pieces, so that a kill finds it half written."""


def tell(line: str) -> None:
    os.write(sys.stdout.fileno(), f"{line}\n".encode())


class ChangedError(Exception):
    """The captures are not those that the run is named by, or not any more."""


class Captures:
    """The captures' bytes, read once; they must be those of the order, and stay so."""

    def __init__(self, folder: RunFolder, config, data_folder: Path) -> None:
        paths = sorted({capture.path for capture in config.data.captures.values()})
        self.wanted = json.loads((folder.path / "order.json").read_bytes())["files"]
        self.files = {path: data_folder / path for path in paths}
        self.seen, self.content = self._identify(), self._read()

    def _identify(self) -> list[tuple[int, ...]]:
        stats = [file.stat() for file in self.files.values()]
        return [(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for stat in stats]

    def _read(self) -> bytes:
        parts = {path: file.read_bytes() for path, file in self.files.items()}
        for path, content in parts.items():
            if hashlib.sha256(content).hexdigest() != self.wanted[path]:
                raise ChangedError(f"{self.files[path]}: this is not the capture that the run was queued with")
        return b"".join(parts.values())

    def require_same(self) -> None:
        """Read again what was touched: only other bytes are a change."""
        if (now := self._identify()) != self.seen:
            self._read()
            self.seen = now


class Training:
    """One run, from its newest checkpoint to its result."""

    def __init__(self, folder: RunFolder, data_folder: Path) -> None:
        self.folder, self.config = folder, folder.read_config()
        self.captures = Captures(folder, self.config, data_folder)
        self.records: list[EpochRecord] = []
        self.digest = hashlib.sha256(str(self.config.seed).encode() + self.captures.content).hexdigest()
        self.is_asked_to_stop = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def _ask(self, *_: object) -> None:
        self.is_asked_to_stop = True

    def note(self, kind: str) -> None:
        # The number alone says nothing between containers.
        process = f"{os.getpid()}/{Path('/proc/self/ns/pid').readlink()}"
        line = f"{kind} {self.folder.path.name} {process} {len(self.records)}\n".encode()
        journal = os.open(os.environ["FAULTS_JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        os.write(journal, line)
        os.close(journal)

    def do(self) -> int:
        self._resume()
        while len(self.records) < self.config.optim.epochs:
            if self.is_asked_to_stop:
                return INTERRUPTED
            self._do_epoch()
        self._score()
        return 0

    def _resume(self) -> None:
        """Go on from a checkpoint that is whole and this run's; begin anew without one. Its records are the truth."""
        saved = self._read_checkpoint()
        if saved is not None:
            self.digest = saved["digest"]
            self.records = msgspec.convert(saved["records"], list[EpochRecord])
        self.folder.restore_epochs(self.records)

    def _read_checkpoint(self) -> dict | None:
        try:
            checksum, _, content = self.folder.checkpoint.read_bytes().partition(b"\n")
        except FileNotFoundError:
            return None
        if hashlib.sha256(content).hexdigest().encode() == checksum:
            saved = json.loads(content)
            if saved["run"] == self.folder.path.name:
                return saved
        aside = self.folder.set_aside(self.folder.checkpoint)
        tell(f"the checkpoint is damaged or another run's: it lies in {aside.name}, training begins anew")
        return None

    def _do_epoch(self) -> None:
        time.sleep(float(os.environ["FAULTS_EPOCH_SECONDS"]))
        self.digest = hashlib.sha256(self.digest.encode()).hexdigest()
        self.records.append(self._record())
        self.note("trained")
        self.captures.require_same()
        self.folder.write_checkpoint(self._write_checkpoint)
        self.note("saved")
        self.folder.append_epoch(self.records[-1])
        self.note("recorded")
        tell(f"epoch {len(self.records)}: done")

    def _write_checkpoint(self, file) -> None:
        records = msgspec.to_builtins(self.records)
        content = json.dumps({"digest": self.digest, "records": records, "run": self.folder.path.name}).encode()
        whole = PADDING * PIECES + content
        file.write(hashlib.sha256(whole).hexdigest().encode() + b"\n")
        for start in range(0, len(whole), len(PADDING)):
            file.write(whole[start : start + len(PADDING)])

    def _record(self) -> EpochRecord:
        return EpochRecord(
            epoch=len(self.records) + 1,
            seconds=0.01,
            train_loss=int(self.digest[:8], 16) / 2**32,
            val_loss=1.0,
            val_accuracy=0.5,
            learning_rate=1e-3,
            grad_norm=1.0,
            skipped_steps=0,
            bursts_per_second=1.0,
            peak_memory_bytes=1,
        )

    def _score(self) -> None:
        names = list(dict.fromkeys(self.config.data.scored))
        arrays = {f"{name}/{field}": values for name in names for field, values in _predict(self.config.seed).items()}
        self.folder.write_predictions(lambda file: np.savez(file, allow_pickle=False, **arrays))
        scores = {name: LocationScore(bursts=BURSTS, correct=10, accuracy=0.5, loss=1.0) for name in names}
        self.captures.require_same()
        self.note("ending")
        epochs = len(self.records)
        self.folder.write_result(
            Result(state="done", reason=f"digest {self.digest}", best_epoch=1, epochs=epochs, scores=scores)
        )
        self.note("ended")


def _predict(seed: int) -> dict:
    """Half of all bursts are told rightly, which ones is a matter of the seed."""
    number = np.arange(BURSTS)
    label = number % 10
    told = np.where((number + seed) % 2 == 0, label, (label + 1) % 10)
    keys = np.array([f"{device}/{packet}" for packet, device in enumerate(label)])
    return {"key": keys, "device": label, "label": label, "logits": np.eye(10, dtype=np.float32)[told]}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("run_folder", type=Path)
    parser.add_argument("--data-folder", type=Path, default=Path())
    options = parser.parse_args(arguments)
    folder = RunFolder(options.run_folder)
    try:
        with folder.hold() as held:
            return 0 if held.read_result() is not None else Training(held, options.data_folder).do()
    except HeldError as error:
        status, sentence = HELD, str(error)
    except ChangedError as error:
        status, sentence = CHANGED, str(error)
    except OSError as error:
        found, able = find_system_error(error), status_of(error)
        if found is None or able is None:
            raise
        status, sentence = able, describe_system_error(found)
    with contextlib.suppress(OSError):  # the log may lie on what fails
        tell(f"{sentence}; it can go on")
    return status


if __name__ == "__main__":
    sys.exit(main())
