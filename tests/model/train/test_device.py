from collections.abc import Callable

import pytest
import torch

from model.config import JobConfig
from model.train.device import JobError, choose_device, peak_memory_bytes, require_possible

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
