"""The job of the model's tests: small enough to train on a CPU in a blink."""

import pytest

from model.config import JobConfig, job_from_builtins
from tests.model.conftest import job_values


@pytest.fixture(scope="module")
def tiny_config() -> JobConfig:
    return job_from_builtins(job_values())
