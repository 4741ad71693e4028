"""A study whose job starts at once and trains nothing; the job keeps the contract of a run folder."""

from pathlib import Path

from model.studies.radio.data import Emulation, write_capture
from tests.builders.study_harness import BASE, Study

EMULATION = Emulation(seed=3, num_packets=8, num_samples=256)


def write_captures(study: Study, *names: str) -> None:
    """Write an emulated capture for each name, each of another location."""
    folder = study.repo / "data"
    folder.mkdir()
    for location, name in enumerate(names):
        write_capture(folder / f"{name}.h5", EMULATION, location)


def make_fake_study(folder: Path, *pieces: str, epoch_seconds: float = 0.01) -> Study:
    """Return a study as `make_study` does, with the fake job; each of its epochs takes `epoch_seconds`."""
    study = Study(folder, FAULTS_JOURNAL=str(folder / "journal"), FAULTS_EPOCH_SECONDS=str(epoch_seconds))
    study.copy_fake_job()
    study.write_campaign(BASE, *pieces)
    study.make_repository()
    write_captures(study, "LocA", "LocD")
    return study
