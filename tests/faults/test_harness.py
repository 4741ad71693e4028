"""The harness itself: its faults happen, and it sees each loss."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from orchestrator.runs.folder import RunFolder
from tests.faults.campaigns import ALL, CAMPAIGNS
from tests.faults.inspection import check_journal, inspect
from tests.faults.kinds import Kinds
from tests.faults.machine import Machine
from tests.faults.refusing import Refusal, needs_library
from tests.faults.silence import Proxy
from tests.faults.storm import KIND, Storm
from tests.faults.table import table_lines

APPEND = """\
import os, sys
for number in range(5):
    try:
        file = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
        os.write(file, b"x")
        print("written")
    except OSError as error:
        print(error.errno)
"""


@pytest.mark.skipif(needs_library() is not None, reason=str(needs_library()))
@pytest.mark.parametrize(
    ("path", "first", "count", "wanted"),
    [
        ("epochs", 2, 1, ["written", "5", "written", "written", "written"]),
        ("epochs", 1, 3, ["5", "5", "5", "written", "written"]),
        ("/checkpoint", 1, 3, ["written"] * 5),
    ],
    ids=["the second call", "three calls", "another file"],
)
def test_chosen_calls_fail(tmp_path: Path, path: str, first: int, count: int, wanted: list[str]) -> None:
    (tmp_path / "epochs.jsonl").touch()
    refusal = Refusal(calls="write", number=errno.EIO, path=path, first=first, count=count)
    done = subprocess.run(
        [sys.executable, "-S", "-c", APPEND, str(tmp_path / "epochs.jsonl")],
        env={**os.environ, **refusal.environment}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == wanted
    assert refusal.num_refused == wanted.count("5")
    assert refusal.is_over == (path == "epochs")


def test_a_silent_proxy_keeps_packets_back() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        proxy = Proxy("127.0.0.1", server.getsockname()[1])
        with socket.create_connection(("127.0.0.1", proxy.port)) as client:
            served, _ = server.accept()
            with served, proxy.silent():
                client.sendall(b"hello")
                served.settimeout(0.2)
                with pytest.raises(TimeoutError):
                    served.recv(5)
        proxy.close()


def test_what_a_silent_proxy_kept_back_arrives_and_a_cut_connection_is_reset() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        proxy = Proxy("127.0.0.1", server.getsockname()[1])
        with socket.create_connection(("127.0.0.1", proxy.port)) as client:
            served, _ = server.accept()
            with served:
                with proxy.silent():
                    client.sendall(b"hello")
                assert served.recv(5, socket.MSG_WAITALL) == b"hello"
                proxy.cut()
                with pytest.raises(ConnectionResetError):
                    client.recv(1)
        proxy.close()


@pytest.mark.parametrize(
    ("journal", "what"),
    [
        ("trained a 1 1\nsaved a 1 1\ntrained a 1 1\n", "epoch 1 was finished and trained again"),
        ("trained a 1 1\ntrained a 2 1\ntrained a 1 2\n", "two jobs at once"),
        ("ended a 1 2\ntrained a 1 3\n", "trained after its end"),
    ],
)
def test_a_journal_that_must_not_be_is_a_loss(tmp_path: Path, journal: str, what: str) -> None:
    machine = Machine(tmp_path)
    machine.journal.write_text(journal)
    check_journal(machine)
    assert [loss for loss in machine.losses if what in loss]


def test_a_run_that_begins_anew_since_its_checkpoint_was_destroyed_is_no_loss(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.journal.write_text("trained a 1 1\nsaved a 1 1\n")
    machine.may_begin_anew(RunFolder(tmp_path / "a"))
    with machine.journal.open("a") as file:
        file.write("trained a 2 1\nsaved a 2 1\n")
    check_journal(machine)
    assert machine.losses == []
    with machine.journal.open("a") as file:
        file.write("trained a 3 1\n")  # once, not again
    check_journal(machine)
    assert len(machine.losses) == 1


@pytest.mark.parametrize(("has_other_capture", "num_losses"), [(True, 0), (False, 1)])
def test_epochs_that_are_set_aside_are_lost_unless_a_fault_changed_the_capture(
    machine: Any, has_other_capture: bool, num_losses: int
) -> None:
    folder = machine.folders()[0]
    machine.journal.write_text("")
    folder.epochs.write_bytes(b"1\n2\n")
    machine.look()
    if has_other_capture:
        machine.may_begin_anew(folder)
        machine.may_change.clear()  # another fault has used it up
    folder.set_aside(folder.epochs)
    machine.look()
    assert len(machine.losses) == num_losses


def test_a_run_whose_epochs_are_set_aside_begins_anew_once(machine: Any) -> None:
    folder = machine.folders()[0]
    folder.epochs.write_bytes(b"1\n")
    folder.set_aside(folder.epochs)
    machine.forgotten.add(folder.path.name)
    once = f"trained {folder.path.name} 1 1\nsaved {folder.path.name} 1 1\n"
    machine.journal.write_text(2 * once)
    check_journal(machine)
    assert machine.losses == []
    machine.journal.write_text(3 * once)
    check_journal(machine)
    assert len(machine.losses) == 1


def test_losses_of_every_kind_are_seen(machine: Any) -> None:
    """Planted by hand: a failed run, a lost epoch, a hurt bystander, a traceback, a leftover, an edited checkout."""
    before, folder = machine.picture(), machine.folders()[0]
    folder.epochs.write_bytes(b"1\n2\n")
    machine.look()
    folder.epochs.write_bytes(b"1\n")
    folder.result.write_text(json.dumps({"state": "failed", "failure": "crashed", "reason": "it died"}))
    machine.log.write_text("Traceback (most recent call last)\n")
    machine.bystanders[1].send_signal(signal.SIGKILL)
    machine.bystanders[1].wait()
    (machine.cache / "knockout" / "study" / "left").mkdir(parents=True)
    (machine.repo / "new.txt").write_text("new")
    machine.look()
    machine.compare(before)
    found = machine.counts
    assert (found["epochs lost"], found["false failures"], found["tracebacks"], found["bystanders hurt"]) == (
        1,
        1,
        1,
        1,
    )
    assert found["changes in the user's checkout"] == 2  # the file, and what git says of it
    assert len(machine.losses) == 5


def test_what_is_left_in_the_end_is_a_loss(short_machine: Any) -> None:
    before = short_machine.picture()
    short_machine.finish()
    (short_machine.cache / "knockout" / "study" / "left").mkdir(parents=True)
    (short_machine.folders()[0].path / ".checkpoint.pt.half").touch()
    records = short_machine.folders()[1].epochs
    records.write_text(records.read_text().replace('"train_loss":0.', '"train_loss":1.', 1))
    inspect(short_machine, before)
    assert short_machine.counts["leftovers"] == 2
    assert [loss for loss in short_machine.losses if "has other numbers than a run that was never stopped" in loss]


def test_every_kind_is_in_one_campaign_and_the_table_tells_of_each() -> None:
    names = [name for kinds in ALL for name in kinds.by_name]
    assert sorted(names) == sorted(name for campaign in CAMPAIGNS for name in campaign.kinds.by_name)
    counts = Counter({f"{KIND}{names[0]}": 3, "epochs lost": 0})
    lines = list(table_lines(ALL, counts, 60.0))
    assert lines[0].startswith("3 faults, ")
    assert all(any(line.startswith(f"| {name} | ") for line in lines) for name in names)


def test_the_same_seed_draws_the_same_faults(machine: Any) -> None:
    kinds = Kinds("some")
    for name in "abcdef":
        kinds.kind(name, "by hand")(lambda storm: None)
    drawn = [[kind.name for kind in Storm(machine, seed).draw(kinds.possible(), 9)] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert set(drawn[0]) == set("abcdef")
    assert len(drawn[0]) == 9
