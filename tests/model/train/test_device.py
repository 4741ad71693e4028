from collections.abc import Callable, Iterator

import pytest
import torch

from model.config import JobConfig
from model.train.device import (
    JobError,
    choose_arithmetic,
    choose_device,
    free_memory_bytes,
    peak_memory_bytes,
    require_possible,
)

CPU = torch.device("cpu")


def test_auto_is_the_gpu_where_there_is_one() -> None:
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert choose_device("cpu") == CPU


def test_fp16_without_cuda_is_refused_with_what_to_do(build_job: Callable[..., JobConfig]) -> None:
    config = build_job(runtime={"precision": "fp16"})
    sentence = "profile `tiny` trains in fp16, which needs a CUDA GPU, and this job has cpu; use profile `quick`"
    with pytest.raises(JobError, match=sentence):
        require_possible(config, CPU)
    require_possible(config, torch.device("cuda"))


def test_peak_memory_is_that_of_the_process() -> None:
    held = torch.ones(2**20)
    assert 50 * 2**20 < peak_memory_bytes(held.device) < 2**40


@pytest.fixture
def _products_as_before() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.usefixtures("_products_as_before")
@pytest.mark.parametrize(
    ("device", "precision", "products", "is_deterministic"),
    [
        ("cuda", "fp16", "high", False),
        ("cuda", "bf16", "high", False),
        ("cuda", "fp32", "highest", False),
        ("cpu", "bf16", "highest", True),
        ("cpu", "fp32", "highest", True),
    ],
)
def test_only_mixed_precision_on_a_gpu_uses_tf32(
    device: str, precision: str, products: str, is_deterministic: bool
) -> None:
    torch.set_float32_matmul_precision("highest")
    choose_arithmetic(torch.device(device), precision)
    assert torch.get_float32_matmul_precision() == products
    assert torch.are_deterministic_algorithms_enabled() == is_deterministic


def test_a_cpu_sets_no_limit_to_what_is_kept_on_it() -> None:
    assert free_memory_bytes(CPU) is None
