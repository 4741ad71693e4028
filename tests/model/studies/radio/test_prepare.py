"""Captures that are missing are made, and nothing that lies in their place is touched."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from model.studies.radio.params import CampaignData, CampaignParams, parse
from model.studies.radio.prepare import NotPreparedError, missing_captures, prepare
from tests.builders.jobs import capture, params

EMULATE = {"packets": 2, "samples": 64}


def two_captures(report: str = "LocD.h5", **changes: Any) -> CampaignData:
    captures = {
        "A": capture(path="LocA.h5"),
        "V": capture(path="LocA.h5", packets=[4, 6]),
        "C": capture(path="LocA.h5", packets=[6, 8]),
        "D": capture(path=report),
    }
    found = parse(params(data={"captures": captures} | changes))
    assert isinstance(found, CampaignParams)
    return found.data


def make_link_to_nothing(path: Path) -> None:
    path.symlink_to("gone.h5")


def test_each_missing_file_is_named_once(tmp_path: Path) -> None:
    assert [str(place) for place in missing_captures(two_captures(), tmp_path)] == [
        f"{tmp_path}/LocA.h5",
        f"{tmp_path}/LocD.h5",
    ]


@pytest.mark.parametrize("make", [make_link_to_nothing, Path.mkdir, os.mkfifo])
def test_what_lies_in_a_captures_place_is_not_made_up_anew(make: Callable[[Path], None], tmp_path: Path) -> None:
    (tmp_path / "LocA.h5").write_bytes(b"bursts")
    make(tmp_path / "LocD.h5")
    assert missing_captures(two_captures(), tmp_path) == []


def test_captures_that_are_there_are_kept_where_others_are_made_up(tmp_path: Path) -> None:
    (tmp_path / "LocA.h5").write_bytes(b"a month of work")
    told: list[str] = []
    prepare([two_captures(emulate=EMULATE)], tmp_path, told.append)
    assert (tmp_path / "LocA.h5").read_bytes() == b"a month of work"
    assert (tmp_path / "LocD.h5").is_file()
    assert f"{tmp_path}/LocD.h5: 10 emulated devices x 2 packets of 64 samples" in told


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("LocD.h5", None, "its capture FOLDER/LocD.h5 is not there; correct `path` under `data.captures`"),
        (
            "${KNOCKOUT_TEST_D}",
            None,
            "where its captures are is for the variable KNOCKOUT_TEST_D to say, and it is not set; run again with "
            "KNOCKOUT_TEST_D=PATH",
        ),
        (
            "${KNOCKOUT_TEST_D}",
            "secret.h5",
            "its capture FOLDER/${KNOCKOUT_TEST_D} is not there; correct the variable KNOCKOUT_TEST_D, or `path` under "
            "`data.captures`",
        ),
    ],
)
def test_what_is_missing_and_not_emulated_is_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str, value: str | None, sentence: str
) -> None:
    monkeypatch.delenv("KNOCKOUT_TEST_D", raising=False)
    if value:
        monkeypatch.setenv("KNOCKOUT_TEST_D", value)
    (tmp_path / "LocA.h5").write_bytes(b"bursts")
    with pytest.raises(NotPreparedError) as raised:
        prepare([two_captures(path)], tmp_path, print)
    assert str(raised.value).replace(str(tmp_path), "FOLDER") == sentence


def test_a_folder_that_a_variable_names_is_told_without_its_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KNOCKOUT_TEST_D", str(tmp_path / "secret"))
    (tmp_path / "LocA.h5").write_bytes(b"bursts")
    told: list[str] = []
    prepare([two_captures("${KNOCKOUT_TEST_D}/LocD.h5", emulate=EMULATE)], tmp_path, told.append)
    assert (tmp_path / "secret" / "LocD.h5").is_file()
    assert told[-1].startswith(f"{tmp_path}/${{KNOCKOUT_TEST_D}}/LocD.h5: 10 emulated devices")
    make_link_to_nothing(tmp_path / "link")
    monkeypatch.setenv("KNOCKOUT_TEST_D", str(tmp_path / "link"))
    with pytest.raises(NotPreparedError, match=r"KNOCKOUT_TEST_D.* cannot be written: File exists") as raised:
        prepare([two_captures("${KNOCKOUT_TEST_D}/LocD.h5", emulate=EMULATE)], tmp_path, told.append)
    assert "/link" not in str(raised.value)
