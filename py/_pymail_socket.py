"""The socket of a connection: what arrived is received without a wait, and a wait ends, on every system."""

from __future__ import annotations

import select
import socket
import sys
from collections.abc import Callable
from time import monotonic
from typing import Any

# Limits the next wait of a socket, until a time of `monotonic`; None where Rust ends each wait at the deadline.
limit_wait: Callable[[Any, float], None] | None = None

# False for a system where the shortest sleep may take 16 ms.
SLEEPS_BRIEFLY = sys.platform != "win32"

# Errors of Windows for a wait that Rust has cancelled, and on a socket that it has shut down.
OPERATION_ABORTED, SHUT_DOWN = 995, 10058


class Socket(socket.socket):
    """A socket that Rust has connected."""

    __slots__ = ()

    if sys.platform == "win32":

        def recv(self, most: int, flags: int = 0) -> bytes:
            """Returns octets; none at the end, and after a wait that was cancelled or limited."""
            try:
                return super().recv(most, flags)
            except socket.timeout:
                return b""
            except OSError as error:
                if error.winerror in (OPERATION_ABORTED, SHUT_DOWN):
                    return b""
                raise

        def recv_arrived(self, most: int) -> bytes:
            """Returns octets that have arrived; raises BlockingIOError if there are none."""
            self.settimeout(0)
            try:
                return self.recv(most)
            finally:
                self.settimeout(None)

    else:

        def recv_arrived(self, most: int) -> bytes:
            """Returns octets that have arrived; raises BlockingIOError if there are none."""
            return self.recv(most, socket.MSG_DONTWAIT)


if sys.platform == "win32":

    def _limit_wait(sock: Any, end: float) -> None:
        """Limits a wait that Rust ends, too, by a cancellation that a driver of the system may not know."""
        sock.settimeout(max(0.001, end - monotonic()))

    limit_wait = _limit_wait

    def poller(sock: Any) -> Callable[[int], Any]:
        """Returns a function that waits so many milliseconds for octets, or the end: its result is true then."""
        return lambda milliseconds: select.select([sock], [], [], milliseconds / 1000)[0]

    class Readiness:
        """Waits until a socket can be read or written."""

        def __init__(self, sock: Any) -> None:
            self._sockets = [sock]

        def wait(self, reading: bool, writing: bool, seconds: float) -> bool:
            """Returns True once octets, or the end, can be read, or octets can be sent; False at the limit."""
            return any(select.select(self._sockets * reading, self._sockets * writing, [], seconds))

else:

    def poller(sock: Any) -> Callable[[int], Any]:
        """Returns a function that waits so many milliseconds for octets, or the end: its result is true then."""
        poll = select.poll()  # `select` takes no descriptor beyond 1023
        poll.register(sock, select.POLLIN)
        return poll.poll

    class Readiness:
        """Waits until a socket can be read or written."""

        def __init__(self, sock: Any) -> None:
            self._sock, self._poll, self._events = sock, select.poll(), 0

        def wait(self, reading: bool, writing: bool, seconds: float) -> bool:
            """Returns True once octets, or the end, can be read, or octets can be sent; False at the limit."""
            events = select.POLLIN * reading | select.POLLOUT * writing
            if events != self._events:
                self._poll.register(self._sock, events)
                self._events = events
            return bool(self._poll.poll(seconds * 1000))


def tune(sock: socket.socket) -> None:
    """Sends small commands at once, and lets the kernel notice a dead peer."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    quick_ack(sock)


def quick_ack(sock: socket.socket) -> None:
    """Acknowledges the next data at once: a server with Nagle's algorithm would wait 40 ms for that.

    Only Linux has the option. Elsewhere nothing takes its place: no server of the tests holds a response back.
    """
    if hasattr(socket, "TCP_QUICKACK"):  # Linux
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
