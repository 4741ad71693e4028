"""Lines that are put into a file of a person's: nothing else changes."""

import pytest

from orchestrator.checks.edits import Offer, insert, put_in, show_difference
from orchestrator.errors import SpecError

FILE = """\
# mine
campaign: digits   # a name

task:  # how it starts
  command: [python, train.py]
  code: [train.py]  # what runs
  # data: {a: b}  # a hint
  outputs:
    - out   # kept

# the rest
metrics: {loss: {better: lower, margin: 1}}
baseline:
  lr: 1e-3
"""


def offer(where: str, value: object) -> Offer:
    return Offer(where=tuple(where.split(".")), value=value)


def added(text: str, one: Offer) -> list[str]:
    """Return the lines of the new text that the old one has not."""
    return [line for line in insert(text, one).splitlines() if line not in text.splitlines()]


@pytest.mark.parametrize(
    ("where", "value", "lines"),
    [
        ("task.data.mnist", "data/mnist", ["  data: {mnist: data/mnist}"]),
        ("task.preload", ["torch", "numpy"], ["  preload: [torch, numpy]"]),
        ("task.code", ["train.py", "net.py"], ["  code: [train.py, net.py]  # what runs"]),
        ("task.outputs", ["net.pt", "out"], ["    - net.pt"]),
        (
            "metrics.f1",
            {"better": "higher", "role": "shown"},
            ["metrics: {loss: {better: lower, margin: 1}, f1: {better: higher, role: shown}}"],
        ),
        ("task.progress", {"stdout": "loss: {loss}"}, ['  progress: {stdout: "loss: {loss}"}']),
        (
            "task.items.test",
            {"file": "a.csv", "key": "k"},
            ["  items:", "    test: {file: a.csv, key: k}"],
        ),
    ],
)
def test_a_line_is_added_where_it_belongs(where: str, value: object, lines: list[str]) -> None:
    assert added(FILE, offer(where, value)) == lines
    # A line in which something is put in counts as a new one; all others are there.
    assert len(set(FILE.splitlines()) - set(insert(FILE, offer(where, value)).splitlines())) <= 1


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("campaign", "other"),
        ("task.code", ["train.py"]),
        ("metrics.loss", {"better": "higher"}),
        ("baseline.lr", 1),
        ("campaign.name", "x"),
    ],
)
def test_what_a_person_wrote_stays(where: str, value: object) -> None:
    assert insert(FILE, offer(where, value)) == FILE


def test_metrics_come_after_the_task_and_other_sections_at_the_end() -> None:
    text = "task:\n  command: [a]\n\nbaseline: {}\n"
    new = insert(text, offer("metrics.loss", {"better": "lower"}))
    assert new == "task:\n  command: [a]\n\nmetrics:\n  loss: {better: lower}\n\nbaseline: {}\n"
    assert insert("campaign: a", offer("guards.run_seconds", 5)) == "campaign: a\n\nguards: {run_seconds: 5}\n"


def test_indented_comments_stay_with_their_section() -> None:
    text = "task:\n  code: [a]\n  # outputs: [out]\n\n# metrics:\n"
    value = {"better": "lower", "from": {"progress": "x"}}
    new = insert(text, offer("metrics.loss", value))
    line = "  loss: {better: lower, from: {progress: x}}\n"
    assert new == f"task:\n  code: [a]\n  # outputs: [out]\n\nmetrics:\n{line}\n# metrics:\n"


def test_line_ends_of_windows_stay() -> None:
    text = "task:\r\n  code:\r\n  - a.py\r\n"
    assert insert(text, offer("task.code", ["b.py"])) == "task:\r\n  code:\r\n  - a.py\r\n  - b.py\r\n"
    assert insert(text, offer("task.outputs", ["out"])) == "task:\r\n  code:\r\n  - a.py\r\n  outputs: [out]\r\n"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("task: {code: [a]}\n", "task: {code: [a], data: {m: x}}\n"),
        ("task: {}\n", "task: {data: {m: x}}\n"),
        ("task: {\n  code: [a],\n}\n", "task: {\n  code: [a], data: {m: x}\n}\n"),
    ],
)
def test_a_section_in_braces_gets_the_line_inside(text: str, wanted: str) -> None:
    assert insert(text, offer("task.data.m", "x")) == wanted


def test_a_line_that_would_spoil_the_file_is_refused_and_told() -> None:
    def check(text: str) -> None:
        if "outputs" in text:
            raise SpecError("the output `a` overlaps with the code")

    edited = put_in("task:\n  code: [a]\n", [offer("task.outputs", ["a"]), offer("task.data.m", "x")], check)
    assert edited.text == "task:\n  code: [a]\n  data: {m: x}\n"
    assert [one.line for one in edited.taken] == ["task.data.m: x"]
    assert edited.refused == {"task.outputs: [a]": "the output `a` overlaps with the code"}


def test_the_difference_is_a_diff_of_the_file() -> None:
    shown = show_difference("a: 1\n", "a: 1\nb: 2\n", "experiments.yaml")
    assert shown == "--- experiments.yaml\n+++ experiments.yaml (checked)\n@@ -1 +1,2 @@\n a: 1\n+b: 2\n"
    assert show_difference("a", "a", "f") == ""
    assert show_difference("a", "b", "f").endswith("-a\n+b\n")
