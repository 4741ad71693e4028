"""Runs whose files contradict each other are set aside, and nothing is deleted."""

from pathlib import Path

from orchestrator.runs.doubtful import find_doubtful, set_aside
from orchestrator.runs.paths import Paths
from orchestrator.runs.record import NotBelievedError

RUN = "E5-s0-00000000"
WHOLE = NotBelievedError("its files are of two runs")
RESULT = NotBelievedError("its result says more than its predictions", is_result_alone=True)


def write_run(paths: Paths) -> None:
    folder = paths.run(RUN)
    folder.path.mkdir(parents=True, exist_ok=True)
    for path in (folder.config, folder.result, folder.predictions, folder.checkpoint):
        path.write_bytes(b"{}")


def test_a_broken_folder_is_doubtful_and_a_missing_one_is_not(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    write_run(paths)
    assert list(find_doubtful(paths, [RUN, "H2-s0-00000000"])) == [RUN]


def test_a_whole_folder_moves_and_a_second_one_gets_a_number(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    for name in (RUN, f"{RUN}-2", f"{RUN}-3"):
        write_run(paths)
        place = paths.set_aside(name)
        sentence = f"{WHOLE.what}; it is set aside as {place}, and the run is trained again"
        assert set_aside(paths, {RUN: WHOLE}) == [sentence]
        assert not paths.run(RUN).path.exists()
        assert sorted(path.name for path in place.iterdir()) == [
            "checkpoint.pt", "config.json", "predictions.npz", "result.json",
        ]  # fmt: skip


def test_a_doubtful_result_moves_alone_and_the_checkpoint_stays(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    write_run(paths)
    set_aside(paths, {RUN: RESULT})
    assert sorted(path.name for path in paths.run(RUN).path.iterdir()) == [
        "checkpoint.pt", "config.json", "predictions.npz.set-aside", "result.json.set-aside",
    ]  # fmt: skip


def test_a_folder_that_another_command_has_just_moved_is_no_error(tmp_path: Path) -> None:
    assert len(set_aside(Paths(tmp_path), {RUN: WHOLE})) == 1
