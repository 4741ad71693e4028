"""What `torch.compile` needs of a machine."""

import pytest

from orchestrator.launch import compilers
from orchestrator.launch.compilers import find_compiler_problem, name_missing_compiler


@pytest.mark.parametrize(
    ("variables", "on_gpu", "there", "told"),
    [
        ({}, False, {"g++", "clang++"}, None),
        ({}, False, set(), "on PATH; install one, or name a compiler by CXX"),
        ({}, False, {"gcc"}, "on PATH; install one, or name a compiler by CXX"),
        ({"CXX": "icpx"}, False, {"icpx"}, None),
        ({"CXX": "icpx"}, False, {"g++"}, "CXX names `icpx`, and there is no such program"),
        ({"TORCH_INDUCTOR_INSTALL_GXX": "1"}, False, set(), None),
        ({}, True, {"gcc"}, None),
        ({}, True, {"clang"}, None),
        ({}, True, {"g++"}, "there is no gcc and no clang on PATH; install one, or name a compiler by CC"),
        ({"CC": "cc"}, True, {"gcc"}, "CC names `cc`, and there is no such program"),
    ],
)
def test_the_compiler_is_looked_for_as_torch_does(
    variables: dict[str, str], on_gpu: bool, there: set[str], told: str | None
) -> None:
    found = name_missing_compiler(variables, on_gpu=on_gpu, find=lambda name: name if name in there else None)
    assert found is None if told is None else told in str(found)


def test_the_problem_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilers, "count_gpus", lambda: 0)
    monkeypatch.setenv("CXX", "no-such-compiler")
    told = find_compiler_problem()
    assert told is not None
    assert told.startswith("`runtime.compile: true` cannot work here: CXX names `no-such-compiler`")
    assert told.endswith("or set `runtime.compile: false`")


def test_pythons_headers_are_needed_too(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    monkeypatch.setattr(compilers, "name_missing_compiler", lambda variables, on_gpu: None)
    monkeypatch.setattr(compilers.sysconfig, "get_paths", lambda: {"include": str(tmp_path)})
    assert f"Python.h is not in {tmp_path}" in str(find_compiler_problem())
