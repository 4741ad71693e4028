"""The benchmark of starts times runs from end to end, and its campaigns are legal."""

from pathlib import Path

import pytest

from benchmarks.__main__ import BENCHMARKS
from benchmarks.starts import Runs, bench_starts, build_repository, measure_process, runs_of
from orchestrator.campaign.load import at_profile, load_campaign


def test_a_run_takes_from_the_end_of_one_to_the_end_of_the_next() -> None:
    assert runs_of(100.0, [103.0, 103.5, 104.5]) == Runs(first=3.0, each=0.75)


@pytest.mark.parametrize("preload", [[], ["torch"]])
def test_its_campaign_trains_forty_runs_of_the_command(tmp_path: Path, preload: list[str]) -> None:
    build_repository(tmp_path / "study", ["/bin/true"], preload)
    spec, source = load_campaign(tmp_path / "study" / "experiments.yaml")
    campaign = at_profile(spec, source, None)
    assert len(campaign.seeds) * (1 + len(campaign.experiments)) == 40
    assert campaign.task.command == ("/bin/true", "{seed}", "{params}")
    assert campaign.task.preload == tuple(preload)


def test_a_process_is_timed_to_its_end() -> None:
    assert 0.05 < measure_process(["sleep", "0.05"]) < 5.0


def test_it_is_in_the_table_of_make_bench() -> None:
    assert bench_starts in BENCHMARKS
