"""Whether a peer takes what waits for it: one rule, with bounds for each kind of connection."""

import fcntl
import socket
import sys
import termios
from array import array


class Reading:
    """How one peer reads.

    A peer far away always has something under way: what counts is whether it takes that. Who is
    slow is given the time anew for each `least` bytes.
    """

    __slots__ = ("_all", "_since", "_taken", "is_seen", "least", "within")

    def __init__(self, least: int, within: float) -> None:
        """Who takes less than `least` bytes in `within` seconds, and not all that waited at their
        beginning, is not reading."""
        self.least = least
        self.within = within
        self.is_seen = False  # that it reads, at the last look
        self._since = 0.0  # since when data waits for the peer, 0 while none does
        self._taken = 0  # bytes that it had taken by then
        self._all = 0  # and when it has taken all that waited then

    def stalls(self, now: float, waiting: int, taken: int) -> bool:
        """Whether it is not reading, at a look at this time (s); from how many bytes wait now and
        were taken since its beginning."""
        reads = taken - self._taken >= self.least
        self.is_seen = bool(waiting and self._since and reads)
        if waiting and self._since and not reads and taken < self._all:
            return now - self._since >= self.within
        self._since = now if waiting else 0.0
        self._taken, self._all = taken, taken + waiting
        return False

    def stalls_at(self, now: float, tcp: socket.socket) -> bool:
        """As `stalls`, from what the kernel knows of the connection."""
        waiting = bytes_waiting(tcp)
        if not waiting and not self._since:
            self.is_seen = False
            return False  # of most connections, at most looks
        return self.stalls(now, waiting, bytes_taken(tcp) if waiting else 0)


_answer = array("i", [0])  # asked for thousands of times a second


def bytes_waiting(peer: socket.socket) -> int:
    """How much of what we sent the peer's kernel has not acknowledged (SIOCOUTQ)."""
    fcntl.ioctl(peer.fileno(), termios.TIOCOUTQ, _answer)
    return _answer[0]


def bytes_taken(peer: socket.socket) -> int:
    """How much it has acknowledged since the beginning (tcpi_bytes_acked in Linux's tcp_info)."""
    info = peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 128)
    return int.from_bytes(info[120:128], sys.byteorder)
