"""Which variants of fla's kernels are compiled, by whom; on a CPU nothing is."""

import os
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from model import kernels
from model.config import JobConfig
from model.kernels import (
    MOST_PROCESSES,
    PROCESS_BYTES,
    VARIABLE,
    KernelError,
    cache_folder,
    compile_kernels,
    compile_share,
    count_processes,
    mark_of,
    note_done,
    prepare_kernels,
    use_every_kernel,
    uses_fla,
)
from model.studies.radio.network import Classifier
from model.train.score import BATCH_SIZE
from tests.builders.kernels import take_first_variants

triton = pytest.importorskip("triton", reason="Triton comes with torch for CUDA, or by itself on Linux")
CPU = torch.device("cpu")


class UnfitError(Exception):
    """As Triton's error for a variant that needs too much of the card."""


class Variant:
    def __init__(self, number: int) -> None:
        self.number = number

    def all_kwargs(self) -> dict[str, int]:
        return {"number": self.number}


def choose_kernel(num_variants: int, compiled: list[int]) -> type:
    """Return a class as Triton's `Autotuner`, whose kernel only notes what is compiled; variant 1 does not fit."""

    def warmup(*arguments: Any, grid: object, number: int) -> None:
        compiled.append(number)
        if number == 1:
            raise UnfitError

    class Autotuner:
        arg_names = ("x",)
        fn = type("Kernel", (), {"warmup": staticmethod(warmup)})

        def prune_configs(self, named: dict[str, Any]) -> list[Variant]:
            assert self.nargs == {"x": "a tensor"}
            return [Variant(number) for number in range(num_variants)]

    return Autotuner


@pytest.mark.parametrize("count", [1, 3, 16])
def test_all_shares_together_are_every_variant_once(count: int) -> None:
    compiled: list[int] = []
    for share in range(count):
        autotuner = choose_kernel(7, compiled)
        compile_share(autotuner, UnfitError, share, count)
        autotuner().run("a tensor", grid=(1,), warmup=False)
    assert sorted(compiled) == list(range(7))


def test_tritons_own_classes_have_what_is_used() -> None:
    from triton.errors import TritonError
    from triton.runtime.autotuner import Autotuner
    from triton.runtime.jit import JITFunction

    assert issubclass(TritonError, Exception)
    assert all(callable(getattr(Autotuner, name)) for name in ("run", "prune_configs"))
    assert callable(JITFunction.warmup)


def test_tests_take_the_first_variant_of_a_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    from triton.runtime.autotuner import Autotuner

    monkeypatch.setattr(Autotuner, "run", lambda self, *arguments: (self.configs, arguments))
    take_first_variants()
    assert Autotuner.run(SimpleNamespace(configs=["first", "second"]), "x") == (["first"], ("x",))


JobBuilder = Callable[..., JobConfig]


def test_a_block_is_used_for_training_and_for_scoring(build_job: JobBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, bool, bool]] = []
    forward = Classifier.forward

    def watch(network: Classifier, x_B2L: torch.Tensor) -> Any:
        seen.append((len(x_B2L), network.training, torch.is_inference_mode_enabled()))
        assert len(network.backbone.blocks) == 1
        return forward(network, x_B2L)

    monkeypatch.setattr(Classifier, "forward", watch)
    config = build_job(runtime={"precision": "bf16"}, model={"depth": 2, "aux_head": {"after_block": 1}})
    use_every_kernel(config, CPU)
    assert seen == [(8, True, False), (BATCH_SIZE, False, True)]


def test_a_process_that_fails_is_named_with_its_last_line(
    build_job: JobBuilder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(KernelError, match=r"ended with status 2: model\.kernels: there is no CUDA GPU here"):
        compile_kernels(build_job(), 1)


def test_a_process_that_takes_too_long_is_ended(build_job: JobBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "LIMIT_SECONDS", 0.01)
    with pytest.raises(KernelError, match="took more than 0 s"):
        compile_kernels(build_job(), 2)


@pytest.mark.parametrize(
    ("free_bytes", "most"), [(None, MOST_PROCESSES), (0, 1), (PROCESS_BYTES - 1, 1), (3 * PROCESS_BYTES, 3)]
)
def test_there_is_a_process_a_core_if_the_gpu_has_room(
    monkeypatch: pytest.MonkeyPatch, free_bytes: int | None, most: int
) -> None:
    for num_cores in (1, 2, 200):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, count=num_cores: set(range(count)))
        assert count_processes(free_bytes) == min(num_cores, most)


def test_only_a_network_with_a_gated_delta_net_uses_fla(build_job: JobBuilder) -> None:
    assert uses_fla(build_job())
    assert uses_fla(build_job(model={"softmax_every": 2, "depth": 2}))
    assert not uses_fla(build_job(model={"mixer": "mamba2"}))


def test_a_job_on_a_cpu_prepares_nothing(build_job: JobBuilder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    told: list[str] = []
    prepare_kernels(build_job(), CPU, told.append)
    assert told == []
    assert VARIABLE not in os.environ


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """Return the numbers of processes that compile, as if there were a GPU with room for four."""
    asked: list[int] = []
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    monkeypatch.setattr(kernels, "free_memory_bytes", lambda device: 4 * PROCESS_BYTES)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "H100")
    monkeypatch.setattr(kernels, "compile_kernels", lambda config, count: asked.append(count))
    return asked


CUDA = torch.device("cuda")


def test_a_job_on_a_gpu_has_its_kernels_compiled_unless_they_are_chosen(
    build_job: JobBuilder, asked: list[int]
) -> None:
    config, told = build_job(), list[str]()
    prepare_kernels(config, CUDA, told.append)
    prepare_kernels(build_job(model={"mixer": "mamba2"}), CUDA, told.append)
    assert asked == [4]
    assert told == ["4 processes compile fla's kernels, once for this GPU, precision and shape of heads"]
    prepare_kernels(config, CUDA, told.append)
    assert asked == [4], "once for a card and a shape"


@pytest.mark.parametrize("kind", [KernelError, OSError])
def test_a_failure_to_compile_is_told_and_ends_no_job(
    build_job: JobBuilder, asked: list[int], monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    def fail(config: JobConfig, count: int) -> None:
        raise kind("a process that compiles kernels ended with status 1: OutOfMemory")

    monkeypatch.setattr(kernels, "compile_kernels", fail)
    told: list[str] = []
    prepare_kernels(build_job(), CUDA, told.append)
    assert told[-1].endswith("status 1: OutOfMemory; the first step compiles what is missing")
    assert not list(cache_folder().iterdir()), "the next job tries again"


def test_kernels_are_marked_by_card_precision_heads_and_batch(
    build_job: JobBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = mark_of(tmp_path, build_job(), "H100")
    same = build_job(model={"depth": 3}, loss={"kind": "focal"}, optim={"learning_rate": 0.1, "epochs": 9})
    assert mark_of(tmp_path, same, "H100") == plain
    others = [{"model": {"head_dim": 4}}, {"optim": {"batch_size": 4}}, {"runtime": {"precision": "bf16"}}]
    marks = {mark_of(tmp_path, build_job(**changes), "H100") for changes in others}
    marks |= {plain, mark_of(tmp_path, build_job(), "A100")}
    monkeypatch.setattr(metadata, "version", lambda package: "9.9")
    assert len(marks | {mark_of(tmp_path, build_job(), "H100")}) == 6
    assert all(mark.parent == tmp_path for mark in marks)


def test_a_folder_that_cannot_be_written_ends_no_job(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    note_done(tmp_path / "file" / "knockout-1")
    note_done(tmp_path / "new" / "knockout-1")
    assert (tmp_path / "new" / "knockout-1").is_file()


def test_a_package_without_a_version_still_has_a_mark(
    build_job: JobBuilder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lack(package: str) -> str:
        raise metadata.PackageNotFoundError(package)

    monkeypatch.setattr(metadata, "version", lack)
    assert mark_of(tmp_path, build_job(), "H100").name.startswith("knockout-")


def test_all_processes_share_one_folder_of_triton(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv(VARIABLE)
    assert cache_folder() == Path.home() / ".triton" / "cache"
    assert os.environ[VARIABLE] == str(cache_folder())
