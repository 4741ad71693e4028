"""A server that is silent, away, or comes back: every wait has an end, and nothing is done twice."""

from collections.abc import Iterator

import pytest
from sqlalchemy import make_url, text

from orchestrator.errors import QueueLockedError
from orchestrator.processes import Process
from orchestrator.queue.store import QueuedRun, Store
from orchestrator.runs.states import RunState
from tests.builders.proxy import Proxy

ADA = Process("elsewhere", 11, "boot/1")
IDS = [f"E{number}-s0-00000000" for number in range(3)]
COMMIT = b"COMMIT\0"
"""As a program says it; `BEGIN ISOLATION LEVEL READ COMMITTED` is something else."""


@pytest.fixture
def proxy(postgresql_url: str) -> Iterator[Proxy]:
    url = make_url(postgresql_url)
    with Proxy(url.host or "", url.port or 5432) as between:
        yield between


@pytest.fixture
def store(postgresql_url: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A queue of three runs that wait, behind a network, whose server is given up after half a second of silence."""
    monkeypatch.setattr("orchestrator.queue.postgresql.SILENCE_SECONDS", 0.5)
    monkeypatch.setattr("orchestrator.queue.postgresql.LOCK_SECONDS", 1.0)
    opened = Store(make_url(postgresql_url).set(port=proxy.port).render_as_string(hide_password=False))
    opened.add(QueuedRun(id=run_id, experiment="E", seed=0, profile="quick", state=RunState.QUEUED) for run_id in IDS)
    yield opened
    opened.close()


def states(store: Store) -> list[tuple[str, int]]:
    return [(row.state.value, row.attempt) for row in store.runs()]


def claim(store: Store) -> QueuedRun:
    claimed = store.claim(ADA)
    assert claimed is not None
    return claimed


def test_a_server_that_falls_silent_is_given_up_and_asked_anew_once_it_answers(store: Store, proxy: Proxy) -> None:
    first = claim(store)
    proxy.is_silent = True
    for act in (lambda: store.claim(ADA), lambda: store.send_heartbeat(ADA), lambda: store.end(first, RunState.DONE)):
        with pytest.raises(QueueLockedError, match="the queue cannot be used: "):
            act()
    proxy.is_silent = False
    assert store.end(first, RunState.DONE)
    assert claim(store).id == IDS[1]
    assert states(store) == [("done", 1), ("running", 1), ("queued", 0)]


def test_a_connection_that_falls_silent_in_the_middle_is_closed(store: Store, proxy: Proxy) -> None:
    with store.engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        proxy.is_silent = True
        with pytest.raises(QueueLockedError, match=r"the server has said nothing for 0\.5 s; "):
            connection.execute(text("SELECT 1"))
    proxy.is_silent = False
    assert len(store.runs()) == 3


def test_a_statement_that_takes_its_time_is_not_silence(postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.queue.postgresql.STATEMENT_SECONDS", 0.3)
    store = Store(postgresql_url)
    with store.engine.connect() as connection:
        assert connection.scalar(text("SELECT 1 FROM pg_sleep(0.1)")) == 1
        with pytest.raises(QueueLockedError, match="; it took too long to answer; try again when its server is less"):
            connection.execute(text("SELECT pg_sleep(60)"))
    store.close()


def test_a_server_that_resets_or_refuses_is_asked_anew(store: Store, proxy: Proxy) -> None:
    proxy.reset()
    assert claim(store).id == IDS[0]
    proxy.refuse()
    for _ in range(2):
        with pytest.raises(QueueLockedError):
            store.claim(ADA)
    proxy.open()
    assert claim(store).id == IDS[1]
    assert states(store) == [("running", 1), ("running", 1), ("queued", 0)]


def test_a_claim_whose_answer_was_lost_is_found_again(store: Store, proxy: Proxy) -> None:
    proxy.loses_answer_to = COMMIT
    with pytest.raises(QueueLockedError):
        store.claim(ADA)
    assert [claim(store).id for _ in range(2)] == IDS[:2]
    assert states(store) == [("running", 1), ("running", 1), ("queued", 0)]


def test_a_claim_that_the_server_got_late_is_found_once_the_heart_beats(store: Store) -> None:
    # As a packet that lay in the network: the row is this worker's, and no answer to it was waited for.
    with store.engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE runs SET state = 'running', attempt = 1, host = :host, pid = :pid, born = :born WHERE id = :id"
            ),
            {"host": ADA.host, "pid": ADA.pid, "born": ADA.born, "id": IDS[1]},
        )
    assert claim(store).id == IDS[0]
    assert store.send_heartbeat(ADA).held == {IDS[0], IDS[1]}
    assert [claim(store).id for _ in range(2)] == [IDS[1], IDS[2]]


def test_an_end_whose_answer_was_lost_is_still_the_claims_own(store: Store, proxy: Proxy) -> None:
    claimed = claim(store)
    proxy.loses_answer_to = COMMIT
    with pytest.raises(QueueLockedError):
        store.end(claimed, RunState.FAILED, "it crashed", "crashed")
    assert states(store)[0] == ("failed", 1)
    assert store.end(claimed, RunState.FAILED, "it crashed", "crashed")


@pytest.mark.parametrize("act", ["add", "send_heartbeat", "forget", "replace_all"])
def test_what_is_done_again_since_its_answer_was_lost_is_done_once(store: Store, proxy: Proxy, act: str) -> None:
    rows = store.runs()
    arguments = {"add": rows, "send_heartbeat": ADA, "forget": IDS[:1], "replace_all": rows}
    proxy.loses_answer_to = COMMIT
    with pytest.raises(QueueLockedError):
        getattr(store, act)(arguments[act])
    getattr(store, act)(arguments[act])
    assert len(store.runs()) == (2 if act == "forget" else 3)
    assert store.workers.list_living() == ([ADA] if act == "send_heartbeat" else [])


def test_a_program_that_stands_still_in_a_transaction_holds_nobody_up(
    postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.queue.postgresql.IDLE_SECONDS", 0.2)
    still = Store(postgresql_url)
    monkeypatch.setattr("orchestrator.queue.postgresql.LOCK_SECONDS", 60.0)
    other = Store(postgresql_url)
    with still.engine.connect() as connection:
        connection.execute(text("LOCK TABLE runs"))
        assert other.claim(ADA) is None
        with pytest.raises(QueueLockedError):
            connection.execute(text("SELECT 1"))
    for store in (still, other):
        store.close()


def test_a_wrong_database_is_told_at_the_first_command(postgresql_url: str) -> None:
    with pytest.raises(
        QueueLockedError, match=r"nowhere.*; see that it can be reached, and that KNOCKOUT_DATABASE names"
    ):
        Store(make_url(postgresql_url).set(database="nowhere").render_as_string(hide_password=False))


def test_a_server_whose_name_is_not_known_is_told() -> None:
    with pytest.raises(QueueLockedError, match="; see that it can be reached"):
        Store("postgresql://ada:secret@nowhere.invalid/queue")
