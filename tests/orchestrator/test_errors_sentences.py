"""What the system refused, in a sentence."""

import errno
import os
import sys

import pytest

from orchestrator.errors import explain_missing_module, explain_os_error


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


def test_a_missing_module_is_named_with_its_python_and_what_to_do() -> None:
    told = explain_missing_module("msgspec")
    assert told.startswith(f"the module `msgspec` is not installed for {sys.executable}; run `make setup`")
    assert "`make gpu` gathers packages" in told
