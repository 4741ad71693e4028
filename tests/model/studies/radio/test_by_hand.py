"""`python -m model.studies.radio.by_hand` takes the source study's command lines, and makes a run like any other."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from model.config import JobConfig, encode_run
from model.data.shards import Order, write_shards
from model.endings import AWAY, INTERRUPTED
from model.studies.radio import by_hand as train
from model.studies.radio.by_hand import fit_to_device, main, run_folder_of
from model.studies.radio.evaluate import load_classifier
from model.studies.radio.evaluate import main as evaluate
from model.studies.radio.flags import parse
from model.studies.radio.study import RadioStudy
from model.train.device import JobError
from model.train.run_folder import EpochRecord, RunFolder

JobBuilder = Callable[..., JobConfig]
Output = pytest.CaptureFixture[str]
Epochs = Callable[[RunFolder], list[EpochRecord]]

SOURCE = {
    "focal_loss": r"""
python train_causal_iq_classifier.py \
    --manifest ./shards/manifest.json \
    --arch gateddeltanet \
    --batch_size 128 \
    --epochs 600 \
    --lr 3e-4 \
    --dim 512 \
    --depth 4 \
    --heads 8 \
    --head_dim 64 \
    --pooling last \
    --patch_size 64 \
    --weight_decay 0.0 \
    --patch_embed_type causal_conv \
    --augment \
    --compile \
    --label_smoothing 0.05 \
    --focal_loss \
    --save_path ./saved_models/focal_loss.pth
""",
    "h2_focal": r"""
python train_causal_iq_classifier.py \
    --manifest ./shards/manifest.json \
    --arch gateddeltanet \
    --batch_size 128 \
    --epochs 600 \
    --lr 3e-4 \
    --dim 512 \
    --depth 4 \
    --heads 4 \            # changed
    --head_dim 128 \       # changed (requires --head_dim CLI arg)
    --pooling last \
    --patch_size 64 \
    --weight_decay 0.0 \
    --patch_embed_type causal_conv \
    --augment \
    --compile \
    --label_smoothing 0.05 \
    --focal_loss \
    --save_path ./saved_models/h2_focal.pth
""",
    "best": r"""
python train_causal_iq_classifier.py \
    --manifest ./shards/manifest.json \
    --arch gateddeltanet \
    --batch_size 128 \
    --epochs 600 \
    --lr 3e-4 \
    --dim 512 \
    --depth 4 \
    --heads 4 \
    --head_dim 128 \
    --pooling last \
    --patch_size 64 \
    --weight_decay 0.0 \
    --patch_embed_type causal_conv \
    --augment \
    --compile \
    --label_smoothing 0.05 \
    --focal_loss \
    --focal_gamma 2.0 \
    --save_path ./saved_models/best.pth
""",
}
"""The three training commands of the source study, as they stand there."""

SMALL = shlex.split("""
    --manifest shards/manifest.json --save_path saved_models/small.pth --device cpu --seed 0 --epochs 3 --batch_size 8
    --lr 3e-3 --dim 16 --depth 1 --heads 2 --head_dim 8 --mlp_multiple 8 --patch_size 8 --patch_stride 4 --lr_patience 0
""")


def words_of(command: str) -> list[str]:
    """Read a command of the source as a shell does, but for comments behind a backslash, which none would take."""
    lines = re.sub(r"\\[ ]+#.*", r"\\", command).replace("\\\n", " ")
    python, script, *words = shlex.split(lines)
    assert (python, script) == ("python", "train_causal_iq_classifier.py")
    return words


def cut_shards(folder: Path, captures: Path, job: JobConfig) -> None:
    hashes = {capture.path: sha256(capture.path.encode()).hexdigest() for capture in job.data.captures.values()}
    write_shards(Order(data=job.data, data_folder=str(captures), out=str(folder / "shards"), sha256=hashes))


@pytest.fixture
def workplace(tmp_path: Path, captures: Path, build_job: JobBuilder, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with shards of the tones in it."""
    cut_shards(tmp_path, captures, build_job())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_folder(workplace: Path, name: str = "small") -> RunFolder:
    return run_folder_of(workplace / "saved_models" / f"{name}.pth")


@pytest.mark.parametrize("name", SOURCE)
def test_a_command_of_the_source_is_its_job(name: str, workplace: Path, build_job: JobBuilder) -> None:
    job = parse(words_of(SOURCE[name])).job(build_job().data, "cuda")
    heads = (8, 64) if name == "focal_loss" else (4, 128)
    wanted = {
        "model": {"num_heads": heads[0], "head_dim": heads[1]},
        "loss": {"kind": "focal", "gamma": 2.0, "label_smoothing": 0.05},
    }
    values = {"experiment": name, "profile": "train", "seed": 1337, "data": job.data} | wanted
    assert job == msgspec.convert(msgspec.to_builtins(values), JobConfig)
    assert (job.model.dim, job.model.depth, job.optim.learning_rate, job.runtime.compile) == (512, 4, 3e-4, True)


def test_the_commands_of_the_source_train_and_save_what_the_evaluation_loads(
    workplace: Path, captures: Path, build_job: JobBuilder, capsys: Output
) -> None:
    (workplace / "shards").rename(workplace / "unused")
    few = {"train": (0, 2), "val": (12, 13), "choose": (0, 1), "report": (8, 9)}
    cut_shards(workplace, captures, build_job(data={"captures": {name: {"packets": few[name]} for name in few}}))
    for name, command in SOURCE.items():
        words = words_of(command)
        words[words.index("--epochs") + 1] = "2"
        assert main(words) == 0
        out = capsys.readouterr().out
        assert "epoch 2: train loss" in out
        assert re.search(r"^report: accuracy [01]\.\d{4} \(\d of 3 bursts\)$", out, re.MULTILINE)
        assert ("--compile is left out" in out) == (not torch.cuda.is_available())
        model, config = load_classifier(workplace / "saved_models" / f"{name}.pth", torch.device("cpu"))
        assert (config.experiment, config.model.dim, model.head.out_features) == (name, 512, 3)
        shutil.rmtree(workplace / "saved_models")


def test_the_saved_model_scores_as_the_run_did(workplace: Path, captures: Path, capsys: Output) -> None:
    assert main(SMALL) == 0
    score = run_folder(workplace).read_result().scores["report"]
    flags = shlex.split("--tx_start 2 --tx_end 5 --pkt_start 8 --pkt_end 20 --normalize --output metrics.json")
    for data_path in (captures / "there.h5", workplace / "shards" / "report.npy"):
        words = [*flags, "--data_path", str(data_path), "--model_path", "saved_models/small.pth"]
        assert evaluate(words) == 0
        metrics = msgspec.json.decode((workplace / "metrics.json").read_bytes())
        assert (metrics["correct"], metrics["bursts"]) == (score.correct, score.bursts)
    assert f"report: accuracy {score.accuracy:.4f} ({score.correct} of 36 bursts)" in capsys.readouterr().out


def test_the_saved_model_is_that_of_the_best_epoch(workplace: Path) -> None:
    main([*SMALL, "--set", "optim.schedule.factor=0.9"])
    folder = run_folder(workplace)
    saved = torch.load(workplace / "saved_models" / "small.pth", weights_only=True)
    whole = torch.load(folder.checkpoint, weights_only=True)
    assert saved["best_epoch"] == folder.read_result().best_epoch
    assert all(value.equal(whole["best_model"][name]) for name, value in saved["best_model"].items())
    assert set(saved) == {"format", "config", "best_epoch", "best_loss", "best_model"}


def test_shards_train_as_the_captures_do(
    workplace: Path, captures: Path, build_job: JobBuilder, timeless: Epochs
) -> None:
    main(SMALL)
    command = parse(SMALL)
    folder = RunFolder(workplace / "plain")
    folder.path.mkdir()
    folder.config.write_bytes(encode_run(command.job(build_job().data, "cpu")))
    assert train.run_job(RadioStudy, folder, captures, "cpu") == 0
    assert timeless(folder) == timeless(run_folder(workplace))
    assert all(0 < record.data_seconds < record.seconds for record in folder.read_epochs())
    with np.load(folder.predictions) as plain, np.load(run_folder(workplace).predictions) as sharded:
        assert {name: plain[name].tobytes() for name in plain} == {name: sharded[name].tobytes() for name in sharded}


def test_the_same_command_trains_nothing_twice_and_puts_a_lost_model_back(workplace: Path, capsys: Output) -> None:
    main(SMALL)
    first = run_folder(workplace).epochs.stat().st_mtime_ns
    saved = workplace / "saved_models" / "small.pth"
    before = torch.load(saved, weights_only=True)
    saved.unlink()
    capsys.readouterr()
    assert main(SMALL) == 0
    assert "report: accuracy" in capsys.readouterr().out
    assert run_folder(workplace).epochs.stat().st_mtime_ns == first
    after = torch.load(saved, weights_only=True)
    assert all(value.equal(before["best_model"][name]) for name, value in after["best_model"].items())


def test_the_same_command_goes_on_where_it_was_stopped(
    workplace: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch, timeless: Epochs
) -> None:
    elsewhere = [word.replace("small.pth", "whole.pth") for word in SMALL]
    main(elsewhere)

    class AskedToStop(RunFolder):
        def append_epoch(self, record: EpochRecord) -> None:
            super().append_epoch(record)
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(train, "RunFolder", AskedToStop)
        assert main(SMALL) == INTERRUPTED
    assert "the same command goes on from there" in capsys.readouterr().out
    assert len(run_folder(workplace).read_epochs()) == 1
    assert not (workplace / "saved_models" / "small.pth").exists()
    assert main(SMALL) == 0
    assert timeless(run_folder(workplace)) == timeless(run_folder(workplace, "whole"))


def test_how_often_a_checkpoint_is_written_makes_no_other_training(workplace: Path) -> None:
    main(SMALL)
    before = run_folder(workplace).epochs.stat().st_mtime_ns
    assert main([*SMALL, "--set", "runtime.checkpoint_epochs=2"]) == 0
    assert run_folder(workplace).epochs.stat().st_mtime_ns == before


def test_another_training_in_the_run_folder_is_refused(workplace: Path, capsys: Output) -> None:
    main(SMALL)
    words = [word.replace("3e-3", "1e-3") for word in SMALL]
    before = run_folder(workplace).config.read_bytes()
    assert main([*words, "--focal_loss"]) == 2
    err = capsys.readouterr().err
    assert (
        "small.pth.run holds another training, which differs in loss.gamma, loss.kind, optim.learning_rate; name" in err
    )
    assert run_folder(workplace).config.read_bytes() == before


def test_other_shards_behind_the_same_manifest_are_refused(
    workplace: Path, captures: Path, build_job: JobBuilder, capsys: Output
) -> None:
    main(SMALL)
    (workplace / "shards").rename(workplace / "old")
    swapped = {"train": {"path": "there.h5"}, "val": {"path": "there.h5"}, "choose": {"path": "here.h5"}}
    cut_shards(workplace, captures, build_job(data={"captures": swapped | {"report": {"path": "here.h5"}}}))
    assert main(SMALL) == 2
    assert "holds another training, which differs in the shards' content" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["config", "provenance"])
def test_a_damaged_run_folder_is_refused(workplace: Path, capsys: Output, name: str) -> None:
    main(SMALL)
    getattr(run_folder(workplace), name).write_bytes(b"{")
    assert main(SMALL) == 2
    assert "small.pth.run: this is no run folder of this version" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*SMALL, "--focal_gamma", "2"], "--focal_gamma has no effect without --focal_loss"),
        ([*SMALL, "--precision", "fp16"], "--precision fp16 needs CUDA, and this is cpu; say auto, fp32 or bf16"),
        ([*SMALL, "--expand_v", "-1"], "--expand_v: Expected `float` > 0.0"),
        (["--manifest", "nowhere.json", "--save_path", "m.pth"], "nowhere.json: there is no such manifest"),
        (["--manifest", "shards/manifest.json", "--save_path", "shards/train.npy/m.pth"], "Not a directory"),
    ],
)
def test_a_mistake_is_said_in_a_sentence_with_status_2(
    workplace: Path, capsys: Output, words: list[str], message: str
) -> None:
    assert main(words) == 2
    err = capsys.readouterr().err
    assert err.startswith("model.studies.radio.by_hand: ")
    assert message in err
    assert err.count("\n") == 1


def test_a_missing_shard_is_said_and_the_training_can_begin_once_it_is_there(workplace: Path, capsys: Output) -> None:
    shard = workplace / "shards" / "val.npy"
    shard.rename(workplace / "val.npy")
    assert main(SMALL) == AWAY
    assert "val.npy: the shard is not there; make it again with `knockout data shard`" in capsys.readouterr().out
    (workplace / "val.npy").rename(shard)
    assert main(SMALL) == 0


def test_a_training_that_fails_says_why_with_status_1(workplace: Path, capsys: Output) -> None:
    assert main([word.replace("3e-3", "1e30") for word in SMALL]) == 1
    assert re.search(r"^failed: epoch \d: ", capsys.readouterr().out, re.MULTILINE)
    assert not (workplace / "saved_models" / "small.pth").exists()


def test_on_a_gpu_the_job_stays_as_it_was_said(build_job: JobBuilder) -> None:
    job = build_job(runtime={"precision": "fp16", "compile": True})
    said: list[str] = []
    assert fit_to_device(job, "cuda", said.append) == job
    assert not said
    with pytest.raises(JobError, match="--precision fp16 needs CUDA"):
        fit_to_device(job, "cpu", said.append)


def test_training_outlives_the_reader_of_its_lines() -> None:
    program = (
        "from model.studies.radio.by_hand import tell_terminal\nfor number in range(3): tell_terminal(str(number))\n"
    )
    for where in ("> /dev/full", "| true"):
        command = ["bash", "-c", f'"$0" -c "$1" {where}; exit ${{PIPESTATUS[0]}}', sys.executable, program]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[4])
        assert done.returncode == 0
        assert done.stderr.count("nothing more is shown") == 1
