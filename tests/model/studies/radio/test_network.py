import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from model.config import ModelConfig
from model.config.backbone import AuxHeadConfig
from model.studies.radio.network import BurstLengthError, Classifier, count_parameters, initialize

ROOT = Path(__file__).parents[4]
SMALL = {"dim": 16, "depth": 2, "num_heads": 4, "head_dim": 4, "mlp_multiple": 8, "patch_size": 8, "patch_stride": 4}
NUM_TOKENS = 16
"""Of 61 to 64 samples."""
AUX = {"aux_head": AuxHeadConfig(after_block=1)}


def build(seed: int = 0, **changes: object) -> Classifier:
    model = Classifier(ModelConfig(**SMALL | changes), 3, NUM_TOKENS, "torch")
    initialize(model, seed)
    return model.eval()


def bursts(num: int = 2, samples: int = 61) -> Tensor:
    return torch.randn(num, 2, samples, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("num_heads", "head_dim", "parameters"), [(8, 64, 17_967_690), (4, 128, 17_951_786)])
def test_the_classifier_of_the_paper_has_as_many_parameters_as_it_says(
    num_heads: int, head_dim: int, parameters: int
) -> None:
    with torch.device("meta"):
        model = Classifier(ModelConfig(num_heads=num_heads, head_dim=head_dim), 10, 256, "torch")
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
        ({"resid_dropout": 0.5, "stochastic_depth": 0.5}, lambda name: False),
        ({"patch_embed": "stft"}, lambda name: "patch_embed" in name),
        ({"patch_embed": "multi_scale"}, lambda name: "patch_embed" in name),
        ({"learned_positions": True}, lambda name: name == "backbone.positions"),
        ({"pooling": "attention"}, lambda name: name == "backbone.pooling.query"),
        ({"pooling": "cls_first"}, lambda name: name == "backbone.cls_token"),
        (AUX, lambda name: name.startswith("aux_head.")),
        # Query and key have the width that they have in a gated delta net, so they start where those would.
        (
            {"softmax_every": 2},
            lambda name: ".blocks.1.attn." in name and not name.endswith(("q_proj.weight", "k_proj.weight")),
        ),
        # As do the time steps of Mamba-2's heads.
        ({"mixer": "mamba2"}, lambda name: ".attn." in name and not name.endswith("dt_bias")),
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
    model = Classifier(ModelConfig(**SMALL), 3, NUM_TOKENS, "torch")
    torch.manual_seed(0)
    initialize(model, 7)
    assert torch.equal(torch.rand(3), expected)


def test_token_dropout_changes_training_and_not_evaluation() -> None:
    plain, dropping, x_B2L = build(), build(token_dropout=0.5), bursts()
    assert torch.equal(plain(x_B2L)[1], dropping(x_B2L)[1])
    torch.manual_seed(0)
    assert not torch.equal(plain.train()(x_B2L)[1], dropping.train()(x_B2L)[1])


@pytest.mark.parametrize(
    "change",
    [
        {"patch_embed": "stft"},
        {"patch_embed": "multi_scale"},
        {"learned_positions": True},
        {"pooling": "attention"},
        {"pooling": "cls_first"},
        {"softmax_every": 2},
        {"mixer": "mamba2"},
        {"conv_bias": True},
    ],
    ids=str,
)
def test_a_knob_of_the_network_changes_its_embeddings(change: dict[str, object]) -> None:
    assert not torch.allclose(build()(bursts())[1], build(**change)(bursts())[1])


@pytest.mark.parametrize("knob", ["resid_dropout", "stochastic_depth", "token_dropout"])
def test_what_training_drops_it_draws_from_the_seeded_global_stream(knob: str) -> None:
    model, x_B2L = build(**{knob: 0.5}).train(), bursts(8)
    torch.manual_seed(0)
    first_BD, other_BD = model(x_B2L)[1], model(x_B2L)[1]
    torch.manual_seed(0)
    assert torch.equal(model(x_B2L)[1], first_BD)
    assert not torch.equal(first_BD, other_BD)


def test_evaluation_is_that_of_a_model_that_drops_nothing() -> None:
    plain = build()
    dropping = build(resid_dropout=0.5, stochastic_depth=0.5, token_dropout=0.5)
    expected_BC, x_B2L = plain(bursts())[0], bursts()
    assert torch.equal(dropping(x_B2L)[0], expected_BC)
    assert torch.equal(dropping(x_B2L)[0], expected_BC)
    torch.manual_seed(0)
    assert not torch.equal(dropping.train()(x_B2L)[0], expected_BC)


def test_each_position_adds_its_own_vector_to_its_token() -> None:
    model, x_B2L = build(learned_positions=True), bursts()
    expected_BTD = model.backbone.patch_embed(x_B2L) + model.backbone.positions
    assert torch.equal(model.backbone.tokens(x_B2L), expected_BTD)
    assert model.backbone.positions.shape == (16, 16)


@pytest.mark.parametrize("name", ["positions", "cls_token", "pooling.query"])
def test_learned_tokens_start_small_and_normal(name: str) -> None:
    pooling = {"cls_token": "cls_first", "pooling.query": "attention"}.get(name, "last")
    model = build(dim=512, learned_positions=True, pooling=pooling)
    start = model.get_parameter(f"backbone.{name}").detach()
    assert abs(start.std() / 0.02 - 1) < 0.1
    assert abs(start.mean()) < 0.003


def test_bursts_that_have_no_learned_positions_are_refused_in_a_sentence() -> None:
    model = build(learned_positions=True)
    assert model(bursts(samples=64))[0].shape == (2, 3)
    with pytest.raises(BurstLengthError) as error:
        model(bursts(samples=65))
    assert str(error.value) == (
        "a burst of 65 samples makes 17 tokens, and model.learned_positions has a position for each of 16; "
        "give bursts of the length that the model was trained on, or train without the knob"
    )


def test_without_learned_positions_any_length_will_do() -> None:
    assert build()(bursts(samples=200))[0].shape == (2, 3)


def test_dropped_tokens_are_zero_for_all_their_positions() -> None:
    model = build(learned_positions=True, token_dropout=0.5).train()
    torch.manual_seed(0)
    zero_BT = (model.backbone.tokens(bursts()) == 0).all(-1)
    assert 4 < int(zero_BT.sum()) < 28


@pytest.mark.parametrize("mixer", [{}, {"softmax_every": 2}, {"mixer": "mamba2"}], ids=str)
def test_a_first_token_has_seen_nothing_so_its_embedding_is_the_same_for_all_bursts(mixer: dict[str, object]) -> None:
    """Why the source study got chance for it: 10 percent of ten devices."""
    model = build(pooling="cls_first", **mixer)
    _, embedding_BD = model(bursts(4))
    torch.testing.assert_close(embedding_BD, embedding_BD[:1].expand(4, -1), rtol=1e-6, atol=1e-6)
    x_B2L = bursts(4).requires_grad_()
    (gradient_B2L,) = torch.autograd.grad(model(x_B2L)[1].sum(), x_B2L)
    assert not gradient_B2L.any()


def test_a_first_token_stands_before_all_patch_tokens_even_dropped_ones() -> None:
    model = build(pooling="cls_first", token_dropout=0.9).train()
    tokens_BTD = model.backbone.tokens(bursts())
    assert tokens_BTD.shape == (2, 17, 16)
    assert model.backbone.num_tokens == 17
    assert torch.equal(tokens_BTD[:, 0], model.backbone.cls_token.expand(2, -1))


def test_without_an_auxiliary_head_all_logits_are_those_of_the_head() -> None:
    model, x_B2L = build(), bursts()
    all_logits = model.all_logits(x_B2L)
    assert len(all_logits) == 1
    assert torch.equal(all_logits[0], model(x_B2L)[0])


@pytest.mark.parametrize("pooling", ["last", "mean", "attention", "cls_first"])
def test_an_auxiliary_head_reads_the_pooled_and_normed_tokens_of_its_block(pooling: str) -> None:
    model, x_B2L = build(depth=3, aux_head=AuxHeadConfig(after_block=2), pooling=pooling), bursts()
    logits_BC, aux_BC = model.all_logits(x_B2L)
    assert torch.equal(logits_BC, model(x_B2L)[0])
    x_BTD = model.backbone.tokens(x_B2L)
    for block in list(model.backbone.blocks)[:2]:
        x_BTD = block(x_BTD)
    head = model.aux_head
    assert torch.equal(aux_BC, head.head(head.pooling(head.norm(x_BTD))))
    assert not torch.allclose(aux_BC, logits_BC)


def test_an_auxiliary_head_starts_as_the_head_does_and_is_no_part_of_forward() -> None:
    model, x_B2L = build(**AUX), bursts()
    assert 0.0005 < model.aux_head.head.weight.std() < 0.002
    assert not model.aux_head.head.bias.any()
    calls = []
    model.aux_head.register_forward_hook(lambda *_: calls.append("aux"))
    assert torch.equal(model(x_B2L)[0], build()(x_B2L)[0])
    assert calls == []


# torch's compiler makes an instance of the base class by itself, and warns itself of it.
compiles = pytest.mark.filterwarnings("ignore:.*autograd.function.Function.* should not be inst:DeprecationWarning")


@compiles
@pytest.mark.parametrize(
    "change",
    [
        {"patch_embed": "stft", "learned_positions": True, "pooling": "attention"},
        {"patch_embed": "multi_scale", "pooling": "cls_first", "softmax_every": 2},
    ],
    ids="-".join,
)
def test_forward_and_all_logits_compile_to_one_graph_each(change: dict[str, object]) -> None:
    model, x_B2L = build(mixer="mamba2", **AUX, **change), bursts()
    for function in (model.forward, model.all_logits):
        compiled = torch.compile(function, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(x_B2L), function(x_B2L))


@compiles
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_a_model_with_our_own_gated_delta_rule_compiles() -> None:
    model, x_B2L = build(**AUX), bursts()
    for function in (model.forward, model.all_logits):
        compiled = torch.compile(function, backend="eager")
        torch.testing.assert_close(compiled(x_B2L), function(x_B2L))


def loaded_by(config: str) -> subprocess.CompletedProcess[str]:
    """Train one step in a fresh process that has no network; it prints the heavy packages it has loaded."""
    check = (
        "import socket, sys, warnings\n"
        "warnings.simplefilter('error')\n"
        "def refuse(*_, **__): raise RuntimeError('a look at the network')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "import torch, model.__main__\n"
        "from model.studies.radio.network import Classifier, initialize\n"
        "from model.config import ModelConfig\n"
        "from model.layers.blocks import backend_for\n"
        f"config = ModelConfig(dim=8, depth=2, num_heads=1, head_dim=4, patch_size=4, patch_stride=2, {config})\n"
        "model = Classifier(config, 2, config.num_tokens(10), backend_for(torch.device('cpu')))\n"
        "initialize(model, 0)\n"
        "model.all_logits(torch.ones(1, 2, 10))[0].sum().backward()\n"
        "model.eval()(torch.ones(1, 2, 10))\n"
        "print(sorted({'fla', 'liger_kernel', 'transformers', 'triton'} & set(sys.modules)))\n"
    )
    return subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_cpu_run_imports_no_kernels() -> None:
    done = loaded_by("mlp_multiple=4")
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


def test_mamba_2_on_a_cpu_imports_transformers_asks_no_hub_and_prints_nothing() -> None:
    done = loaded_by("mlp_multiple=4, mixer='mamba2'")
    # transformers makes torch import its compiler, and that looks for triton. No kernel is compiled.
    without_triton = done.stdout.replace(", 'triton'", "")
    assert (done.returncode, without_triton, done.stderr) == (0, "['transformers']\n", "")
