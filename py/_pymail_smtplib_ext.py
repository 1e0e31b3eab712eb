"""smtplib on a connection that Rust has made: metered, and strict about what is a reply.

Anything but a reply by RFC 5321, section 4.2, raises NoReply: smtplib accepts almost anything as one.
"""

from __future__ import annotations

import re
import smtplib
import socket
import ssl
import sys
from collections.abc import Callable
from typing import Any

from _pymail_socket import Readiness, limit_wait, poller, quick_ack
from _pymail_transport import Meter, NoGreeting, Wire, pattern

# Code and text.
Reply = tuple[int, str]
# Sender, recipients, and data with CRLF line ends and stuffed dots, without the final dot.
Message = tuple[str, list[str], bytes]

# A message up to this size goes out in one write with the final dot.
ONE_WRITE = 64 * 1024
# Octets that one reply may have, over all of its lines.
REPLY_LIMIT = 256 * 1024
GREETING = 220
# Octets taken from the socket at a time.
CHUNK = 8 * 1024
_CODE = rb"[2-5]\d\d(?![0-9A-Za-z_])"
_ONE_LINE = rb"([2-5]\d\d) ([!-~](?:[ -~]{0,500}[!-~])?)\r\n"
_FULL_NAME = r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z][A-Za-z0-9-]{0,61}[A-Za-z0-9]"
# Top-level names that do not exist, or only in a local network.
_LOCAL_DOMAINS = ("home", "internal", "intranet", "invalid", "lan", "local", "localdomain", "localhost", "private")


class NoReply(Exception):
    """The server sent something that is not a reply."""


class _ReplyReader:
    """Reads the lines of replies, in place of smtplib's file, within the limits of the meter."""

    def __init__(self, sock: socket.socket, meter: Meter) -> None:
        self.sock, self._readable = sock, poller(sock)
        self.meter = meter
        # Octets that were received and not read yet. Read ones are dropped: a server may repeat the password.
        self._buffer = b""
        # Inside a reply of several lines, its code and hyphen: some servers leave them out before plain text.
        self._continued = b""

    def one_line(self) -> tuple[int, bytes] | None:
        """Returns the next reply if it has one line of the usual form, ten times as fast as smtplib; else None."""
        if not self._buffer:
            self._receive()
        reply = pattern(_ONE_LINE).match(self._buffer)
        if reply is None:
            return None
        self._take(reply.end())
        return int(reply[1]), reply[2]

    def readline(self, most: int) -> bytes:
        """Returns the next line of a reply; skips blank lines."""
        line = self._line(most)
        while line and not line.strip():
            line = self._line(most)
        if self._continued and not line[:1].isdigit() and line:
            return self._continued + line
        if line and not re.match(_CODE, line):
            raise NoReply(f"the server sent a line without a reply code: {as_text(line)}")
        self._continued = line[:4] if line[3:4] == b"-" else b""
        return line

    def _line(self, most: int) -> bytes:
        while not (end := self._buffer.find(b"\n") + 1) and len(self._buffer) < most:
            if not self._receive():
                break
        line = self._take(min(end or most, most))
        if len(line) >= most:
            raise NoReply(f"a reply line exceeds {most} bytes")
        if line and not line.endswith(b"\n"):
            raise NoReply("the connection ended within a reply")  # whose first part may look like a whole one
        return line

    def _receive(self) -> bool:
        if limit_wait and self.sock.gettimeout() != 0:
            limit_wait(self.sock, self.meter.end)
        octets = self.sock.recv(CHUNK)
        self._buffer += octets
        is_in_time = self.meter.count_received(len(octets))
        if not self.meter.received:
            raise NoGreeting
        if not is_in_time:
            raise NoReply(self.meter.violation())
        return octets != b""

    def _take(self, end: int) -> bytes:
        taken, self._buffer = self._buffer[:end], self._buffer[end:]
        if self.meter.wire is not None:
            self.meter.wire(False, taken, 0)
        if not self.meter.charge(len(taken)):
            raise NoReply(self.meter.violation())
        return taken

    def is_readable(self) -> bool:
        """Returns True if data or the connection's end can be read without waiting."""
        self._buffer = self._buffer.lstrip(b"\r\n")
        if self._buffer:
            return True
        if not (getattr(self.sock, "pending", int)() or self._readable(0)):
            return False
        self.sock.settimeout(0)  # a readable socket may have TLS records without data
        try:
            has_ended = not self._receive()
            self._buffer = self._buffer.lstrip(b"\r\n")
            return has_ended or self._buffer != b""
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except OSError:
            return True
        finally:
            self.sock.settimeout(None)

    def first_line(self) -> str:
        """Returns the first line that was received; "" if it is not complete or has no reply code."""
        line, end, _ = self._buffer.partition(b"\n")
        return as_text(line.strip()) if end and re.match(_CODE, line) else ""

    def close(self) -> None:
        """Drops unread octets."""
        self._buffer, self._continued = b"", b""


class Smtp(smtplib.SMTP):
    """An SMTP client on a connected socket, with TLS or before STARTTLS, that counts and limits what it reads."""

    # The text of the greeting.
    greeting = ""

    def __init__(
        self,
        sock: socket.socket,
        host: str,
        port: int,
        seconds: float,
        local_name: str,
        wire: Wire | None = None,
    ) -> None:
        self.meter = Meter(seconds, wire)
        self.replies = 0
        self._is_greeting = False
        self._adopted = sock
        super().__init__(host, port, local_name or own_name(socket.gethostname(), sock.getsockname()[0]))

    def _get_socket(self, host: str, port: int, timeout: float | None) -> socket.socket:
        return self._adopted

    def connect(self, *args: Any, **kwargs: Any) -> tuple[int, bytes]:
        """Reads the greeting, and keeps its text."""
        code, text = super().connect(*args, **kwargs)
        self.greeting = as_text(text)
        return code, text

    def hello(self) -> Reply | None:
        """Sends EHLO, and HELO if that is refused with a permanent code; returns that refusal of EHLO."""
        self._is_greeting = True
        code, text = self.ehlo()
        self._is_greeting = False
        refusal = (code, as_text(text)) if code >= 500 else None
        if refusal:
            try:
                code, text = self.helo()
            except smtplib.SMTPServerDisconnected:
                raise smtplib.SMTPHeloError(*refusal) from None
        if not 200 <= code < 300:
            raise smtplib.SMTPHeloError(code, text)
        return refusal

    def send(self, s: Any, begin: int = 0, end: int = 0) -> None:
        """Sends everything, of which the octets from `begin` to `end` are a message's, and all others commands.

        Keeps the socket open on failure: the server's last reply can still be read.
        """
        octets = s.encode(self.command_encoding) if isinstance(s, str) else s
        if self.sock is None:
            raise smtplib.SMTPServerDisconnected("the connection is closed")
        sys.audit("smtplib.send", self, octets)
        if self.meter.wire is not None:
            self.meter.wire(True, octets[:begin], end - begin)
            self.meter.wire(True, octets[end:], 0)
        if limit_wait:
            limit_wait(self.sock, self.meter.end)
        try:
            self.sock.sendall(octets)
        except OSError as error:
            raise smtplib.SMTPServerDisconnected(f"connection lost: {error}") from error
        self.meter.sent += len(octets)
        quick_ack(self.sock)

    def upload(self, data: bytes, report: Callable[[int], None]) -> bool:
        """Sends a message's data, and reports the octets of each write.

        Returns False as soon as the server replies or the connection is lost.
        """
        assert self.sock is not None
        if self.meter.wire is not None:
            self.meter.wire(True, b"", len(data))
        reader, left, readiness = self._reader(), memoryview(data), Readiness(self.sock)
        reading = writing = True
        try:
            while left:
                if not readiness.wait(reading, writing, self.meter.left()) or reader.is_readable():
                    return False
                self.sock.settimeout(0)
                reading = writing = True
                try:
                    sent = self.sock.send(left[:ONE_WRITE])
                    left = left[sent:]
                    self.meter.sent += sent
                    report(sent)
                except ssl.SSLWantReadError:
                    writing = False
                except (BlockingIOError, ssl.SSLWantWriteError):
                    pass
            return True
        except OSError:
            return False
        finally:
            self.sock.settimeout(None)

    def has_unsolicited(self) -> bool:
        """Returns True if the server has sent something before any command, or the connection is closed."""
        return self.sock is None or self._reader().is_readable()

    def unsolicited(self) -> str:
        """Returns the first line of what the server has sent, if it is a reply; else ""."""
        return self._reader().first_line() if self.sock is not None else ""

    def _reader(self) -> _ReplyReader:
        if self.file is None:
            assert self.sock is not None
            # A new reader for each socket: an attacker can forge what came before TLS.
            self.file = _ReplyReader(self.sock, self.meter)
        reader: _ReplyReader = self.file
        return reader

    def getreply(self) -> tuple[int, bytes]:
        """Returns the next reply's code and text; raises SMTPServerDisconnected when the connection is lost."""
        if self.sock is None:
            raise smtplib.SMTPServerDisconnected("the connection is closed")
        reader = self._reader()
        self.meter.remaining = REPLY_LIMIT
        self.replies += 1
        try:
            code, text = reader.one_line() or super().getreply()
            while code == GREETING and self._is_greeting:
                # A second greeting, after a proxy's. As the reply to EHLO it would shift all later replies by one.
                code, text = reader.one_line() or super().getreply()
        except OSError as error:
            self.close()
            if isinstance(error, smtplib.SMTPException):
                raise
            raise smtplib.SMTPServerDisconnected(f"connection lost: {error}") from error
        if not 200 <= code <= 599:
            # Without the text: smtplib has cut off its beginning, and half a password would not be recognised.
            raise smtplib.SMTPServerDisconnected(f"{code} is not a reply code")
        return code, text


def own_name(host: str, address: str) -> str:
    """Returns the name for EHLO: the host's name if it is fully qualified, else an address literal.

    RFC 5321, sections 4.1.1.1 and 4.1.3. Servers refuse `localhost` and names without a domain.
    """
    labels = host.split(".")
    if len(host) <= 255 and re.fullmatch(_FULL_NAME, host) and labels[-1].lower() not in _LOCAL_DOMAINS:
        return host
    address = re.sub("^::ffff:(?=[0-9.]+$)", "", address.partition("%")[0])
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"


def as_text(value: object) -> str:
    """Decodes octets as UTF-8, with U+FFFD for what is invalid; returns other values as `str` shows them."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
