"""The lines of `probes.jsonl`."""

from pathlib import Path

from orchestrator.runs.folder import RunFolder
from orchestrator.runs.probes import Measurement, Probe, append_probe, read_probes, without_pauses
from tests.builders.epochs import an_epoch

PROBE = Probe(
    epoch=3,
    paused_seconds=2.0,
    measurement=Measurement(arm_seconds=(1.0, 2.0), reference_seconds=(1.0, 1.0)),
    is_slow=False,
    said="it looked too slow and goes on",
)


def test_probes_are_read_as_they_were_written(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert read_probes(folder) == []
    append_probe(folder, PROBE)
    append_probe(folder, PROBE)
    assert read_probes(folder) == [PROBE, PROBE]


def test_a_line_that_cannot_be_read_spoils_no_other(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    append_probe(folder, PROBE)
    with folder.probes.open("ab") as file:
        file.write(b'{"epoch": 4}\n{"epo')
    assert read_probes(folder) == [PROBE]
    append_probe(folder, PROBE)
    assert read_probes(folder) == [PROBE, PROBE]


def test_probes_that_cannot_be_read_are_none(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.probes.mkdir()
    assert read_probes(folder) == []


def test_turns_are_compared_in_pairs() -> None:
    measurement = Measurement(arm_seconds=(1.0, 4.0, 9.0), reference_seconds=(1.0, 2.0, 3.0))
    assert measurement.ratios == [1.0, 2.0, 3.0]
    assert (measurement.typical_seconds, measurement.ratio) == ((4.0, 2.0), 2.0)


def test_a_pause_is_taken_from_the_epoch_that_it_fell_into_and_from_no_other() -> None:
    epochs = [an_epoch(number, seconds=3.0) for number in (1, 2, 3, 4, 5)]
    assert [record.seconds for record in without_pauses(epochs, [PROBE])] == [3.0, 3.0, 3.0, 1.0, 3.0]


def test_an_epoch_that_was_trained_again_since_was_not_paused() -> None:
    epochs = [an_epoch(4, seconds=1.5)]
    assert without_pauses(epochs, [PROBE]) == epochs
