from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from model.classifier import Classifier, TokenDropout, count_parameters, initialize
from model.config import ModelConfig

SMALL = {"dim": 16, "depth": 2, "num_heads": 4, "head_dim": 4, "mlp_multiple": 8, "patch_size": 8, "patch_stride": 4}


def build(seed: int = 0, **changes: object) -> Classifier:
    model = Classifier(ModelConfig(**SMALL | changes), 3, "torch")
    initialize(model, seed)
    return model.eval()


def bursts(num: int = 2, samples: int = 61) -> Tensor:
    return torch.randn(num, 2, samples, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("num_heads", "head_dim", "parameters"), [(8, 64, 17_967_690), (4, 128, 17_951_786)])
def test_the_classifier_of_the_paper_has_as_many_parameters_as_it_says(
    num_heads: int, head_dim: int, parameters: int
) -> None:
    with torch.device("meta"):
        model = Classifier(ModelConfig(num_heads=num_heads, head_dim=head_dim), 10, "torch")
    assert count_parameters(model) == parameters


def test_logits_and_embeddings_are_returned_in_this_order() -> None:
    model = build()
    output = model(bursts())
    assert isinstance(output, tuple)
    logits_BC, embedding_BD = output
    assert logits_BC.shape == (2, 3)
    assert embedding_BD.shape == (2, 16)
    assert torch.equal(logits_BC, model.head(embedding_BD))


def test_the_embedding_hears_every_sample_up_to_the_last_token() -> None:
    # Of 61 samples the last token, the sixteenth, ends at the last.
    x_B2L = bursts().requires_grad_()
    _, embedding_BD = build()(x_B2L)
    (gradient_B2L,) = torch.autograd.grad(embedding_BD.sum(), x_B2L)
    assert (gradient_B2L != 0).any(1).all()


def test_samples_after_the_last_token_change_nothing() -> None:
    model, x_B2L = build(), bursts(samples=64)
    other_B2L = x_B2L.clone()
    other_B2L[:, :, 61:] = 9.0
    assert torch.equal(model(x_B2L)[0], model(other_B2L)[0])


def test_pooling_reads_the_normed_tokens() -> None:
    x_B2L = bursts()
    tokens = []
    models = {kind: build(pooling=kind) for kind in ("last", "mean")}
    models["last"].backbone.ln_f.register_forward_hook(lambda module, inputs, output: tokens.append(output))
    assert torch.equal(models["last"](x_B2L)[1], tokens[0][:, -1])
    assert torch.equal(models["mean"](x_B2L)[1], tokens[0].mean(1))


def test_a_seed_fixes_every_parameter() -> None:
    first, again, other = (build(seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    same = {name for name, value in first.items() if torch.equal(value, other[name])}
    constant = {name for name, value in first.items() if (value == value.flatten()[0]).all()}
    assert same == constant


@pytest.mark.parametrize(
    ("change", "touched"),
    [
        (
            {"num_heads": 2, "head_dim": 8},
            lambda name: (
                name.split(".")[-1] in {"A_log", "dt_bias"}
                or ".attn.a_" in name
                or ".attn.b_" in name
                or "o_norm" in name
            ),
        ),
        ({"depth": 3}, lambda name: ".blocks.2." in name),
        ({"patch_size": 4}, lambda name: "patch_embed" in name),
        ({"mlp_multiple": 7}, lambda name: ".mlp." in name),
        ({"conv_bias": True}, lambda name: "conv1d.bias" in name),
        ({"token_dropout": 0.5, "pooling": "mean", "allow_neg_eigval": True}, lambda name: False),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_a_change_to_one_layer_leaves_the_start_of_all_others(
    change: dict[str, object], touched: Callable[[str], bool]
) -> None:
    before, after = build().state_dict(), build(**change).state_dict()
    differing = {
        name
        for name in before.keys() | after.keys()
        if name not in before or name not in after or not torch.equal(before[name], after[name])
    }
    assert differing == {name for name in before.keys() | after.keys() if touched(name)}


def test_equal_layers_of_different_blocks_start_apart() -> None:
    state = build().state_dict()
    assert not torch.equal(state["backbone.blocks.0.mlp.up_proj.weight"], state["backbone.blocks.1.mlp.up_proj.weight"])


def test_the_first_softmax_is_near_uniform() -> None:
    model = build()
    assert not model.head.bias.any()
    assert 0.0005 < model.head.weight.std() < 0.002
    assert (model(bursts(8))[0].softmax(1) - 1 / 3).abs().max() < 0.01


def test_linear_layers_start_uniform_within_the_root_of_their_inputs() -> None:
    weight = build().get_parameter("backbone.blocks.0.mlp.up_proj.weight")
    bound = 16**-0.5
    assert 0.99 * bound < weight.abs().max() <= bound
    assert abs(weight.std() / bound - 3**-0.5) < 0.03


def test_initialisation_draws_nothing_from_the_global_stream() -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    model = Classifier(ModelConfig(**SMALL), 3, "torch")
    torch.manual_seed(0)
    initialize(model, 7)
    assert torch.equal(torch.rand(3), expected)


def test_token_dropout_zeroes_about_its_share_of_whole_tokens_and_scales_no_other() -> None:
    torch.manual_seed(0)
    x_BTD = torch.rand(40, 250, 3) + 1
    y_BTD = TokenDropout(0.3).train()(x_BTD)
    dropped_BT = (y_BTD == 0).all(-1)
    # 10,000 tokens: a standard deviation of 0.0046.
    assert abs(dropped_BT.float().mean() - 0.3) < 0.02
    assert torch.equal(y_BTD[~dropped_BT], x_BTD[~dropped_BT])


def test_token_dropout_does_nothing_in_evaluation() -> None:
    x_BTD = torch.rand(4, 25, 3)
    assert torch.equal(TokenDropout(0.9).eval()(x_BTD), x_BTD)
    assert torch.equal(TokenDropout(0.0).train()(x_BTD), x_BTD)


def test_token_dropout_changes_training_and_not_evaluation() -> None:
    plain, dropping, x_B2L = build(), build(token_dropout=0.5), bursts()
    assert torch.equal(plain(x_B2L)[1], dropping(x_B2L)[1])
    torch.manual_seed(0)
    assert not torch.equal(plain.train()(x_B2L)[1], dropping.train()(x_B2L)[1])
