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


@pytest.mark.parametrize(
    ("verdict", "is_coloured"),
    [
        ("improved (by seeds alone)", True),
        ("improved (confirmed) (by seeds alone)", True),
        ("improved (not confirmed) (by seeds alone)", False),
        ("improved (confounded) (to be confirmed) (few clusters)", False),
        ("regression (confounded) (by seeds alone)", True),
    ],
)
def test_a_verdict_has_its_colour_with_any_number_of_marks(verdict: str, is_coloured: bool) -> None:
    page = render_page("t", f"| verdict |\n| --- |\n| {verdict} |\n", {})
    assert (f'<td class="{verdict.partition(" ")[0]}">{verdict}</td>' in page) is is_coloured
    assert f">{verdict}</td>" in page
