from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from model.augment import ChangedCopies, build_test_time, normalize_rms
from model.config import JobConfig
from model.data.batches import BurstSet, open_role
from model.studies.radio.network import Classifier, build_classifier
from model.train import score as scoring
from model.train.losses import build_loss
from model.train.score import Views, burst_names, mean_scores, score

CPU = torch.device("cpu")


def build(build_job: Callable[..., JobConfig]) -> tuple[Classifier, JobConfig]:
    config = build_job()
    return build_classifier(config, 3, CPU), config


def test_scores_are_in_file_order_without_dropout_or_augmentation(
    build_job: Callable[..., JobConfig], captures: Path
) -> None:
    model, config = build(build_job)
    bursts = open_role(config.data, ("report",), captures)
    loss = build_loss(config.loss)
    scores = score(model.train(), bursts, loss, CPU)
    (whole,) = bursts.in_order(100)
    with torch.no_grad():
        expected, _ = model.eval()(normalize_rms(whole.x_B2S))
    assert torch.equal(scores.logits, expected)
    assert torch.equal(scores.classes, whole.class_B)
    assert scores.loss == float(loss(expected, whole.class_B))
    assert scores.correct == int((expected.argmax(1) == whole.class_B).sum())


def test_normalising_makes_scores_blind_to_power(build_job: Callable[..., JobConfig], captures: Path) -> None:
    model, config = build(build_job)
    bursts = open_role(config.data, ("report",), captures)
    loss = build_loss(config.loss)
    quiet, raw = (score(model, bursts, loss, CPU, views=Views(normalize=normalize)) for normalize in (True, False))
    bursts._kept.x_B2S.mul_(8)
    loud, louder_raw = (
        score(model, bursts, loss, CPU, views=Views(normalize=normalize)) for normalize in (True, False)
    )
    torch.testing.assert_close(loud.logits, quiet.logits, rtol=0.0, atol=1e-6)
    assert (louder_raw.logits - raw.logits).abs().max() > 1e-4


TEST_TIME = {"copies": 3, "carrier_offset": {"max_hz": 2e4}, "noise": {"min_snr_db": 0.0, "max_snr_db": 10.0}}
"""Strong enough to show in the scores of a model that has hardly learnt."""


def copies_of(config: JobConfig, bursts: BurstSet) -> ChangedCopies:
    copies = build_test_time(config.test_time, config.seed, bursts.sample_rate_hz)
    assert copies is not None
    return copies


def test_with_copies_the_scores_are_the_log_of_the_mean_class_probabilities_over_burst_and_copies(
    build_job: Callable[..., JobConfig], captures: Path
) -> None:
    config = build_job(test_time=TEST_TIME)
    model, bursts = build_classifier(config, 3, CPU), open_role(config.data, ("report",), captures)
    copies, loss = copies_of(config, bursts), build_loss(config.loss)
    scores = score(model, bursts, loss, CPU, views=Views(copies=copies))
    (whole,) = bursts.in_order(100)
    seen = [whole.x_B2S, *copies(whole.x_B2S, [f"there/{key}" for key in bursts.keys])]
    with torch.no_grad():
        p_VBC = torch.stack([model(normalize_rms(view_B2S))[0].softmax(1) for view_B2S in seen])
    assert len(p_VBC) == 4
    assert (p_VBC[1:] - p_VBC[0]).abs().max() > 1e-5
    torch.testing.assert_close(scores.logits, p_VBC.mean(0).log(), rtol=0.0, atol=1e-6)
    torch.testing.assert_close(scores.logits.exp().sum(1), torch.ones(36), rtol=0.0, atol=1e-6)
    assert scores.loss == float(loss(scores.logits, whole.class_B))


def test_scores_with_copies_are_the_same_bits_each_time_and_in_any_batches_but_for_rounding(
    build_job: Callable[..., JobConfig], captures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = build_job(test_time=TEST_TIME)
    model, bursts = build_classifier(config, 3, CPU), open_role(config.data, ("report",), captures)
    views, loss = Views(copies=copies_of(config, bursts)), build_loss(config.loss)
    first, again = (score(model, bursts, loss, CPU, views=views).logits for _ in range(2))
    assert torch.equal(first, again)
    monkeypatch.setattr(scoring, "BATCH_SIZE", 7)
    torch.testing.assert_close(score(model, bursts, loss, CPU, views=views).logits, first, rtol=0.0, atol=1e-6)
    without = score(model, bursts, loss, CPU).logits.log_softmax(1)
    assert (without - first).abs().max() > 1e-5


def test_copies_are_normalised_only_where_the_burst_is(build_job: Callable[..., JobConfig]) -> None:
    copies = build_test_time(build_job(test_time=TEST_TIME).test_time, 0, 1e6)
    x_B2S = 5 * torch.randn(4, 2, 48, generator=torch.Generator().manual_seed(0))
    names = [f"there/0/{number}" for number in range(4)]
    even, raw = (list(Views(normalize=normalize, copies=copies).of(x_B2S, names)) for normalize in (True, False))
    assert len(even) == len(raw) == 4
    assert torch.equal(raw[0], x_B2S)
    for even_B2S, raw_B2S in zip(even, raw, strict=True):
        assert torch.equal(even_B2S, normalize_rms(raw_B2S))
        torch.testing.assert_close(even_B2S.square().sum(1).mean(1), torch.ones(4), rtol=1e-5, atol=0.0)
        assert raw_B2S.square().sum(1).mean(1).min() > 20


def test_a_single_view_keeps_its_scores_to_the_last_bit() -> None:
    logits_BC = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(mean_scores([logits_BC]), logits_BC)


def test_a_burst_has_the_same_name_however_it_is_asked_for(build_job: Callable[..., JobConfig], captures: Path) -> None:
    narrow = {"captures": {"report": {"devices": (3, 4), "packets": (9, 11)}}}
    whole, part = (burst_names(open_role(build_job(data=data).data, ("report",), captures)) for data in ({}, narrow))
    assert part == ["there/3/9", "there/3/10"]
    assert set(part) < set(whole)
    assert len(set(whole)) == 36
