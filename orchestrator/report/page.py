"""The report as one HTML file."""

import base64
import re
from collections.abc import Mapping

from markdown_it import MarkdownIt
from markupsafe import Markup

from orchestrator.report.markdown import make_environment
from orchestrator.report.sections import MARKS
from orchestrator.verdicts.judgement import Confirmation, Verdict
from orchestrator.wording import one_line


def render_page(title: str, markdown: str, pictures: Mapping[str, bytes]) -> str:
    """Wrap the report as one HTML file that needs no other. HTML inside the Markdown is shown as text."""
    # `html: False` shows HTML in names as text: a campaign file must not put a script into the page.
    body = MarkdownIt("commonmark", {"html": False}).enable("table").render(markdown)
    # Pictures go into the file as data, so the page can be sent by itself.
    for name, data in pictures.items():
        body = body.replace(f'src="{name}"', f'src="data:image/png;base64,{base64.b64encode(data).decode()}"')
    cell = rf"<td>(({'|'.join(Verdict)})((?: \((?:{'|'.join(MARKS)})\))*))</td>"
    body = re.sub(cell, _colour_cell, body)
    environment = make_environment()
    environment.autoescape = True
    css = Markup(environment.loader.get_source(environment, "report.css")[0]) if environment.loader else ""
    return environment.get_template("report.html.j2").render(title=one_line(title), css=css, body=Markup(body))


def _colour_cell(cell: re.Match[str]) -> str:
    """Give a verdict its colour, except an improvement that fresh seeds have not confirmed."""
    is_open = any(f"({mark})" in cell[3] for mark in Confirmation if mark.is_open)
    return f"<td>{cell[1]}</td>" if is_open else f'<td class="{cell[2]}">{cell[1]}</td>'
