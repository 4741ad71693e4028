"""A job that keeps the whole contract of a run folder and trains nothing: an epoch is a nap and a hash.

The hash of an epoch is made from that of the epoch before, so an epoch that was left out, or trained from the wrong
checkpoint, shows in every number after it. What it does it also writes into a journal outside the run folder, a line at
a time: `KIND RUN PID EPOCH`. `trained` comes before the epoch's checkpoint, `saved` after it, `recorded` after its line
in `epochs.jsonl`, and `ending` and `ended` stand around the writing of `result.json`.
"""

import argparse
import errno
import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

import msgspec
import numpy as np

from model.run_folder import (
    HELD,
    NO_SPACE,
    EpochRecord,
    HeldError,
    LocationScore,
    Result,
    RunFolder,
    stream_atomically,
)

INTERRUPTED = 130
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
BURSTS = 20
PADDING = b" " * 2**14
PIECES = 16
"""A checkpoint is written in so many pieces, so that a kill finds it half written."""


class Training:
    """One run, from its newest checkpoint to its result."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder, self.config = folder, folder.read_config()
        self.records: list[EpochRecord] = []
        self.digest = str(self.config.seed)
        self.is_asked_to_stop = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def _ask(self, *_: object) -> None:
        self.is_asked_to_stop = True

    def note(self, kind: str) -> None:
        line = f"{kind} {self.folder.path.name} {os.getpid()} {len(self.records)}\n".encode()
        journal = os.open(os.environ["FAULTS_JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
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
        if self.folder.checkpoint.exists():
            saved = json.loads(self.folder.checkpoint.read_bytes())
            self.digest = saved["digest"]
            self.records = msgspec.convert(saved["records"], list[EpochRecord])
            for record in self.records[len(self.folder.read_epochs()) :]:
                self.folder.append_epoch(record)
        self.folder.rewind(len(self.records))

    def _do_epoch(self) -> None:
        time.sleep(float(os.environ["FAULTS_EPOCH_SECONDS"]))
        self.digest = hashlib.sha256(self.digest.encode()).hexdigest()
        self.records.append(self._record())
        self.note("trained")
        stream_atomically(self.folder.checkpoint, self._write_checkpoint)
        self.note("saved")
        self.folder.append_epoch(self.records[-1])
        self.note("recorded")
        os.write(sys.stdout.fileno(), f"epoch {len(self.records)}: done\n".encode())

    def _write_checkpoint(self, file) -> None:
        for _ in range(PIECES):
            file.write(PADDING)
        records = msgspec.to_builtins(self.records)
        file.write(json.dumps({"digest": self.digest, "records": records}).encode())

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
        stream_atomically(self.folder.predictions, lambda file: np.savez(file, allow_pickle=False, **arrays))
        scores = {name: LocationScore(bursts=BURSTS, correct=10, accuracy=0.5, loss=1.0) for name in names}
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
    parser.add_argument("--data-folder", type=Path)
    folder = RunFolder(parser.parse_args(arguments).run_folder)
    try:
        with folder.hold():
            return 0 if folder.read_result() is not None else Training(folder).do()
    except HeldError:
        return HELD
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        return NO_SPACE


if __name__ == "__main__":
    sys.exit(main())
