"""The SMTP dialogue on smtplib: plain values in, plain values out.

MAIL, RCPT and DATA go out and their replies come in one by one, so that it is always known how far a
message has come. A message is (sender, recipients, data): data with CRLF line ends and stuffed dots,
without the final dot.
"""

from __future__ import annotations

import base64
import re
import smtplib
import ssl
from collections.abc import Iterator
from typing import Any

from _pymail_chunks import Flight
from _pymail_replies import ONE_WRITE, Answers, Message, NoReply, Outcome, Reply, Smtp
from _pymail_wire import Refused, Trust, adopt, certificate_names, forget, tls_context

CLOSING = 421
GO_AHEAD = 354
DATA = b"DATA\r\n"


class _OutOfStep(NoReply):
    """A reply, but to something else: from here on nobody knows which belongs to which."""


class Session:
    """One connection."""

    def __init__(
        self,
        descriptor: int,
        host: str,
        port: int,
        security: str,
        trust: Trust,
        seconds: float,
        local_name: str,
    ) -> None:
        sock = adopt(descriptor, host, security, trust)
        try:
            self.smtp = Smtp(sock, host, port, seconds, local_name)
            self.smtp.ehlo_or_helo_if_needed()
            if security == "starttls":
                self._starttls(trust)
        except smtplib.SMTPResponseException as error:
            raise smtplib.SMTPServerDisconnected(f"{error.smtp_code} {_text(error.smtp_error)}") from None

    def hurry(self, seconds: float) -> None:
        """What is called next has this long."""
        self.smtp.meter.hurry(seconds)

    def traffic(self) -> tuple[int, int, int]:
        """Commands, octets sent, octets received so far."""
        return self.smtp.replies, self.smtp.meter.sent, self.smtp.meter.received

    def _starttls(self, trust: Trust) -> None:
        if not self.smtp.has_extn("starttls"):
            self.abandon()
            raise ssl.SSLError("the server offers no STARTTLS")
        self.smtp.starttls(context=tls_context(trust))
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

    def send(self, messages: list[Message], window: int) -> list[Outcome]:
        """Sends in order, up to so many in one flight; for each message an outcome, what it rests on, and the
        recipients' replies.

        sent: the server took it (reply). refused: it did not (stage, code, text). unknown: the connection was
        lost between the message's end and the answer to it (exception). unsent: lost before (exception).
        """
        if window > 1 and self._takes_chunks(messages):
            return self._fly(Flight(self, messages, window))
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
            self.smtp.close()  # When all have an outcome, nobody else learns of it.
        return outcomes

    def _takes_chunks(self, messages: list[Message]) -> bool:
        is_stuffed = any(data.startswith(b".") or b"\n." in data for _, _, data in messages)
        return self.smtp.has_extn("chunking") and self.smtp.has_extn("pipelining") and not is_stuffed

    def _fly(self, flight: Flight) -> list[Outcome]:
        lost: Any = None
        try:
            flight.fly()
        except BaseException as error:  # as above
            error.__traceback__ = None
            lost = error
            self.smtp.close()
        return [outcome or ("unsent", lost, []) for outcome in flight.outcomes]

    def _dialogues(self, messages: list[Message]) -> Iterator[Outcome]:
        """With PIPELINING (RFC 2920), a message's last write carries the commands of the next one."""
        pipelining = self.smtp.has_extn("pipelining")
        under_way = False
        upcoming = map(self.commands, messages)
        commands, following = next(upcoming, []), next(upcoming, [])
        for message in messages:
            if pipelining and not under_way:
                self.smtp.send(b"".join(commands))
            stage, reply, answers = self._offer(commands, pipelining)
            if stage:
                yield "refused", (stage, *reply), answers
                self.reset()
                under_way = False
                commands, following = following, next(upcoming, [])
                continue
            ahead = b"".join(following) if pipelining else b""
            under_way = ahead != b""
            what, basis, later = self._data(message[2], ahead, upcoming)
            yield what, basis, answers
            if what == "unknown":
                raise basis
            commands, following = following, later

    def commands(self, message: Message) -> list[bytes]:
        """MAIL, RCPTs and DATA of a message."""
        sender, recipients, data = message
        size = f" SIZE={len(data)}" if self.smtp.has_extn("size") else ""
        rcpts = [f"RCPT TO:<{recipient}>\r\n" for recipient in recipients]
        return [line.encode("ascii") for line in (f"MAIL FROM:<{sender}>{size}\r\n", *rcpts)] + [DATA]

    def _offer(self, commands: list[bytes], under_way: bool) -> tuple[str, Reply, Answers]:
        """MAIL, RCPT, DATA: the stage that was refused ("" for none), its reply, the recipients' replies."""
        replies: list[Reply] = []
        for command in commands:
            if not under_way and _hopeless(replies, len(commands)):
                break
            reply = self._reply_to(b"" if under_way else command)
            replies.append(self._in_step(command, reply, GO_AHEAD if command is DATA else 200))
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

    def _data(self, data: bytes, ahead: bytes, upcoming: Iterator[list[bytes]]) -> tuple[str, Any, list[bytes]]:
        """Sends a message and the next one's commands; prepares more of them while the server has it."""
        if len(data) > ONE_WRITE:
            # A loss in here comes before the message's end: it is unsent, for certain.
            self.smtp.send(data)
            data = b""
        try:
            self.smtp.send(data + b".\r\n" + ahead)
            later = next(upcoming, [])
            code, text = self._in_step(b"the end of DATA", self._reply(), 200)
        except BaseException as error:  # from here on nobody can say
            return "unknown", error, []
        return ("sent", (code, text), later) if code < 300 else ("refused", ("DATA", code, text), later)

    def _reply_to(self, command: bytes) -> Reply:
        """The next reply; a server that is closing (421) has not done what was asked."""
        if command:
            self.smtp.send(command)
        code, text = self._reply()
        if code == CLOSING:
            raise smtplib.SMTPServerDisconnected(f"{code} {text}")
        return code, text

    def reply_to_sent(self, command: bytes, *, may_close: bool = False) -> Reply:
        """The reply to a command that is under way."""
        return self._in_step(command, self._reply() if may_close else self._reply_to(b""), 200)

    def reset(self) -> None:
        """Ends a transaction that was begun."""
        code, text = self._in_step(b"RSET\r\n", self._reply_to(b"RSET\r\n"), 200)
        if code >= 300:
            # The next message would go to this one's recipients, too.
            raise NoReply(f"the server refuses RSET: {code} {text}")

    def _in_step(self, asked: bytes, reply: Reply, yes: int) -> Reply:
        """A reply that this command can have: its kind of yes, or a no."""
        code, text = reply
        if code < 400 and (code >= 300 or yes == GO_AHEAD) and code != yes:
            asked = asked if asked.startswith(b"the") else asked[:4]
            raise _OutOfStep(f"{code} is no answer to {asked.decode()}: {text}")
        return reply

    def _reply(self) -> Reply:
        code, text = self.smtp.getreply()
        return code, _text(text)

    def noop(self) -> None:
        """A sign of life."""
        self._reply_to(b"NOOP\r\n")

    def goodbye(self) -> None:
        """Says goodbye; what the server makes of it changes nothing."""
        if self.smtp.sock is not None:
            self.smtp.quit()

    def certificate_names(self) -> str:
        """Returns the hosts that the server's certificate is for."""
        return certificate_names(self.smtp.sock)

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
