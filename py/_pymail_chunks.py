"""Several messages in one flight (RFC 2920): BDAT in place of DATA (CHUNKING, RFC 3030)."""

from __future__ import annotations

from collections import deque
from typing import Protocol

from _pymail_replies import ONE_WRITE, Message, NoReply, Outcome, Reply, Smtp

RSET = b"RSET\r\n"


class Dialogue(Protocol):
    """What sends one message after the other, and here several."""

    smtp: Smtp

    def commands(self, message: Message) -> list[bytes]:
        """MAIL, RCPTs and DATA of a message."""

    def reply_to_sent(self, command: bytes, *, may_close: bool = False) -> Reply:
        """The reply to a command that is under way."""

    def reset(self) -> None:
        """Ends a transaction that was begun."""


class Flight:
    """Messages and their outcomes, of which at most `window` are unknown when the connection is lost."""

    def __init__(self, dialogue: Dialogue, messages: list[Message], window: int) -> None:
        self.dialogue = dialogue
        self.messages = messages
        self.window = window
        self.outcomes: list[Outcome | None] = [None] * len(messages)
        self._waiting = deque(range(len(messages)))
        # On their way whole, the first one's replies first.
        self._flying: deque[tuple[int, list[bytes]]] = deque()

    def fly(self) -> None:
        """Sends all; whatever is raised leaves no outcome for what was not sent."""
        if self.dialogue.smtp.is_spoken_to():
            # Most likely it says goodbye. Nothing is on its way yet.
            raise NoReply("the server has spoken unasked, or hung up")
        try:
            while self._waiting or self._flying:
                if self._waiting and len(self._flying) < self.window:
                    self._send(self._waiting.popleft())
                else:
                    self._land()
        except BaseException as error:
            for at, _ in self._flying:
                self.outcomes[at] = ("unknown", error, [])
            raise

    def _send(self, at: int) -> None:
        message = self.messages[at]
        data = message[2]
        commands = [*self.dialogue.commands(message)[:-1], f"BDAT {len(data)} LAST\r\n".encode()]
        if self._flying:
            # A refused BDAT may leave a transaction open, whose recipients would get this message (RFC 3030).
            commands.insert(0, RSET)
        before = b"".join(commands)
        if len(data) > ONE_WRITE:
            # A loss in here comes before the message's end: it is unsent, for certain.
            self.dialogue.smtp.send(before + data[:-1])
            before, data = b"", data[-1:]
        self._flying.append((at, commands))
        self.dialogue.smtp.send(before + data)

    def _land(self) -> None:
        at, commands = self._flying[0]
        if commands[0] is RSET and self.dialogue.reply_to_sent(commands.pop(0))[0] >= 300:
            raise NoReply("the server refuses RSET")
        replies = [self.dialogue.reply_to_sent(command) for command in commands[:-1]]
        end = self.dialogue.reply_to_sent(commands[-1], may_close=True)
        self._flying.popleft()
        self.outcomes[at] = _outcome(replies, end)
        if end[0] >= 300 and not self._flying:
            self.dialogue.reset()


def _outcome(replies: list[Reply], end: Reply) -> Outcome:
    mail, answers = replies[0], replies[1:]
    # Whatever it says to the data then: it is for nobody.
    if mail[0] >= 300:
        return "refused", ("MAIL", *mail), []
    if all(code >= 300 for code, _ in answers):
        return "refused", ("RCPT", *answers[0]), answers
    return ("sent", end, answers) if end[0] < 300 else ("refused", ("DATA", *end), answers)
