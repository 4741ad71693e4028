"""docs/task.md: its whole examples are the campaign files that the tests of strangers run."""

import re

import pytest

from tests.house.sources import ROOT

PAGE = (ROOT / "docs/task.md").read_text(encoding="utf-8")
STRANGERS = ROOT / "tests/flows/strangers"
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("name", ["argparse", "forest", "torchrun"])
def test_an_example_of_the_page_is_a_campaign_that_runs(name: str) -> None:
    assert (STRANGERS / name / "experiments.yaml").read_text(encoding="utf-8") in BLOCKS
    assert f"`{name}/`" in PAGE


def test_each_script_in_the_folder_is_on_the_page() -> None:
    assert all(f"`{folder.name}/`" in PAGE for folder in STRANGERS.iterdir() if folder.is_dir())
