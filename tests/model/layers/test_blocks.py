import math

import msgspec
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.config import ModelConfig
from model.layers.attention import SoftmaxAttention
from model.layers.blocks import (
    L2_EPS,
    Block,
    GatedDeltaNet,
    GatedMLP,
    UntrainableError,
    _unit,
    backend_for,
    build_token_mixer,
    refuse_untrainable,
)
from model.layers.gated_delta import recurrent
from model.layers.mamba import Mamba2
from model.layers.short_convolution import ShortConvolution
from model.studies.radio.network import count_parameters, initialize

SMALL = ModelConfig(dim=12, num_heads=2, head_dim=4, expand_v=1.5, conv_size=3, conv_bias=True, mlp_multiple=4)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def build_mixer(config: ModelConfig) -> GatedDeltaNet:
    mixer = GatedDeltaNet(config)
    initialize(mixer, 0)
    return mixer.double()


def build_block(number: int = 1, **changes: object) -> Block:
    block = Block(msgspec.structs.replace(SMALL, **changes), "torch", number)
    initialize(block, 0)
    return block


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


def test_gradients_of_a_length_of_one_are_those_of_its_differences() -> None:
    assert torch.autograd.gradcheck(_unit, normal(2, 3, 4).requires_grad_())


def test_a_vector_of_nothing_stays_nothing() -> None:
    x = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    unit = _unit(x)
    unit.sum().backward()
    assert torch.equal(unit, torch.zeros_like(unit))
    torch.testing.assert_close(x.grad, torch.full_like(x, L2_EPS**-0.5))


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
    expected_BTD = mixer.o_proj(mixer.o_norm(o_BTHV).flatten(2) * F.silu(mixer.g_proj(x_BTD)))

    torch.testing.assert_close(mixer(x_BTD), expected_BTD, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("changed", [1, 63, 64, 99])
def test_a_later_token_changes_no_earlier_output_of_a_block(changed: int) -> None:
    block = build_block()
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


@pytest.mark.parametrize(("every", "attending"), [(None, []), (2, [2, 4]), (3, [3])])
def test_softmax_attention_takes_every_nth_block_counted_from_one(every: int | None, attending: list[int]) -> None:
    config = ModelConfig(dim=8, depth=5, num_heads=1, head_dim=4, softmax_every=every)
    mixers = {number: build_token_mixer(config, "torch", number) for number in range(1, 6)}
    assert [number for number, mixer in mixers.items() if isinstance(mixer, SoftmaxAttention)] == attending
    assert all(isinstance(mixers[number], GatedDeltaNet) for number in mixers if number not in attending)


def test_mamba_2_takes_the_blocks_that_softmax_attention_leaves() -> None:
    config = ModelConfig(dim=8, depth=2, num_heads=1, head_dim=4, mixer="mamba2", softmax_every=2)
    assert isinstance(build_token_mixer(config, "torch", 1), Mamba2)
    assert isinstance(build_token_mixer(config, "torch", 2), SoftmaxAttention)


def test_a_block_adds_its_mixer_and_then_its_mlp() -> None:
    block, x_BTD = build_block().double(), normal(2, 5, 12)
    mixed_BTD = x_BTD + block.attn(block.attn_norm(x_BTD))
    expected_BTD = mixed_BTD + block.mlp(block.mlp_norm(mixed_BTD))
    assert torch.equal(block(x_BTD), expected_BTD)


@pytest.mark.parametrize("knob", ["resid_dropout", "stochastic_depth"])
def test_what_a_block_drops_it_drops_in_training_only(knob: str) -> None:
    plain, dropping, x_BTD = build_block(), build_block(**{knob: 0.5}), normal(8, 5, 12).float()
    assert torch.equal(dropping.eval()(x_BTD), plain.eval()(x_BTD))
    torch.manual_seed(0)
    assert not torch.equal(dropping.train()(x_BTD), plain.train()(x_BTD))


def test_both_layers_of_a_block_are_dropped_each_by_itself() -> None:
    block, x_BTD = build_block(number=4, stochastic_depth=0.5).train(), normal(64, 5, 12).float()
    torch.manual_seed(0)
    y_BTD = block(x_BTD)
    neither_B = (y_BTD == x_BTD).flatten(1).all(1)
    mlp_B = torch.isclose(y_BTD, x_BTD + 2 * block.mlp(block.mlp_norm(x_BTD))).flatten(1).all(1)
    mixer_B = torch.isclose(y_BTD, x_BTD + 2 * block.attn(block.attn_norm(x_BTD))).flatten(1).all(1)
    # A quarter of 64 bursts each; a standard deviation of 3.5.
    assert all(5 < int(kind_B.sum()) < 28 for kind_B in (neither_B, mlp_B, mixer_B))
    assert not ((neither_B & mlp_B) | (mlp_B & mixer_B)).any()


@pytest.mark.parametrize(("number", "chance"), [(1, 0.1), (2, 0.2), (4, 0.4)])
def test_later_blocks_are_skipped_more_often(number: int, chance: float) -> None:
    assert build_block(number=number, stochastic_depth=0.4).residual.skip == pytest.approx(chance)


def test_a_mode_that_fla_cannot_train_is_refused_with_its_reason() -> None:
    refuse_untrainable(ModelConfig())
    refuse_untrainable(ModelConfig(mixer="mamba2"))
    with pytest.raises(UntrainableError, match=r"model\.mode fused_recurrent cannot be trained") as error:
        refuse_untrainable(ModelConfig(mode="fused_recurrent"))
    assert '"Only chunk mode is supported in training."' in str(error.value)
    assert str(error.value).endswith("use mode chunk")
