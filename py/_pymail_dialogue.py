"""Commands and replies on one SMTP connection, each reply matched to the command that it answers."""

from __future__ import annotations

import smtplib

from _pymail_replies import Message, NoReply, Reply, Smtp, as_text

CLOSING = 421
GO_AHEAD = 354
DATA = b"DATA\r\n"
RSET = b"RSET\r\n"
NOOP = b"NOOP\r\n"
# "Unknown command": still a sign of life.
UNKNOWN = (500, 502)


class OutOfStep(NoReply):
    """A reply, but to something else: from here on none can be matched to its command."""


class Dialogue:
    """One connection that has said EHLO."""

    smtp: Smtp

    def __init__(self) -> None:
        # Until a first command, nothing that the server answers can be a goodbye to an idle connection.
        self.is_fresh = True
        # Whether a message has come to its end here, and whether MAIL is accepted after that without RSET.
        self.has_ended_one = False
        self.takes_mail_after_one: bool | None = None

    def listen(self) -> None:
        """Raises what the server has said unasked, or that it hung up: it would pass for the next reply."""
        if self.smtp.has_spoken():
            said = self.smtp.unasked()
            raise smtplib.SMTPServerDisconnected(said or "the server has spoken unasked, or hung up")

    def reply(self) -> Reply:
        """Returns the next reply."""
        code, text = self.smtp.getreply()
        return code, as_text(text)

    def reply_to_sent(self, command: bytes, *, may_close: bool = False) -> Reply:
        """Returns the reply to a command on its way; a server that closes (421) has not done what was asked."""
        code, text = self.reply()
        if code == CLOSING and not may_close:
            raise smtplib.SMTPServerDisconnected(f"{code} {text}")
        return in_step(command, (code, text), GO_AHEAD if command is DATA else 200)

    def reply_to(self, command: bytes) -> Reply:
        """Sends a command and returns the reply to it."""
        self.smtp.send(command)
        return self.reply_to_sent(command)

    def reset(self) -> None:
        """Ends a transaction that was begun."""
        code, text = self.reply_to(RSET)
        if code >= 300:
            # The next message would go to this one's recipients, too.
            raise NoReply(f"the server refuses RSET: {code} {text}")

    def noop(self) -> None:
        """Asks for a sign of life; a refusal is a goodbye."""
        self.listen()
        self.is_fresh = False
        code, text = self.reply_to(NOOP)
        if code >= 300 and code not in UNKNOWN:
            raise smtplib.SMTPServerDisconnected(f"{code} {text}")

    def commands(self, message: Message) -> list[bytes]:
        """Returns MAIL, RCPTs and DATA of a message."""
        sender, recipients, data = message
        size = f" SIZE={len(data)}" if self.smtp.has_extn("size") else ""
        rcpts = [f"RCPT TO:<{recipient}>\r\n" for recipient in recipients]
        return [line.encode("ascii") for line in (f"MAIL FROM:<{sender}>{size}\r\n", *rcpts)] + [DATA]


def in_step(asked: bytes, reply: Reply, yes: int) -> Reply:
    """Returns a reply that this command can have: its kind of yes, or a no."""
    code, text = reply
    if code < 400 and (code >= 300 or yes == GO_AHEAD) and code != yes:
        asked = asked if asked.startswith(b"the") else asked[:4]
        raise OutOfStep(f"{code} is no answer to {asked.decode()}: {text}")
    return reply
