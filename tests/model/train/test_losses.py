from typing import get_args

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from model.config import CrossEntropyConfig, FocalConfig, LossConfig
from model.train.losses import Blend, blended_loss, build_loss

NUM_BURSTS, NUM_CLASSES = 6, 10


def scores() -> tuple[Tensor, Tensor]:
    stream = torch.Generator().manual_seed(0)
    logits_BC = 2 * torch.randn(NUM_BURSTS, NUM_CLASSES, generator=stream, dtype=torch.float64)
    return logits_BC, torch.randint(NUM_CLASSES, (NUM_BURSTS,), generator=stream)


def two_classes(gap: float) -> tuple[Tensor, Tensor]:
    """One burst of class 0, whose score leads that of class 1 by `gap`."""
    return torch.tensor([[gap, 0.0]], requires_grad=True), torch.tensor([0])


def focal_of_the_source(logits: Tensor, targets: Tensor, gamma: float, label_smoothing: float) -> Tensor:
    """Approach 2 of the source study, as it is printed there."""
    log_pt = torch.nn.functional.log_softmax(logits, dim=1)
    if label_smoothing > 0.0:
        smooth_val = label_smoothing / logits.shape[1]
        one_hot = torch.zeros_like(log_pt).scatter_(1, targets.view(-1, 1), 1.0)
        soft_targets = one_hot * (1.0 - label_smoothing) + smooth_val
        ce = -(soft_targets * log_pt).sum(dim=1)
        pt = log_pt.exp().gather(1, targets.view(-1, 1)).squeeze(1)
    else:
        pt = log_pt.exp().gather(1, targets.view(-1, 1)).squeeze(1)
        ce = -log_pt.gather(1, targets.view(-1, 1)).squeeze(1)
    return ((1.0 - pt) ** gamma * ce).mean()


@pytest.mark.parametrize("label_smoothing", [0.0, 0.05, 0.5])
@pytest.mark.parametrize("gamma", [0.5, 1.0, 2.0, 3.0])
def test_focal_loss_and_its_gradient_are_those_of_the_source(gamma: float, label_smoothing: float) -> None:
    logits_BC, class_B = scores()
    loss = build_loss(FocalConfig(gamma=gamma, label_smoothing=label_smoothing))
    leaf_BC, same_BC = logits_BC.clone().requires_grad_(), logits_BC.clone().requires_grad_()
    ours, expected = loss(leaf_BC, class_B), focal_of_the_source(same_BC, class_B, gamma, label_smoothing)
    torch.testing.assert_close(ours, expected, rtol=1e-12, atol=0.0)
    gradient, expected_gradient = torch.autograd.grad(ours, leaf_BC)[0], torch.autograd.grad(expected, same_BC)[0]
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("label_smoothing", [0.0, 0.05])
def test_focal_loss_approaches_cross_entropy_as_gamma_goes_to_zero(label_smoothing: float) -> None:
    logits_BC, class_B = scores()
    cross_entropy = build_loss(CrossEntropyConfig(label_smoothing=label_smoothing))(logits_BC, class_B)
    gaps = [
        cross_entropy - build_loss(FocalConfig(gamma=gamma, label_smoothing=label_smoothing))(logits_BC, class_B)
        for gamma in (1e-2, 1e-4, 1e-6)
    ]
    assert gaps[0] > gaps[1] > gaps[2] > 0
    assert gaps[2] < 1e-5


def test_a_larger_gamma_weighs_down_the_easy_burst_more_than_the_hard_one() -> None:
    def share_of_the_easy(gamma: float) -> Tensor:
        easy, hard = (build_loss(FocalConfig(gamma=gamma))(*two_classes(gap)) for gap in (2.0, -2.0))
        return easy / (easy + hard)

    assert share_of_the_easy(3.0) < share_of_the_easy(1.0) < share_of_the_easy(0.1)


def test_smoothing_spreads_its_share_of_the_target_over_all_classes() -> None:
    logits_BC, class_B = scores()
    target_BC = 0.9 * F.one_hot(class_B, NUM_CLASSES).double() + 0.1 / NUM_CLASSES
    expected = -(target_BC * logits_BC.log_softmax(1)).sum(1).mean()
    smoothed = build_loss(CrossEntropyConfig(label_smoothing=0.1))(logits_BC, class_B)
    torch.testing.assert_close(smoothed, expected, rtol=1e-12, atol=0.0)


def test_without_smoothing_cross_entropy_is_the_mean_log_of_what_the_own_class_was_given() -> None:
    logits_BC, class_B = scores()
    expected = -logits_BC.softmax(1)[torch.arange(NUM_BURSTS), class_B].log().mean()
    torch.testing.assert_close(build_loss(CrossEntropyConfig())(logits_BC, class_B), expected, rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("gap", [-1e4, -100.0, -20.0, 0.0, 20.0, 100.0, 1e4])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.05])
@pytest.mark.parametrize("gamma", [0.1, 0.5, 1.0, 2.0, 20.0])
def test_focal_loss_and_gradient_stay_finite_from_never_to_certain(
    gamma: float, label_smoothing: float, gap: float
) -> None:
    logits_BC, class_B = two_classes(gap)
    loss = build_loss(FocalConfig(gamma=gamma, label_smoothing=label_smoothing))(logits_BC, class_B)
    (gradient_BC,) = torch.autograd.grad(loss, logits_BC)
    assert loss.isfinite()
    assert loss >= 0
    assert gradient_BC.isfinite().all()


def test_every_configuration_of_a_loss_builds_one() -> None:
    logits_BC, class_B = scores()
    for config in get_args(LossConfig):
        assert build_loss(config())(logits_BC, class_B) > 0


LOSSES = [
    CrossEntropyConfig(),
    CrossEntropyConfig(label_smoothing=0.1),
    FocalConfig(gamma=2.0),
    FocalConfig(gamma=0.5, label_smoothing=0.05),
]


def blend(share: float | None = None) -> Blend:
    """Partners are the next burst; shares are random, or all the same."""
    share_B = torch.rand(NUM_BURSTS, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    partner_B = (torch.arange(NUM_BURSTS) + 1) % NUM_BURSTS
    return Blend(partner_B, share_B if share is None else torch.full_like(share_B, share))


@pytest.mark.parametrize("config", LOSSES)
def test_without_a_blend_the_loss_is_the_loss_to_the_last_bit(config: LossConfig) -> None:
    (logits_BC, class_B), loss = scores(), build_loss(config)
    for same_BC in (logits_BC, logits_BC.float()):
        assert torch.equal(blended_loss(loss, same_BC, class_B, None), loss(same_BC, class_B))


@pytest.mark.parametrize("config", LOSSES)
def test_the_loss_is_the_mean_of_the_losses_of_the_bursts(config: LossConfig) -> None:
    (logits_BC, class_B), loss = scores(), build_loss(config)
    alone_B = torch.stack([loss(logits_BC[b : b + 1], class_B[b : b + 1]) for b in range(NUM_BURSTS)])
    torch.testing.assert_close(loss.per_burst(logits_BC, class_B), alone_B, rtol=1e-12, atol=0.0)
    torch.testing.assert_close(loss(logits_BC, class_B), alone_B.mean(), rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("config", LOSSES)
def test_a_blended_burst_counts_for_both_classes_by_their_shares(config: LossConfig) -> None:
    (logits_BC, class_B), loss = scores(), build_loss(config)
    mixed, total = blend(), 0.0
    for b, share in enumerate(mixed.share_B.tolist()):
        other = (b + 1) % NUM_BURSTS
        own_loss, other_loss = (float(loss(logits_BC[b : b + 1], class_B[c : c + 1])) for c in (b, other))
        total += share * own_loss + (1 - share) * other_loss
    expected = torch.tensor(total / NUM_BURSTS, dtype=torch.float64)
    torch.testing.assert_close(blended_loss(loss, logits_BC, class_B, mixed), expected, rtol=1e-12, atol=0.0)


@pytest.mark.parametrize("config", LOSSES)
def test_a_share_of_one_is_the_burst_alone_and_of_none_its_partner(config: LossConfig) -> None:
    (logits_BC, class_B), loss = scores(), build_loss(config)
    alone, partner = (blended_loss(loss, logits_BC, class_B, blend(share)) for share in (1.0, 0.0))
    torch.testing.assert_close(alone, loss(logits_BC, class_B), rtol=1e-12, atol=0.0)
    torch.testing.assert_close(partner, loss(logits_BC, class_B.roll(-1)), rtol=1e-12, atol=0.0)
    assert alone != partner


@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_for_cross_entropy_a_blend_is_the_loss_against_the_blended_target(label_smoothing: float) -> None:
    (logits_BC, class_B), mixed = scores(), blend()
    one_hot_BC, share_B1 = F.one_hot(class_B, NUM_CLASSES).double(), mixed.share_B[:, None]
    target_BC = share_B1 * one_hot_BC + (1 - share_B1) * one_hot_BC[mixed.partner_B]
    expected = F.cross_entropy(logits_BC, target_BC, label_smoothing=label_smoothing)
    loss = build_loss(CrossEntropyConfig(label_smoothing=label_smoothing))
    torch.testing.assert_close(blended_loss(loss, logits_BC, class_B, mixed), expected, rtol=1e-12, atol=0.0)
