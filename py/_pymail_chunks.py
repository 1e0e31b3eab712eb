"""Several messages in one flight (RFC 2920): BDAT in place of DATA (CHUNKING, RFC 3030)."""

from __future__ import annotations

import smtplib
from collections import deque
from collections.abc import Iterator

from _pymail_dialogue import RSET, Dialogue
from _pymail_replies import ONE_WRITE, Message, NoReply, Outcome, judge


class Flight:
    """Messages of which at most `window` are unknown when the connection is lost."""

    def __init__(self, dialogue: Dialogue, messages: list[Message], window: int) -> None:
        self.dialogue = dialogue
        self.window = window
        self._waiting = deque(messages)
        # On their way, the first one's replies first; and whether the last one's end may not have gone out.
        self._flying: deque[list[bytes]] = deque()
        self._is_broken = False

    def outcomes(self) -> Iterator[Outcome]:
        """Sends all; whatever is raised leaves no outcome for what was not sent."""
        self.dialogue.listen()
        try:
            while self._flying or (self._waiting and not self._is_broken):
                if self._waiting and len(self._flying) < self.window and not self._is_broken:
                    self._send(self._waiting.popleft())
                else:
                    outcome = self._land()
                    yield outcome
                    self._flying.popleft()
                    if outcome.refused and not self._flying and not self._is_broken:
                        self.dialogue.reset()
            if self._is_broken:
                raise NoReply("the server hung up")
        except GeneratorExit:
            raise
        except BaseException as error:  # Ctrl-C too
            for _ in self._flying:
                yield Outcome(error=error, may_have_arrived=True)
            raise

    def _send(self, message: Message) -> None:
        data = message[2]
        commands = [*self.dialogue.commands(message)[:-1], f"BDAT {len(data)} LAST\r\n".encode()]
        if not self.dialogue.is_fresh:
            # A transaction that is still open would add its recipients to this message's (RFC 3030).
            commands.insert(0, RSET)
        self.dialogue.is_fresh = False
        self._flying.append(commands)
        try:
            self.dialogue.smtp.send(b"".join(commands) + data)
        except smtplib.SMTPServerDisconnected:
            self._is_broken = True  # what the server said before it hung up may still be read

    def _land(self) -> Outcome:
        commands = self._flying[0]
        if commands[0] is RSET and self.dialogue.reply_to_sent(commands.pop(0))[0] >= 300:
            raise NoReply("the server refuses RSET")
        replies = [self.dialogue.reply_to_sent(command) for command in commands[:-1]]
        end = self.dialogue.reply_to_sent(commands[-1], may_close=True)
        if end[0] < 300 and self._is_broken and len(self._flying) == 1:
            raise NoReply(f"{end[0]} before a message's end: {end[1]}")
        self.dialogue.has_ended_one = True
        return judge([*replies, end], len(replies) - 1)


def fits(message: Message) -> bool:
    """Returns whether a message can be in a flight: it goes out in one write, and no dot of it was stuffed."""
    data = message[2]
    return len(data) <= ONE_WRITE and not data.startswith(b".") and b"\n." not in data
