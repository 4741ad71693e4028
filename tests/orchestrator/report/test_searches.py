"""What is said of a search, and how sure that is."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec import structs

from orchestrator.campaign.plan import Plan
from orchestrator.campaign.scored import Objective
from orchestrator.campaign.search_spec import SearchSpec
from orchestrator.report.search_figures import draw_history, draw_surface
from orchestrator.report.searches import render, sentences, summarise, write_search_report, write_table
from orchestrator.runs.paths import Paths
from orchestrator.runs.scores import Score as RunScore
from orchestrator.search.best_of import Points, compare
from orchestrator.search.objective import combine, combine_metric
from orchestrator.search.results import Searched, SearchSummary, TrialRecord
from orchestrator.task.metric_spec import parse_metrics

SPACE = {
    "loss.gamma": {"kind": "float", "low": 0.1, "high": 5.0},
    "loss.label_smoothing": {"kind": "float", "low": 0.0, "high": 0.2},
}
POINTS = [(2.0, 0.05), (1.5, 0.05), (3.0, 0.05), (2.0, 0.1), (2.0, 0.0)]
PNG = b"\x89PNG"
Found = Callable[..., Searched]


def a_trial(
    number: int, per_seed: Sequence[float] | None, state: str = "done", *, bursts: int = 100, **fields: Any
) -> TrialRecord:
    gamma, smoothing = POINTS[number % len(POINTS)]
    return TrialRecord(
        **{
            "number": number,
            "arm": f"focal-t{number:03d}",
            "change": {"loss.gamma": gamma, "loss.label_smoothing": smoothing},
            "state": state,
            "score": combine([(score, bursts) for score in per_seed]) if per_seed else None,
            "runs": (f"focal-t{number:03d}-s0",),
        }
        | fields
    )


@pytest.fixture(scope="module")
def found(a_plan: Callable[..., Plan]) -> Found:
    def finding(*per_seed: Sequence[float], more: Sequence[TrialRecord] = (), **fields: Any) -> Searched:
        points = [{"at": {"loss.gamma": g, "loss.label_smoothing": s}} for g, s in POINTS]
        points[0]["reported"] = {"accuracy": 85.1}
        points[4]["reported"] = {"note": "no number"}
        spec = msgspec.convert({"title": "Focus", "space": SPACE, "trials": 5, "enqueue": points}, SearchSpec)
        trials = tuple(a_trial(number, scores) for number, scores in enumerate(per_seed))
        values = {
            "name": "focal",
            "campaign": a_plan({}).campaign,
            "spec": spec,
            "stack": "H2",
            "objective": Objective(splits=("LocC",)),
            "seeds": (0,),
            "default": {"loss.gamma": 2.0, "loss.label_smoothing": 0.05},
            "study": "tiny/quick/focal/0a1b",
            "trials": (*trials, *more),
        }
        return Searched(**values | fields)

    return finding


def test_points_that_were_given_up_are_counted_and_named_and_never_the_best(found: Found) -> None:
    early = a_trial(2, None, "pruned", reason="given up after 4 epochs")
    searched = found([60.0], [58.0], more=[early])
    assert sentences(searched)[0] == "search focal: 3 points visited of 5, 1 of them pruned, on H2"
    assert (summarise(searched).visited, searched.scored[0].number) == (3, 0)
    assert b"2,3.0,0.05,pruned,,,focal-t002-s0,,given up after 4 epochs" in write_table(searched)
    assert draw_history(searched) != draw_history(found([60.0], [58.0]))
    scores = ([60.0], [58.0], [59.0], [61.0])
    late = a_trial(4, None, "pruned")
    assert draw_surface(found(*scores, more=[late])) != draw_surface(found(*scores))


def test_points_are_compared_at_the_same_seeds() -> None:
    scores = ([62.0, 72.0, 82.0], [60.0, 70.0, 81.0])
    difference = compare(*(a_trial(number, score, bursts=10**9) for number, score in enumerate(scores)), Points(2))
    assert difference.points == pytest.approx(5 / 3)
    # Student's t of 2 degrees of freedom, 4.303, times a standard error of 1/3.
    assert (difference.low, difference.high) == (pytest.approx(0.2325, abs=1e-3), pytest.approx(3.1009, abs=1e-3))
    assert difference.is_decided


def test_one_seed_is_compared_by_its_bursts() -> None:
    difference = compare(a_trial(0, [60.0], bursts=10_000), a_trial(1, [58.8], bursts=10_000), Points(2))
    assert difference.high - difference.points == pytest.approx(1.96 * (0.24 + 0.2423) ** 0.5, abs=1e-3)
    assert not difference.is_decided
    assert not difference.is_across_seeds


def test_seeds_that_differ_equally_by_luck_are_no_more_certain_than_their_bursts(found: Found) -> None:
    difference = compare(a_trial(0, [66.2, 66.2]), a_trial(1, [60.0, 60.0]), Points(2))
    assert difference.points == pytest.approx(6.2)
    # Each side's binomial error of the 104 bursts that both seeds share, at shares of 0.656 and 0.596.
    assert difference.high - difference.points == pytest.approx(1.96 * (21.70 + 23.15) ** 0.5, abs=0.01)
    assert "no difference from the default point" in " ".join(sentences(found([60.0, 60.0], [66.2, 66.2])))
    assert found([60.0, 60.0]).scored[0].score.standard_error == pytest.approx(4.81, abs=0.01)


def test_luck_of_the_bursts_that_all_seeds_share_is_no_better_point_at_ten_seeds() -> None:
    random = np.random.default_rng(11)
    called = 0
    for _ in range(200):
        lasting_N1 = random.normal(80.0, 1.0, (12, 1))
        points = (lasting_N1 + random.normal(0.0, 1.0, (12, 10))).tolist()
        default, *others = (a_trial(number, scores, bursts=500) for number, scores in enumerate(points))
        best = max(others, key=lambda trial: trial.score.mean if trial.score else 0.0)
        difference = compare(best, default, Points(12))
        called += difference.is_decided and difference.points > 0
    assert called <= 0.05 * 200


def test_no_share_of_the_bursts_is_certain() -> None:
    difference = compare(a_trial(0, [100.0]), a_trial(1, [0.0]), Points(2))
    assert difference.is_decided
    assert difference.high == 100.0
    assert 90.0 < difference.low < 97.0


def test_bursts_that_nobody_counted_tell_nothing(found: Found) -> None:
    difference = compare(a_trial(0, [90.0], bursts=0), a_trial(1, [50.0], bursts=0), Points(2))
    assert (difference.low, difference.high, difference.is_decided) == (-100.0, 100.0, False)
    searched = found(more=[a_trial(1, [90.0], bursts=0)])
    unknown = "(standard error unknown: the number of bursts is not known)"
    assert f"with 90.0 % {unknown} on LocC" in " ".join(sentences(searched))
    assert "| 90.0 |" in render(searched, [])
    assert b"1,1.5,0.05,done,90.0000,,focal-t001-s0,," in write_table(searched)


def test_the_best_of_many_points_is_compared_in_a_wider_interval_and_the_report_says_so(found: Found) -> None:
    scores = ([60.0, 61.0], [80.0, 81.2], [70.0, 71.1])
    two, three = (compare(a_trial(1, scores[1]), a_trial(0, scores[0]), Points(number)) for number in (2, 3))
    assert three.high > two.high
    assert (two.adjusted, three.adjusted) == ("", "adjusted for the best of 3 points")
    assert "+20.1 points, 95 % interval adjusted for the best of 3 points, +" in " ".join(sentences(found(*scores)))
    assert "+20.1 points, 95 % interval +" in " ".join(sentences(found(*scores[:2])))


@pytest.mark.parametrize("num_seeds", [1, 3])
def test_of_equal_points_the_best_is_seldom_called_better_than_the_default(num_seeds: int) -> None:
    random = np.random.default_rng(7)
    size = (500, 12, num_seeds)
    # Several seeds have their own luck beside that of the bursts; one seed's cannot be seen.
    draws = random.binomial(2000, random.normal(0.8, 0.02 if num_seeds > 1 else 0.0, size)) / 20.0
    called = {2: 0, 12: 0}
    for points in draws.tolist():
        default, *others = (a_trial(0, scores, bursts=2000) for scores in points)
        best = max(others, key=lambda trial: trial.score.mean if trial.score else 0.0)
        for num_points in called:
            difference = compare(best, default, Points(num_points))
            called[num_points] += difference.is_decided and difference.points > 0
    assert called[12] <= 0.05 * len(draws)
    assert called[2] > called[12]


def test_a_best_point_that_cannot_be_told_from_the_default_says_so(found: Found) -> None:
    said = " ".join(sentences(found([60.0], [62.0], [50.0])))
    assert "best: loss.gamma 1.5, loss.label_smoothing 0.05 with 62.0 %" in said
    assert (
        "no difference from the default point (loss.gamma 2.0, loss.label_smoothing 0.05) was found: +2.0 points"
        in said
    )
    assert "runner-up" not in said


def test_a_best_point_is_better_only_across_seeds(found: Found) -> None:
    across = " ".join(sentences(found([20.0, 21.0], [80.0, 81.1], [50.0, 51.1])))
    assert "it is better than the default point" in across
    assert "it is better than the runner-up (loss.gamma 3.0" in across
    alone = " ".join(sentences(found([60.0], [90.0])))
    assert "it scored higher than the default point" in alone
    assert "one seed cannot show that it is better" in alone


def test_the_default_point_may_be_the_best_or_missing(found: Found) -> None:
    assert "that is the default point itself" in sentences(found([90.0], [62.0]))
    other = sentences(found([90.0], default={"loss.gamma": 9.0}))
    assert "the default point (loss.gamma 9.0) was not visited" in other


def test_the_best_score_is_said_to_be_too_high(found: Found) -> None:
    assert "too high" in sentences(found([90.0]))[-1]


def test_what_was_not_visited_says_why(found: Found) -> None:
    slow = a_trial(3, None, "too_slow", reason="an epoch takes 9 s")
    said = sentences(found([60.0], more=[slow]))
    assert said[:2] == [
        "search focal: 1 point visited of 5, on H2",
        "focal-t003 was too slow and does not count: an epoch takes 9 s",
    ]
    assert sentences(found(more=[slow]))[0].startswith("search focal: 0 points visited")


def test_points_beyond_those_of_the_file_are_not_counted_as_some_of_them(found: Found) -> None:
    spec = structs.replace(found().spec, trials=1)
    assert sentences(found([60.0], [62.0], spec=spec))[0] == (
        "search focal: 2 points visited where the file wants 1, on H2"
    )


def test_a_point_that_was_asked_for_again_is_one_point_and_no_runner_up(found: Found) -> None:
    searched = found([60.0], [62.0], more=[a_trial(6, [62.0]), a_trial(11, [62.0])])
    assert (searched.num_visited, [trial.number for trial in searched.scored]) == (2, [1, 0])
    said = " ".join(sentences(searched))
    assert said.startswith("search focal: 2 points visited of 5")
    assert "runner-up" not in said
    pruned_first = found([60.0], more=[a_trial(1, None, "pruned"), a_trial(6, [62.0])])
    assert (pruned_first.num_visited, pruned_first.pruned) == (2, [])


def test_a_space_without_new_points_is_said_to_be(found: Found) -> None:
    said = sentences(found([60.0], exhausted="its space has 1 point, and all were asked for"))
    assert said[1] == "no new point will come: its space has 1 point, and all were asked for"
    spec = structs.replace(found().spec, trials=1)
    assert "no new point" not in " ".join(sentences(found([60.0], spec=spec, exhausted="all were asked for")))


def test_a_second_try_names_the_first(found: Found) -> None:
    again = a_trial(6, [62.0], again_of=1)
    searched = found([60.0], more=[a_trial(1, None, "failed", reason="it crashed"), again])
    searched = structs.replace(searched, trials=(*searched.trials[:2], structs.replace(again, number=2)))
    assert "| focal-t006, focal-t001 again | 1.5 |" in render(searched, [])
    assert write_table(searched).decode().splitlines()[-1] == "2,1.5,0.05,done,62.0000,4.7706,focal-t006-s0,1,"
    assert "focal-t001 failed and does not count: it crashed" in sentences(searched)


def test_the_report_names_who_suggested_the_points_whatever_the_file_says_now(found: Found) -> None:
    assert "every point at seed 0, suggested by tpe." in render(found([60.0]), [])
    more = [a_trial(2, [60.0], sampler="random"), a_trial(3, [61.0], sampler="gp"), a_trial(4, [61.0], sampler="gp")]
    assert "suggested by random and gp." in render(found([60.0], more=more), [])


def test_the_source_s_numbers_stand_beside_the_point_of_its_values_wherever_the_file_lists_it(found: Found) -> None:
    before = found([60.0], [62.0], [55.0])
    moved = structs.replace(before.spec, enqueue=before.spec.enqueue[::-1])
    text = render(structs.replace(before, spec=moved), [])
    assert "| loss.gamma 2.0, loss.label_smoothing 0.05 | 60.0 ± 4.8 | 85.1 |  |" in text
    precise = structs.replace(moved.enqueue[-1], at={"loss.gamma": 2.0000000001, "loss.label_smoothing": 0.05})
    text = render(structs.replace(before, spec=structs.replace(moved, enqueue=(precise,))), [])
    assert "| loss.gamma 2.0000000001, loss.label_smoothing 0.05 | 60.0 ± 4.8 | 85.1 |  |" in text


def test_of_equal_scores_the_earlier_point_is_the_best(found: Found) -> None:
    assert [trial.number for trial in found([60.0], [60.0]).scored] == [0, 1]


def test_the_report_has_every_point_and_the_source_beside_ours(found: Found, tmp_path: Any) -> None:
    slow = a_trial(3, None, "too_slow")
    report = write_search_report(found([60.0], [62.0], more=[slow], importance={"loss.gamma": 0.8}), Paths(tmp_path))
    text = report.read_text()
    assert report.parent.name == "tiny-search-focal-quick-0a1b"
    assert "| focal-t001 | 1.5 | 0.05 | 62.0 ± 4.8 | focal-t001-s0 |" in text
    assert "| focal-t003 | 2.0 | 0.1 | too_slow | focal-t003-s0 |" in text
    assert "| loss.gamma 2.0, loss.label_smoothing 0.05 | 60.0 ± 4.8 | 85.1 |  |" in text
    assert "| loss.gamma 2.0, loss.label_smoothing 0.0 | not visited | – | no number |" in text
    assert "- loss.gamma: 80 %" in text
    assert (
        "By PED-ANOVA, from 2 points with a score: how much the best 30 % differ from all points in each knob." in text
    )
    assert "![history](history.png)\n\nScores in the order of the trials" in text
    assert {file.name for file in report.parent.iterdir()} == {"report.md", "trials.csv", "history.png", "search.json"}


def test_beside_the_report_a_program_reads_the_best_point_and_how_it_stands_to_the_default(
    found: Found, tmp_path: Any
) -> None:
    report = write_search_report(found([60.0], [62.0]), Paths(tmp_path))
    summary = msgspec.json.decode(Paths(tmp_path).search_summary(report.parent).read_bytes(), type=SearchSummary)
    assert (summary.campaign, summary.profile, summary.search) == ("tiny", "quick", "focal")
    assert (summary.visited, summary.wanted, summary.default_visited) == (2, 5, True)
    assert summary.best == {"loss.gamma": 1.5, "loss.label_smoothing": 0.05}
    assert summary.score == combine([(62.0, 100)])
    assert summary.to_default == compare(a_trial(1, [62.0]), a_trial(0, [60.0]), Points(2))


def test_a_best_point_that_is_the_default_is_compared_with_nothing(found: Found) -> None:
    summary = summarise(found([62.0], [60.0]))
    assert (summary.default_visited, summary.to_default) == (True, None)
    missed = summarise(found([62.0], default={"loss.gamma": 9.0}))
    assert (missed.default_visited, missed.to_default) == (False, None)
    assert (summarise(found()).best, summarise(found()).score) == ({}, None)


def test_the_same_trials_give_the_same_report(found: Found, tmp_path: Any) -> None:
    searched = found([60.0], [62.0], [55.0], [57.0], [58.0])
    folders = [write_search_report(searched, Paths(tmp_path / name)).parent for name in ("one", "two")]
    contents = [{file.name: file.read_bytes() for file in folder.iterdir()} for folder in folders]
    assert contents[0] == contents[1]
    assert contents[0]["surface.png"].startswith(PNG)
    assert contents[0]["history.png"].startswith(PNG)


def test_too_few_points_draw_no_surface(found: Found) -> None:
    assert draw_surface(found([60.0], [62.0], [55.0])) == b""
    assert draw_history(found()) == b""


def test_the_table_is_a_line_a_trial(found: Found) -> None:
    lines = write_table(found([60.0], more=[a_trial(1, None, "failed", reason="it crashed")])).decode().splitlines()
    assert lines[0] == "trial,loss.gamma,loss.label_smoothing,state,score,standard_error,runs,again_of,reason"
    assert lines[1] == "0,2.0,0.05,done,60.0000,4.8114,focal-t000-s0,,"
    assert lines[2] == "1,1.5,0.05,failed,,,focal-t001-s0,,it crashed"


LOSS = Objective(metric="loss", better="lower", unit="nats", watch="loss", watch_better="lower")


def a_loss(number: int, *per_seed: float) -> TrialRecord:
    scores = [RunScore(value) for value in per_seed]
    metric = parse_metrics({"loss": {"better": "lower", "margin": 0.1}})["loss"]
    return structs.replace(a_trial(number, None), score=combine_metric(metric, scores))


def test_a_metric_that_is_better_when_lower_has_its_lowest_point_first_and_its_own_words(found: Found) -> None:
    searched = found(more=[a_loss(0, 0.52, 0.54), a_loss(1, 0.31, 0.34), a_loss(2, 0.4, 0.41)], objective=LOSS)
    assert [trial.number for trial in searched.scored] == [1, 2, 0]
    said = sentences(searched)
    assert said[1] == (
        "best: loss.gamma 1.5, loss.label_smoothing 0.05 with loss 0.325 nats (standard error 0.015 nats over seeds)"
    )
    assert said[2].startswith(
        "it is better than the default point (loss.gamma 2.0, loss.label_smoothing 0.05): -0.205 nats, 95 %"
    )
    assert "too good" in said[-1]
    assert "%" not in " ".join(said).replace("95 %", "")
    assert "| 0.325 ± 0.015 |" in render(searched, [])
    assert "| point | ours, loss | the source, on LocD | note |" in render(searched, [])
    assert b"1,1.5,0.05,done,0.325,0.015,focal-t001-s0,," in write_table(searched)


def test_a_metric_of_one_seed_without_items_cannot_be_told_apart(found: Found) -> None:
    searched = found(more=[a_loss(0, 0.5), a_loss(1, 0.1)], objective=LOSS)
    said = " ".join(sentences(searched))
    assert "with loss 0.1 nats (standard error unknown: it has one seed, and no items)" in said
    assert "0.05) was found: -0.4 nats, of unknown error" in said
    to_default = summarise(searched).to_default
    assert to_default is not None
    assert (to_default.low, to_default.high, to_default.is_decided) == (None, None, False)


def test_seeds_that_agree_to_the_last_digit_tell_nothing_of_the_error() -> None:
    # In floating point the two differences are not quite equal.
    difference = compare(a_loss(1, 0.1, 0.4), a_loss(0, 0.3, 0.6), Points(2, LOSS))
    assert (difference.points, difference.low) == (pytest.approx(-0.2), None)


def test_the_summary_of_a_metric_can_be_read_again_and_that_of_captures_stays_as_it_was(found: Found) -> None:
    summary = summarise(found(more=[a_loss(0, 0.5), a_loss(1, 0.1)], objective=LOSS))
    assert msgspec.json.decode(msgspec.json.encode(summary), type=SearchSummary) == summary
    assert summary.objective == LOSS
    radio = msgspec.json.decode(msgspec.json.encode(summarise(found([60.0], [62.0]))))
    assert (radio["captures"], "metric" in radio) == (["LocC"], False)
    assert set(radio["score"]) == {"mean", "standard_error", "per_seed", "bursts"}


def test_the_figures_of_a_metric_name_it(found: Found) -> None:
    losses = [a_loss(number, 0.5 - number / 10) for number in range(5)]
    searched = found(more=losses, objective=LOSS)
    higher = structs.replace(searched, objective=structs.replace(LOSS, better="higher"))
    assert draw_history(searched).startswith(PNG)
    assert draw_history(searched) != draw_history(higher)
    assert draw_surface(searched).startswith(PNG)
