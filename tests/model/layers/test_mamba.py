import math
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer
from transformers.utils import logging

from model.config import ModelConfig
from model.layers.mamba import build_plain_mamba2
from model.layers.norms import NORM_EPS
from model.studies.radio.network import initialize

# 3 heads of 12 make 36 channels inside, no whole multiple of the width.
CONFIG = ModelConfig(dim=16, num_heads=3, head_dim=8, expand_v=1.5, conv_size=3, conv_bias=True, mixer="mamba2")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Hold back what transformers' own layer logs; ours logs nothing."""
    logging.set_verbosity_error()
    yield
    logging.set_verbosity_warning()


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def build() -> nn.Module:
    """Build the layer at parameters that are nowhere constant."""
    mixer = build_plain_mamba2(CONFIG)
    initialize(mixer, 0)
    with torch.no_grad():
        for number, parameter in enumerate(mixer.parameters()):
            parameter.add_(normal(*parameter.shape, seed=number), alpha=0.1)
    return mixer


def build_theirs() -> nn.Module:
    return Mamba2Mixer(
        SimpleNamespace(
            hidden_size=16,
            num_heads=3,
            head_dim=12,
            state_size=8,
            expand=36 / 16,
            n_groups=1,
            conv_kernel=3,
            use_conv_bias=True,
            use_bias=False,
            hidden_act="silu",
            layer_norm_epsilon=NORM_EPS,
            chunk_size=256,
            time_step_rank=1,
            time_step_limit=(0.0, math.inf),
            time_step_min=0.001,
            time_step_max=0.1,
            time_step_floor=1e-4,
            layer_types=["linear_attention"],
        ),
        layer_idx=0,
    )


def relative_error(actual: Tensor, expected: Tensor) -> float:
    return float(((actual - expected).norm() / expected.norm()).detach())


@pytest.mark.parametrize("num_tokens", [33, 64, 131])
def test_the_layer_is_that_of_the_paper_written_out(num_tokens: int) -> None:
    """Equation 1 of arXiv 2405.21060 token by token, inside the block of its figure 6."""
    mixer, x_BTD = build(), normal(2, num_tokens, 16, seed=50)
    gate_BTI, inputs_BTC, dt_BTH = (x_BTD @ mixer.in_proj.weight.T).split([36, 52, 3], dim=-1)
    padded_BCT = F.pad(inputs_BTC.mT, (2, 0))
    inputs_BTC = F.silu(F.conv1d(padded_BCT, mixer.conv1d.weight, mixer.conv1d.bias, groups=52)).mT
    x_BTHV, b_BTN, c_BTN = inputs_BTC[..., :36].unflatten(-1, (3, 12)), inputs_BTC[..., 36:44], inputs_BTC[..., 44:]
    dt_BTH = F.softplus(dt_BTH + mixer.dt_bias)

    state_BHVN, outputs = torch.zeros(2, 3, 12, 8), []
    for t in range(num_tokens):
        decay_BH = torch.exp(-mixer.A_log.exp() * dt_BTH[:, t])
        written_BHVN = torch.einsum("bh,bhv,bn->bhvn", dt_BTH[:, t], x_BTHV[:, t], b_BTN[:, t])
        state_BHVN = decay_BH[..., None, None] * state_BHVN + written_BHVN
        read_BHV = torch.einsum("bhvn,bn->bhv", state_BHVN, c_BTN[:, t])
        outputs.append(read_BHV + mixer.D[:, None] * x_BTHV[:, t])
    gated_BTI = torch.stack(outputs, dim=1).flatten(2) * F.silu(gate_BTI)
    normed_BTI = gated_BTI * (gated_BTI.square().mean(-1, keepdim=True) + NORM_EPS).rsqrt() * mixer.norm.weight

    assert relative_error(mixer(x_BTD), normed_BTI @ mixer.out_proj.weight.T) < 1e-5


@pytest.mark.parametrize("num_tokens", [33, 130])
def test_the_layer_equals_transformers_own_with_its_gradients(num_tokens: int) -> None:
    ours, theirs = build(), build_theirs()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    x_BTD, weights_BTD = normal(2, num_tokens, 16, seed=50).requires_grad_(), normal(2, num_tokens, 16, seed=51)
    answers = {}
    for layer in (ours, theirs):
        y_BTD = layer(x_BTD)
        names, leaves = zip(*layer.named_parameters(), strict=True)
        gradients = torch.autograd.grad((y_BTD * weights_BTD).sum(), (x_BTD, *leaves))
        answers[layer] = {"y": y_BTD, **dict(zip(("x", *names), gradients, strict=True))}
    errors = {name: relative_error(answers[ours][name], expected) for name, expected in answers[theirs].items()}
    assert max(errors.values()) < 1e-5, errors


@pytest.mark.parametrize("changed", [1, 63, 64, 99])
def test_a_later_token_changes_no_earlier_output(changed: int) -> None:
    mixer, x_BTD = build(), normal(2, 100, 16)
    other_BTD = torch.cat([x_BTD[:, :changed], normal(2, 100, 16, seed=1)[:, changed:]], dim=1)
    differs_T = (mixer(x_BTD) != mixer(other_BTD)).any(-1).any(0)
    assert differs_T.tolist() == [t >= changed for t in range(100)]


def test_parameters_start_where_its_authors_start_them() -> None:
    mixer = build_plain_mamba2(ModelConfig(dim=8, num_heads=300, head_dim=1, expand_v=1.0, mixer="mamba2"))
    initialize(mixer, 0)
    assert torch.equal(mixer.A_log.detach(), torch.arange(1, 301).log())
    assert torch.equal(mixer.D.detach(), torch.ones(300))
    assert torch.equal(mixer.norm.weight.detach(), torch.ones(300))
    steps = F.softplus(mixer.dt_bias.detach())
    assert 0.001 <= steps.min() < 0.0011
    assert 0.09 < steps.max() <= 0.1001
