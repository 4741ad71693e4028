"""What the system refused, in a sentence."""

import errno
import os
import sys
import tomllib
from pathlib import Path

import pytest

from orchestrator.errors import EXTRAS, explain_missing_module, explain_os_error

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EACCES, "give this user the right to it"),
        (errno.EROFS, "it can only be read"),
        (errno.EEXIST, "rename or remove it"),
        (errno.ENOTDIR, "is a file and must be a folder"),
        (errno.EISDIR, "is a folder and must be a file"),
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.EFBIG, "free some space, or raise the limit"),
        (errno.EMFILE, "`ulimit -n`"),
        (errno.ENODEV, "mend that, and run the command again"),
    ],
)
def test_the_place_the_refusal_and_what_to_do_are_told(number: int, advice: str) -> None:
    told = explain_os_error(OSError(number, "whatever", "results/runs"))
    assert told.startswith(f"results/runs: {os.strerror(number)}; ")
    assert advice in told


def test_both_places_of_a_renaming_are_told() -> None:
    told = explain_os_error(OSError(errno.EXDEV, "whatever", "a", None, "b"))
    assert told.startswith(f"a: {os.strerror(errno.EXDEV)} -> b; ")


def test_a_refusal_of_pythons_own_keeps_its_words() -> None:
    told = explain_os_error(FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"))
    assert told.startswith("No usable temporary directory found in ['/tmp']; ")


def test_an_error_without_a_number_is_told_in_its_own_words() -> None:
    assert explain_os_error(OSError("it is broken")) == "it is broken; mend that, and run the command again"


@pytest.mark.parametrize(
    ("module", "extra"),
    [("torch", "studies"), ("fla.layers", "studies"), ("h5py", "studies"), ("liger_kernel", "studies"),
     ("transformers", "studies"), ("pyarrow.parquet", "parquet"), ("tensorboard", "tensorboard"),
     ("psycopg", "postgresql")],
)  # fmt: skip
def test_a_missing_module_of_an_extra_is_told_with_the_extra(module: str, extra: str) -> None:
    told = explain_missing_module(module)
    assert told.startswith(f"the module `{module}` is not installed for {sys.executable}; ")
    assert f"`pip install 'knockout[{extra}]'` brings it" in told


def test_every_extra_that_is_named_is_one_and_brings_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    names = {"fla": "flash-linear-attention", "liger_kernel": "liger-kernel", "psycopg": "psycopg[binary]"}
    for module, extra in EXTRAS.items():
        # triton comes with the CUDA builds of torch.
        if module != "triton":
            assert any(line.startswith(names.get(module, module)) for line in project[extra])


def test_a_missing_module_is_named_with_its_python_and_what_to_do() -> None:
    told = explain_missing_module("msgspec")
    assert told.startswith(f"the module `msgspec` is not installed for {sys.executable}; run `make setup`")
    assert "`make gpu` gathers packages" in told
