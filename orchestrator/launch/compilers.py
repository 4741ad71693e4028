"""Looks for the compiler that `torch.compile` calls. Without it each such training would crash."""

import os
import shutil
import sys
import sysconfig
from collections.abc import Callable, Mapping
from pathlib import Path

from orchestrator.launch.slots import count_gpus

OTHERWISE = "or set `runtime.compile: false`"


def find_compiler_problem() -> str | None:
    """Return what this machine lacks for `runtime.compile: true`, as a sentence; None if it lacks nothing."""
    headers = Path(sysconfig.get_paths()["include"])
    problem = name_missing_compiler(os.environ, on_gpu=count_gpus() > 0)
    if problem is None and not (headers / "Python.h").exists():
        problem = f"Python.h is not in {headers}; install Python's headers (python3-dev)"
    return None if problem is None else f"`runtime.compile: true` cannot work here: {problem}, {OTHERWISE}"


def name_missing_compiler(
    variables: Mapping[str, str], *, on_gpu: bool, find: Callable[[str], str | None] = shutil.which
) -> str | None:
    """Return which compiler is missing, as a sentence; None if torch would find one. Pure but for `find`.

    Args:
        variables: the environment of the process. CC and CXX name a compiler.
        on_gpu: whether trainings run on a GPU. There Triton calls a C compiler; on a CPU torch calls a C++ compiler.
        find: returns the path of a program; None if there is none.
    """
    variable, usual = ("CC", ("gcc", "clang")) if on_gpu else ("CXX", (_usual_cxx(),))
    named = variables.get(variable)
    if named is not None:
        return None if find(named) else f"{variable} names `{named}`, and there is no such program; correct {variable}"
    if any(map(find, usual)) or (not on_gpu and variables.get("TORCH_INDUCTOR_INSTALL_GXX")):
        return None
    return f"there is no {' and no '.join(usual)} on PATH; install one, or name a compiler by {variable}"


def _usual_cxx() -> str:
    return "clang++" if sys.platform == "darwin" else "g++"
