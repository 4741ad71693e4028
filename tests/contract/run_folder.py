"""What a run folder is to either half. A test file of each half takes these tests over."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.contract.halves import Half

FILES = {
    "config": "config.json",
    "provenance": "provenance.json",
    "epochs": "epochs.jsonl",
    "checkpoint": "checkpoint.pt",
    "predictions": "predictions.npz",
    "result": "result.json",
    "log": "train.log",
    "lock": "job.lock",
}
"""Name in code -> name on the disk."""


class RunFolderContract:
    """The tests; a subclass names its `half`."""

    half: Half

    def append(self, folder: Any, *epochs: int) -> None:
        """Add lines to `epochs.jsonl`, as a job does."""
        with folder.epochs.open("ab") as file:
            file.writelines(msgspec.json.encode(self.half.record(epoch)) + b"\n" for epoch in epochs)

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Any:
        return self.half.folder.RunFolder(tmp_path)

    def test_its_files_have_the_names_of_the_contract(self, folder: Any) -> None:
        assert {name: getattr(folder, name).name for name in FILES} == FILES

    def test_no_epochs_are_read_where_none_were_written(self, folder: Any) -> None:
        assert folder.read_epochs() == []
        folder.epochs.write_bytes(b"")
        assert folder.read_epochs() == []

    def test_epochs_come_back_as_they_were_written(self, folder: Any) -> None:
        self.append(folder, 1, 2)
        assert folder.read_epochs() == [self.half.record(1), self.half.record(2)]

    def test_a_file_cut_anywhere_loses_no_finished_epoch(self, folder: Any) -> None:
        self.append(folder, 1, 2, 3)
        whole = folder.epochs.read_bytes()
        for cut in range(len(whole) + 1):
            folder.epochs.write_bytes(whole[:cut])
            num_whole = whole[:cut].count(b"\n")
            assert folder.read_epochs() == [self.half.record(epoch) for epoch in range(1, num_whole + 1)]

    def test_a_line_spoilt_in_the_middle_is_refused(self, folder: Any) -> None:
        self.append(folder, 1, 2, 3)
        first, _, rest = folder.epochs.read_bytes().partition(b"\n")
        folder.epochs.write_bytes(first[:-5] + b"\n" + rest)
        with pytest.raises(msgspec.DecodeError, match="truncated"):
            folder.read_epochs()

    @pytest.mark.parametrize("numbers", [(1, 1, 2), (1, 3), (2, 3), (1, 2, 2)])
    def test_epochs_that_do_not_count_from_one_are_refused(self, folder: Any, numbers: tuple[int, ...]) -> None:
        self.append(folder, *numbers)
        with pytest.raises(ValueError, match=r"epochs must count 1, 2, 3"):
            folder.read_epochs()

    def test_a_record_older_than_a_field_is_still_read(self, folder: Any) -> None:
        self.append(folder, 1)
        line = msgspec.json.decode(folder.epochs.read_bytes())
        del line["data_seconds"]
        folder.epochs.write_bytes(msgspec.json.encode(line) + b"\n")
        assert folder.read_epochs() == [self.half.record(1, data_seconds=None)]

    def test_a_result_comes_back_as_it_was_written(self, folder: Any) -> None:
        assert folder.read_result() is None
        folder.write_result(self.half.result())
        assert folder.read_result() == self.half.result()

    def test_a_half_written_result_is_no_result(self, folder: Any) -> None:
        folder.write_result(self.half.result())
        whole = folder.result.read_bytes()
        for cut in (0, 1, len(whole) // 2, len(whole) - 3):
            folder.result.write_bytes(whole[:cut])
            assert folder.read_result() is None

    def test_a_result_names_its_format_and_state_first(self, folder: Any) -> None:
        folder.write_result(self.half.result())
        assert folder.result.read_text().startswith('{\n  "format": 1,\n  "state": "done",\n')

    def test_a_result_of_another_version_is_told_and_not_trained_over(self, folder: Any) -> None:
        folder.result.write_text('{"format": 2, "state": "done", "how": "otherwise"}')
        with pytest.raises(ValueError, match=r"result\.json: this is no result of this version of Knockout"):
            folder.read_result()

    @pytest.mark.parametrize("state", ["queued", "running", "interrupted", "cancelled", "paused"])
    def test_a_result_of_a_run_that_has_not_ended_is_none_of_this_version(self, folder: Any, state: str) -> None:
        folder.write_result(self.half.result(state=state))
        with pytest.raises(ValueError, match=f"its state is `{state}`, wanted is one of done, too_slow, failed"):
            folder.read_result()

    def test_a_file_set_aside_keeps_its_content_under_another_name(self, folder: Any) -> None:
        folder.epochs.write_bytes(b"lines")
        assert folder.set_aside(folder.epochs) == folder.path / "epochs.jsonl.set-aside"
        assert [path.read_bytes() for path in folder.path.iterdir()] == [b"lines"]
