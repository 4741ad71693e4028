"""Which variants of fla's kernels are compiled, by whom; on a CPU nothing is."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.gpu_kernels import (
    BRIEF,
    VARIABLE,
    cache_folder,
    compile_kernels,
    compile_share,
    count_processes,
    is_chosen,
    main,
    timed_briefly,
    use_every_kernel,
)
from benchmarks.gpu_training import paper_baseline
from model.config import JobConfig

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


def test_a_block_is_used_for_training_and_for_scoring(tiny_config: JobConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[int, bool, bool]] = []
    from model.studies.radio.network import Classifier

    forward = Classifier.forward

    def watch(network: Classifier, x_B2L: torch.Tensor) -> Any:
        seen.append((len(x_B2L), network.training, torch.is_inference_mode_enabled()))
        assert len(network.backbone.blocks) == 1
        return forward(network, x_B2L)

    monkeypatch.setattr(Classifier, "forward", watch)
    use_every_kernel(tiny_config, "bf16", CPU)
    assert seen == [(8, True, False), (24, False, True)]


def test_triton_times_variants_briefly_on_a_gpu_alone() -> None:
    import triton.testing

    before = triton.testing.do_bench
    with timed_briefly(torch.device("cuda")):
        assert triton.testing.do_bench.keywords == BRIEF
    with timed_briefly(CPU):
        assert triton.testing.do_bench is before
    assert triton.testing.do_bench is before


def test_a_process_that_compiles_tells_that_there_is_no_gpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["fp16", "0", "2"]) == 2
    assert capsys.readouterr().err == "benchmarks.gpu_kernels: there is no CUDA GPU here, so no kernel was compiled\n"


def test_a_process_that_fails_is_named_with_its_last_line(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(RuntimeError, match=r"status 2: benchmarks\.gpu_kernels: there is no CUDA GPU here"):
        compile_kernels("fp16", 1, lambda: done.append("meanwhile"))
    assert done == ["meanwhile"]


def test_there_is_a_process_a_core_but_not_too_many() -> None:
    assert 1 <= count_processes() <= 16


Note = Callable[[list[Any]], None]


@pytest.fixture
def note(tmp_path: Path) -> Note:
    """Return what writes a choice of Triton with that key."""

    def write(key: list[Any]) -> None:
        folder = tmp_path / f"HASH{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        (folder / "causal_conv1d_bwd_kernel.autotune.json").write_text(json.dumps({"key": key, "configs_timings": []}))

    return write


def test_kernels_are_chosen_once_the_last_one_has_its_choice(tmp_path: Path, note: Note) -> None:
    config = paper_baseline()
    assert not is_chosen(tmp_path, "fp16", config)
    note([2048, 4, "torch.bfloat16", "torch.float32"])
    note([1024, 4, "torch.float16"])
    assert not is_chosen(tmp_path, "fp16", config)
    note([2048, 4, "torch.float16", "torch.float32"])
    assert is_chosen(tmp_path, "fp16", config)


def test_all_processes_share_one_folder_of_triton(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv(VARIABLE)
    assert cache_folder() == Path.home() / ".triton" / "cache"
    assert os.environ[VARIABLE] == str(cache_folder())
