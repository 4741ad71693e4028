"""A network between a program and a server; a test can reset it, close it or make it silent."""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from types import TracebackType

CHUNK = 65_536


class Proxy:
    """Passes bytes on to a server until a test disturbs it; counts the connections."""

    def __init__(self, host: str, port: int) -> None:
        self.target = (host, port)
        self.is_silent = False
        """Whether the proxy drops the bytes of both sides."""
        self.loses_answer_to: bytes | None = None
        """After a program has sent these bytes, the server still gets them, but the program gets no answer any more."""
        self.num_connections = 0
        self._sockets: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self.port = 0

    def __enter__(self) -> "Proxy":
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.refuse()

    def open(self) -> None:
        """Accept connections, at the same port as before."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=[self._listener], daemon=True).start()

    def refuse(self) -> None:
        """Accept no new connection, and reset the open ones."""
        if self._listener is not None:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        self.reset()

    def reset(self) -> None:
        """Reset the open connections."""
        for end in self._sockets:
            with contextlib.suppress(OSError):
                end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._sockets.clear()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                program, _ = listener.accept()
                self.num_connections += 1
                server = socket.create_connection(self.target)
                self._sockets += [program, server]
                is_deaf = threading.Event()
                for source, sink, says in ((program, server, True), (server, program, False)):
                    threading.Thread(target=self._pump, args=[source, sink, is_deaf, says], daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, is_deaf: threading.Event, says: bool) -> None:
        with contextlib.suppress(OSError):
            for content in _read(source):
                if says and self.loses_answer_to is not None and self.loses_answer_to in content:
                    is_deaf.set()
                    self.loses_answer_to = None
                if not self.is_silent and (says or not is_deaf.is_set()):
                    sink.sendall(content)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


def _read(source: socket.socket) -> Iterator[bytes]:
    while content := source.recv(CHUNK):
        yield content
