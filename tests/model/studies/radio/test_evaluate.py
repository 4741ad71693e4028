import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from model.data.batches import open_role
from model.data.captures import CaptureError
from model.studies.radio.evaluate import load_classifier, main
from model.studies.radio.study import RadioStudy
from model.train.job import run_job
from model.train.losses import build_loss
from model.train.run_folder import RunFolder
from model.train.score import score

CPU = torch.device("cpu")
FolderBuilder = Callable[..., RunFolder]


def source_flags(folder: RunFolder, captures: Path, **changes: object) -> list[str]:
    """The flags of the source study's evaluation command, for the report capture."""
    flags = {
        "tx_start": 2,
        "tx_end": 5,
        "pkt_start": 8,
        "pkt_end": 20,
        "device": "auto",
        "data_path": captures / "there.h5",
        "model_path": folder.checkpoint,
        "output": folder.path / "metrics.json",
    } | changes
    return ["--normalize", *(part for name, value in flags.items() for part in (f"--{name}", str(value)))]


def test_the_command_of_the_source_gives_the_score_of_the_result(
    finished: RunFolder, captures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(source_flags(finished, captures)) == 0
    metrics = json.loads((finished.path / "metrics.json").read_text())
    expected = finished.read_result().scores["report"]
    assert (metrics["correct"], metrics["bursts"], metrics["accuracy"]) == (
        expected.correct,
        expected.bursts,
        expected.accuracy,
    )
    assert metrics["loss"] == pytest.approx(expected.loss, rel=1e-6)
    told = f"accuracy {expected.accuracy:.4f} ({expected.correct} of 36 bursts)\n"
    assert capsys.readouterr() == (told, "")


def test_the_metrics_add_up(finished: RunFolder, captures: Path) -> None:
    main(source_flags(finished, captures))
    metrics = json.loads((finished.path / "metrics.json").read_text())
    confusion = metrics["confusion"]
    assert [sum(row) for row in confusion] == [12, 12, 12]
    assert sum(confusion[number][number] for number in range(3)) == metrics["correct"]
    assert metrics["accuracy_by_device"] == {
        str(device): confusion[device - 2][device - 2] / 12 for device in (2, 3, 4)
    }


def test_a_part_of_the_devices_can_be_scored(finished: RunFolder, captures: Path) -> None:
    main(source_flags(finished, captures))
    whole = json.loads((finished.path / "metrics.json").read_text())
    assert main(source_flags(finished, captures, tx_start=3, tx_end=4)) == 0
    part = json.loads((finished.path / "metrics.json").read_text())
    assert part["bursts"] == 12
    assert part["confusion"] == [[0] * 3, whole["confusion"][1], [0] * 3]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data_path": "gone.h5"}, "gone.h5: the capture file is not there"),
        ({"model_path": "gone.pt"}, "gone.pt: there is no such checkpoint; a run folder holds one as checkpoint.pt"),
        ({"tx_end": 6}, "`label` has no device 5 (counted from 0), it has 2 to 4"),
        ({"pkt_end": 21}, "device 2 (counted from 0) has 20 packets; `packets` asks for [8, 21]"),
        ({"tx_start": 5}, "devices [5, 5] is empty"),
        ({"pkt_start": -1}, "packets [-1, 20] is empty"),
    ],
)
def test_a_mistake_is_told_in_a_sentence(
    finished: RunFolder,
    captures: Path,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, object],
    message: str,
) -> None:
    assert main(source_flags(finished, captures, **changes)) == 2
    printed, told = capsys.readouterr()
    assert printed == ""
    assert told.startswith("model.studies.radio.evaluate: ")
    assert told.count("\n") == 1
    assert message in told
    assert not (finished.path / "metrics.json").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 a torn archive"])
def test_a_file_that_is_no_checkpoint_is_told_in_a_sentence(
    finished: RunFolder, captures: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    finished.checkpoint.write_bytes(content)
    assert main(source_flags(finished, captures)) == 2
    assert capsys.readouterr().err == (
        f"model.studies.radio.evaluate: {finished.checkpoint}: this is not a checkpoint of a Knockout run, "
        "or not a whole one\n"
    )


@pytest.mark.parametrize("content", [[1, 2], {"model": {}}])
def test_a_checkpoint_of_something_else_is_told_in_a_sentence(
    finished: RunFolder, captures: Path, capsys: pytest.CaptureFixture[str], content: object
) -> None:
    torch.save(content, finished.checkpoint)
    assert main(source_flags(finished, captures)) == 2
    assert "this is not a checkpoint of a Knockout run" in capsys.readouterr().err


def test_a_device_that_training_never_saw_is_told_in_a_sentence(
    finished: RunFolder, captures: Path, capsys: pytest.CaptureFixture[str], build_folder: FolderBuilder
) -> None:
    narrow = {name: {"devices": (2, 4)} for name in ("train", "val", "choose", "report")}
    folder = build_folder("narrow", data={"captures": narrow}, optim={"epochs": 1})
    run_job(RadioStudy, folder, captures)
    assert main(source_flags(folder, captures)) == 2
    assert "devices [4] are none that the model was trained on" in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU here")
def test_cuda_where_there_is_none_is_told_in_a_sentence(
    finished: RunFolder, captures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(source_flags(finished, captures, device="cuda")) == 2
    assert "there is no CUDA GPU here" in capsys.readouterr().err


def test_a_loaded_classifier_is_that_of_the_best_epoch(build_folder: FolderBuilder, captures: Path) -> None:
    # Without patience a run ends one epoch after its best.
    folder = build_folder(optim={"learning_rate": 0.3, "epochs": 50, "early_stopping": 1})
    run_job(RadioStudy, folder, captures)
    result = folder.read_result()
    assert result.best_epoch == result.epochs - 1
    model, config = load_classifier(folder.checkpoint, CPU)
    content = torch.load(folder.checkpoint, weights_only=True)
    assert all(torch.equal(value, content["best_model"][name]) for name, value in model.state_dict().items())
    assert not all(torch.equal(value, content["model"][name]) for name, value in model.state_dict().items())
    assert config == folder.read_config()
    main(source_flags(folder, captures))
    assert json.loads((folder.path / "metrics.json").read_text())["correct"] == result.scores["report"].correct


def test_a_missing_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="there is no such checkpoint"):
        load_classifier(tmp_path / "checkpoint.pt", CPU)


TEST_TIME = {"copies": 3, "carrier_offset": {"max_hz": 2e4}, "noise": {"min_snr_db": 0.0, "max_snr_db": 10.0}}
"""Strong enough to show in the scores of a model that has hardly learnt."""


def test_the_command_makes_the_copies_of_the_run(build_folder: FolderBuilder, captures: Path) -> None:
    folder = build_folder(test_time=TEST_TIME, optim={"epochs": 1})
    run_job(RadioStudy, folder, captures)
    expected = folder.read_result().scores["report"]
    assert main(source_flags(folder, captures)) == 0
    metrics = json.loads((folder.path / "metrics.json").read_text())
    assert metrics["correct"] == expected.correct
    assert metrics["loss"] == pytest.approx(expected.loss, rel=1e-6)
    model, config = load_classifier(folder.checkpoint, CPU)
    bursts = open_role(config.data, ("report",), captures)
    assert score(model, bursts, build_loss(config.loss), CPU).loss != pytest.approx(expected.loss, rel=1e-5)
