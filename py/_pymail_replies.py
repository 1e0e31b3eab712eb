"""smtplib on a connection that Rust made and watches: metered, and strict about what is a reply.

What is no reply of RFC 5321, section 4.2, is raised as NoReply: smtplib makes one of almost anything.
"""

from __future__ import annotations

import re
import select
import smtplib
import socket
import ssl
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from _pymail_wire import Meter, acknowledge, pattern

# Code and text.
Reply = tuple[int, str]
# Sender, recipients, and data with CRLF line ends and stuffed dots, without the final dot.
Message = tuple[str, list[str], bytes]

# Up to this size a message goes out in one write with its end.
ONE_WRITE = 64 * 1024
# What one reply may have, over all of its lines.
REPLY = 256 * 1024
GREETING = 220
# So much is taken from the socket at a time.
CHUNK = 8 * 1024
_CODE = rb"[2-5]\d\d(?![0-9A-Za-z_])"
_ONE_LINE = rb"([2-5]\d\d) ([!-~](?:[ -~]{0,500}[!-~])?)\r\n"
_FULL_NAME = r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z][A-Za-z0-9-]{0,61}[A-Za-z0-9]"
# Top-level names that only this host's network knows, or none.
_NO_DOMAINS = ("home", "internal", "intranet", "invalid", "lan", "local", "localdomain", "localhost", "private")


class Outcome(NamedTuple):
    """The outcome of a message, by the server's replies or by the error that ended the attempt."""

    # The command that was refused: MAIL, RCPT or DATA; "" if none was.
    refused: str = ""
    # The reply that decides, and the recipients' replies.
    reply: Reply | None = None
    answers: Sequence[Reply] = ()
    error: BaseException | None = None
    # After an error: True if the message's end was sent, or may have been.
    may_have_arrived: bool = False


def judge(replies: list[Reply], recipients: int) -> Outcome:
    """Returns the outcome of a message by the replies to MAIL, to each RCPT, and to DATA or the message's end."""
    mail, answers, end = replies[0], replies[1 : recipients + 1], replies[-1]
    # After these refusals the message is for no recipient, whatever the reply to its end.
    if mail[0] >= 300:
        return Outcome("MAIL", mail)
    if all(code >= 300 for code, _ in answers):
        return Outcome("RCPT", answers[0], answers)
    return Outcome("" if end[0] < 300 else "DATA", end, answers)


class NoReply(Exception):
    """What came is no reply."""


class _Replies:
    """A file that a reply's lines are read from, until they are too many or none."""

    def __init__(self, sock: socket.socket, meter: Meter) -> None:
        self.sock = sock
        self.meter = meter
        # What has come and was not read; what was read may repeat the password, and is not kept.
        self._come = b""
        # Within a reply of several lines, its code: some servers leave it out before words for people.
        self._within = b""
        self._waiting = select.poll()
        self._waiting.register(sock, select.POLLIN)

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
        """Returns the next line of a reply. Blank lines say nothing."""
        line = self._line(most)
        while line and not line.strip():
            line = self._line(most)
        if self._within and not line[:1].isdigit() and line:
            return self._within + line
        if line and not re.match(_CODE, line):
            raise NoReply(f"the server sends no reply code: {as_text(line)}")
        self._within = line[:4] if line[3:4] == b"-" else b""
        return line

    def _line(self, most: int) -> bytes:
        while not (end := self._come.find(b"\n") + 1) and len(self._come) < most:
            if not self._receive():
                break
        line = self._take(min(end or most, most))
        if len(line) >= most:
            raise NoReply("the server's line has no end")
        if line and not line.endswith(b"\n"):
            raise NoReply("the server's reply was cut")  # it may well look like a whole one
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

    def has_come(self) -> bool:
        """Whether something can be read without waiting: a reply, a part of one, or the connection's end."""
        self._come = self._come.lstrip(b"\r\n")
        if self._come:
            return True
        if not (getattr(self.sock, "pending", int)() or self._waiting.poll(0)):
            return False
        self.sock.settimeout(0)  # TLS has records of its own, which are no answer
        try:
            has_ended = not self._receive()
            self._come = self._come.lstrip(b"\r\n")
            return has_ended or self._come != b""
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except OSError:
            return True
        finally:
            self.sock.settimeout(None)

    def first_line(self) -> str:
        """The first line of what has come; empty when there is none that is whole and begins with a reply code."""
        line, end, _ = self._come.partition(b"\n")
        return as_text(line.strip()) if end and re.match(_CODE, line) else ""

    def close(self) -> None:
        self._come, self._within = b"", b""


class Smtp(smtplib.SMTP):
    """On a connected socket, encrypted or not yet; metered, and prompt."""

    def __init__(self, sock: socket.socket, host: str, port: int, seconds: float, local_name: str) -> None:
        self.meter = Meter(seconds)
        self.replies = 0
        self._is_greeting = False
        self._adopted = sock
        super().__init__(host, port, local_name or own_name(socket.gethostname(), sock.getsockname()[0]))

    def _get_socket(self, host: str, port: int, timeout: float | None) -> socket.socket:
        return self._adopted

    def hello(self) -> Reply | None:
        """Says EHLO, and HELO to a server that refuses it for good; returns that refusal."""
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

    def send(self, s: Any) -> None:
        """Sends all; when that fails, the socket stays open: the server's last words can still be read."""
        octets = s.encode(self.command_encoding) if isinstance(s, str) else s
        if self.sock is None:
            raise smtplib.SMTPServerDisconnected("the connection is closed")
        sys.audit("smtplib.send", self, octets)
        try:
            self.sock.sendall(octets)
        except OSError as error:
            raise smtplib.SMTPServerDisconnected(f"the connection is lost: {error}") from error
        self.meter.sent += len(octets)
        acknowledge(self.sock)  # what is answered, at once

    def upload(self, data: bytes) -> bool:
        """Sends a message's data for as long as the server says nothing; returns whether all of it went out."""
        assert self.sock is not None
        reader, left, events = self._reader(), memoryview(data), select.POLLIN | select.POLLOUT
        ready = select.poll()
        ready.register(self.sock, events)
        try:
            while left:
                ready.poll()
                if reader.has_come():
                    return False
                self.sock.settimeout(0)
                wanted = events
                try:
                    sent = self.sock.send(left[:ONE_WRITE])
                    left = left[sent:]
                    self.meter.sent += sent
                except ssl.SSLWantReadError:
                    wanted = select.POLLIN
                except (BlockingIOError, ssl.SSLWantWriteError):
                    pass
                except OSError:
                    return False
                ready.modify(self.sock, wanted)
            return True
        finally:
            self.sock.settimeout(None)

    def has_spoken(self) -> bool:
        """Whether something has come that was not asked for, or the connection is at its end."""
        return self.sock is None or self._reader().has_come()

    def unasked(self) -> str:
        """The first line of that, if it is a reply."""
        return self._reader().first_line() if self.sock is not None else ""

    def _reader(self) -> _Replies:
        if self.file is None:
            assert self.sock is not None
            # A new one for each socket: what came before the encryption may be forged.
            self.file = _Replies(self.sock, self.meter)
        reader: _Replies = self.file
        return reader

    def getreply(self) -> tuple[int, bytes]:
        if self.sock is None:
            raise smtplib.SMTPServerDisconnected("the connection is closed")
        reader = self._reader()
        self.meter.room = REPLY
        self.replies += 1
        try:
            code, text = reader.one_line() or super().getreply()
            while code == GREETING and self._is_greeting:
                # A proxy's greeting came before it; taken for the answer to EHLO, each later reply would be, too.
                code, text = reader.one_line() or super().getreply()
        except OSError as error:
            self.close()
            if isinstance(error, smtplib.SMTPException):
                raise
            raise smtplib.SMTPServerDisconnected(f"Connection unexpectedly closed: {error}") from error
        if not 200 <= code <= 599:
            # smtplib has cut the beginning off its text: a password in it would not be recognised.
            raise smtplib.SMTPServerDisconnected(f"no reply code: {code}")
        return code, text


def own_name(host: str, address: str) -> str:
    """A name for EHLO that servers accept: the host's own, if it is a full one, else an address literal.

    RFC 5321, sections 4.1.1.1 and 4.1.3. Servers refuse `localhost` and names without a domain.
    """
    labels = host.split(".")
    if len(host) <= 255 and re.fullmatch(_FULL_NAME, host) and labels[-1].lower() not in _NO_DOMAINS:
        return host
    address = re.sub("^::ffff:(?=[0-9.]+$)", "", address.partition("%")[0])
    return f"[IPv6:{address}]" if ":" in address else f"[{address}]"


def as_text(value: object) -> str:
    """Octets of a reply as text."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
