"""Data, outputs and files in a checkout: nothing of the user's is replaced or removed."""

from pathlib import Path

import pytest

from orchestrator.errors import DataError
from orchestrator.supervisor.checkout import (
    PlaceError,
    collect_outputs,
    find_place,
    is_folder,
    place_data,
    place_outputs,
    remove,
    write_files,
)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "co").mkdir()
    return tmp_path / "co"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "mine" / "deep").mkdir(parents=True)
    (tmp_path / "mine" / "train.bin").write_text("7")
    (tmp_path / "mine" / "deep" / "a").write_text("a")
    return tmp_path / "mine"


@pytest.mark.parametrize(
    ("output", "wanted"), [("out", True), ("net.pt", False), ("a/b.d/", True), ("a.b/c", True), (".cache", True)]
)
def test_an_output_without_an_ending_is_a_folder(output: str, wanted: bool) -> None:
    assert is_folder(output) is wanted


class TestFindPlace:
    @pytest.mark.parametrize("name", ["/etc/passwd", "../a", "a/../../b", "."])
    def test_a_name_may_not_leave_its_folder(self, checkout: Path, name: str) -> None:
        with pytest.raises(PlaceError, match="must lie inside"):
            find_place(checkout, name)

    def test_a_link_on_the_way_may_not_lead_out(self, checkout: Path, data: Path) -> None:
        (checkout / "data").symlink_to(data)
        with pytest.raises(PlaceError, match=r"`data/new` lies outside of .*, because a folder on the way is a link"):
            find_place(checkout, "data/new")


class TestData:
    def test_they_are_links_into_the_users_files(self, checkout: Path, data: Path) -> None:
        for _ in range(2):
            place_data(checkout, checkout, {"data/text": str(data)})
        assert (checkout / "data" / "text").readlink() == data

    def test_a_folder_that_is_tracked_gets_what_it_lacks(self, checkout: Path, data: Path) -> None:
        (checkout / "data" / "deep").mkdir(parents=True)
        (checkout / "data" / "prepare.py").write_text("code")
        (checkout / "data" / "deep" / "a").write_text("a")
        (data / "deep" / "b").write_text("b")
        place_data(checkout, checkout, {"data": str(data)})
        assert (checkout / "data" / "train.bin").readlink() == data / "train.bin"
        assert (checkout / "data" / "deep" / "b").readlink() == data / "deep" / "b"
        assert not (checkout / "data" / "deep" / "a").is_symlink()
        assert sorted(path.name for path in data.iterdir()) == ["deep", "train.bin"]

    def test_a_tracked_file_that_differs_is_refused(self, checkout: Path, data: Path) -> None:
        (checkout / "data").mkdir()
        (checkout / "data" / "train.bin").write_text("8")
        with pytest.raises(PlaceError, match=r"co/data/train.bin: something else is there, so no link to .*train.bin"):
            place_data(checkout, checkout, {"data": str(data)})
        assert (checkout / "data" / "train.bin").read_text() == "8"

    def test_a_link_to_something_else_is_refused(self, checkout: Path, data: Path, tmp_path: Path) -> None:
        (checkout / "data").symlink_to(tmp_path)
        with pytest.raises(PlaceError, match="give one of them another name, or take it out of the code"):
            place_data(checkout, checkout, {"data": str(data)})
        assert (checkout / "data").readlink() == tmp_path

    def test_data_that_are_away_are_named(self, checkout: Path, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"gone: the data `x` are not there; put them back, and run again to go on"):
            place_data(checkout, checkout, {"x": str(tmp_path / "gone")})

    def test_a_relative_path_is_refused(self, checkout: Path) -> None:
        with pytest.raises(PlaceError, match="data `x`: `data` is no absolute path; name the whole path"):
            place_data(checkout, checkout, {"x": "data"})

    def test_data_beside_the_campaigns_folder_lie_in_the_worktree_and_not_beyond(
        self, checkout: Path, data: Path, tmp_path: Path
    ) -> None:
        (checkout / "mnist").mkdir()
        place_data(checkout / "mnist", checkout, {"../data": str(data)})
        assert (checkout / "data").readlink() == data
        with pytest.raises(PlaceError, match="must lie inside"):
            place_data(checkout / "mnist", checkout, {"../../elsewhere": str(data)})
        assert not (tmp_path / "elsewhere").exists()


class TestOutputs:
    def test_a_folder_is_there_before_the_start_and_a_file_is_not(self, checkout: Path, tmp_path: Path) -> None:
        place_outputs(checkout, ("out", "models/net.pt"), tmp_path / "kept", is_again=False)
        (checkout / "out").mkdir(exist_ok=True)
        (checkout / "models" / "net.pt").write_text("net")
        assert (tmp_path / "kept" / "out").is_dir()
        assert (tmp_path / "kept" / "models" / "net.pt").read_text() == "net"

    def test_what_is_there_is_refused_at_first_and_kept_at_an_attempt_in_the_same_checkout(
        self, checkout: Path, tmp_path: Path
    ) -> None:
        (checkout / "net.pt").write_text("net")
        with pytest.raises(PlaceError):
            place_outputs(checkout, ("net.pt",), tmp_path / "kept", is_again=False)
        assert (checkout / "net.pt").read_text() == "net"
        place_outputs(checkout, ("net.pt",), tmp_path / "kept", is_again=True)
        assert (checkout / "net.pt").readlink() == tmp_path / "kept" / "net.pt"
        assert (tmp_path / "kept" / "net.pt").read_text() == "net"

    def test_a_folder_made_anew_takes_the_place_of_the_one_before(self, checkout: Path, tmp_path: Path) -> None:
        place_outputs(checkout, ("out",), tmp_path / "kept", is_again=False)
        (checkout / "out" / "old").touch()
        (checkout / "out").unlink()
        (checkout / "out").mkdir()
        (checkout / "out" / "new").touch()
        collect_outputs(checkout, ("out",), tmp_path / "kept")
        assert [path.name for path in (tmp_path / "kept" / "out").iterdir()] == ["new"]

    def test_an_output_inside_another_is_refused(self, checkout: Path, tmp_path: Path) -> None:
        with pytest.raises(PlaceError, match="a folder on the way is a link"):
            place_outputs(checkout, ("out", "out/a"), tmp_path / "kept", is_again=False)


class TestFiles:
    def test_they_lie_in_the_checkout_or_in_the_run_folder(self, checkout: Path, tmp_path: Path) -> None:
        run = tmp_path / "run"
        run.mkdir()
        write_files(checkout, run, {"conf/a.yaml": "é", f"{run}/params.json": "{}"})
        assert (checkout / "conf" / "a.yaml").read_bytes() == "é".encode()
        assert (run / "params.json").read_text() == "{}"

    def test_no_file_is_written_through_a_link(self, checkout: Path, data: Path, tmp_path: Path) -> None:
        (checkout / "data").symlink_to(data)
        (checkout / "a").symlink_to(data / "train.bin")
        with pytest.raises(PlaceError):
            write_files(checkout, tmp_path, {"data/train.bin": "9"})
        write_files(checkout, tmp_path, {"a": "9"})
        assert (data / "train.bin").read_text() == "7"
        assert (checkout / "a").read_text() == "9"

    def test_an_absolute_path_elsewhere_is_refused(self, checkout: Path, tmp_path: Path) -> None:
        with pytest.raises(PlaceError, match=r"must lie inside .* or be relative to the checkout; name such a path"):
            write_files(checkout, tmp_path / "run", {"/etc/x": ""})

    def test_a_folder_of_that_name_is_refused(self, checkout: Path, tmp_path: Path) -> None:
        (checkout / "conf").mkdir()
        with pytest.raises(PlaceError, match="a folder is there, and a file is to be written; give the file another"):
            write_files(checkout, tmp_path, {"conf": ""})


def test_removing_a_folder_keeps_what_its_links_name(data: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "link").symlink_to(data)
    for _ in range(2):
        remove(tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert (data / "train.bin").read_text() == "7"
