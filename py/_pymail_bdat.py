"""Sends several messages in one flight (RFC 2920), by BDAT in place of DATA (CHUNKING, RFC 3030)."""

from __future__ import annotations

import smtplib
from collections import deque
from collections.abc import Iterator

from _pymail_dialogue import RSET, Dialogue, OutOfStep
from _pymail_smtplib_ext import ONE_WRITE, Message, NoReply
from _pymail_verdicts import (
    Outcome,
    disconnected,
    is_about_session,
    is_positive,
    outcome_at_end,
    refused_before_data,
)


class Flight:
    """Messages of which up to `window` are in flight, and so have an unknown outcome if the connection is lost."""

    def __init__(self, dialogue: Dialogue, messages: list[Message], window: int) -> None:
        self.dialogue = dialogue
        self.window = window
        self._waiting = deque(messages)
        # The commands of each message in flight that are still without a reply, oldest message first.
        self._in_flight: deque[list[bytes]] = deque()
        # True after a failed write: the last message in flight may not have been sent whole.
        self._is_broken = False

    def outcomes(self) -> Iterator[Outcome]:
        """Sends the messages and yields their outcomes; raises when the connection is lost, for those not sent."""
        self.dialogue.check_unsolicited()
        try:
            while self._in_flight or (self._waiting and not self._is_broken):
                if self._waiting and len(self._in_flight) < self.window and not self._is_broken:
                    self._send(self._waiting.popleft())
                else:
                    outcome = self._land()
                    yield outcome
                    self._in_flight.popleft()
                    if (outcome.refused or outcome.error) and not self._in_flight and not self._is_broken:
                        self.dialogue.reset()
            if self._is_broken:
                raise NoReply("the server closed the connection")
        except GeneratorExit:
            raise
        except BaseException as error:  # KeyboardInterrupt too
            for _ in self._in_flight:
                yield Outcome(error=error, may_have_arrived=True)
            raise

    def _send(self, message: Message) -> None:
        """Sends a message with its commands, in one write."""
        data = message[2]
        commands = [*self.dialogue.commands(message)[:-1], f"BDAT {len(data)} LAST\r\n".encode()]
        if not self.dialogue.is_fresh:
            # An open transaction would add its recipients to this message's (RFC 3030).
            commands.insert(0, RSET)
        self.dialogue.is_fresh = False
        self._in_flight.append(commands)
        try:
            before = b"".join(commands)
            self.dialogue.smtp.send(before + data, len(before), len(before) + len(data))
            self.dialogue.sent(len(data))
        except smtplib.SMTPServerDisconnected:
            self._is_broken = True  # replies that the server sent before may still be read

    def _land(self) -> Outcome:
        """Reads the replies to the oldest message in flight; returns its outcome."""
        commands = self._in_flight[0]
        was_fresh = commands[0] is not RSET
        # All replies: the message's end was sent, and a server may send them together (RFC 2920, section 3.2).
        with self.dialogue.final_reply():
            if not was_fresh:
                code, text = self.dialogue.reply_to_sent(commands.pop(0))
                if code >= 300:
                    # No server refuses RSET: after a surplus reply, this is the one to the message before.
                    raise OutOfStep(f"{code} is no reply to RSET: {text}")
            replies = [self.dialogue.reply_to_sent(command) for command in commands[:-1]]
            end = self.dialogue.reply_to_sent(commands[-1], may_close=True)
        if is_positive(end) and self._is_broken and len(self._in_flight) == 1:
            raise NoReply(f"{end[0]} before a message's end: {end[1]}")
        self.dialogue.has_ended_one = True
        answers = replies[1:]
        outcome = refused_before_data(replies, len(answers)) or outcome_at_end(end, answers)
        if outcome.refused and not was_fresh and is_about_session(outcome):
            # A new connection takes the message.
            return Outcome(error=disconnected(outcome))
        return outcome


def fits(message: Message) -> bool:
    """Returns True if a message can be sent by BDAT: it goes out in one write, and no dot of it was stuffed."""
    data = message[2]
    return len(data) <= ONE_WRITE and not data.startswith(b".") and b"\n." not in data
