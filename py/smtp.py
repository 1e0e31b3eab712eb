"""The SMTP dialogue on smtplib: plain values in, plain values out.

MAIL, RCPT and DATA go out and their replies come in one by one, so that it is always known how far a
message has come. A message is (sender, recipients, data): data with CRLF line ends and stuffed dots,
without the final dot.
"""

from __future__ import annotations

import base64
import re
import smtplib
import socket
import ssl
from collections.abc import Iterator
from typing import Any

from _pymail_wire import Meter, Refused, acknowledge, adopt, forget, tls_context

Reply = tuple[int, str]
Message = tuple[str, list[str], bytes]
Answers = list[Reply]
Outcome = tuple[str, Any, Answers]

CLOSING = 421
GO_AHEAD = 354
# What one reply may have, over all of its lines.
REPLY = 256 * 1024
_REPLY = rb"[2-5]\d\d(?![0-9A-Za-z_])"
# Up to this size a message's data goes out in one write with its final dot.
ONE_WRITE = 64 * 1024


class _NoReply(Exception):
    """What came is no reply of RFC 5321, section 4.2; smtplib makes one of almost anything."""


class _OutOfStep(_NoReply):
    """A reply, but to something else: from here on nobody knows which belongs to which."""


class _Metered:
    """A file that a reply's lines are read from, until they are too many or none."""

    def __init__(self, file: Any, meter: Meter) -> None:
        self.file = file
        self.meter = meter

    def readline(self, most: int) -> bytes:
        line: bytes = self.file.readline(most)
        if not (self.meter.come(len(line)) and self.meter.spend(len(line))):
            raise _NoReply(self.meter.refusal())
        if len(line) >= most:
            raise _NoReply("the server's line has no end")
        if line and not line.endswith(b"\n"):
            raise _NoReply("the server's reply was cut")  # it may well look like a whole one
        if line and not re.match(_REPLY, line):
            raise _NoReply(f"the server sends no reply code: {_text(line)}")
        return line

    def close(self) -> None:
        self.file.close()


class _Smtp(smtplib.SMTP):
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

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None and self.sock is not None:
            self.file = _Metered(self.sock.makefile("rb"), self.meter)
        self.meter.room = REPLY
        self.replies += 1
        code, text = super().getreply()
        if not 200 <= code <= 599:
            # smtplib has cut the beginning off its text: a password in it would not be recognised.
            raise smtplib.SMTPServerDisconnected(f"no reply code: {code}")
        return code, text


class Session:
    """One connection."""

    def __init__(
        self,
        descriptor: int,
        host: str,
        port: int,
        security: str,
        roots: list[str],
        seconds: float,
        local_name: str,
    ) -> None:
        sock = adopt(descriptor, host, security, roots)
        try:
            self.smtp = _Smtp(sock, host, port, seconds, local_name)
            self.smtp.ehlo_or_helo_if_needed()
            if security == "starttls":
                self._starttls(roots)
        except smtplib.SMTPResponseException as error:
            raise smtplib.SMTPServerDisconnected(f"{error.smtp_code} {_text(error.smtp_error)}") from None

    def hurry(self, seconds: float) -> None:
        """What is called next has this long."""
        self.smtp.meter.hurry(seconds)

    def traffic(self) -> tuple[int, int, int]:
        """Commands, octets sent, octets received so far."""
        return self.smtp.replies, self.smtp.meter.sent, self.smtp.meter.received

    def _starttls(self, roots: list[str]) -> None:
        if not self.smtp.has_extn("starttls"):
            self.abandon()
            raise ssl.SSLError("the server offers no STARTTLS")
        self.smtp.starttls(context=tls_context(roots))
        self.smtp.ehlo_or_helo_if_needed()

    def login(self, user: str, password: str) -> None:
        """Logs in by AUTH PLAIN where it is offered, and by what smtplib knows where not."""
        try:
            self._login(user, password)
        except BaseException as error:
            forget(error)
            raise

    def _login(self, user: str, password: str) -> None:
        try:
            if "PLAIN" in self.smtp.esmtp_features.get("auth", "").upper().split():
                secret = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
                code, text = self.smtp.docmd("AUTH", "PLAIN " + secret)
            else:
                code, text = self.smtp.login(user, password)
        except smtplib.SMTPResponseException as error:
            raise Refused(str(error.smtp_code), _text(error.smtp_error)) from None
        except smtplib.SMTPServerDisconnected:
            raise
        except smtplib.SMTPException as error:
            raise Refused(None, str(error)) from None
        except UnicodeError:
            # Its text would show a character of the password, and where.
            raise Refused(None, "this server's ways to log in take ASCII passwords only") from None
        finally:
            # smtplib keeps both for ever.
            vars(self.smtp).update(user=None, password=None)
        if code >= 300:
            raise Refused(str(code), _text(text))

    def size_limit(self) -> int:
        """The largest message that the server says it takes (RFC 1870); 0 when it says nothing."""
        limit = self.smtp.esmtp_features.get("size", "")
        return int(limit) if re.fullmatch(r"[0-9]{1,18}", limit) else 0

    def send(self, messages: list[Message]) -> list[Outcome]:
        """Sends in order; for each message an outcome, what it rests on, and the recipients' replies.

        sent: the server took it (reply). refused: it did not (stage, code, text). unknown: the connection was
        lost between the message's end and the answer to it (exception). unsent: lost before (exception).
        """
        outcomes: list[Outcome] = []
        try:
            outcomes.extend(self._dialogues(messages))
        except BaseException as error:  # whatever it is, Ctrl-C too: the outcomes so far stand
            # With its traceback, it and this frame would keep each other, and what the server said.
            error.__traceback__ = None
            under_way = self.smtp.has_extn("pipelining") and isinstance(error, _OutOfStep)
            if under_way and outcomes and outcomes[-1][0] == "sent":
                # What was taken for the answer to its end may have been one to the next message's MAIL.
                outcomes[-1] = ("unknown", error, [])
            outcomes.extend([("unsent", error, [])] * (len(messages) - len(outcomes)))
        return outcomes

    def _dialogues(self, messages: list[Message]) -> Iterator[Outcome]:
        """With PIPELINING (RFC 2920), a message's last write carries the commands of the next one."""
        pipelining = self.smtp.has_extn("pipelining")
        under_way = False
        for at, message in enumerate(messages):
            if pipelining and not under_way:
                self.smtp.send(b"".join(self._commands(message)))
            stage, reply, answers = self._offer(message, pipelining)
            if stage:
                yield "refused", (stage, *reply), answers
                self._in_step("RSET", self._reply_to(b"RSET\r\n"), 200)
                under_way = False
                continue
            more = pipelining and at + 1 < len(messages)
            ahead = b"".join(self._commands(messages[at + 1])) if more else b""
            under_way = more
            what, basis = self._data(message[2], ahead)
            yield what, basis, answers
            if what == "unknown":
                raise basis

    def _commands(self, message: Message) -> list[bytes]:
        sender, recipients, data = message
        size = f" SIZE={len(data)}" if self.smtp.has_extn("size") else ""
        rcpts = [f"RCPT TO:<{recipient}>\r\n" for recipient in recipients]
        lines = [f"MAIL FROM:<{sender}>{size}\r\n", *rcpts, "DATA\r\n"]
        return [line.encode("ascii") for line in lines]

    def _offer(self, message: Message, under_way: bool) -> tuple[str, Reply, Answers]:
        """MAIL, RCPT, DATA: the stage that was refused ("" for none), its reply, the recipients' replies."""
        commands = self._commands(message)
        replies: list[Reply] = []
        for command in commands:
            if not under_way and _hopeless(replies, len(commands)):
                break
            yes = GO_AHEAD if command == b"DATA\r\n" else 200
            reply = self._reply_to(b"" if under_way else command)
            replies.append(self._in_step(command[:4].decode(), reply, yes))
        mail, answers = replies[0], replies[1 : len(commands) - 1]
        go_ahead = len(replies) == len(commands) and replies[-1][0] == GO_AHEAD
        if go_ahead and not _hopeless(replies[:-1], len(commands)):
            return "", replies[-1], answers
        if go_ahead:
            # Nobody is to have it, yet the server asks for the data: it gets none.
            self._reply_to(b".\r\n")
        if mail[0] >= 300:
            return "MAIL", mail, []
        if all(code >= 300 for code, _ in answers):
            return "RCPT", answers[0], answers
        return "DATA", replies[-1], answers

    def _data(self, data: bytes, ahead: bytes) -> tuple[str, Any]:
        if len(data) > ONE_WRITE:
            # A loss in here comes before the message's end: it is unsent, for certain.
            self.smtp.send(data)
            data = b""
        try:
            self.smtp.send(data + b".\r\n" + ahead)
            code, text = self._reply()
            self._in_step("a message's end", (code, text), 200)
        except BaseException as error:  # from here on nobody can say
            return "unknown", error
        return ("sent", (code, text)) if code < 300 else ("refused", ("DATA", code, text))

    def _reply_to(self, command: bytes) -> Reply:
        """The next reply; a server that is closing (421) has not done what was asked."""
        if command:
            self.smtp.send(command)
        code, text = self._reply()
        if code == CLOSING:
            raise smtplib.SMTPServerDisconnected(f"{code} {text}")
        return code, text

    def _in_step(self, asked: str, reply: Reply, yes: int) -> Reply:
        """A reply that this command can have: its kind of yes, or a no."""
        code, text = reply
        if code < 400 and (code >= 300 or yes == GO_AHEAD) and code != yes:
            raise _OutOfStep(f"{code} is no answer to {asked}: {text}")
        return reply

    def _reply(self) -> Reply:
        code, text = self.smtp.getreply()
        return code, _text(text)

    def noop(self) -> None:
        """A sign of life."""
        self._reply_to(b"NOOP\r\n")

    def quit(self) -> None:
        """Says goodbye; what the server makes of it changes nothing."""
        if self.smtp.sock is not None:
            self.smtp.quit()

    def abandon(self) -> None:
        """Closes the socket, says nothing."""
        self.smtp.close()


def _hopeless(replies: list[Reply], commands: int) -> bool:
    """Whether MAIL was refused, or every RCPT: the data is for nobody then."""
    answers = replies[1:]
    asked_all = len(replies) >= commands - 1
    return bool(replies) and (replies[0][0] >= 300 or (asked_all and all(code >= 300 for code, _ in answers)))


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
