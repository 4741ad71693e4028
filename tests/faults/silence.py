"""Kinds of faults: the database's server is silent or cuts connections; a proxy before a real server does that."""

import contextlib
import os
import selectors
import socket
import struct
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import create_engine, make_url
from sqlalchemy.schema import CreateSchema, DropSchema

from tests.faults.kinds import Kinds
from tests.faults.machine import parent_of, sleep_for
from tests.faults.storm import MOMENTS, Storm

SILENCE = Kinds("the database's server is silent or away")
SERVER = os.environ.get("KNOCKOUT_TEST_DATABASE")
END_SECONDS = 30.0
LONG_SECONDS = 45.0
"""Longer than any time limit of a connection."""
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER by which a connection ends with a reset."""


def needs_server() -> str | None:
    """Return why there is no server here; None if there is one."""
    return None if SERVER else "KNOCKOUT_TEST_DATABASE holds no URL; `.ci/postgres make test` starts a server"


class Proxy:
    """Passes bytes on between clients and a server, keeps them back, or resets the connections."""

    def __init__(self, host: str, port: int) -> None:
        self._server = (host, port)
        self._is_over = False
        self._flow = threading.Lock()
        """Held by the thread that passes bytes on, or by the test that keeps them back."""
        self._asked_to_cut = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._other: dict[socket.socket, socket.socket] = {}
        self._thread = threading.Thread(target=self._pump, daemon=True)
        self._thread.start()

    def _pump(self) -> None:
        while not self._is_over:
            ready = self._selector.select(0.05)
            with self._flow:
                if self._asked_to_cut.is_set():
                    self._cut()
                    self._asked_to_cut.clear()
                    continue
                for key, _ in ready:
                    if key.fileobj is self._listener:
                        self._accept()
                    elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._other:
                        self._pass_on(key.fileobj)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        server = socket.create_connection(self._server)
        for one, other in ((client, server), (server, client)):
            self._other[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _pass_on(self, source: socket.socket) -> None:
        with contextlib.suppress(OSError):
            if content := source.recv(65536):
                self._other[source].sendall(content)
                return
        self._close(source)  # one end is gone, so the proxy closes the other end too

    def _close(self, source: socket.socket) -> None:
        for one in (source, self._other[source]):
            del self._other[one]
            self._selector.unregister(one)
            one.close()

    def _cut(self) -> None:
        for one in tuple(self._other):
            with contextlib.suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        while self._other:
            self._close(next(iter(self._other)))

    def cut(self) -> None:
        """Reset every open connection."""
        self._asked_to_cut.set()

    @contextlib.contextmanager
    def silent(self) -> Iterator[None]:
        """Keep all bytes back, as a network that drops packets does; they arrive later."""
        with self._flow:
            yield

    def close(self) -> None:
        self._is_over = True
        self._thread.join()
        self._cut()
        self._selector.close()
        self._listener.close()


@contextlib.contextmanager
def schema_behind_proxy() -> Iterator[tuple[str, Proxy]]:
    """Return the URL of an empty schema behind a proxy, and the proxy."""
    assert SERVER is not None
    schema, engine, url = f"faults_{uuid.uuid4().hex}", create_engine(SERVER), make_url(SERVER)
    with engine.begin() as connection:
        connection.execute(CreateSchema(schema))
    proxy = Proxy(url.host or "127.0.0.1", url.port or 5432)
    ours = url.set(host="127.0.0.1", port=proxy.port).update_query_dict({"options": f"-csearch_path={schema}"})
    try:
        yield ours.render_as_string(hide_password=False), proxy
    finally:
        proxy.close()
        with engine.begin() as connection:
            connection.execute(DropSchema(schema, cascade=True))
        engine.dispose()


def proxy_of(storm: Storm) -> Proxy:
    proxy = storm.machine.proxy
    assert isinstance(proxy, Proxy)
    return proxy


@contextlib.contextmanager
def silence(storm: Storm) -> Iterator[None]:
    """Keep all bytes back; a `work` may refuse to begin meanwhile, but one that has begun must go on.

    A `work` has begun when it has a standby: it starts one after it has opened the queue and claimed a run.
    """
    machine = storm.machine
    with proxy_of(storm).silent():
        before = {work.pid for work in machine.works}
        machine.excused |= before - {parent_of(pid) for pid in machine.standbys()}
        yield
        machine.excused |= {work.pid for work in machine.works} - before


@SILENCE.kind("a silent database", "the proxy keeps packets back for 1 to 12 s", needs=needs_server, weight=3)
def be_silent(storm: Storm) -> None:
    storm.wait(storm.machine.jobs)
    with silence(storm):
        sleep_for(storm.random.uniform(1.0, 12.0 if MOMENTS else 3.0))
    storm.machine.keep_working(1)


@SILENCE.kind("a database silent for long", f"the same for {LONG_SECONDS:.0f} s (`make soak` only)", needs=needs_server)
def be_silent_for_long(storm: Storm) -> None:
    storm.wait(storm.machine.jobs)
    works = tuple(storm.machine.living_works())
    with silence(storm):
        sleep_for(LONG_SECONDS if MOMENTS else 1.0)
    if ended := [work for work in works if work.pid not in storm.machine.excused and work.poll() not in (None, 0)]:
        storm.machine.lose(f"`work` ended with status {ended[0].returncode} since the database was silent")


@SILENCE.kind("connections reset", "the proxy resets them all at once", needs=needs_server, weight=3)
def reset(storm: Storm) -> None:
    proxy_of(storm).cut()


@SILENCE.kind("interrupted while silent", "two SIGINT to `work`: it must end", needs=needs_server)
def interrupt_while_silent(storm: Storm) -> None:
    storm.wait(storm.machine.jobs)
    with silence(storm):
        work = storm.pick_work()
        for _ in range(2):
            storm.machine.kill([work.pid], "INT")
            sleep_for(storm.random.uniform(0.1, 1.0))
        storm.machine.must_end(work, END_SECONDS, "the second interrupt, with a silent database")


@SILENCE.kind("a command while silent", "`status` must end with a sentence", needs=needs_server)
def ask_while_silent(storm: Storm) -> None:
    storm.wait(storm.machine.jobs)
    with silence(storm):
        storm.machine.may_refuse("status")


@SILENCE.kind("kill -9 of `work` while silent", "its jobs go on; the next one takes the runs", needs=needs_server)
def kill_while_silent(storm: Storm) -> None:
    storm.wait(storm.machine.jobs)
    with silence(storm):
        storm.machine.kill([storm.pick_work().pid])
        sleep_for(storm.random.uniform(0.1, 1.0))


def forget_queue_file(results: Path) -> None:
    """Delete the queue's file; the queue is kept in the database."""
    for path in results.glob("knockout.db*"):
        path.unlink()
