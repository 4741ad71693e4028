import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.classifier import count_parameters, initialize
from model.config import ModelConfig
from model.gated_delta import recurrent
from model.layers import (
    L2_EPS,
    NORM_EPS,
    Block,
    GatedDeltaNet,
    GatedMLP,
    GatedRMSNorm,
    RMSNorm,
    ShortConvolution,
    _causal_conv_silu,
    backend_for,
    convolve_together,
)

ROOT = Path(__file__).parents[2]

SMALL = ModelConfig(dim=12, num_heads=2, head_dim=4, expand_v=1.5, conv_size=3, conv_bias=True, mlp_multiple=4)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def build_mixer(config: ModelConfig) -> GatedDeltaNet:
    mixer = GatedDeltaNet(config)
    initialize(mixer, 0)
    return mixer.double()


@pytest.mark.parametrize(("num_heads", "head_dim", "parameters"), [(8, 64, 2_113_680), (4, 128, 2_109_704)])
def test_the_token_mixer_of_the_paper_has_as_many_parameters_as_in_fla(
    num_heads: int, head_dim: int, parameters: int
) -> None:
    with torch.device("meta"):
        mixer = GatedDeltaNet(ModelConfig(num_heads=num_heads, head_dim=head_dim))
    assert count_parameters(mixer) == parameters


def test_the_mlp_of_the_paper_has_as_many_parameters_as_in_fla() -> None:
    with torch.device("meta"):
        mlp = GatedMLP(ModelConfig())
    assert count_parameters(mlp) == 2_359_296


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_gradients_of_the_convolution_are_those_of_its_differences(size: int, bias: bool) -> None:
    leaves = [normal(2, 5, 3, seed=1), normal(size, 3, seed=2), normal(3, seed=3) if bias else None]
    assert torch.autograd.gradcheck(
        _causal_conv_silu, [leaf if leaf is None else leaf.requires_grad_() for leaf in leaves]
    )


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("size", [1, 4])
def test_convolving_together_equals_each_grouped_convolution_alone(size: int, bias: bool) -> None:
    convolutions = [ShortConvolution(width, size, bias=bias).double() for width in (4, 3)]
    for number, parameter in enumerate(p for convolution in convolutions for p in convolution.parameters()):
        nn.init.normal_(parameter, generator=torch.Generator().manual_seed(number))
    x_BTD, weights_BTD = normal(2, 6, 7, seed=7).requires_grad_(), normal(2, 6, 7, seed=8)
    leaves = [x_BTD, *(parameter for convolution in convolutions for parameter in convolution.parameters())]

    ours_BTD = convolve_together(x_BTD, *convolutions)
    padded_BDT = F.pad(x_BTD.mT, (size - 1, 0))
    alone = [
        F.conv1d(part, convolution.weight, convolution.bias, groups=part.shape[1])
        for part, convolution in zip(padded_BDT.split([4, 3], dim=1), convolutions, strict=True)
    ]
    expected_BTD = F.silu(torch.cat(alone, dim=1).mT)

    torch.testing.assert_close(ours_BTD, expected_BTD, rtol=1e-12, atol=1e-12)
    gradients, expected = (torch.autograd.grad((y * weights_BTD).sum(), leaves) for y in (ours_BTD, expected_BTD))
    torch.testing.assert_close(gradients, expected, rtol=1e-12, atol=1e-12)


def test_a_norm_leaves_tokens_with_a_mean_square_of_one() -> None:
    x_BTD = 7 * normal(2, 5, 12)
    mean_square_BT = RMSNorm(12).double()(x_BTD).square().mean(-1)
    torch.testing.assert_close(mean_square_BT, torch.ones(2, 5, dtype=torch.float64), rtol=1e-6, atol=0.0)


def test_a_gated_norm_multiplies_by_the_silu_of_its_gate_and_by_its_weight() -> None:
    norm = GatedRMSNorm(6).double()
    nn.init.normal_(norm.weight, generator=torch.Generator().manual_seed(3))
    x, gate = normal(2, 5, 6), normal(2, 5, 6, seed=1)
    expected = x / (x.square().mean(-1, keepdim=True) + NORM_EPS).sqrt() * norm.weight * gate * gate.sigmoid()
    torch.testing.assert_close(norm(x, gate), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("allow_neg_eigval", [False, True])
def test_the_token_mixer_is_the_layer_of_the_paper_written_out(allow_neg_eigval: bool) -> None:
    """Section 3.4 of arXiv 2412.06464, projection by projection, with the rule token by token."""
    config = ModelConfig(
        dim=12, num_heads=2, head_dim=4, expand_v=1.5, conv_size=3, conv_bias=True, allow_neg_eigval=allow_neg_eigval
    )
    mixer, x_BTD = build_mixer(config), normal(2, 67, 12, seed=4)

    def heads(projection: nn.Linear, convolution: ShortConvolution) -> Tensor:
        y_BDT = F.pad(projection(x_BTD).mT, (config.conv_size - 1, 0))
        y_BTD = F.silu(F.conv1d(y_BDT, convolution.weight, convolution.bias, groups=y_BDT.shape[1])).mT
        return y_BTD.unflatten(-1, (config.num_heads, -1))

    def unit(x: Tensor) -> Tensor:
        return x / (x.square().sum(-1, keepdim=True) + L2_EPS).sqrt()

    q, k = unit(heads(mixer.q_proj, mixer.q_conv1d)), unit(heads(mixer.k_proj, mixer.k_conv1d))
    v = heads(mixer.v_proj, mixer.v_conv1d)
    beta_BTH = mixer.b_proj(x_BTD).sigmoid() * (2 if allow_neg_eigval else 1)
    log_decay_BTH = -mixer.A_log.exp() * F.softplus(mixer.a_proj(x_BTD) + mixer.dt_bias)
    o_BTHV = recurrent(q, k, v, log_decay_BTH=log_decay_BTH, beta_BTH=beta_BTH)
    gate_BTHV = mixer.g_proj(x_BTD).unflatten(-1, (config.num_heads, -1))
    expected_BTD = mixer.o_proj(mixer.o_norm(o_BTHV, gate_BTHV).flatten(2))

    # Keys, queries, steps and decays pass through single precision, whatever the type of the rest.
    error = (mixer(x_BTD) - expected_BTD).norm() / expected_BTD.norm()
    assert error < 1e-6


@pytest.mark.parametrize("changed", [1, 63, 64, 99])
def test_a_later_token_changes_no_earlier_output_of_a_block(changed: int) -> None:
    block = Block(SMALL, "torch")
    initialize(block, 0)
    x_BTD, other_BTD = normal(2, 100, 12).float(), normal(2, 100, 12, seed=1).float()
    mixed_BTD = torch.cat([x_BTD[:, :changed], other_BTD[:, changed:]], dim=1)
    before_BTD, after_BTD = block(x_BTD), block(mixed_BTD)
    assert torch.equal(before_BTD[:, :changed], after_BTD[:, :changed])
    assert (before_BTD[:, changed:] != after_BTD[:, changed:]).any(-1).all()


def test_the_mlp_is_a_product_of_two_projections_one_of_them_gated() -> None:
    mlp = GatedMLP(SMALL)
    initialize(mlp, 0)
    mlp = mlp.double()
    x_BTD = normal(2, 3, 12)
    gate = x_BTD @ mlp.gate_proj.weight.T
    expected = (gate * gate.sigmoid() * (x_BTD @ mlp.up_proj.weight.T)) @ mlp.down_proj.weight.T
    torch.testing.assert_close(mlp(x_BTD), expected, rtol=1e-12, atol=1e-12)


def test_decay_rates_and_time_steps_start_where_fla_starts_them() -> None:
    mixer = GatedDeltaNet(ModelConfig(dim=8, num_heads=500, head_dim=1, expand_v=1.0))
    initialize(mixer, 0)
    rates, steps = mixer.A_log.detach().exp(), F.softplus(mixer.dt_bias.detach())
    assert 0 < rates.min() < 0.1
    assert 15.9 < rates.max() <= 16
    assert math.isclose(rates.mean(), 8, rel_tol=0.05)
    assert 0.001 <= steps.min() < 0.00105
    assert 0.095 < steps.max() <= 0.1001
    assert math.isclose(steps.log().mean(), math.log(0.01), rel_tol=0.05)


def test_only_cuda_takes_the_kernels_of_fla() -> None:
    assert backend_for(torch.device("cuda", 1)) == "fla"
    assert backend_for(torch.device("cpu")) == "torch"
    assert backend_for(torch.device("mps")) == "torch"


def test_a_cpu_run_imports_neither_fla_nor_liger_nor_transformers() -> None:
    check = (
        "import sys, torch, model.__main__\n"
        "from model.classifier import Classifier, initialize\n"
        "from model.config import ModelConfig\n"
        "from model.layers import backend_for\n"
        "config = ModelConfig(dim=8, depth=1, num_heads=1, head_dim=4, patch_size=4, patch_stride=2, mlp_multiple=4)\n"
        "model = Classifier(config, 2, backend_for(torch.device('cpu')))\n"
        "initialize(model, 0)\n"
        "model(torch.ones(1, 2, 10))[0].sum().backward()\n"
        "print({'fla', 'liger_kernel', 'transformers'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "set()\n"), done.stderr
