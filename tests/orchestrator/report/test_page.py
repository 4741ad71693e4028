"""The report as one HTML file: its pictures inside, its verdicts coloured, and nothing in it obeyed."""

import pytest

from orchestrator.report.page import render_page


@pytest.mark.parametrize(
    ("cell", "start"),
    [
        ("improved", '<td class="improved">improved</td>'),
        ("improved (confirmed)", '<td class="improved">improved (confirmed)</td>'),
        ("improved (to be confirmed)", "<td>improved (to be confirmed)</td>"),
        ("improved (not confirmed)", "<td>improved (not confirmed)</td>"),
        ("too_slow", '<td class="too_slow">too_slow</td>'),
        ("improved upon", "<td>improved upon</td>"),
    ],
)
def test_a_verdict_has_its_colour_unless_fresh_seeds_have_not_confirmed_it(cell: str, start: str) -> None:
    assert start in render_page("t", f"| verdict |\n| --- |\n| {cell} |\n", {})


def test_pictures_are_in_the_page() -> None:
    page = render_page("t", "![a](deltas.png)", {"deltas.png": b"PNG"})
    assert 'src="data:image/png;base64,UE5H"' in page
    assert "deltas.png" not in page


def test_html_in_words_is_shown_and_not_obeyed() -> None:
    page = render_page("<b>", "<script>alert(1)</script>", {})
    assert "<script>" not in page
    assert "<title>&lt;b&gt;</title>" in page
