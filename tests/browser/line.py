"""A TCP line between a browser and a site, or a site and its database, that a test can cut, mend
and make deaf."""

import socket
import struct
import threading
from contextlib import suppress
from typing import Self

# Closing with this set sends RST, as a network that is gone looks to a browser.
ABORT = (socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Line:
    """Passes bytes between its own port and another one. Use as a context manager."""

    def __init__(self, port: int) -> None:
        self._to = ("127.0.0.1", port)
        self._door = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._door.getsockname()[1]
        self.origin = f"http://127.0.0.1:{self.port}"
        self.asked = 0  # bytes that came in at its own port, for the other one
        self._connections: set[socket.socket] = set()
        self._silenced: set[socket.socket] = set()
        self._silences_new = False
        self._lock = threading.Lock()
        self._is_cut = False
        self._is_deaf = False
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def cut(self) -> None:
        """Break every connection, and refuse new ones until `mend`."""
        with self._lock:
            self._is_cut = True
            connections, self._connections = self._connections, set()
        for connection in connections:
            _abort(connection)

    def mend(self) -> None:
        self._is_deaf = False
        self._is_cut = False

    def swallow_answers(self) -> None:
        """From now on what the other port says is lost; what is said to it still arrives."""
        self._is_deaf = True

    def silence(self, *, new: bool = False) -> None:
        """What is said on the connections that there are is lost, both ways, their ends too; with
        `new` also on those that come."""
        with self._lock:
            self._silences_new = new
            self._silenced |= self._connections

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        # Wakes accept(), which closing alone does not.
        self._door.shutdown(socket.SHUT_RDWR)
        self._accepting.join(5)
        self._door.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._door.accept()
            except OSError:
                return
            if self._is_cut:
                _abort(near)
                continue
            far = socket.create_connection(self._to)
            with self._lock:
                self._connections |= {near, far}
                if self._silences_new:
                    self._silenced |= {near, far}
            threading.Thread(target=self._carry, args=(near, far), daemon=True).start()

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        """Both directions, until both have ended."""
        with near, far:
            there = threading.Thread(target=self._pump, args=(near, far, False), daemon=True)
            there.start()
            self._pump(far, near, is_answer=True)
            there.join()

    def _pump(self, source: socket.socket, target: socket.socket, is_answer: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if not is_answer:
                    with self._lock:
                        self.asked += len(data)
                if not (is_answer and self._is_deaf) and source not in self._silenced:
                    target.sendall(data)
        with self._lock:
            self._connections -= {source}
            if source in self._silenced:
                return
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)


def _abort(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.setsockopt(*ABORT)
        # Wakes the thread that reads from it; the close that follows sends the RST.
        connection.shutdown(socket.SHUT_RD)
    connection.close()
