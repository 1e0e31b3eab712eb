"""smtplib on a connection that Rust made and watches: metered, and strict about what is a reply.

What is no reply of RFC 5321, section 4.2, is raised as NoReply: smtplib makes one of almost anything.
"""

from __future__ import annotations

import re
import select
import smtplib
import socket
from typing import Any

from _pymail_wire import Meter, acknowledge, pattern

# Code and text.
Reply = tuple[int, str]
Answers = list[Reply]
# Sender, recipients, and data with CRLF line ends and stuffed dots, without the final dot.
Message = tuple[str, list[str], bytes]
# A word for what became of a message, what it rests on, and the recipients' replies.
Outcome = tuple[str, Any, Answers]

# Up to this size a message goes out in one write with its end.
ONE_WRITE = 64 * 1024
# What one reply may have, over all of its lines.
REPLY = 256 * 1024
# So much is taken from the socket at a time.
CHUNK = 8 * 1024
_CODE = rb"[2-5]\d\d(?![0-9A-Za-z_])"
_ONE_LINE = rb"([2-5]\d\d) ([!-~](?:[ -~]{0,500}[!-~])?)\r\n"


class NoReply(Exception):
    """What came is no reply."""


class _Replies:
    """A file that a reply's lines are read from, until they are too many or none."""

    def __init__(self, sock: socket.socket, meter: Meter) -> None:
        self.sock = sock
        self.meter = meter
        # What has come and was not read; what was read may repeat the password, and is not kept.
        self._come = b""

    def one_line(self) -> tuple[int, bytes] | None:
        """The next reply, if it is as most are; smtplib takes ten times as long for it."""
        if not self._come:
            self._receive()
        reply = pattern(_ONE_LINE).match(self._come)
        if reply is None:
            return None
        self._take(reply.end())
        return int(reply[1]), reply[2]

    def readline(self, most: int) -> bytes:
        while not (end := self._come.find(b"\n") + 1) and len(self._come) < most:
            if not self._receive():
                break
        line = self._take(min(end or most, most))
        if len(line) >= most:
            raise NoReply("the server's line has no end")
        if line and not line.endswith(b"\n"):
            raise NoReply("the server's reply was cut")  # it may well look like a whole one
        if line and not re.match(_CODE, line):
            raise NoReply(f"the server sends no reply code: {line.decode('utf-8', 'replace')}")
        return line

    def _receive(self) -> bool:
        octets = self.sock.recv(CHUNK)
        self._come += octets
        if not self.meter.come(len(octets)):
            raise NoReply(self.meter.refusal())
        return octets != b""

    def _take(self, end: int) -> bytes:
        taken, self._come = self._come[:end], self._come[end:]
        if not self.meter.spend(len(taken)):
            raise NoReply(self.meter.refusal())
        return taken

    def has_more(self) -> bool:
        """Whether more has come than was taken."""
        return self._come != b""

    def close(self) -> None:
        self._come = b""


class Smtp(smtplib.SMTP):
    """On a connected socket, encrypted or not yet; metered, and prompt."""

    def __init__(self, sock: socket.socket, host: str, port: int, seconds: float, local_name: str) -> None:
        self.meter = Meter(seconds)
        self.replies = 0
        self._adopted = sock
        super().__init__(host, port, local_name)

    def _get_socket(self, host: str, port: int, timeout: float | None) -> socket.socket:
        return self._adopted

    def send(self, s: Any) -> None:
        super().send(s)
        self.meter.sent += len(s)
        assert self.sock is not None
        acknowledge(self.sock)  # what is answered, at once

    def is_spoken_to(self) -> bool:
        """Whether something has come that nobody has asked for, or the connection's end."""
        assert self.sock is not None
        come = select.poll()
        come.register(self.sock, select.POLLIN)
        has_read = self.file is not None and self.file.has_more()
        return has_read or bool(getattr(self.sock, "pending", int)() or come.poll(0))

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None and self.sock is not None:
            # A new one for each socket: what came before the encryption may come from anybody.
            self.file = _Replies(self.sock, self.meter)
        self.meter.room = REPLY
        self.replies += 1
        code, text = self._one_line() or super().getreply()
        if not 200 <= code <= 599:
            # smtplib has cut the beginning off its text: a password in it would not be recognised.
            raise smtplib.SMTPServerDisconnected(f"no reply code: {code}")
        return code, text

    def _one_line(self) -> tuple[int, bytes] | None:
        if self.file is None:
            return None
        try:
            reply: tuple[int, bytes] | None = self.file.one_line()
            return reply
        except OSError as error:
            self.close()
            raise smtplib.SMTPServerDisconnected(f"Connection unexpectedly closed: {error}") from error
