"""TLS for IMAP, decrypted from octets that were received many records at a time."""

from __future__ import annotations

import io
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from _pymail_socket import Socket
from _pymail_transport import Trust, tls_context

T = TypeVar("T")

# Octets taken from the socket at a time. OpenSSL's buffer keeps this size once it was filled.
CHUNK = 32 << 10


class TlsSocket:
    """The socket of a connection with TLS, with those methods of a socket that imaplib calls.

    An `ssl.SSLSocket` takes two system calls for each TLS record, and many servers send records of 2 KiB.
    """

    def __init__(self, sock: Socket, context: ssl.SSLContext, host: str) -> None:
        self._sock = sock
        self._received, self._to_send = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._received, self._to_send, server_hostname=host)
        try:
            self._complete(self.tls.do_handshake)
        except ssl.SSLError:
            with suppress(OSError):  # the alert that tells the server why
                self._flush()
            raise

    def _complete(self, operation: Callable[..., T], *args: Any) -> T:
        """Runs an operation, with the receiving and sending that it needs."""
        while True:
            try:
                done = operation(*args)
            except ssl.SSLWantReadError:
                self._flush()
                if octets := self._sock.recv(CHUNK):
                    self._received.write(octets)
                else:
                    self._received.write_eof()
            else:
                self._flush()
                return done

    def _flush(self) -> None:
        if self._to_send.pending:
            self._sock.sendall(self._to_send.read())

    def recv(self, most: int) -> bytes:
        """Returns octets that were decrypted; none at the end of the connection."""
        return self._recv(most, self._sock.recv)

    def recv_arrived(self, most: int) -> bytes:
        """Returns octets of records that have arrived whole; raises BlockingIOError if there is none."""
        return self._recv(most, self._sock.recv_arrived)

    def _recv(self, most: int, receive: Callable[[int], bytes]) -> bytes:
        while True:
            try:
                return self.tls.read(most)
            except ssl.SSLWantReadError:
                self._flush()  # the answer to a request for new keys
                octets = receive(CHUNK)
                if not octets:  # with or without the alert that announces it
                    return b""
                self._received.write(octets)

    def settimeout(self, seconds: float) -> None:
        """Limits each wait."""
        self._sock.settimeout(seconds)

    def sendall(self, data: bytes) -> None:
        """Sends all octets, in records of 16 KiB."""
        left = memoryview(data)
        while left:
            left = left[self._complete(self.tls.write, left) :]

    def makefile(self, _mode: str) -> io.BytesIO:
        """Returns a file without octets: imaplib makes one and closes it, and nothing is read from it."""
        return io.BytesIO()

    def shutdown(self, how: int) -> None:
        """Ends the connection."""
        self._sock.shutdown(how)

    def close(self) -> None:
        """Closes the socket, without the alert that announces it: its peer has LOGOUT."""
        self._sock.close()


class TlsContext:
    """Makes such sockets, in place of an `ssl.SSLContext`."""

    def __init__(self, trust: Trust) -> None:
        self._trust = trust

    def wrap_socket(self, sock: Socket, server_hostname: str) -> TlsSocket:
        """Returns the socket with TLS, after the handshake."""
        return TlsSocket(sock, tls_context(self._trust), server_hostname)
