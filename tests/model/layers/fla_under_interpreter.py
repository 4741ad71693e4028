"""Run modules of the backend `fla` on given parameters and inputs: the side of a comparison that imports fla.

    TRITON_INTERPRET=1 python fla_under_interpreter.py REQUEST.pt ANSWER.pt cpu
    python fla_under_interpreter.py REQUEST.pt ANSWER.pt cuda

Without a GPU the kernels run in Triton's interpreter, numpy in place of a compiler. Triton must see TRITON_INTERPRET
before it is imported, and a process keeps its choice: hence a process of its own. Not collected as a test.
"""

import sys
import time
from collections.abc import Iterator
from typing import Any

import liger_kernel.ops.rms_norm as liger_rms_norm
import msgspec
import numpy as np
import torch
import triton
import triton.language as tl
from fla.ops.common import chunk_delta_h
from fla.ops.gated_delta_rule import chunk_fwd
from torch import Tensor, nn
from triton.runtime import interpreter
from triton.runtime.autotuner import Autotuner

from model.config import ModelConfig
from model.layers.blocks import build_norm, build_token_mixer
from model.studies.radio.network import Classifier, initialize
from tests.builders.kernels import take_first_variants


def repair_interpreter() -> None:
    """Mend what fla 0.6.0 and Liger 0.8.5 trip over in the interpreter of triton 3.6 and 3.7; no arithmetic changes."""
    # The autotuner times a kernel's configurations on a device: say all take no time, and it keeps the first.
    Autotuner._bench = lambda self, *arguments, config, **meta: [0.0]
    convert = interpreter._implicit_cvt

    def convert_float_too(argument: Any) -> Any:
        # A compiled kernel gets a Python float as a scalar of type fp32, and Liger calls `.to` on it; the interpreter
        # hands the float through.
        if isinstance(argument, float):
            handle = interpreter.TensorHandle(np.array([argument], dtype=np.float32), tl.float32)
            return tl.tensor(handle, tl.float32)
        return convert(argument)

    def rsqrt(x: Any) -> Any:
        # Liger calls CUDA's library, whose functions are stubs here. Looked up at each call: the interpreter puts its
        # own in place while a kernel runs.
        return tl.math.rsqrt(x)

    def scalar_range(*bounds: Any) -> Iterator[Any]:
        # A compiled loop counts in scalars that have a `.to`, the interpreter's in Python's integers.
        return map(convert, range(*bounds))

    patch_tensor = interpreter._patch_lang_tensor

    def patch_index_too(tensor: Any, scope: Any) -> None:
        # Triton 3.6 makes an index of an array with one entry, which numpy 2.4 refuses; triton 3.7 squeezes it.
        patch_tensor(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: int(self.handle.data.squeeze()))

    interpreter._patch_lang_tensor = patch_index_too
    interpreter._implicit_cvt = convert_float_too
    chunk_delta_h.range = scalar_range
    liger_rms_norm.rsqrt = rsqrt


def build_module(request: dict[str, Any]) -> nn.Module:
    """Build what the request names on the backend `fla`."""
    config = msgspec.json.decode(request["config"], type=ModelConfig)
    match request["kind"]:
        case "norm":
            return build_norm(config.dim, "fla")
        case "mixer":
            return build_token_mixer(config, "fla", 1)
        case "classifier":
            return Classifier(config, request["num_classes"], request["num_tokens"], "fla")
        case kind:
            raise ValueError(f"no such kind of module: {kind}")


def answer(request: dict[str, Any], device: str) -> dict[str, Any]:
    """Load the request's parameters strictly; return outputs, gradients, and both states in the backend's own names."""
    module = build_module(request).to(device)
    initialize(module, request["seed"])
    start = {name: value.cpu().clone() for name, value in module.state_dict().items()}
    module.load_state_dict(request["state"], strict=True)
    x = request["x"].to(device).requires_grad_(request["gradients"])
    started = time.perf_counter()
    if request["gradients"]:
        module.train()
        outputs = tensors_of(module(x))
        loss = sum((y * weights.to(device)).sum() for y, weights in zip(outputs, request["weights"], strict=True))
        loss.backward()
    else:
        module.eval()
        with torch.inference_mode():
            outputs = tensors_of(module(x))
    seconds = time.perf_counter() - started
    parameters = {name: parameter.grad for name, parameter in module.named_parameters()}
    gradients = {"x": x.grad, **parameters} if request["gradients"] else {}
    return {
        "start": start,
        "state": {name: value.cpu().clone() for name, value in module.state_dict().items()},
        "outputs": [y.detach().cpu() for y in outputs],
        "gradients": {name: value.cpu() for name, value in gradients.items()},
        "seconds": seconds,
        **(checkpoint_of_its_own(module, x) if request["kind"] == "classifier" else {}),
    }


def checkpoint_of_its_own(module: nn.Module, x: Tensor) -> dict[str, Any]:
    """Take a step that only this side knows of; return the state after it, and what the model then says of `x`."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.sub_(0.1 * parameter.grad / parameter.grad.norm())
        outputs = tensors_of(module(x))
    state = {name: value.cpu().clone() for name, value in module.state_dict().items()}
    return {"stepped_state": state, "stepped_outputs": [y.cpu() for y in outputs]}


def tensors_of(output: Any) -> list[Tensor]:
    """List the tensors of an output; fla's layer returns (output, attentions, cache)."""
    return [output] if isinstance(output, Tensor) else [part for part in output if part is not None]


def main() -> None:
    """Answer all requests of a file."""
    request_path, answer_path, device = sys.argv[1:]
    if triton.knobs.runtime.interpret:
        repair_interpreter()
    else:
        take_first_variants()
    # TensorFloat keeps ten bits; the comparison wants all of single precision. (TRITON_F32_DEFAULT does the rest.)
    chunk_fwd.SOLVE_TRIL_DOT_PRECISION = tl.constexpr("ieee")
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    requests = torch.load(request_path, weights_only=True)
    torch.save({name: answer(request, device) for name, request in requests.items()}, answer_path)


if __name__ == "__main__":
    main()
