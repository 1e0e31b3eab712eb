"""Sends messages one after the other, by MAIL, RCPT and DATA."""

from __future__ import annotations

import re
import smtplib
from collections.abc import Iterator

from _pymail_dialogue import GO_AHEAD, Dialogue, in_step
from _pymail_smtplib_ext import ONE_WRITE, Message, NoReply, Reply
from _pymail_verdicts import (
    Outcome,
    disconnected,
    is_about_sequence,
    is_about_session,
    is_about_size,
    is_positive,
    outcome_at_end,
    refused_before_data,
)

_SIZE = rb" SIZE=\d+(?=\r\n$)"
END = b".\r\n"
# In place of a command, in errors about the reply to the final dot.
AT_THE_END = b"the end of DATA"


class OneByOne:
    """Messages of which one is in flight at a time.

    With PIPELINING (RFC 2920), the write that ends a message also has the commands of the next one.
    """

    def __init__(self, dialogue: Dialogue, messages: list[Message]) -> None:
        self.dialogue = dialogue
        self.messages = messages
        self.pipelining = dialogue.smtp.has_extn("pipelining")

    def outcomes(self) -> Iterator[Outcome]:
        """Sends the messages and yields their outcomes; raises when the connection is lost, for those not sent."""
        upcoming = map(self.dialogue.commands, self.messages)
        commands, following = next(upcoming, []), next(upcoming, [])
        in_flight = 0  # how many of the commands were sent with the message before
        for message in self.messages:
            refusal, answers = self._offer(commands, in_flight)
            if refusal:
                yield from self._refused(refusal)
                in_flight = 0
                commands, following = following, next(upcoming, [])
                continue
            ahead = self._sent_ahead(following)
            in_flight = len(ahead)
            outcome, later = self._data(message[2], answers, b"".join(ahead), upcoming)
            yield outcome
            if outcome.error is not None:
                raise outcome.error
            commands, following = following, later

    def _refused(self, refusal: Outcome) -> Iterator[Outcome]:
        """Yields the outcome of a refused message and resets the transaction."""
        is_fresh, self.dialogue.is_fresh = self.dialogue.is_fresh, False
        if refusal.refused == "MAIL" and not is_fresh:
            # If the server closes now, the refusal was about the idle connection: a new one takes the message.
            self.dialogue.reset()
            yield refusal
        else:
            yield refusal
            self.dialogue.reset()

    def _sent_ahead(self, following: list[bytes]) -> list[bytes]:
        """Returns the next message's commands that are sent with this one's end: all of them, or none.

        Not MAIL alone: if the reply to the message's end were missing, the reply to MAIL would pass for it.
        """
        return following if self.pipelining and self.dialogue.takes_mail_after_one else []

    def _batch_size(self, commands: list[bytes]) -> int:
        """Returns how many of a message's commands go out in one write."""
        dialogue = self.dialogue
        # If the server keeps the last transaction open, a pipelined RCPT would add a recipient to that one.
        is_doubtful = dialogue.has_ended_one and dialogue.takes_mail_after_one is None
        return len(commands) if self.pipelining and not is_doubtful else 1

    def _offer(self, commands: list[bytes], in_flight: int) -> tuple[Outcome | None, list[Reply]]:
        """Sends MAIL, RCPT and DATA; returns the refusal, or None for a go-ahead, and the recipients' replies."""
        dialogue = self.dialogue
        if not in_flight:
            dialogue.check_unsolicited()
            if dialogue.has_ended_one and dialogue.takes_mail_after_one is False:
                dialogue.reset()
        refusal, answers = self._transaction(commands, in_flight)
        is_over = dialogue.is_fresh and dialogue.smtp.sock is None
        if refusal and is_about_sequence(refusal) and not is_over:
            # About the session, not the message: for the server, a transaction is still open.
            dialogue.takes_mail_after_one = False
            dialogue.reset()
            refusal, answers = self._transaction(commands, 0)
            if refusal and is_about_sequence(refusal) and not dialogue.is_fresh:
                raise disconnected(refusal)
        elif refusal and is_about_size(refusal) and dialogue.smtp.sock is not None:
            mail = re.sub(_SIZE, b"", commands[0])
            if mail != commands[0]:
                refusal, answers = self._transaction([mail, *commands[1:]], 0)
        if refusal and not dialogue.is_fresh and is_about_session(refusal):
            # A new connection takes the message.
            raise disconnected(refusal)
        return refusal, answers

    def _transaction(self, commands: list[bytes], in_flight: int) -> tuple[Outcome | None, list[Reply]]:
        """Sends the commands that are not in flight, and reads the replies, up to a refusal or DATA's."""
        recipients = len(commands) - 2
        replies: list[Reply] = []
        for at, command in enumerate(commands):
            if at == in_flight:
                if refused_before_data(replies, recipients):
                    break
                in_flight += self._batch_size(commands[at:])
                self.dialogue.smtp.send(b"".join(commands[at:in_flight]))
            replies.append(self.dialogue.reply_to_sent(command))
            if at == 0 and is_positive(replies[0]) and self.dialogue.has_ended_one:
                self.dialogue.takes_mail_after_one = self.dialogue.takes_mail_after_one is not False
        answers = replies[1 : recipients + 1]
        refusal = refused_before_data(replies[: recipients + 1], recipients)
        if len(replies) == len(commands) and replies[-1][0] == GO_AHEAD:
            if refusal:
                self._decline(answers)
            else:
                self.dialogue.is_fresh = False
            return refusal, answers
        return refusal or outcome_at_end(replies[-1], answers), answers

    def _decline(self, answers: list[Reply]) -> None:
        """Sends no data to a server that asks for it after refusing MAIL or all recipients."""
        if any(map(is_positive, answers)):
            # A final dot would deliver an empty message to them; closing the connection delivers nothing.
            self.dialogue.smtp.close()
        else:
            self.dialogue.smtp.send(END)
            self.dialogue.reply_to_sent(AT_THE_END)

    def _data(
        self, data: bytes, answers: list[Reply], ahead: bytes, upcoming: Iterator[list[bytes]]
    ) -> tuple[Outcome, list[bytes]]:
        """Sends a message's data and the next one's commands; returns the outcome.

        Composes the commands of another message while the server works, and returns those too.
        """
        smtp = self.dialogue.smtp
        is_large = len(data) > ONE_WRITE
        if smtp.has_unsolicited() or (is_large and not smtp.upload(data, self.dialogue.sent)):
            return self._interrupted(answers), []
        is_whole = True
        try:
            try:
                smtp.send((b"" if is_large else data) + END + ahead, 0, 0 if is_large else len(data))
                if not is_large:
                    self.dialogue.sent(len(data))
            except smtplib.SMTPServerDisconnected:
                is_whole = False  # a refusal that was sent before may still be read
            later = next(upcoming, [])
            with self.dialogue.final_reply():
                code, text = in_step(AT_THE_END, self.dialogue.reply(), 200)
            if code < 300 and not is_whole:
                raise NoReply(f"{code} before the end of DATA: {text}")
        except BaseException as error:  # from here on the outcome is unknown
            return Outcome(error=error, may_have_arrived=True), []
        self.dialogue.has_ended_one = True
        if code >= 300 and (is_large or not is_whole):
            # The server may have refused before the end, and taken the rest of the data for commands.
            smtp.close()
        return outcome_at_end((code, text), answers), later

    def _interrupted(self, answers: list[Reply]) -> Outcome:
        """Returns a refusal from before the message's end; raises, for "unsent", if the connection was lost."""
        code, text = self.dialogue.reply_to_sent(AT_THE_END)
        self.dialogue.smtp.close()
        if code < 300:
            raise NoReply(f"{code} before the end of DATA: {text}")
        return outcome_at_end((code, text), answers)
