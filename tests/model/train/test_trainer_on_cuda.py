"""What only a GPU can show. `knockout doctor --gpu` runs these; elsewhere they are skipped."""

import copy
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor

from model.augment import build_augment, normalize_rms
from model.config import AugmentConfig, JobConfig, ModelConfig
from model.data.batches import open_role
from model.studies.radio.evaluate import load_classifier
from model.studies.radio.network import Classifier, initialize
from model.studies.radio.study import RadioStudy
from model.train.device import peak_memory_bytes
from model.train.job import run_job
from model.train.run_folder import RunFolder
from model.train.trainer import Trainer

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU here"),
]
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
CLASSES, SAMPLES = 10, 1024
WIDE: dict[str, Any] = {"dim": 256, "depth": 2, "num_heads": 4, "head_dim": 64}
"""Widths that the kernels are made for, in seconds."""
FolderBuilder = Callable[..., RunFolder]


def twins(config: ModelConfig) -> tuple[Classifier, Classifier]:
    """Return our network on the CPU and fla's on the GPU, with the same parameters."""
    ours, theirs = (Classifier(config, CLASSES, config.num_tokens(SAMPLES), name) for name in ("torch", "fla"))
    initialize(ours, 0)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs.to(CUDA)


def bursts(batch: int = 4) -> Tensor:
    return torch.randn(batch, 2, SAMPLES, generator=torch.Generator().manual_seed(0))


def relative_error(actual: Tensor, expected: Tensor) -> float:
    return float((actual.detach().cpu() - expected.detach()).norm() / expected.detach().norm())


@pytest.fixture(autouse=True)
def _full_precision(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TRITON_F32_DEFAULT", "ieee")
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize(
    "knobs",
    [{}, {"num_heads": 2, "head_dim": 128}, {"expand_v": 1.5}, {"allow_neg_eigval": True}, {"conv_bias": True}],
    ids=str,
)
def test_both_backends_give_the_same_logits_and_gradients(knobs: dict[str, Any]) -> None:
    ours, theirs = twins(ModelConfig(**{**WIDE, **knobs}))
    class_B = torch.arange(4)
    for network, device in ((ours, CPU), (theirs, CUDA)):
        network.train()
        logits_BC, _ = network(bursts().to(device))
        torch.nn.functional.cross_entropy(logits_BC, class_B.to(device)).backward()
    assert relative_error(theirs(bursts().to(CUDA))[0], ours(bursts())[0]) < 1e-3
    gradients = {name: parameter.grad for name, parameter in ours.named_parameters()}
    worst = max((relative_error(p.grad, gradients[name]), name) for name, p in theirs.named_parameters())
    assert worst[0] < 1e-2, worst


@pytest.mark.parametrize("mixer", ["gated_delta", "mamba2"])
@pytest.mark.parametrize("precision", ["fp16", "bf16", "fp32"])
def test_every_precision_trains(build_folder: FolderBuilder, captures: Path, precision: str, mixer: str) -> None:
    folder = build_folder(
        model=WIDE | {"mixer": mixer}, runtime={"precision": precision}, optim={"epochs": 8, "learning_rate": 1e-3}
    )
    assert run_job(RadioStudy, folder, captures, "cuda") == 0
    records = folder.read_epochs()
    assert all(record.train_loss is not None and math.isfinite(record.train_loss) for record in records)
    assert records[-1].train_loss < 0.8 * records[0].train_loss
    assert sum(record.skipped_steps for record in records) < 8, "the scale of the loss was found"


def test_an_overflow_under_fp16_is_skipped_counted_and_scaled_down(
    build_job: Callable[..., JobConfig], captures: Path
) -> None:
    config = build_job(model=WIDE, runtime={"precision": "fp16"})
    roles = (open_role(config.data, names, captures) for names in (config.data.train, config.data.validate))
    trainer = Trainer(RadioStudy(config), *roles, CUDA)
    trainer.stepper.scaler.load_state_dict({**trainer.stepper.scaler.state_dict(), "scale": 2.0**60})
    before = [value.clone() for value in trainer.model.parameters()]
    _, grad_norm = trainer.step(torch.randn(4, 2, 48, device=CUDA), torch.tensor([0, 1, 2, 0], device=CUDA)).tolist()
    assert not math.isfinite(grad_norm)
    assert trainer.stepper.scaler.get_scale() == 2.0**59
    assert all(map(torch.equal, trainer.model.parameters(), before))


@pytest.mark.parametrize("compiles", [False, True])
def test_a_step_never_waits_for_the_gpu(build_job: Callable[..., JobConfig], captures: Path, compiles: bool) -> None:
    config = build_job(model=WIDE, runtime={"precision": "fp16", "compile": compiles}, optim={"batch_size": 4})
    roles = (open_role(config.data, names, captures) for names in (config.data.train, config.data.validate))
    trainer = Trainer(RadioStudy(config), *roles, CUDA)
    # Kernels are compiled and tuned in the first epoch, which waits for the GPU.
    trainer.train_epoch(1)
    batches = list(trainer.train.shuffled(4, 0, 2))
    trainer.augment.start_epoch(0, 2, CUDA)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for batch in batches:
            x_B2S, blend = trainer.augment(batch.x_B2S)
            trainer.step(x_B2S, batch.class_B, blend)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_bursts_are_kept_on_the_gpu(build_job: Callable[..., JobConfig], captures: Path) -> None:
    config = build_job(model=WIDE)
    roles = (open_role(config.data, names, captures) for names in (config.data.train, config.data.validate))
    trainer = Trainer(RadioStudy(config), *roles, CUDA)
    (batch,) = trainer.validate.in_order(1000)
    assert {batch.x_B2S.device.type, batch.class_B.device.type} == {"cuda"}
    trainer.validate.place(CPU)
    trainer.validate.place(CUDA, free_bytes=0)
    (sent,) = trainer.validate.in_order(1000)
    assert torch.equal(sent.x_B2S, batch.x_B2S)


def test_compiling_changes_the_loss_by_rounding_only(build_job: Callable[..., JobConfig], captures: Path) -> None:
    losses = []
    for compiles in (False, True, "reduce-overhead"):
        config = build_job(model=WIDE, runtime={"compile": compiles}, optim={"batch_size": 4})
        roles = (open_role(config.data, names, captures) for names in (config.data.train, config.data.validate))
        trainer = Trainer(RadioStudy(config), *roles, CUDA)
        x_B2S = torch.randn(4, 2, 48, device=CUDA, generator=torch.Generator(CUDA).manual_seed(0))
        for _ in range(4):
            loss, _ = trainer.step(x_B2S, torch.tensor([0, 1, 2, 0], device=CUDA)).tolist()
        losses.append(loss)
    assert all(math.isclose(loss, losses[0], rel_tol=1e-2) for loss in losses)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")  # PyTorch's tracer warns of itself
def test_a_traced_network_has_the_gradients_of_a_plain_one() -> None:
    """torch 2.11 lost gradients of operations that wrote their result in place; the loss stayed the same."""
    _, plain = twins(ModelConfig(**WIDE))
    traced = copy.deepcopy(plain)
    for forward in (plain, torch.compile(traced, backend="eager")):
        torch.nn.functional.cross_entropy(forward(bursts().to(CUDA))[0], torch.arange(4, device=CUDA)).backward()
    expected = {name: parameter.grad.cpu() for name, parameter in plain.named_parameters()}
    worst = max((relative_error(p.grad, expected[name]), name) for name, p in traced.named_parameters())
    assert worst[0] < 1e-2, worst


def test_every_transform_works_on_the_gpu() -> None:
    names = [name for name in AugmentConfig.__struct_fields__ if name not in ("multipath", "carrier_offset", "noise")]
    augment = build_augment(msgspec.convert({name: {} for name in names}, AugmentConfig), 1e6)
    augment.start_epoch(0, 1, CUDA)
    x_B2L, blend = augment(bursts().to(CUDA))
    assert x_B2L.device.type == "cuda"
    assert blend is not None
    power_B = x_B2L.square().sum(1).mean(1)
    torch.testing.assert_close(power_B, torch.ones_like(power_B), rtol=1e-4, atol=0)


def test_a_checkpoint_of_the_gpu_is_scored_on_a_cpu(build_folder: FolderBuilder, captures: Path) -> None:
    folder = build_folder(model=WIDE)
    assert run_job(RadioStudy, folder, captures, "cuda") == 0
    network, config = load_classifier(folder.checkpoint, CPU)
    part = open_role(config.data, config.data.report, captures)
    (batch,) = part.in_order(256)
    logits_nC, _ = network.eval()(normalize_rms(batch.x_B2S))
    scored = np.load(folder.predictions, allow_pickle=False)[f"{config.data.report[0]}/logits"]
    assert relative_error(torch.from_numpy(scored), logits_nC) < 1e-2


def test_a_run_stopped_on_the_gpu_goes_on(build_job: Callable[..., JobConfig], captures: Path, tmp_path: Path) -> None:
    config = build_job(model=WIDE, runtime={"precision": "fp16"}, optim={"epochs": 4})
    asked = iter([False, False, True])
    folder = RunFolder(tmp_path)

    def build() -> Trainer:
        roles = (open_role(config.data, names, captures) for names in (config.data.train, config.data.validate))
        return Trainer(RadioStudy(config), *roles, CUDA)

    assert not build().fit(folder, lambda: next(asked))
    resumed = build()
    resumed.resume(folder)
    assert resumed.progress.epoch == 2
    assert resumed.fit(folder, lambda: False)
    assert [record.epoch for record in folder.read_epochs()] == [1, 2, 3, 4]


def test_peak_memory_is_that_of_the_gpu() -> None:
    torch.cuda.reset_peak_memory_stats()
    held = torch.ones(2**22, device=CUDA)
    assert held.numel() * 4 <= peak_memory_bytes(CUDA) < 2**34
