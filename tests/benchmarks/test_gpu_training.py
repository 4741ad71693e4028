"""What a GPU is timed at, on a CPU with a tiny network."""

from pathlib import Path

import msgspec
import pytest
import torch

from benchmarks.gpu_trace import AUGMENT_RANGE, DATA_RANGE, OPTIMIZER_RANGE
from benchmarks.gpu_training import (
    RangedNoise,
    Training,
    Variant,
    eager_augment,
    make_ranged_noise,
    paper_baseline,
    record_steps,
    time_augment,
    time_checkpoint,
    whole_batches,
)
from model.config import JobConfig, Params, differing_knobs, job_of
from orchestrator.campaign.selection import Request, open_campaign

CPU = torch.device("cpu")
FP32 = Variant("fp32", compile=False)
ROOT = Path(__file__).parents[2]


def test_the_baseline_is_the_one_of_the_campaign_file() -> None:
    request = Request(file=ROOT / "experiments.yaml", profile="paper", experiments=("baseline",))
    campaign = open_campaign(request)
    params = msgspec.convert(campaign.arms["baseline"].params, Params)
    job = job_of(params, experiment="baseline", profile="paper", seed=1337)
    assert differing_knobs(paper_baseline(), job) == []


@pytest.fixture(scope="module")
def training(tiny_config: JobConfig) -> Training:
    return Training(tiny_config, FP32, CPU)


def test_steps_and_a_validation_are_timed(training: Training) -> None:
    times = training.times
    assert (times.num_steps, times.num_trained, times.num_validated, times.num_skipped) == (5, 36, 24, 0)
    assert 0 < times.first_step_seconds < times.warm_up_seconds
    assert min(times.train_seconds, times.validate_seconds) > 0
    assert times.peak_bytes > 1e6
    assert (training.num_train, training.num_validate) == (36, 24)


def test_a_step_is_recorded_with_its_data_augmentation_and_optimiser(training: Training) -> None:
    names = [event["name"] for event in record_steps(training) if event.get("cat") == "user_annotation"]
    assert names.count(AUGMENT_RANGE) == names.count(DATA_RANGE) == 5
    assert sum(name.startswith(OPTIMIZER_RANGE) for name in names) == 5


def test_a_checkpoint_has_the_best_network_too(training: Training) -> None:
    seconds, num_bytes = time_checkpoint(training)
    parameters = sum(parameter.numel() for parameter in training.trainer.model.parameters())
    # Network, best network and two moments of the optimiser.
    assert num_bytes > 4 * 4 * parameters
    assert seconds > 0


def test_augmentation_is_timed_alone(training: Training) -> None:
    config = training.config
    assert time_augment(eager_augment(config, CPU), config, CPU) > 0
    assert time_augment(training.augment.augment, config, CPU) > 0


def test_a_set_of_few_bursts_is_taken_whole() -> None:
    assert whole_batches(7000, 128, 12) == 1536
    assert whole_batches(36, 8, 12) == 36


def test_noise_has_every_class(tiny_config: JobConfig) -> None:
    noise = make_ranged_noise(tiny_config.data, 10)
    assert isinstance(noise, RangedNoise)
    assert len(noise) == 10
    assert int(noise.class_of_burst.max()) == 2


def test_a_variant_changes_the_runtime_alone(tiny_config: JobConfig) -> None:
    changed = Variant("bf16", compile=True).apply(tiny_config)
    assert set(differing_knobs(changed, tiny_config)) == {"runtime.compile", "runtime.precision"}
    assert (changed.runtime.precision, changed.runtime.compile) == ("bf16", True)


def test_a_variant_that_the_configuration_lacks_is_known_as_such() -> None:
    assert Variant("fp16", compile=True).is_known()
    assert not Variant("fp16", "no-such-mode").is_known()
    assert not Variant("fp8", compile=True).is_known()


def test_variants_have_names() -> None:
    assert [str(Variant("fp16", how)) for how in (True, False, "reduce-overhead")] == [
        "fp16, compiled",
        "fp16, not compiled",
        "fp16, compiled with reduce-overhead",
    ]
