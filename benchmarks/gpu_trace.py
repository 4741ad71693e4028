"""What the GPU did in a recording of torch.profiler: which kernels, for what, and when none ran. Pure.

A recording is the list `traceEvents` of a Chrome trace. A kernel and the call that launched it share a number, their
`correlation`. The call's place in the host's ranges tells what the kernel was for, where its name does not.
"""

import re
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

AUGMENT_RANGE, DATA_RANGE, OPTIMIZER_RANGE = "augment a batch", "take a batch", "Optimizer.step#"
"""Names of ranges on the host; torch itself opens the last one, with the optimiser's name after it."""
RULE, PRODUCTS, AUGMENTATION, DATA, OPTIMIZER, REST = GROUPS = (
    "gated-delta kernels",
    "matrix products",
    "augmentation",
    "data",
    "optimiser, with clipping",
    "rest",
)
ON_GPU = {"kernel", "gpu_memcpy", "gpu_memset"}
LAUNCHES = {"cuda_runtime", "cuda_driver"}
NAME_CHARACTERS = 60
BY_NAME = (
    # Kernels that torch.compile fuses are named after the operations in them, products excepted.
    (REST, re.compile(r"^triton_(poi|red|per|for)_")),
    (DATA, re.compile(r"Memcpy HtoD")),
    (OPTIMIZER, re.compile(r"multi_tensor_apply|fused_?adam|adamw|lpnorm", re.IGNORECASE)),
    # All kernels of fla's layer: the rule, its short convolutions, its gates and its norms.
    (
        RULE,
        re.compile(
            r"chunk_(fwd|bwd|gated|local|global|scaled)|gated_delta|recompute_w_u|wy_repr|solve_tril|merge_16x16"
            r"|causal_conv1d|compute_dh0|gdn_gate|l2norm|beta_sigmoid|norm_gated|fused_recurrent"
        ),
    ),
    (
        PRODUCTS,
        re.compile(
            r"gemm|gemv|cutlass|cublas|nvjet|xmma|splitk|triton_(mm|tem|bmm)|conv|wgrad|dgrad|cudnn", re.IGNORECASE
        ),
    ),
)
"""Groups by the name of a kernel; the first that fits counts."""


class Range(NamedTuple):
    """A named range of time on one thread of the host, in microseconds."""

    name: str
    start: float
    end: float


class Kernel(NamedTuple):
    """One kernel, copy or fill on the GPU, in microseconds."""

    name: str
    group: str
    start: float
    end: float


class Usage(NamedTuple):
    """What the GPU did in a recording."""

    seconds_by_group: dict[str, float]
    """Group -> seconds of its kernels. Kernels that run at the same time all count."""
    largest: dict[str, str]
    """Group -> the names of its largest kernels, with the share of the group."""
    busy_seconds: float
    """Seconds in which at least one kernel ran."""


def read_usage(events: Sequence[Mapping[str, Any]]) -> Usage:
    """Work out what the GPU did.

    Raises:
        ValueError: the recording has no kernel.
    """
    kernels = find_kernels(events)
    if not kernels:
        raise ValueError("the profiler saw no kernel of a GPU; it needs a CUDA GPU, and the right to use CUPTI")
    seconds = dict.fromkeys(GROUPS, 0.0)
    for kernel in kernels:
        seconds[kernel.group] += (kernel.end - kernel.start) / 1e6
    return Usage(seconds, {group: _largest(kernels, group) for group in GROUPS}, busy_microseconds(kernels) / 1e6)


def find_kernels(events: Iterable[Mapping[str, Any]]) -> list[Kernel]:
    """List what ran on the GPU, each with its group."""
    on_gpu, launches, ranges = [], {}, defaultdict[Any, list[Range]](list)
    for event in events:
        category, correlation = event.get("cat"), event.get("args", {}).get("correlation")
        if category in ON_GPU:
            on_gpu.append((event, correlation))
        elif category in LAUNCHES:
            launches[correlation] = (event["tid"], event["ts"])
        elif category == "user_annotation":
            ranges[event["tid"]].append(Range(event["name"], event["ts"], event["ts"] + event["dur"]))
    spans = {thread: _known(found) for thread, found in ranges.items()}
    kernels = []
    for event, correlation in on_gpu:
        thread, moment = launches.get(correlation, (None, 0.0))
        group = _group_of_range(spans.get(thread, []), moment) or group_of_name(event["name"])
        kernels.append(Kernel(event["name"], group, event["ts"], event["ts"] + event["dur"]))
    return kernels


def group_of_name(name: str) -> str:
    """Return the group that the name of a kernel tells."""
    return next((group for group, pattern in BY_NAME if pattern.search(name)), REST)


def busy_microseconds(kernels: Iterable[Kernel]) -> float:
    """Return the time in which at least one kernel ran."""
    busy, until = 0.0, float("-inf")
    for kernel in sorted(kernels, key=lambda kernel: kernel.start):
        busy += max(0.0, kernel.end - max(kernel.start, until))
        until = max(until, kernel.end)
    return busy


def _known(ranges: Iterable[Range]) -> list[Range]:
    """Keep the ranges whose name tells a group, in the order of time; they do not overlap."""
    return sorted((one for one in ranges if _group_of(one) is not None), key=lambda one: one.start)


def _group_of(one: Range) -> str | None:
    groups = {AUGMENT_RANGE: AUGMENTATION, DATA_RANGE: DATA}
    return OPTIMIZER if one.name.startswith(OPTIMIZER_RANGE) else groups.get(one.name)


def _group_of_range(ranges: Sequence[Range], moment: float) -> str | None:
    place = bisect_right(ranges, moment, key=lambda one: one.start) - 1
    return _group_of(ranges[place]) if place >= 0 and moment <= ranges[place].end else None


def _largest(kernels: Iterable[Kernel], group: str, count: int = 3) -> str:
    times = defaultdict[str, float](float)
    for kernel in kernels:
        if kernel.group == group:
            times[kernel.name] += kernel.end - kernel.start
    names = sorted(times, key=lambda name: -times[name])[:count]
    return ", ".join(f"`{_short(name)}` {times[name] / sum(times.values()):.0%}" for name in names)


def _short(name: str) -> str:
    """Leave out what templates add to a kernel's name, and a long end."""
    plain = re.sub(r"<.*|\(.*", "", name.removeprefix("void ").replace("(anonymous namespace)::", ""))
    return (plain or name)[:NAME_CHARACTERS]
