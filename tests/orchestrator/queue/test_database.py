"""What is told about a database that cannot be used."""

import contextlib
import errno
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from orchestrator.errors import QueueError, QueueLockedError
from orchestrator.queue.database import connect
from orchestrator.queue.store import Store

ROOT = Path(__file__).parents[3]


def refusal_of(url: str) -> str:
    with pytest.raises(QueueError) as refusal:
        Store(url)
    return str(refusal.value)


@pytest.mark.parametrize("content", [b"garbage, and no database at all " * 200, b"SQLite format 3\0" + b"\1" * 4000])
def test_a_file_of_garbage_is_made_again_by_rebuild(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "knockout.db"
    file.write_bytes(content)
    assert refusal_of(f"sqlite:///{file}") == (
        f"{file}: the queue cannot be used: file is not a database; `knockout rebuild` makes it again from the run "
        "folders"
    )


def test_a_truncated_file_is_made_again_by_rebuild(tmp_path: Path) -> None:
    file = tmp_path / "knockout.db"
    Store(f"sqlite:///{file}").close()
    os.truncate(file, file.stat().st_size // 2)
    assert refusal_of(f"sqlite:///{file}") == (
        f"{file}: the queue cannot be used: database disk image is malformed; `knockout rebuild` makes it again from "
        "the run folders"
    )


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file where a folder should be")
    file = tmp_path / "results" / "knockout.db"
    assert refusal_of(f"sqlite:///{file}") == (
        f"{file}: the queue cannot be used: unable to open database file; it cannot be written; give the user who runs "
        "Knockout the right to"
    )


def test_a_file_that_another_is_just_making_is_waited_for(tmp_path: Path) -> None:
    file = tmp_path / "knockout.db"
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as other, ThreadPoolExecutor() as pool:
        other.execute("BEGIN IMMEDIATE")
        opening = pool.submit(Store, f"sqlite:///{file}")
        time.sleep(0.2)
        assert not opening.done()
        other.execute("ROLLBACK")
        opening.result(timeout=30).close()


WANTED = "wanted is sqlite:///FILE or postgresql+psycopg://USER:PASSWORD@HOST:PORT/DATABASE"


@pytest.mark.parametrize("url", ["results/secret.db", "postgresql://ada:secret@host:port/queue", ""])
def test_what_is_no_url_is_refused_without_repeating_it(url: str) -> None:
    assert refusal_of(url) == f"KNOCKOUT_DATABASE: this is no URL of a database; {WANTED}"


@pytest.mark.parametrize("kind", ["mysql", "nonsense", "postgresql+psycopg2", "sqlite+aiosqlite"])
def test_other_databases_and_drivers_are_refused(kind: str) -> None:
    said = refusal_of(f"{kind}://ada:secret@host/queue")
    assert said == f"KNOCKOUT_DATABASE: the queue cannot be kept in {kind}; {WANTED}"


def test_a_driver_that_is_not_installed_is_named_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    assert refusal_of("postgresql://ada:secret@host/queue") == (
        "postgresql+psycopg://ada:***@host/queue: PostgreSQL's driver is not installed; get it with "
        "`pip install 'knockout[postgresql]'`"
    )


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://ada:secret@127.0.0.1:1/queue",
        "postgresql+psycopg://ada:secret@127.0.0.1:1/queue?password=secret&connect_timeout=3",
    ],
)
def test_a_server_that_does_not_answer_is_named_without_the_password(url: str) -> None:
    said = refusal_of(url)
    assert said.startswith("postgresql+psycopg://ada:***@127.0.0.1:1/queue: the queue cannot be used: connection")
    assert said.endswith(
        "; see that it can be reached, and that KNOCKOUT_DATABASE names the right server, user, password and database; "
        "results are in the run folders and safe"
    )
    assert "secret" not in said


def test_a_server_that_was_started_again_is_asked_anew(postgresql_url: str) -> None:
    engine = connect(postgresql_url)
    with engine.connect() as connection:
        own = connection.scalar(text("SELECT pg_backend_pid()"))
    other = connect(postgresql_url)
    with other.connect() as connection:
        connection.execute(text(f"SELECT pg_terminate_backend({own}, 5000)"))
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT pg_backend_pid()")) != own
    engine.dispose()
    other.dispose()


def test_a_server_that_is_away_may_come_back_so_that_workers_go_on() -> None:
    engine = connect("postgresql://ada:secret@127.0.0.1:1/queue")
    with pytest.raises(QueueLockedError, match="connection"), engine.connect():
        pass
    engine.dispose()


def test_a_connection_that_the_server_ends_in_the_middle_may_come_back(postgresql_url: str) -> None:
    engine, other = connect(postgresql_url), connect(postgresql_url)
    with engine.connect() as connection:
        own = connection.scalar(text("SELECT pg_backend_pid()"))
        with other.connect() as killer:
            killer.execute(text(f"SELECT pg_terminate_backend({own}, 5000)"))
        with pytest.raises(QueueLockedError, match="terminating connection"):
            connection.execute(text("SELECT 1"))
    engine.dispose()
    other.dispose()


@pytest.fixture(scope="session")
def no_locks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that refuses every lock, as some network file systems do."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler here to build a file system without locks")
    library = tmp_path_factory.mktemp("no_locks") / "no_locks.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, ROOT / "tests" / "no_locks.c", "-ldl"], check=True)
    return library


@pytest.mark.parametrize(
    ("words", "number"),
    [(["queue", "list"], errno.ENOLCK), (["work"], errno.ENOSYS), (["rebuild"], errno.EOPNOTSUPP)],
)
def test_a_file_system_without_locks_is_told_with_a_way_that_works(
    study: Any, no_locks: Path, tmp_path: Path, words: list[str], number: int
) -> None:
    if words != ["work"]:
        study.queue("E5-s0-00000001")
        study.paths.runs.mkdir()
    # SQLite waits for what it takes for another program's lock.
    imports = "import orchestrator.queue.database as d, orchestrator.cli.main as c, sys;"
    start = f"{imports} d.LOCK_SECONDS = 0.1; sys.exit(c.main())"
    environment = os.environ | {"LD_PRELOAD": str(no_locks), "NO_LOCKS_ERRNO": str(number)}
    ended = subprocess.run(
        [sys.executable, "-c", start, *words, "-f", study.file],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 2, ended
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert "its file system has no locks, or no shared memory, which SQLite needs; put the queue" in ended.stderr
    assert "KNOCKOUT_DATABASE=sqlite:////FOLDER/knockout.db, or into PostgreSQL" in ended.stderr
