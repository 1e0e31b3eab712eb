"""Messages one after the other, by MAIL, RCPT and DATA, and what the replies mean for each."""

from __future__ import annotations

import re
import smtplib
from collections.abc import Iterator

from _pymail_dialogue import GO_AHEAD, Dialogue, in_step
from _pymail_replies import ONE_WRITE, Message, NoReply, Outcome, Reply, judge

BAD_SEQUENCE = 503
NOT_LOGGED_IN = 530
# To a parameter that the server does not know, which may be the SIZE that it has announced.
BAD_PARAMETER = (501, 504, 555)
_SIZE = rb" SIZE=\d+(?=\r\n$)"
# Such as "too many messages in this session".
_OF_THE_SESSION = r"(?is)\b(?:messages|mails|e-?mails|transactions)\b.*\b(?:session|connection)\b"
END = b".\r\n"
AT_THE_END = b"the end of DATA"


class OneByOne:
    """With PIPELINING (RFC 2920), a message's last write carries the commands of the next one."""

    def __init__(self, dialogue: Dialogue, messages: list[Message]) -> None:
        self.dialogue = dialogue
        self.messages = messages
        self.pipelining = dialogue.smtp.has_extn("pipelining")

    def outcomes(self) -> Iterator[Outcome]:
        """Sends all; whatever is raised leaves no outcome for what was not sent."""
        upcoming = map(self.dialogue.commands, self.messages)
        commands, following = next(upcoming, []), next(upcoming, [])
        under_way = 0  # how many of the commands
        for message in self.messages:
            refusal, replies = self._offer(commands, under_way)
            if refusal:
                yield from self._refused(refusal)
                under_way = 0
                commands, following = following, next(upcoming, [])
                continue
            ahead = self._ahead(following)
            under_way = len(ahead)
            outcome, later = self._data(message[2], replies[:-1], b"".join(ahead), upcoming)
            yield outcome
            if outcome.error is not None:
                raise outcome.error
            commands, following = following, later

    def _refused(self, outcome: Outcome) -> Iterator[Outcome]:
        is_fresh, self.dialogue.is_fresh = self.dialogue.is_fresh, False
        if outcome.refused == "MAIL" and not is_fresh:
            # A server that hangs up now has said goodbye: the message goes out on a new connection.
            self.dialogue.reset()
            yield outcome
        else:
            yield outcome
            self.dialogue.reset()

    def _ahead(self, following: list[bytes]) -> list[bytes]:
        """Returns the next message's commands that go out with this one's end.

        MAIL alone would not do: were the reply to the end missing, the one to MAIL would pass for it.
        """
        return following if self.pipelining and self.dialogue.takes_mail_after_one else []

    def _at_once(self, commands: list[bytes]) -> int:
        """Returns how many of a message's commands go out in one write."""
        dialogue = self.dialogue
        # To a server that keeps the transaction before it open, RCPT would add to that one.
        is_doubtful = dialogue.has_ended_one and dialogue.takes_mail_after_one is None
        return len(commands) if self.pipelining and not is_doubtful else 1

    def _offer(self, commands: list[bytes], under_way: int) -> tuple[Outcome | None, list[Reply]]:
        """Returns the refusal of MAIL, RCPT or DATA, or None, and the replies."""
        dialogue = self.dialogue
        if not under_way:
            dialogue.listen()
            if dialogue.has_ended_one and dialogue.takes_mail_after_one is False:
                dialogue.reset()
        refusal, replies = self._transaction(commands, under_way)
        mail = replies[0]
        is_over = dialogue.is_fresh and dialogue.smtp.sock is None
        if mail[0] == BAD_SEQUENCE and not is_over:
            # This is about the session, not the message: a transaction is still open, or so the server says.
            dialogue.takes_mail_after_one = False
            dialogue.reset()
            refusal, replies = self._transaction(commands, 0)
            mail = replies[0]
            if mail[0] == BAD_SEQUENCE and not dialogue.is_fresh:
                raise smtplib.SMTPServerDisconnected(f"{mail[0]} {mail[1]}")
        elif _is_about_size(mail, commands[0]) and dialogue.smtp.sock is not None:
            without = [re.sub(_SIZE, b"", commands[0]), *commands[1:]]
            refusal, replies = self._transaction(without, 0)
        reply = refusal.reply if refusal else None
        if reply and not dialogue.is_fresh and _is_about_the_session(reply):
            # A new one takes the message.
            raise smtplib.SMTPServerDisconnected(f"{reply[0]} {reply[1]}")
        return refusal, replies

    def _transaction(self, commands: list[bytes], under_way: int) -> tuple[Outcome | None, list[Reply]]:
        replies: list[Reply] = []
        for at, command in enumerate(commands):
            if at == under_way:
                if _hopeless(replies, len(commands)):
                    break
                under_way += self._at_once(commands[at:])
                self.dialogue.smtp.send(b"".join(commands[at:under_way]))
            replies.append(self.dialogue.reply_to_sent(command))
            if at == 0 and replies[0][0] < 300 and self.dialogue.has_ended_one:
                self.dialogue.takes_mail_after_one = self.dialogue.takes_mail_after_one is not False
        return self._refusal(replies, len(commands)), replies

    def _refusal(self, replies: list[Reply], commands: int) -> Outcome | None:
        """Returns the refusal, if there is one; settles a go-ahead for a message without recipients."""
        go_ahead = len(replies) == commands and replies[-1][0] == GO_AHEAD
        if go_ahead and not _hopeless(replies[:-1], commands):
            self.dialogue.is_fresh = False
            return None
        if go_ahead and any(code < 300 for code, _ in replies[1:-1]):
            # They would get an empty message by the final dot; by hanging up they get none.
            self.dialogue.smtp.close()
        elif go_ahead:
            # It is for no recipient, yet the server asks for the data: it gets none.
            self.dialogue.smtp.send(END)
            self.dialogue.reply_to_sent(AT_THE_END)
        return judge(replies, commands - 2)

    def _data(
        self, data: bytes, replies: list[Reply], ahead: bytes, upcoming: Iterator[list[bytes]]
    ) -> tuple[Outcome, list[bytes]]:
        """Sends a message and the next one's commands; prepares more of them while the server has it."""
        smtp = self.dialogue.smtp
        is_large = len(data) > ONE_WRITE
        if smtp.has_spoken() or (is_large and not smtp.upload(data)):
            return judge([*replies, self._interruption()], len(replies) - 1), []
        is_whole = True
        try:
            try:
                smtp.send((b"" if is_large else data) + END + ahead)
            except smtplib.SMTPServerDisconnected:
                is_whole = False  # a refusal that came before may still be read
            later = next(upcoming, [])
            code, text = in_step(AT_THE_END, self.dialogue.reply(), 200)
            if code < 300 and not is_whole:
                raise NoReply(f"{code} before the end of DATA: {text}")
        except BaseException as error:  # from here on the outcome is unknown
            return Outcome(error=error, may_have_arrived=True), []
        self.dialogue.has_ended_one = True
        if code >= 300 and (is_large or not is_whole):
            smtp.close()  # It may have been said before the end, and the rest been taken for commands.
        return judge([*replies, (code, text)], len(replies) - 1), later

    def _interruption(self) -> Reply:
        """Returns a refusal before the message's end; raises a loss: the message is unsent then, for certain."""
        code, text = self.dialogue.reply_to_sent(AT_THE_END)
        self.dialogue.smtp.close()
        if code < 300:
            raise NoReply(f"{code} before the end of DATA: {text}")
        return code, text


def _is_about_size(reply: Reply, mail: bytes) -> bool:
    code, text = reply
    return code in BAD_PARAMETER and not text.startswith("5.1.") and re.search(_SIZE, mail) is not None


def _is_about_the_session(reply: Reply) -> bool:
    """Returns whether a refusal would not be one on a new connection: the login is gone, or enough was sent here."""
    code, text = reply
    return code == NOT_LOGGED_IN or re.search(_OF_THE_SESSION, text) is not None


def _hopeless(replies: list[Reply], commands: int) -> bool:
    """Returns whether MAIL was refused, or every RCPT: the data is for no recipient then."""
    answers = replies[1:]
    asked_all = len(replies) >= commands - 1
    return bool(replies) and (replies[0][0] >= 300 or (asked_all and all(code >= 300 for code, _ in answers)))
