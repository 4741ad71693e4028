"""`import knockout` tells a run's numbers from any interpreter, and does nothing outside a run."""

import ast
import csv
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import knockout
from model import endings

FILE = Path(knockout.__file__)
MAX_IMPORTED = 60
"""Most modules that an import of the helper may load: it must cost a script no time that a person notices."""


@pytest.fixture(autouse=True)
def _outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*knockout.VARIABLES.values(), *knockout.RANK_VARIABLES):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put this process into a run; return the run's folder."""
    place = tmp_path / "E5-s3-0123abcd"
    place.mkdir()
    (tmp_path / "params.json").write_text('{"lr": 0.1}')
    monkeypatch.setenv("KNOCKOUT_RUN", f"65024:131:{place.name}")
    monkeypatch.setenv("KNOCKOUT_FOLDER", str(place))
    monkeypatch.setenv("KNOCKOUT_SEED", "3")
    monkeypatch.setenv("KNOCKOUT_PARAMS", str(tmp_path / "params.json"))
    return place


@pytest.fixture
def _sigterm() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / knockout.REPORTED).read_text().splitlines()]


def scores(folder: Path, split: str = "test") -> list[list[str]]:
    with (folder / knockout.SCORES / f"{split}.csv").open(newline="") as file:
        return list(csv.reader(file))


class TestOutside:
    def test_there_is_nothing(self) -> None:
        run = knockout.current()
        assert (run.active, run.id, run.seed, run.params, run.folder, run.checkpoints) == (
            *(False, None, None),
            *({}, None, None),
        )

    @pytest.mark.usefixtures("_sigterm")
    def test_nothing_is_done(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        before = signal.getsignal(signal.SIGTERM)
        run = knockout.current()
        run.log(1, loss=0.5)
        run.metric(acc=0.5)
        run.scores("test", key=["a"], hit=[1])
        assert run.stop_asked() is False
        assert signal.getsignal(signal.SIGTERM) is before
        assert list(tmp_path.iterdir()) == []

    def test_a_mark_without_a_folder_is_no_run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KNOCKOUT_RUN", "standby")
        assert (knockout.current().active, knockout.current().id) == (False, None)


class TestRun:
    def test_a_run_is_known_by_its_variables(self, folder: Path) -> None:
        run = knockout.current()
        assert (run.active, run.id, run.seed, run.params) == (True, "E5-s3-0123abcd", 3, {"lr": 0.1})
        assert run.folder == folder
        assert run.checkpoints == folder / "checkpoints"
        assert run.checkpoints.is_dir()

    def test_it_is_one_object_until_the_variables_change(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        run = knockout.current()
        assert knockout.current() is run
        monkeypatch.setenv("KNOCKOUT_SEED", "4")
        assert knockout.current().seed == 4

    @pytest.mark.parametrize("content", ["{", "[1]", None])
    def test_parameters_that_cannot_be_read_are_told(self, folder: Path, content: str | None) -> None:
        path = folder.parent / "params.json"
        path.unlink() if content is None else path.write_text(content)
        with pytest.raises(ValueError, match=r"params.json: (the parameters of the run|parameters are an object)"):
            _ = knockout.current().params

    @pytest.mark.parametrize("variable", knockout.RANK_VARIABLES)
    def test_processes_after_the_first_are_silent(
        self, folder: Path, variable: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(variable, "1")
        run = knockout.current()
        run.log(1, loss=0.5)
        run.metric(acc=0.5)
        run.scores("test", key=["a"], hit=[1])
        assert not run.active
        assert run.seed == 3
        assert list(folder.iterdir()) == []
        monkeypatch.setenv(variable, "0")
        run.log(1, loss=0.5)
        assert run.active
        assert lines(folder) == [{"step": 1, "loss": 0.5}]


class TestNumbers:
    def test_a_step_and_a_metric_are_lines_of_json(self, folder: Path) -> None:
        run = knockout.current()
        run.log(1, loss=0.5, acc=np.float32(0.25))
        run.log(loss=torch.tensor([2.0], requires_grad=True))
        run.log(np.int64(3), loss=math.nan)
        run.metric(acc=True, inf=float("inf"))
        assert lines(folder) == [
            {"step": 1.0, "loss": 0.5, "acc": 0.25},
            {"step": None, "loss": 2.0},
            {"step": 3.0, "loss": None},
            {"acc": 1.0, "inf": None},
        ]

    def test_another_file_may_be_named(self, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KNOCKOUT_METRICS", str(tmp_path / "m.jsonl"))
        knockout.current().metric(acc=1)
        assert (tmp_path / "m.jsonl").read_text() == '{"acc": 1.0}\n'
        assert list(folder.iterdir()) == []

    def test_half_a_line_of_a_killed_process_spoils_no_other(self, folder: Path) -> None:
        (folder / knockout.REPORTED).write_text('{"step": 1}\n{"st')
        knockout.current().log(1, loss=0.5)
        knockout.current().log(2, loss=0.25)
        assert (folder / knockout.REPORTED).read_text() == (
            '{"step": 1}\n{"st\n{"step": 1.0, "loss": 0.5}\n{"step": 2.0, "loss": 0.25}\n'
        )

    @pytest.mark.parametrize("value", ["low", None, [1, 2], {}, torch.zeros(2)])
    def test_what_is_no_number_is_told(self, folder: Path, value: Any) -> None:
        with pytest.raises(ValueError, match=r"run.log: `loss` is .*; one number is wanted"):
            knockout.current().log(1, loss=value)

    def test_a_value_that_is_named_step_is_told(self, folder: Path) -> None:
        with pytest.raises(ValueError, match=r"give the step first and without a name: run.log\(3, loss=0.1\)"):
            knockout.current().log(step=3, loss=0.1)
        with pytest.raises(ValueError, match="`step` is no metric"):
            knockout.current().metric(step=3)


class TestScores:
    def test_arrays_tensors_and_lists_are_taken(self, folder: Path) -> None:
        knockout.current().scores(
            "test",
            key=np.array([17, 18]),
            cluster=["a", "b,c"],
            stratum=iter([0, 1]),
            x=torch.tensor([0.5, -1.0], requires_grad=True),
            y=[np.float32(0.5), torch.tensor(1.5)],
            hit=np.array([True, False]),
        )
        assert scores(folder) == [
            ["key", "cluster", "stratum", "x", "y", "hit"],
            ["17", "a", "0", "0.5", "0.5", "1"],
            ["18", "b,c", "1", "-1.0", "1.5", "0"],
        ]

    def test_numbers_keep_every_digit(self, folder: Path) -> None:
        values = [0.1 + 0.2, 1 / 3, 1e-300]
        knockout.current().scores("test", key=[0, 1, 2], x=values)
        assert [float(row[1]) for row in scores(folder)[1:]] == values

    def test_a_key_of_several_parts_is_joined(self, folder: Path) -> None:
        knockout.current().scores("test", key=[("a", 1), ("a", 2)], x=[0, 1])
        assert [row[0] for row in scores(folder)] == ["key", "a|1", "a|2"]

    def test_values_of_a_library_without_lists_are_taken(self, folder: Path) -> None:
        class Eager:
            def numpy(self) -> Any:
                return np.array([1.5, 2.5])

        knockout.current().scores("test", key=[0, 1], x=Eager())
        assert scores(folder)[1:] == [["0", "1.5"], ["1", "2.5"]]

    def test_the_file_is_replaced_whole(self, folder: Path) -> None:
        run = knockout.current()
        run.scores("test", key=[0], x=[1])
        with pytest.raises(UnicodeEncodeError):
            run.scores("test", key=["\ud800"], x=[1])
        assert scores(folder) == [["key", "x"], ["0", "1"]]
        assert [path.name for path in (folder / knockout.SCORES).iterdir()] == ["test.csv"]

    @pytest.mark.parametrize(
        ("split", "columns", "message"),
        [
            ("test", {"key": [17, 18, "17"], "x": [1, 2, 3]}, r"key `17` of `test` stands there twice \(rows 1, 3\)"),
            ("test", {"key": [1, 2], "x": [1]}, "the columns of `test` differ in length: 2 of `key`, 1 of `x`"),
            ("test", {"key": [1, 2], "x": [[1], [2]]}, r"`x` holds \[1\]; a single value for each item is wanted"),
            ("test", {"key": [1, 2], "x": 0.5}, "`x` is one value; one for each item is wanted"),
            ("test", {"key": "ab", "x": [1, 2]}, "`key` is one value"),
            ("test", {"key": [1, 2]}, "tell at least one column of numbers, such as correct="),
            ("../x", {"key": [1], "x": [1]}, "`../x` is no name of a file; use letters"),
        ],
    )
    def test_a_wrong_table_is_told(self, folder: Path, split: str, columns: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=f"run.scores: {message}"):
            knockout.current().scores(split, **columns)
        assert list(folder.iterdir()) == []


@pytest.mark.usefixtures("_sigterm")
class TestStopping:
    def test_a_signal_asks_and_does_not_end(self, folder: Path) -> None:
        run = knockout.current()
        assert run.stop_asked() is False
        os.kill(os.getpid(), signal.SIGTERM)
        assert run.stop_asked() is True

    def test_another_thread_is_told_to_let_the_main_thread_ask_first(self, folder: Path) -> None:
        run, told = knockout.current(), []

        def ask() -> None:
            try:
                told.append(str(run.stop_asked()))
            except RuntimeError as error:
                told.append(str(error))

        for _ in range(2):
            thread = threading.Thread(target=ask)
            thread.start()
            thread.join()
            run.stop_asked()
        assert told == ["run.stop_asked: call it once in the main thread before other threads call it", "False"]

    def test_the_status_is_that_of_an_interrupted_job(self) -> None:
        assert knockout.STOPPED == endings.INTERRUPTED


class TestInterpreters:
    def test_the_file_is_python_3_8(self) -> None:
        ast.parse(FILE.read_text(), feature_version=(3, 8))

    def test_an_import_loads_little_and_nothing_but_the_standard_library(self) -> None:
        code = "import sys; before = set(sys.modules); import knockout; print(*sorted(set(sys.modules) - before))"
        command = [sys.executable, "-S", "-c", code]
        done = subprocess.run(command, cwd=FILE.parents[1], check=True, capture_output=True, text=True)
        loaded = done.stdout.split()
        assert {name.split(".")[0] for name in loaded} <= sys.stdlib_module_names | {"knockout"}
        assert len(loaded) <= MAX_IMPORTED

    @pytest.mark.parametrize("version", ["3.8", "3.9", "3.11", "3.13"])
    def test_other_interpreters_tell_the_same(self, folder: Path, version: str) -> None:
        python = find_python(version)
        if python is None:
            pytest.skip(f"Python {version} is not on this machine")
        code = (
            "import knockout; run = knockout.current(); run.log(run.seed, loss=run.params['lr'])\n"
            "run.scores('test', key=[1, 2], hit=[True, False]); assert not run.stop_asked(); run.checkpoints\n"
        )
        subprocess.run([python, "-W", "error", "-c", code], cwd=FILE.parents[1], check=True)
        assert lines(folder) == [{"step": 3.0, "loss": 0.1}]
        assert scores(folder) == [["key", "hit"], ["1", "1"], ["2", "0"]]


def find_python(version: str) -> str | None:
    """Return an interpreter that runs; a name on the path may be one that only says that it is not installed."""
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    python = sys.executable if version == own else shutil.which(f"python{version}")
    runs = python is not None and subprocess.run([python, "-c", ""], check=False, capture_output=True).returncode == 0
    return python if runs else None
