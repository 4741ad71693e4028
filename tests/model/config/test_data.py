import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.config import (
    CaptureConfig,
    DataConfig,
    job_from_builtins,
)
from tests.builders.jobs import capture, values


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"report": ["A"]}, "`report: A` and `train: A` share bursts; what is used to report must be unseen"),
        ({"report": ["V"]}, "`report: V` and `validate: V` share bursts"),
        ({"choose": ["D"]}, "`report: D` and `choose: D` share bursts"),
        ({"validate": ["A"]}, "`validate: A` and `train: A` share bursts"),
        ({"confirm": ["D"]}, "`confirm: D` and `report: D` share bursts; what is used to confirm must be unseen"),
        ({"confirm": ["A"]}, "`confirm: A` and `train: A` share bursts"),
        ({"choose": ["A"]}, "`choose: A` and `train: A` share bursts"),
        ({"choose": ["V"]}, "`choose: V` and `validate: V` share bursts"),
        ({"report": ["D", "A"]}, "`report: A` and `train: A` share bursts"),
    ],
)
def test_what_is_scored_was_never_learnt_or_chosen_on(data: dict[str, Any], message: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=message):
        job_from_builtins(values(data=data))


@pytest.mark.parametrize("path", ["here.h5", "./here.h5", "folder/../here.h5", ".//here.h5"])
def test_bursts_shared_under_another_name_or_spelling_of_the_file_are_seen(path: str) -> None:
    captures = values()["data"]["captures"] | {"D": capture(path=path, devices=[1, 5], packets=[3, 4])}
    with pytest.raises(msgspec.ValidationError, match="`report: D` and `train: A` share bursts"):
        job_from_builtins(values(data={"captures": captures}))


@pytest.mark.parametrize("other", [{"devices": [2, 4]}, {"packets": [8, 10]}, {"path": "there.h5"}])
def test_other_devices_packets_or_files_are_other_bursts(other: dict[str, Any]) -> None:
    captures = values()["data"]["captures"] | {"D": capture(**other)}
    assert job_from_builtins(values(data={"captures": captures})).data.report == ("D",)


ranges = st.tuples(st.integers(0, 6), st.integers(1, 4)).map(lambda pair: (pair[0], pair[0] + pair[1]))


parts = st.builds(CaptureConfig, path=st.sampled_from(["a.h5", "b.h5"]), devices=ranges, packets=ranges)


@settings(deadline=None, max_examples=100)
@given(parts, parts)
def test_captures_overlap_where_they_have_a_burst_in_common(one: CaptureConfig, other: CaptureConfig) -> None:
    def bursts(part: CaptureConfig) -> set[tuple[str, int, int]]:
        return {(part.path, d, p) for d in range(*part.devices) for p in range(*part.packets)}

    assert one.overlaps(other) == other.overlaps(one) == bool(bursts(one) & bursts(other))


def test_each_scored_capture_is_scored_once() -> None:
    job = job_from_builtins(values(data={"choose": ["C"], "report": ["D", "D"]}))
    assert job.data.scored == ("V", "C", "D")


def test_bursts_named_twice_in_one_role_are_refused() -> None:
    capture = {"path": "a.h5", "devices": [0, 2], "packets": [0, 4]}
    captures = {
        "A": capture,
        "A2": {**capture, "packets": [3, 6]},
        "V": {**capture, "packets": [6, 8]},
        "D": {**capture, "path": "d.h5"},
    }
    values = {"captures": captures, "train": ["A", "A2"], "validate": ["V"], "report": ["D"]}
    with pytest.raises(msgspec.ValidationError, match="`train` names bursts twice: `A` and `A2` share some"):
        msgspec.convert(values, DataConfig)


@pytest.mark.parametrize("sessions", [[[0, 2], [2, 4]], [[0, 9]], [[0, 1], [1, 3], [3, 20]], "capture"])
def test_sessions_are_ranges_that_cover_the_packets_or_a_name(sessions: Any) -> None:
    captures = values()["data"]["captures"] | {"D": capture(path="there.h5", sessions=sessions)}
    found = job_from_builtins(values(data={"captures": captures})).data.captures["D"]
    assert json.loads(msgspec.json.encode(found))["sessions"] == sessions
    assert [list(pair) for pair in found.session_ranges] == ([] if sessions == "capture" else sessions)


def test_a_capture_without_sessions_has_no_such_parameter() -> None:
    assert "sessions" not in msgspec.to_builtins(job_from_builtins(values()))["data"]["captures"]["D"]


@pytest.mark.parametrize(
    ("sessions", "message"),
    [
        ([[0, 2], [1, 4]], r"sessions \[0, 2\] and \[1, 4\] overlap or are out of order; a packet lies in one session"),
        ([[2, 4], [0, 2]], r"sessions \[2, 4\] and \[0, 2\] overlap or are out of order"),
        (
            [[0, 2], [3, 4]],
            r"sessions leaves out packets \[2, 3\] of \[0, 4\]; give every packet that is taken a session",
        ),
        ([[0, 3]], r"sessions leaves out packets \[3, 4\] of \[0, 4\]"),
        ([[1, 4]], r"sessions leaves out packets \[0, 1\] of \[0, 4\]"),
        ([[0, 2], [2, 2]], r"sessions has the range \[2, 2\], which is empty; write \[first, last \+ 1\]"),
        ([], "Expected `array` of length >= 1"),
        ("", "Expected `str` of length >= 1"),
    ],
)
def test_wrong_sessions_are_refused_in_a_sentence(sessions: Any, message: str) -> None:
    captures = values()["data"]["captures"] | {"D": capture(path="there.h5", sessions=sessions)}
    with pytest.raises(msgspec.ValidationError, match=message):
        job_from_builtins(values(data={"captures": captures}))


def test_shards_have_no_data_set_of_sessions() -> None:
    captures = values()["data"]["captures"] | {"D": capture(path="there.h5", sessions="capture")}
    with pytest.raises(
        msgspec.ValidationError, match="`sessions: capture` of `D` names a data set, and shards have none"
    ):
        job_from_builtins(values(data={"captures": captures, "layout": "shards"}))


packet_ranges = st.lists(st.integers(1, 5), min_size=1, max_size=6)


@given(packet_ranges, st.integers(0, 3))
def test_each_packet_of_accepted_sessions_lies_in_exactly_one(lengths: list[int], first: int) -> None:
    edges = [0]
    for length in lengths:
        edges.append(edges[-1] + length)
    sessions = tuple(pairwise(edges))
    packets = (min(first, edges[-1] - 1), edges[-1])
    found = CaptureConfig(path="a.h5", devices=(0, 1), packets=packets, sessions=sessions)
    for packet in range(*packets):
        assert sum(start <= packet < stop for start, stop in found.session_ranges) == 1
