"""Where trials are kept: what is refused is a sentence, what passes is waited for, and no wait is without an end."""

import fcntl
import os
import stat
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from orchestrator.errors import QueueError, QueueLockedError
from orchestrator.runs.paths import Paths
from orchestrator.search.storage import hold, open_storage_study
from tests.builders.proxy import Proxy


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    (tmp_path / "results").mkdir()
    return Paths(tmp_path)


def test_a_spoilt_file_of_trials_is_told_with_what_to_do(paths: Paths) -> None:
    (paths.results / "optuna.db").write_bytes(b"garbage, and no database at all " * 200)
    with pytest.raises(QueueError) as refusal:
        open_storage_study(paths, None, "focal")
    assert str(refusal.value) == (
        f"{paths.results / 'optuna.db'}: the trials cannot be used: file is not a database; move it away: the next "
        "search begins anew, and takes the runs that are there already"
    )


def test_a_file_of_trials_that_another_holds_is_waited_for_by_the_search(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.search.storage.LOCK_SECONDS", 0.05)
    (study, _), (_, other) = (open_storage_study(paths, None, "focal") for _ in range(2))
    with other.engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        with pytest.raises(QueueLockedError, match=r"the trials cannot be used: .*; another program holds it"):
            study.ask()
        connection.rollback()
    assert study.ask().number == 0


def test_a_silent_server_of_trials_is_given_up_and_asked_anew(
    paths: Paths, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.queue.postgresql.SILENCE_SECONDS", 0.5)
    monkeypatch.setattr("orchestrator.queue.postgresql.LOCK_SECONDS", 1.0)
    url = make_url(postgresql_url)
    with Proxy(url.host or "", url.port or 5432) as proxy:
        study, storage = open_storage_study(
            paths, url.set(port=proxy.port).render_as_string(hide_password=False), "focal"
        )
        study.tell(study.ask(), 0.5)
        proxy.is_silent = True
        with pytest.raises(QueueLockedError, match=r"the trials cannot be used: .*--storage names the right server"):
            study.ask()
        proxy.is_silent = False
        assert study.ask().number == 1
        storage.engine.dispose()


def test_a_table_of_trials_that_is_gone_is_told(paths: Paths, postgresql_url: str) -> None:
    study, storage = open_storage_study(paths, postgresql_url, "focal")
    engine = storage.engine
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE trials CASCADE"))
    with pytest.raises(QueueError, match=r"the trials cannot be used: .*; move it away: the next search begins anew"):
        study.get_trials()
    engine.dispose()


def test_a_search_that_stands_still_keeps_no_other_waiting_for_ever(
    paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.search.storage.HOLD_SECONDS", 0.1)
    with paths.searches_lock.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with (
            pytest.raises(QueueLockedError, match=r"optuna\.lock: another search has held this for 0\.1 s"),
            hold(paths),
        ):
            pass
    with hold(paths):
        assert paths.searches_lock.exists()


def test_a_lock_that_cannot_be_made_is_a_sentence(paths: Paths) -> None:
    paths.searches_lock.mkdir()
    with pytest.raises(QueueError, match=r"this cannot be locked, .*: Is a directory; give the user"), hold(paths):
        pass


def test_a_group_that_shares_the_results_shares_the_trials(paths: Paths) -> None:
    before = os.umask(0o002)
    try:
        open_storage_study(paths, None, "focal")
    finally:
        os.umask(before)
    assert stat.S_IMODE((paths.results / "optuna.db").stat().st_mode) == 0o664
