"""Commands and replies on one SMTP connection, each reply matched to the command that it answers."""

from __future__ import annotations

import smtplib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from _pymail_smtplib_ext import Message, NoReply, Reply, Smtp, as_text

CLOSING = 421
GO_AHEAD = 354
DATA = b"DATA\r\n"
RSET = b"RSET\r\n"
NOOP = b"NOOP\r\n"
# "Unknown command" and "not implemented": still a sign of life.
UNKNOWN_COMMAND = (500, 502)


class OutOfStep(NoReply):
    """A reply to another command: from here on no reply can be matched to its command."""


class Dialogue:
    """An SMTP connection after EHLO."""

    smtp: Smtp
    # Of octets that were sent, or None before and after a final reply: returns the seconds that are left.
    pace: Callable[[int | None], float]

    def __init__(self) -> None:
        # True before the first command after login: no refusal can be about an idle connection yet.
        self.is_fresh = True
        # True after a message was completed here.
        self.has_ended_one = False
        # True if MAIL is accepted after a message without RSET; None before that is known.
        self.takes_mail_after_one: bool | None = None

    def check_unsolicited(self) -> None:
        """Raises if the server has sent something unasked, or has closed: it would pass for the next reply."""
        if self.smtp.has_unsolicited():
            line = self.smtp.unsolicited()
            raise smtplib.SMTPServerDisconnected(line or "unsolicited data, or the connection was closed")

    def reply(self) -> Reply:
        """Returns the next reply."""
        code, text = self.smtp.getreply()
        return code, as_text(text)

    def sent(self, octets: int) -> None:
        """Takes the time that octets of a message have earned."""
        self.smtp.meter.set_deadline(self.pace(octets))

    @contextmanager
    def final_reply(self) -> Iterator[None]:
        """Gives the reply to a message's end its own time."""
        self.smtp.meter.set_deadline(self.pace(None))
        try:
            yield
        finally:
            self.smtp.meter.set_deadline(self.pace(None))

    def reply_to_sent(self, command: bytes, *, may_close: bool = False) -> Reply:
        """Returns the reply to a command in flight.

        Raises for 421, which says that the command was not executed, unless `may_close`.
        """
        code, text = self.reply()
        if code == CLOSING and not may_close:
            raise smtplib.SMTPServerDisconnected(f"{code} {text}")
        return in_step(command, (code, text), GO_AHEAD if command is DATA else 200)

    def reply_to(self, command: bytes) -> Reply:
        """Sends a command and returns the reply to it."""
        self.smtp.send(command)
        return self.reply_to_sent(command)

    def reset(self) -> None:
        """Sends RSET, which ends an open transaction; raises if it is refused."""
        code, text = self.reply_to(RSET)
        if code >= 300:
            # The next message would also go to the recipients of the open transaction.
            raise NoReply(f"the server refuses RSET: {code} {text}")

    def noop(self) -> None:
        """Sends NOOP; raises if it is refused, since the server is about to close then."""
        self.check_unsolicited()
        self.is_fresh = False
        code, text = self.reply_to(NOOP)
        if code >= 300 and code not in UNKNOWN_COMMAND:
            raise smtplib.SMTPServerDisconnected(f"{code} {text}")

    def commands(self, message: Message) -> list[bytes]:
        """Returns the MAIL, RCPT and DATA commands of a message."""
        sender, recipients, data = message
        size = f" SIZE={len(data)}" if self.smtp.has_extn("size") else ""
        # Without BODY: the text is ASCII, and only the header is not (RFC 6531, section 3.6).
        utf8 = "" if "".join((sender, *recipients)).isascii() else " SMTPUTF8"
        rcpts = [f"RCPT TO:<{recipient}>\r\n" for recipient in recipients]
        return [line.encode() for line in (f"MAIL FROM:<{sender}>{utf8}{size}\r\n", *rcpts)] + [DATA]


def in_step(command: bytes, reply: Reply, yes: int) -> Reply:
    """Returns the reply if it fits the command: `yes` (200 for any 2xx), or a refusal; else raises OutOfStep."""
    code, text = reply
    if code < 400 and (code >= 300 or yes == GO_AHEAD) and code != yes:
        command = command if command.startswith(b"the") else command[:4]
        raise OutOfStep(f"{code} is no reply to {command.decode()}: {text}")
    return reply
