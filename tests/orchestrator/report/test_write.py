"""The report as a reader finds it: files, words, and what must not get through."""

import csv
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd
import pytest

from model.config import DataConfig, Params, job_of
from model.studies.radio.flags import PROFILE, parse
from orchestrator.campaign.load import at_profile, load_campaign
from orchestrator.campaign.plan import Plan, plan_runs
from orchestrator.campaign.selection import work_out
from orchestrator.report.markdown import render_markdown
from orchestrator.report.page import render_page
from orchestrator.report.write import write_report
from orchestrator.runs.folder import Result
from orchestrator.runs.identity import CodeAndData
from orchestrator.runs.paths import Paths
from orchestrator.runs.record import RunRecord
from orchestrator.verdicts.findings import judge_all
from orchestrator.wording import visible

ROOT = Path(__file__).parents[3]
SLOW = Result(state="too_slow", reason="an epoch takes 14.50 s, the limit is 10.00 s", epochs=3)
DIED = Result(state="failed", failure="out_of_memory", reason="the job held 3.9 GiB", epochs=1)
EXPERIMENTS: dict[str, Any] = {
    "E5": {"change": {"loss.kind": "focal"}, "reported": {"accuracy": 85.0, "delta": 1.0, "versus": "baseline"}},
    "H2": {"on": "E5", "change": {"model.depth": 2}},
    "K1": {"on": "H2", "change": {"model.depth": 4}, "reported": {"accuracy": 83.7, "delta": -1.4}},
    "wide": {"change": {"model.expand_v": 4.0}},
}
OUTCOMES = {"baseline": 0.80, "E5": [0.84, 0.86], "H2": [0.85, 0.83], "wide": SLOW}
Builder = Callable[..., Plan]
RunsOf = Callable[..., dict[str, RunRecord]]


@pytest.fixture(scope="module")
def plan(a_plan: Builder) -> Plan:
    return a_plan(EXPERIMENTS)


@pytest.fixture(scope="module")
def folder(plan: Plan, runs_of: RunsOf, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A written report of `OUTCOMES`."""
    records = runs_of(plan, OUTCOMES)
    return write_report(judge_all(plan, records), Paths(tmp_path_factory.mktemp("reported"))).parent


@pytest.fixture(scope="module")
def markdown(folder: Path) -> str:
    return (folder / "report.md").read_text()


@pytest.fixture
def render(runs_of: RunsOf) -> Callable[..., str]:
    """The Markdown for these outcomes."""

    def rendered(plan: Plan, outcomes: dict[str, Any]) -> str:
        records = runs_of(plan, outcomes)
        return render_markdown(judge_all(plan, records))

    return rendered


def rows_of(markdown: str, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, its header first and its rule left out."""
    table = re.search(rf"^{re.escape(heading)}\n.*?\n((?:\|[^\n]*\n)+)", markdown, re.DOTALL | re.MULTILINE)
    assert table is not None
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in table[1].splitlines()]
    return [rows[0], *rows[2:]]


def training_commands(markdown: str) -> dict[str, list[str]]:
    """The words of `python -m model.studies.radio.by_hand` in each experiment's section."""
    blocks = re.findall(r"^### (\S+): .*?^```bash\n(.*?)^```$", markdown, re.DOTALL | re.MULTILINE)
    return {name: shlex.split(text.replace(" \\\n", " ")) for name, text in blocks}


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


class TestFolder:
    def test_same_results_give_the_same_bytes(self, plan: Plan, runs_of: RunsOf, folder: Path, tmp_path: Path) -> None:
        """Law 8: the report is the same bytes for the same results."""
        records = dict(reversed(runs_of(plan, OUTCOMES).items()))
        again = write_report(judge_all(plan, records), Paths(tmp_path)).parent
        assert again.name == folder.name
        assert contents(again) == contents(folder)

    def test_another_result_gives_another_folder_and_latest_is_the_newest(
        self, plan: Plan, runs_of: RunsOf, folder: Path, tmp_path: Path
    ) -> None:
        latest = Paths(shutil.copytree(folder.parents[1], tmp_path / "copy", symlinks=True)).latest_report
        assert latest.resolve().name == folder.name
        records = runs_of(plan, OUTCOMES | {"H2": [0.85, 0.835]})
        second = write_report(judge_all(plan, records), Paths(tmp_path / "copy")).parent
        assert latest.resolve() == second.resolve()
        assert {path.name for path in latest.parent.iterdir()} == {"latest", folder.name, second.name}
        assert second.name != folder.name

    def test_every_file_that_the_report_names_is_there(self, folder: Path, markdown: str) -> None:
        named = {*re.findall(r"`(\w+\.csv)`", markdown), *re.findall(r"\]\((\w+\.png)\)", markdown)}
        assert len(named) == 12
        assert {path.name for path in folder.iterdir()} == named | {"report.md", "report.html"}

    def test_page_asks_for_nothing_from_elsewhere(self, folder: Path) -> None:
        sources = re.findall(r'(?:src|href)="([^"]*)"', (folder / "report.html").read_text())
        assert len(sources) == 2
        assert all(source.startswith("data:image/png;base64,iVBORw0KGgo") for source in sources)

    def test_numbers_of_the_summary_are_those_of_the_csv(self, folder: Path, markdown: str) -> None:
        header, *rows = rows_of(markdown, "## Result summary")
        shown = dict(zip(header, next(row for row in rows if row[0] == "H2"), strict=True))
        verdicts = pd.read_csv(folder / "verdicts.csv", index_col="experiment").loc["H2"]
        ends = shown["95 % interval"].strip("[]").split(", ")
        numbers = [shown["LocD"].removesuffix(" %"), shown["delta"], *ends, shown["to baseline"]]
        columns = ["LocD", "delta_points", "low_points", "high_points", "baseline_delta_points"]
        for number, column in zip(numbers, columns, strict=True):
            assert float(number.replace("−", "-")) == pytest.approx(verdicts[column], abs=0.0501)
        assert shown["verdict"] == verdicts["verdict"]
        assert shown["on"] == verdicts["reference"] == "E5"


class TestWords:
    def test_stopped_run_says_why(self, plan: Plan, render: Callable[..., str]) -> None:
        """Law 7: a stopped run says why in the report."""
        rows = {row[0]: row for row in rows_of(render(plan, OUTCOMES | {"H2": DIED}), "### Loss")}
        assert set(rows) == {"experiment", "H2", "wide"}
        assert rows["wide"][-2:] == ["too_slow", SLOW.reason]
        assert rows["H2"][-2:] == ["failed", "seeds 0 and 1 failed (out_of_memory): the job held 3.9 GiB"]

    def test_report_is_written_before_anything_ran(self, plan: Plan, render: Callable[..., str]) -> None:
        markdown = render(plan, {})
        assert "Of 4 experiments: 4 pending." in markdown
        assert ["trainings", "0 of 8, 0 epochs"] in rows_of(markdown, "## How it was run")

    def test_baseline_comes_first_and_what_was_stopped_last(self, plan: Plan, markdown: str) -> None:
        names = [row[0] for row in rows_of(markdown, "## Result summary")[1:]]
        assert (names[0], names[-1]) == ("baseline", "wide")
        assert sorted(names) == sorted(plan.arms)

    def test_what_the_task_says_of_its_data_stands_at_the_head(
        self, a_plan: Builder, render: Callable[..., str]
    ) -> None:
        emulated = a_plan(EXPERIMENTS, data={"emulate": {"seed": 1, "packets": 20, "samples": 64}})
        assert "> Emulated bursts: " in render(emulated, OUTCOMES).partition("\n## ")[0]

    def test_real_captures_are_not_flagged(self, markdown: str) -> None:
        assert "emulate" not in markdown.lower()

    def test_two_numbers_reported_for_one_configuration_tell_its_noise(self, plan: Plan, markdown: str) -> None:
        assert plan.arms["K1"].same_as == "E5"
        assert (
            "**The same configuration as E5.** The two share their runs. The source reports 83.7 % for K1 and 85.0 % "
            "for E5. The configuration is the same, so these 1.3 points are seed noise of single runs."
        ) in markdown

    def test_provenance_that_is_not_there_is_said_to_be_missing(self, markdown: str) -> None:
        how = dict(rows_of(markdown, "## How it was run"))
        for what in ("code", "base commit", "host", "device", "environment"):
            assert how[what] == "not recorded"
        assert "| `not recorded` | `not recorded` |\n" in markdown

    def test_provenance_that_differs_is_told_in_full(self, plan: Plan, runs_of: RunsOf) -> None:
        captures = {"data/LocD.h5": "0123456789abcdef" * 4}
        records = runs_of(plan, {"baseline": 0.8}, provenance={"host": "b", "files": captures})
        records |= runs_of(plan, {"E5": 0.8}, provenance={"host": "a", "files": captures})
        how = dict(rows_of(render_markdown(judge_all(plan, records)), "## How it was run"))
        assert how["host"] == "a and b"
        assert how["capture LocD.h5"] == "SHA-256 0123456789abcdef…"


class TestForeignWords:
    @pytest.mark.parametrize(
        "words", ["<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "![x](http://x/x.png)", "<http://x>"]
    )
    def test_markup_in_titles_and_reasons_is_shown_and_not_obeyed(
        self, a_plan: Builder, render: Callable[..., str], words: str
    ) -> None:
        experiments = {"E5": EXPERIMENTS["E5"] | {"title": words, "hypothesis": words, "group": words}}
        plan = a_plan(experiments, title=words, about=words, question=words)
        slow = msgspec.structs.replace(SLOW, reason=words)
        page = render_page(plan.campaign.title, render(plan, {"baseline": 0.8, "E5": slow}), {})
        body = page[page.index("<body>") :]
        assert not re.search(r"<script|<[^>]*onerror|(src|href)=\"http", page)
        assert body.count(words.replace("<", "&lt;").replace(">", "&gt;")) >= 5

    def test_bars_and_line_ends_in_a_reason_break_no_table(self, plan: Plan, render: Callable[..., str]) -> None:
        broken = "RuntimeError: a | b\n\n| c |\r\n# not a heading"
        markdown = render(plan, OUTCOMES | {"wide": msgspec.structs.replace(SLOW, reason=broken)})
        assert {len(row) for row in rows_of(markdown, "### Loss")} == {9}
        assert "<td>RuntimeError: a | b | c | # not a heading</td>" in render_page("t", markdown, {})

    def test_every_table_has_as_many_cells_as_its_head(self, a_plan: Builder, render: Callable[..., str]) -> None:
        odd = {name: fields | {"title": "a | b `|` c"} for name, fields in EXPERIMENTS.items()}
        for table in re.findall(r"(?:^\|.*\n)+", render(a_plan(odd), OUTCOMES), re.MULTILINE):
            assert len({len(re.split(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1


class TestTrainingCommand:
    @pytest.mark.parametrize("profile", ["paper", "quick", "gpu", "rtl433"])
    def test_of_every_experiment_is_its_training(self, profile: str, render: Callable[..., str]) -> None:
        spec, source = load_campaign(ROOT / "experiments.yaml")
        assert profile in spec.profiles
        campaign, _, resolved = work_out(at_profile(spec, source, profile, None), ROOT)
        arms = resolved.arms
        hashes = {read.path: "da7a" for read in arms["baseline"].reads}
        plan = plan_runs(campaign, resolved, CodeAndData(code_tree="c0de", files=hashes))
        commands = training_commands(render(plan, {}))
        assert set(commands) == set(arms)
        for name, words in commands.items():
            assert words[:3] == ["python", "-m", "model.studies.radio.by_hand"]
            command = parse(words[3:])
            config = job_of(
                msgspec.convert(arms[name].params, Params), experiment=name, profile="-", seed=plan.campaign.seeds[0]
            )
            assert (str(command.manifest), str(command.save_path)) == (
                "shards/manifest.json",
                f"saved_models/{name}.pth",
            )
            wanted = msgspec.structs.replace(config, experiment=command.save_path.stem, profile=PROFILE)
            assert command.job(msgspec.convert(arms["baseline"].params["data"], DataConfig), "cpu") == wanted

    def test_says_which_of_the_data_an_experiment_changes(self, a_plan: Builder, render: Callable[..., str]) -> None:
        plan = a_plan({"short": {"change": {"data.samples": 100}}})
        commands = training_commands(render(plan, {}))
        assert commands["short"][-2:] == ["--set", "data.samples=100"]
        assert "--set" not in commands["baseline"]

    def test_says_which_shards_it_needs(self, markdown: str) -> None:
        makes = "`knockout data shard --out shards --profile quick` makes:"
        assert f"{makes}\n\n```bash\npython -m model.studies.radio.by_hand" in markdown

    def test_is_code_in_the_page(self, folder: Path) -> None:
        page = (folder / "report.html").read_text()
        assert (
            '<pre><code class="language-bash">python -m model.studies.radio.by_hand --manifest shards/manifest.json'
            in page
        )


HOSTILE = "\x1b]52;c;cm0=\x07\u202eevil\u2066\x9b31m\u200b\u2028"


class TestTextOfOthers:
    """Nothing that a screen obeys, and no formula, comes out of a report."""

    @pytest.fixture
    def folder(self, a_plan: Any, runs_of: Any, tmp_path: Path) -> Path:
        died = Result(
            state="failed", failure="crashed", reason=f"=cmd() {HOSTILE}\nline two " + "long " * 10**6, epochs=0
        )
        experiments = {
            "E5": {
                "title": f"=HYPERLINK(1) {HOSTILE} | pipe",
                "group": f"@group{HOSTILE}",
                "hypothesis": f"<script>{HOSTILE}",
                "change": {"loss.kind": "focal"},
                "reported": {"delta": 1.0, "versus": f"+1 {HOSTILE}"},
            },
            "H2": {"title": "-2+3", "change": {"loss.kind": "focal", "loss.gamma": 3.0}},
        }
        plan = a_plan(experiments, title=f"A title {HOSTILE}", question=HOSTILE, about=HOSTILE)
        origin = {"commit": HOSTILE, "branch": f"={HOSTILE}", "host": HOSTILE, "environment": {"torch": HOSTILE}}
        records = runs_of(plan, {"baseline": 0.5, "E5": 0.6, "H2": died}, provenance=origin)
        return write_report(judge_all(plan, records), Paths(tmp_path), {"E5": f"E5: {HOSTILE}"}).parent

    def test_hidden_signs_are_shown_as_their_codes(self, folder: Path) -> None:
        for path in folder.iterdir():
            if path.suffix in (".md", ".html", ".csv"):
                text = path.read_text(encoding="utf-8")
                assert visible(text) == text, path.name
        assert "\\x1b]52;c;cm0=" in (folder / "verdicts.csv").read_text()

    def test_no_cell_is_a_formula_and_numbers_stay_numbers(self, folder: Path) -> None:
        for path in folder.glob("*.csv"):
            for row in csv.reader(path.read_text().splitlines()):
                for cell in row:
                    assert cell[:1] not in ("=", "+", "-", "@") or float(cell) < 0, (path.name, cell)
        verdicts = pd.read_csv(folder / "verdicts.csv").set_index("experiment")
        assert verdicts.title["E5"].startswith("'=HYPERLINK(1) ")
        assert verdicts.title["H2"] == "'-2+3"
        assert verdicts.delta_points["E5"] == pytest.approx(10.0)

    def test_a_reason_of_many_megabytes_is_shortened(self, folder: Path) -> None:
        assert (folder / "report.md").stat().st_size < 60_000
        assert "long \\[…\\]" in (folder / "report.md").read_text()
        assert (folder / "runs.csv").stat().st_size < 30_000
