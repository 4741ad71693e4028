"""The pages of this repository name what is there."""

import re
from pathlib import Path

import pytest

from tests.house.sources import ROOT

PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
LINK = re.compile(r"\[[^]]*\]\(([^)#:]+)(?:#[^)]*)?\)")
QUOTED_PATH = re.compile(r"`((?:orchestrator|model|tests|benchmarks|docs)/[\w./-]+)`")
MODULE = re.compile(
    r"`((?:orchestrator|api|report|verdicts|search|campaign|launch|code|queue|runs|task|stats|design)\.[a-z_]+)`"
)
TEST = re.compile(r"`(test_\w+|Test\w+)`")


def text_of(page: Path) -> str:
    return page.read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    assert [link for link in LINK.findall(text_of(page)) if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    assert [name for name in QUOTED_PATH.findall(text_of(page)) if not (ROOT / name).exists()] == []


def test_modules_that_the_design_names_are_there() -> None:
    named = {name.removeprefix("orchestrator.") for name in MODULE.findall(text_of(ROOT / "DESIGN.md"))}
    places = {name: ROOT / "orchestrator" / name.replace(".", "/") for name in named}
    assert [name for name, place in places.items() if not (place.is_dir() or place.with_suffix(".py").is_file())] == []


def test_tests_that_the_design_names_are_there() -> None:
    files = list((ROOT / "tests").rglob("*.py"))
    known = {path.stem for path in files} | {
        name for path in files for name in re.findall(r"class (Test\w+)", text_of(path))
    }
    laws = text_of(ROOT / "DESIGN.md").partition("## Laws")[2]
    assert set(TEST.findall(laws)) <= known
