"""The job of the model's tests: small enough to train on a CPU in a blink."""

from collections.abc import Iterator

import pytest

from model.config import JobConfig, job_from_builtins
from tests.model.conftest import job_values, process_left_as_it_was


@pytest.fixture(autouse=True)
def _leave_the_process_as_it_was() -> Iterator[None]:
    with process_left_as_it_was():
        yield


@pytest.fixture(scope="module")
def tiny_config() -> JobConfig:
    return job_from_builtins(job_values())
