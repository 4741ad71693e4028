"""The start of a forked job, on a CPU."""

import msgspec
import pytest

from benchmarks.gpu_start import one_step, time_start
from model.config import JobConfig
from model.probe import count_bursts


def test_the_job_has_one_step(tiny_config: JobConfig) -> None:
    config = one_step(tiny_config)
    assert count_bursts(config.data, config.data.train) <= config.optim.batch_size
    assert count_bursts(config.data, config.data.validate) == 3
    assert config.optim.epochs == 1
    assert config.model == tiny_config.model


def test_a_job_is_timed_from_the_request_to_its_first_epoch(tiny_config: JobConfig) -> None:
    start = time_start(tiny_config, "cpu")
    assert start.ready_seconds > 0
    assert start.start_seconds > 0


def test_a_job_that_fails_tells_the_end_of_its_log(tiny_config: JobConfig) -> None:
    runtime = msgspec.structs.replace(tiny_config.runtime, precision="fp16")
    with pytest.raises(RuntimeError, match=r"the job ended before its first epoch: .*fp16, which needs a CUDA GPU"):
        time_start(msgspec.structs.replace(tiny_config, runtime=runtime), "cpu")
