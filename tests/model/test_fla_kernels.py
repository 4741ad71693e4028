"""Law 9 of DESIGN.md: "`chunked` equals `recurrent`, and both equal the fla kernel." Here its second half.

The kernels are the real ones, of fla and Liger, run once for all tests in a process of their own
(`fla_under_interpreter.py`): in Triton's interpreter, and on a GPU where there is one.
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

from model.classifier import Classifier, count_parameters, initialize
from model.config import ModelConfig
from model.layers import build_norm, build_token_mixer

ROOT = Path(__file__).parents[2]
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
                module = build_token_mixer(self.config, "torch")
            case _:
                module = Classifier(self.config, NUM_CLASSES, "torch")
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

    def input(self) -> Tensor:
        return torch.randn(self.shape, generator=torch.Generator().manual_seed(2))


def mixer(num_bursts: int, num_tokens: int, *, gradients: bool = True, **config: Any) -> Case:
    return Case("mixer", ModelConfig(**config), (num_bursts, num_tokens, config["dim"]), gradients)


# fla's chunks have 64 tokens: 70 are more than one, 131 more than two, neither a whole number of them.
CASES = {
    "2 heads of 8, beta to 2, bias": mixer(
        2, 70, dim=32, num_heads=2, head_dim=8, expand_v=2.0, allow_neg_eigval=True, conv_bias=True
    ),
    "1 head of 72, values 108": mixer(1, 70, dim=24, num_heads=1, head_dim=72, expand_v=1.5),
    "three chunks": mixer(1, 131, dim=16, num_heads=2, head_dim=8, expand_v=1.0, conv_size=3),
    "few tokens, scoring": mixer(
        2, 40, dim=16, num_heads=2, head_dim=8, allow_neg_eigval=True, conv_bias=True, gradients=False
    ),
    "norm": Case("norm", ModelConfig(dim=33), (2, 9, 33)),
    "classifier": Case(
        "classifier",
        ModelConfig(dim=16, depth=2, num_heads=2, head_dim=8, mlp_multiple=8, patch_size=8, patch_stride=4),
        (1, 2, 280),
    ),
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
    return float((actual - expected).norm() / expected.norm())


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
