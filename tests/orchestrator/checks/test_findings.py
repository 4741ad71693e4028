"""The sentences of a check, each over runs that are made up."""

from typing import Any

import pytest

from orchestrator.checks.findings import (
    Facts,
    Finding,
    Runs,
    describe_lateness,
    describe_resume,
    describe_runs,
    describe_start,
    final_numbers,
    judge_resumed,
    judge_seed,
    show_command,
    start_seconds,
    why_not_forked,
)
from orchestrator.checks.observed import Heard, ItemsSeen, MetricSeen, Observed, TableSeen
from orchestrator.checks.sorting import Sorted
from orchestrator.reading.progress import Row
from orchestrator.task.metric_spec import parse_metrics
from orchestrator.task.spec import parse_task

METRICS = parse_metrics({"loss": {"better": "lower", "margin": 0.1}})
RESUME = {"when": "out/*.ckpt", "arguments": ["--resume"]}


def facts(**values: Any) -> Facts:
    own = {name: values.pop(name) for name in ("metrics", "tracked", "in_git", "root", "has_guards") if name in values}
    return Facts(task=parse_task({"command": ["python", "train.py", "{seed}"], "code": ["train.py"]} | values), **own)


def run(seed: int = 0, loss: float = 0.5, **fields: Any) -> Observed:
    told = {
        "arguments": ("python", "train.py", str(seed)),
        "reason": "the command ended with exit status 0",
        "seconds": 4.0,
        "rows": (Row(step=1.0, values={"loss": loss}),),
        "metrics": {"loss": MetricSeen(value=loss)},
        "heard": Heard(import_seconds=0.1),
    }
    return Observed(**({"seed": seed} | told | fields))


def three(**fields: Any) -> Runs:
    return Runs(first=run(**fields), again=run(**fields), other=run(1, 0.75, **fields))


def found(told: Facts, runs: Runs, label: str) -> list[Finding]:
    return [finding for finding in describe_runs(told, runs) if finding.label == label]


def only(told: Facts, runs: Runs, label: str) -> Finding:
    (finding,) = found(told, runs, label)
    return finding


class TestEnd:
    def test_the_command_and_its_time_are_told(self) -> None:
        runs = three(arrivals=(2.0, 2.5, 3.0), lines=("a", "b", "c"))
        assert (
            only(facts(), runs, "ran").text
            == "python train.py 0\nexit 0, 3 runs, 4.0 s each (1.5 s before its first step)"
        )

    def test_folders_of_this_machine_are_left_out(self) -> None:
        assert show_command(facts(root="/home/ada"), ("/home/ada/.venv/bin/python", "a b")) == ".venv/bin/python 'a b'"

    def test_a_failure_is_told_with_its_reason_and_nothing_else(self) -> None:
        runs = Runs(first=run(), again=run(), other=run(1, state="failed", reason="exit status 1; the last lines"))
        ran = only(facts(), runs, "ran")
        assert ran.text == "python train.py 0\nseed 1: exit status 1; the last lines"
        assert ran.kind == "problem"
        assert {finding.label for finding in describe_runs(facts(), runs)} == {"ran", "wrote"}

    def test_what_was_left_behind_is_named(self) -> None:
        reason = "the command ended with exit status 0; 2 processes outlived the command and were ended: 7, 8"
        left = only(facts(), three(reason=reason), "left")
        assert (left.text, left.kind) == ("2 processes outlived the command and were ended: 7, 8", "note")


class TestReads:
    def test_code_that_is_not_named_is_offered(self) -> None:
        runs = three(files=Sorted(code=("net.py", "train.py"), uncovered=("net.py",)))
        read = only(facts(), runs, "read")
        assert read.text == "net.py, which `task.code` does not name: a change there would make no new run"
        assert [offer.line for offer in read.offers] == ["task.code: [net.py]"]

    def test_data_of_the_users_checkout_are_offered(self) -> None:
        runs = three(files=Sorted(wanted=("data/a.bin", "data/b.bin")))
        read = only(facts(), runs, "read")
        assert read.text == "No such file: data. It is in your checkout, and not in git: add it to `task.data`"
        assert [offer.line for offer in read.offers] == ["task.data.data: data"]
        assert read.kind == "note"

    def test_data_elsewhere_are_offered_by_their_whole_path(self) -> None:
        runs = three(files=Sorted(data=("/srv/m/a", "/srv/m/b", "x.bin")))
        first, second = found(facts(data={"m": "y"}), runs, "read")
        assert first.text == "/srv/m (2 files), which is not in git: add it to `task.data`"
        assert [offer.line for offer in (*first.offers, *second.offers)] == [
            "task.data.m_2: /srv/m",
            "task.data.x: x.bin",
        ]

    def test_without_git_a_table_beside_the_code_is_data(self) -> None:
        runs = three(files=Sorted(code=("a.csv", "net.py"), uncovered=("a.csv", "net.py")))
        offers = [offer.line for finding in found(facts(in_git=False), runs, "read") for offer in finding.offers]
        assert offers == ["task.code: [net.py]", "task.data.a: a.csv"]
        offers = [offer.line for finding in found(facts(), runs, "read") for offer in finding.offers]
        assert offers == ["task.code: [a.csv, net.py]"]

    def test_code_in_the_users_own_checkout_is_a_problem(self) -> None:
        read = only(facts(), three(files=Sorted(astray=("net.py",))), "read")
        assert read.kind == "problem"
        assert read.text == (
            "net.py in your own checkout, and not in that of the run: an editable install leads there, so a patch "
            'would have no effect; write `env: {PYTHONPATH: "."}` under `task`, or install without -e'
        )

    def test_a_command_that_tells_nothing_is_said_to(self) -> None:
        read = only(facts(), three(heard=Heard(was_there=False)), "read")
        assert read.text.startswith("no Python told what it opens, so only files that stayed open were seen")


class TestWrites:
    def test_new_files_are_offered_as_outputs(self) -> None:
        wrote = only(facts(tracked=frozenset({"train.py"})), three(written=("net.pt", "out/a")), "wrote")
        assert wrote.text == "net.pt and out beside its code: as `task.outputs` it is kept in the run folder"
        assert [offer.line for offer in wrote.offers] == ["task.outputs: [net.pt, out]"]

    def test_changed_code_is_told(self) -> None:
        wrote = only(facts(tracked=frozenset({"log.txt"})), three(written=("log.txt",)), "wrote")
        assert wrote.text == "log.txt, which git tracks; each run has its own copy, so your own file stays"

    @pytest.mark.parametrize(
        ("files", "said"),
        [
            (
                Sorted(outside=("/home/a.csv",)),
                "/home/a.csv, outside of its checkout: two runs at a time would overwrite",
            ),
            (
                Sorted(spoilt=("data/a",)),
                "data/a, which is data: a run may only read them; let the script write elsewhere",
            ),
        ],
    )
    def test_what_no_run_may_write_is_a_problem(self, files: Sorted, said: str) -> None:
        wrote = only(facts(), three(files=files), "wrote")
        assert wrote.kind == "problem"
        assert said in wrote.text

    def test_nothing_is_told_too(self) -> None:
        assert only(facts(), three(), "wrote").text == "nothing beside its code"


class TestSteps:
    def test_rows_are_counted(self) -> None:
        steps = only(facts(progress={"stdout": "loss {loss}"}), three(), "steps")
        assert steps.text == "1 row of `loss`, 1 step; prints at once: too short to tell"

    def test_a_pattern_that_matches_nothing_is_a_problem_with_the_last_lines(self) -> None:
        steps = only(facts(progress={"stdout": "loss {loss}"}), three(rows=(), lines=("Loss=1",)), "steps")
        assert steps.kind == "problem"
        assert (
            steps.text == 'no line of train.log matches "loss {loss}"; the last 1 are:\n  Loss=1\nmend `task.progress`'
        )

    def test_lines_of_a_known_form_are_offered(self) -> None:
        steps = only(facts(), three(rows=(), lines=("{'loss': 0.5, 'epoch': 1.0}",)), "steps")
        assert [offer.line for offer in steps.offers] == ['task.progress: {stdout: "preset:huggingface"}']

    def test_no_progress_at_all_is_told(self) -> None:
        assert only(facts(), three(rows=()), "steps").text == "none: guards see only the time of a whole run"
        assert only(facts(), three(), "steps").text == "1 row that the helper reports"

    @pytest.mark.parametrize(
        ("arrivals", "seconds", "how"),
        [
            ((4.0, 4.0), 4.1, "no"),
            ((1.0, 4.0), 4.1, "yes"),
            ((1.0, 1.0), 4.1, "yes"),
            ((4.0,), 4.1, "too short to tell"),
            ((0.5, 0.5), 0.6, "too short to tell"),
        ],
    )
    def test_lines_come_at_once_or_at_the_end(self, arrivals: tuple[float, ...], seconds: float, how: str) -> None:
        assert describe_lateness(run(arrivals=arrivals, seconds=seconds)) == how

    def test_imports_do_not_count_as_time_without_lines(self) -> None:
        late = run(arrivals=(4.0, 4.0), seconds=4.1, heard=Heard(import_seconds=3.5))
        assert describe_lateness(late) == "too short to tell"

    @pytest.mark.parametrize(("has_guards", "kind"), [(True, "problem"), (False, "note")])
    def test_late_lines_are_a_problem_for_guards(self, has_guards: bool, kind: str) -> None:
        runs = three(arrivals=(4.0, 4.0), lines=("a", "b"), seconds=4.1)
        last = found(facts(progress={"stdout": "loss {loss}"}, has_guards=has_guards), runs, "steps")[-1]
        assert last.kind == kind
        assert last.text.startswith(
            "its lines came all at once at its end; guards could not act: flush, or put `stdbuf"
        )


class TestMetrics:
    def test_each_metric_has_its_value_or_its_problem(self) -> None:
        assert only(facts(metrics=METRICS), three(), "metric").text == "loss 0.5; lower is better; judged"
        problem = only(facts(metrics=METRICS), three(metrics={"loss": MetricSeen(problem="no row")}), "metric")
        assert (problem.text, problem.kind) == ("no row", "problem")

    def test_numbers_that_were_seen_are_offered(self) -> None:
        metric = only(facts(), three(metrics={}), "metric")
        assert metric.text == "`loss`; lower is better (a guess by its name), and its margin is a guess too"
        assert [(offer.where, offer.value) for offer in metric.offers] == [
            (("metrics", "loss"), {"better": "lower", "margin": "1%"})
        ]

    def test_no_number_at_all_is_a_problem(self) -> None:
        metric = only(facts(), three(metrics={}, rows=()), "metric")
        assert metric.kind == "problem"
        assert metric.text.startswith("none is named and none was seen; print a line such as `val_loss: 0.31`")


class TestItems:
    def test_items_are_counted(self) -> None:
        items = {"test": ItemsSeen(num_items=120, num_clusters=12), "val": ItemsSeen(num_items=1)}
        first, second = found(facts(), three(items=items), "items")
        assert (first.text, second.text) == ("test: 120 items in 12 clusters", "val: 1 item")

    def test_items_that_cannot_be_read_are_a_problem(self) -> None:
        found_items = only(facts(), three(items={"test": ItemsSeen(problem="key `17` stands there twice")}), "items")
        assert (found_items.kind, found_items.text) == ("problem", "key `17` stands there twice")

    def test_a_table_of_the_helper_is_offered(self) -> None:
        tables = (TableSeen(path="{run_folder}/scores/test.csv", kind="scores", names=("key", "correct")),)
        items = only(facts(), three(tables=tables), "items")
        assert items.text == "a table of `test`"
        (offer,) = items.offers
        assert offer.value == {"file": "{run_folder}/scores/test.csv", "key": "key"}


class TestSeed:
    def test_the_same_numbers_for_one_seed_and_others_for_another(self) -> None:
        seed = judge_seed(facts(), three())
        assert (seed.kind, seed.text) == ("ok", "the same seed gives the same numbers; another gives others")

    def test_a_seed_without_effect_is_a_problem_with_its_numbers(self) -> None:
        seed = judge_seed(facts(), Runs(first=run(), again=run(), other=run(1)))
        assert seed.kind == "problem"
        assert seed.text.startswith("the seed has no effect: seeds 0 and 1 give the same numbers (loss 0.5)")

    def test_numbers_that_are_never_the_same_tell_nothing(self) -> None:
        seed = judge_seed(facts(), Runs(first=run(), again=run(0, 0.25), other=run(1, 0.75)))
        assert seed.kind == "note"
        assert "the same seed gives other numbers (loss 0.5 and 0.25)" in seed.text

    def test_a_time_that_differs_each_time_hides_no_seed_without_effect(self) -> None:
        runs = [run(seed, rows=(Row(values={"loss": 0.5, "time": time}),)) for seed, time in ((0, 1), (0, 2), (1, 3))]
        assert judge_seed(facts(), Runs(first=runs[0], again=runs[1], other=runs[2])).kind == "problem"

    def test_a_metric_that_is_not_repeated_exactly_is_told(self) -> None:
        row = (Row(values={"first": 1.0}),)
        other = run(1, 0.75, rows=(Row(values={"first": 2.0}),))
        seed = judge_seed(facts(), Runs(first=run(rows=row), again=run(0, 0.625, rows=row), other=other))
        assert (seed.kind, seed.text) == (
            "note",
            "another seed gives other numbers; the same seed does too (loss 0.5 and 0.625), so no run can be repeated "
            "exactly",
        )

    def test_before_a_metric_is_named_lines_and_files_tell(self) -> None:
        def bare(seed: int, text: str, content: str = "") -> Observed:
            tables = (TableSeen(path="a.csv", kind="csv", names=("loss",), content=content),)
            return run(seed, metrics={}, rows=(), lines=(text,), tables=tables)

        one, same, other = bare(0, "loss: 1"), bare(1, "loss: 1"), bare(1, "loss: 2")
        assert judge_seed(facts(), Runs(first=one, again=one, other=other)).kind == "ok"
        assert judge_seed(facts(), Runs(first=one, again=one, other=bare(1, "loss: 1", "x"))).kind == "ok"
        told = judge_seed(facts(), Runs(first=one, again=one, other=same))
        assert told.kind == "problem"
        assert told.text.startswith(
            "the seed has no effect: seeds 0 and 1 tell the same, so all seeds would be one run"
        )
        assert judge_seed(facts(), Runs(first=one, again=bare(0, "loss: 3"), other=other)).kind == "note"

    def test_without_a_number_nothing_is_told(self) -> None:
        assert judge_seed(facts(), three(metrics={}, rows=())).kind == "note"
        assert judge_seed(facts(), Runs(first=run())).kind == "note"


class TestStart:
    @pytest.mark.parametrize(
        ("command", "why"),
        [
            (("python", "train.py"), ""),
            ((".venv/bin/python3.11", "-m", "net.train"), ""),
            (("/bin/torchrun", "train.py"), "`torchrun` is no Python, so each run starts by itself"),
            (("Rscript", "train.R"), "`Rscript` is no Python, so each run starts by itself"),
            (("python", "-c", "1"), "only `python script` and `python -m module` can be forked, so each run starts by"),
            (
                ("python", "-m", "torch.distributed.run", "t.py"),
                "its launcher starts processes of its own, so each run",
            ),
        ],
    )
    def test_only_a_script_of_python_can_be_forked(self, command: tuple[str, ...], why: str) -> None:
        found_why = why_not_forked(facts().task, command)
        assert found_why.startswith(why)
        assert bool(found_why) == bool(why)

    def test_a_preload_without_use_is_noted(self) -> None:
        told = describe_start(facts(preload=["torch"]), three(arguments=("sh", "train.sh")))
        assert (told.kind, told.text) == (
            "note",
            "`sh` is no Python, so each run starts by itself; take `preload` out",
        )

    def test_long_imports_are_offered_to_be_done_once(self) -> None:
        heard = Heard(packages=("numpy", "torch", "mine"), import_seconds=1.5)
        start = describe_start(facts(), three(heard=heard))
        assert start.text.startswith("1.5 s of imports in each run; it can be forked, so `preload` takes them once")
        assert [offer.value for offer in start.offers] == [["torch", "numpy"]]

    def test_a_short_start_and_one_that_is_preloaded_need_nothing(self) -> None:
        assert describe_start(facts(), three()).text == "0.1 s of imports; nothing to gain by `preload`"
        told = describe_start(facts(preload=["torch", "numpy"]), three())
        assert told.text == "`preload` imports torch and numpy once for all runs"

    def test_the_time_before_the_first_step_is_that_of_its_line_less_a_step(self) -> None:
        assert start_seconds(run(arrivals=(3.0, 4.0, 5.0))) == 2.0
        assert start_seconds(run(arrivals=(3.0, 4.0))) is None


class TestResume:
    def stopped(self) -> Observed:
        return run(state="interrupted", seconds=2.0)

    def judge(self, resumed: Observed, again: Observed | None = None) -> Finding:
        runs = Runs(first=run(), again=again or run(), other=run(1, 0.75))
        return judge_resumed(facts(resume=RESUME), runs, self.stopped(), resumed)

    def test_equal_numbers_are_fine(self) -> None:
        told = self.judge(run(resumed_from="/r/out/3.ckpt"))
        assert (told.kind, told.text) == (
            "ok",
            "stopped after 2.0 s, it went on from 3.ckpt: the same numbers as never stopped",
        )

    def test_other_numbers_are_a_problem_with_both(self) -> None:
        told = self.judge(run(0, 0.75, resumed_from="/r/out/3.ckpt"))
        assert told.kind == "problem"
        assert "other numbers than never stopped (loss 0.75 and 0.5); runs that were stopped say so in" in told.text
        assert [offer.line for offer in told.offers] == ["task.resume.exact: false"]

    def test_other_numbers_are_no_problem_once_the_file_says_so(self) -> None:
        said = facts(resume={**RESUME, "exact": False})
        told = judge_resumed(said, three(), self.stopped(), run(0, 0.75, resumed_from="/r/out/3.ckpt"))
        assert (told.kind, told.offers) == ("note", ())

    def test_other_numbers_are_no_fault_of_resuming_where_no_run_repeats(self) -> None:
        told = self.judge(run(0, 0.75, resumed_from="/r/out/3.ckpt"), again=run(0, 0.25))
        assert told.kind == "note"
        assert told.text.endswith("other numbers (loss 0.75 and 0.5), as of the same seed twice")

    def test_a_run_without_a_checkpoint_started_over(self) -> None:
        told = self.judge(run())
        assert told.kind == "problem"
        assert told.text == "stopped after 2.0 s, no checkpoint was found by `out/*.ckpt`, so it started over"

    def test_a_run_that_does_not_go_on_is_a_problem(self) -> None:
        told = self.judge(run(state="failed", reason="exit status 1"))
        assert (told.kind, told.text) == ("problem", "stopped after 2.0 s, and it did not go on: exit status 1")

    def test_a_run_that_ended_first_tells_nothing(self) -> None:
        told = judge_resumed(facts(resume=RESUME), three(), run(), run())
        assert told.text.startswith("it ended before it was asked to stop")

    def test_where_it_is_not_measured_the_file_is_told(self) -> None:
        assert describe_resume(facts(), is_asked=False).kind == "ok"
        assert describe_resume(facts(), is_asked=True).kind == "note"
        assert "`knockout check --resume` measures" in describe_resume(facts(resume=RESUME), is_asked=False).text

    def test_without_metrics_the_last_rows_are_compared(self) -> None:
        rows = (Row(values={"a": 1.0}), Row(values={"a": 2.0, "b": 3.0}))
        assert final_numbers(run(metrics={}, rows=rows)) == {"a": 2.0, "b": 3.0}
