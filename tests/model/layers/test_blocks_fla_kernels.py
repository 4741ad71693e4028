"""Law 9 of DESIGN.md, second half: "`chunked` equals `recurrent`, and both equal the fla kernel."

The kernels are the real ones of fla and Liger. They run once for all tests, in their own process
(`fla_under_interpreter.py`), in Triton's interpreter or on a GPU.
"""

import importlib.util
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from torch import Tensor, nn

from model.config import ModelConfig
from model.layers.blocks import build_norm, build_token_mixer
from model.studies.radio.network import Classifier, count_parameters, initialize

ROOT = Path(__file__).parents[3]
SCRIPT = Path(__file__).with_name("fla_under_interpreter.py")
MISSING = [name for name in ("triton", "fla", "liger_kernel") if importlib.util.find_spec(name) is None]

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}; they are for Linux")

NUM_CLASSES = 3
SEED = 5
TOLERANCE = 5e-5
"""Largest norm of an error over the norm of what it is an error of, in single precision."""


@dataclass(frozen=True)
class Case:
    """A module, and the size of what it is given."""

    kind: str
    config: ModelConfig
    shape: tuple[int, ...]
    gradients: bool = True

    def build(self) -> nn.Module:
        """Build the module on the backend `torch`, at parameters that no two entries share."""
        match self.kind:
            case "norm":
                module = build_norm(self.config.dim, "torch")
            case "mixer":
                module = build_token_mixer(self.config, "torch", 1)
            case _:
                module = Classifier(self.config, NUM_CLASSES, self.num_tokens, "torch")
        initialize(module, SEED)
        self._perturb(module)
        return module

    @staticmethod
    def _perturb(module: nn.Module) -> None:
        """Move what starts at 1 or 0, so that a forgotten weight or bias shows."""
        stream = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=stream), alpha=0.1)

    @property
    def num_tokens(self) -> int:
        return self.config.num_tokens(self.shape[-1])

    def input(self) -> Tensor:
        return torch.randn(self.shape, generator=torch.Generator().manual_seed(2))


def mixer(num_bursts: int, num_tokens: int, *, gradients: bool = True, **config: Any) -> Case:
    return Case("mixer", ModelConfig(**config), (num_bursts, num_tokens, config["dim"]), gradients)


TINY = {"dim": 16, "depth": 2, "mlp_multiple": 8, "patch_size": 8, "patch_stride": 4}


def classifier(num_tokens: int, **config: Any) -> Case:
    return Case("classifier", ModelConfig(**TINY | config), (1, 2, 4 * num_tokens))


# fla's chunks have 64 tokens: 65 and 70 are more than one, 131 more than two, none a whole number of them.
CASES = {
    "1 head of 64, as wide as the source's 8": mixer(1, 65, dim=32, num_heads=1, head_dim=64),
    "1 head of 128, as wide as the source's 4": mixer(1, 70, dim=32, num_heads=1, head_dim=128),
    "8 heads of 4": mixer(1, 33, dim=32, num_heads=8, head_dim=4),
    "4 heads of 8": mixer(1, 33, dim=32, num_heads=4, head_dim=8),
    "2 heads of 8, beta to 2, bias": mixer(
        2, 70, dim=32, num_heads=2, head_dim=8, allow_neg_eigval=True, conv_bias=True
    ),
    "1 head of 72, values 108": mixer(1, 70, dim=24, num_heads=1, head_dim=72, expand_v=1.5),
    "three chunks": mixer(1, 131, dim=16, num_heads=2, head_dim=8, expand_v=1.0, conv_size=3),
    "few tokens, scoring": mixer(
        2, 40, dim=16, num_heads=2, head_dim=8, allow_neg_eigval=True, conv_bias=True, gradients=False
    ),
    "Mamba-2": mixer(2, 70, dim=16, num_heads=3, head_dim=8, expand_v=1.5, conv_size=3, conv_bias=True, mixer="mamba2"),
    "norm": Case("norm", ModelConfig(dim=33), (2, 9, 33)),
    "classifier of 2 heads": classifier(70, num_heads=2, head_dim=8),
    "classifier of 1 head": classifier(33, num_heads=1, head_dim=16, expand_v=1.5, conv_bias=True),
    "hybrid classifier": classifier(
        33, num_heads=2, head_dim=8, softmax_every=2, patch_embed="stft", learned_positions=True, pooling="attention"
    ),
    "Mamba-2 classifier": classifier(33, num_heads=2, head_dim=8, mixer="mamba2", pooling="mean"),
}
WITH_GRADIENTS = [name for name, case in CASES.items() if case.gradients]


def tensors_of(output: Any) -> list[Tensor]:
    return [output] if isinstance(output, Tensor) else list(output)


def cotangents(outputs: list[Tensor]) -> list[Tensor]:
    stream = torch.Generator().manual_seed(3)
    return [torch.randn(y.shape, generator=stream) for y in outputs]


def our_answer(case: Case) -> dict[str, Any]:
    """Run a case on the backend `torch`: the counterpart of `answer` in the script."""
    module, x = case.build(), case.input().requires_grad_()
    outputs = tensors_of(module(x))
    torch.autograd.backward(outputs, cotangents(outputs))
    gradients = {"x": x.grad, **{name: parameter.grad for name, parameter in module.named_parameters()}}
    return {"state": module.state_dict(), "outputs": [y.detach() for y in outputs], "gradients": gradients}


def ask_fla(folder: Path, device: str, **environment: str) -> dict[str, dict[str, Any]]:
    """Let the script run every case on the backend `fla`."""
    requests = {
        name: {
            "kind": case.kind,
            "config": msgspec.json.encode(case.config).decode(),
            "num_classes": NUM_CLASSES,
            "num_tokens": case.num_tokens,
            "seed": SEED,
            "state": case.build().state_dict(),
            "x": case.input(),
            "gradients": case.gradients,
            "weights": cotangents(our_answer(case)["outputs"]),
        }
        for name, case in CASES.items()
    }
    request, answer = folder / "request.pt", folder / "answer.pt"
    torch.save(requests, request)
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(request), str(answer), device],
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    answers: dict[str, dict[str, Any]] = torch.load(answer, weights_only=True)
    return answers


@pytest.fixture(scope="session")
def interpreted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the kernels say in Triton's interpreter."""
    return ask_fla(tmp_path_factory.mktemp("fla"), "cpu", TRITON_INTERPRET="1")


def relative_error(actual: Tensor, expected: Tensor) -> float:
    assert actual.shape == expected.shape
    return float(((actual - expected).norm() / expected.norm()).detach())


def assert_outputs_agree(case: Case, theirs: dict[str, Any]) -> None:
    errors = [
        relative_error(y, expected) for y, expected in zip(theirs["outputs"], our_answer(case)["outputs"], strict=True)
    ]
    assert max(errors) < TOLERANCE, errors


def assert_gradients_agree(case: Case, theirs: dict[str, Any]) -> None:
    ours = our_answer(case)["gradients"]
    assert theirs["gradients"].keys() == ours.keys()
    errors = {name: relative_error(theirs["gradients"][name], gradient) for name, gradient in ours.items()}
    assert max(errors.values()) < TOLERANCE, errors


@pytest.mark.parametrize("name", CASES)
def test_outputs_of_both_backends_agree(name: str, interpreted: dict[str, dict[str, Any]]) -> None:
    assert_outputs_agree(CASES[name], interpreted[name])


@pytest.mark.parametrize("name", WITH_GRADIENTS)
def test_gradients_of_input_and_every_parameter_agree(name: str, interpreted: dict[str, dict[str, Any]]) -> None:
    assert_gradients_agree(CASES[name], interpreted[name])


@pytest.mark.parametrize("name", CASES)
def test_parameters_have_the_same_names_shapes_and_number(name: str, interpreted: dict[str, dict[str, Any]]) -> None:
    ours = CASES[name].build()
    theirs = interpreted[name]["start"]
    assert {key: value.shape for key, value in theirs.items()} == {
        key: value.shape for key, value in ours.state_dict().items()
    }
    assert sum(value.numel() for value in theirs.values()) == count_parameters(ours)


@pytest.mark.parametrize("name", CASES)
def test_a_state_moves_strictly_from_one_backend_to_the_other_and_back(
    name: str, interpreted: dict[str, dict[str, Any]]
) -> None:
    # The script has loaded ours strictly, and gives back its own.
    back = CASES[name].build()
    initialize(back, SEED + 1)
    back.load_state_dict(interpreted[name]["state"], strict=True)
    sent = CASES[name].build().state_dict()
    assert all(torch.equal(value, sent[key]) for key, value in back.state_dict().items())


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.kind == "classifier"])
def test_a_model_that_took_a_step_on_fla_says_the_same_on_ours(
    name: str, interpreted: dict[str, dict[str, Any]]
) -> None:
    case, theirs = CASES[name], interpreted[name]
    ours = case.build()
    with torch.no_grad():
        before = tensors_of(ours(case.input()))
        ours.load_state_dict(theirs["stepped_state"], strict=True)
        stepped = tensors_of(ours(case.input()))
    for y, stepped_y, expected in zip(before, stepped, theirs["stepped_outputs"], strict=True):
        assert relative_error(stepped_y, expected) < TOLERANCE
        assert relative_error(y, expected) > 100 * TOLERANCE


@pytest.mark.parametrize("name", CASES)
def test_both_backends_start_from_the_same_numbers(name: str, interpreted: dict[str, dict[str, Any]]) -> None:
    ours = CASES[name].build()
    initialize(ours, SEED)
    theirs = interpreted[name]["start"]
    assert all(torch.equal(value, theirs[key]) for key, value in ours.state_dict().items())


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU here")
def test_compiled_kernels_on_a_gpu_agree_as_well(tmp_path: Path) -> None:
    # Triton's own default for products of fp32 is TensorFloat, ten bits.
    answers = ask_fla(tmp_path, "cuda", TRITON_F32_DEFAULT="ieee")
    for name, case in CASES.items():
        assert_outputs_agree(case, answers[name])
        if case.gradients:
            assert_gradients_agree(case, answers[name])
