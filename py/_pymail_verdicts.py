"""Decides from a message's replies if it was sent or refused, and why: for DATA and BDAT alike.

Where the replies may be those to other commands, `smtp.py` makes the outcome unknown.
"""

from __future__ import annotations

import re
import smtplib
from collections.abc import Sequence
from typing import NamedTuple

from _pymail_smtplib_ext import Reply

BAD_SEQUENCE = 503
NOT_LOGGED_IN = 530
# Refusals of an unknown parameter, which may be the SIZE that the server itself has announced.
BAD_PARAMETER = (501, 504, 555)
# Such as "too many messages in this session".
_SESSION_LIMIT = r"(?is)\b(?:messages|mails|e-?mails|transactions)\b.*\b(?:session|connection)\b"


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


def is_positive(reply: Reply) -> bool:
    """Returns True for 2xx: the server has done what the command asked for."""
    return reply[0] < 300


def refused_before_data(replies: list[Reply], recipients: int) -> Outcome | None:
    """Returns the refusal after which data would reach no recipient: of MAIL, or of RCPT for all recipients.

    `replies` are those to MAIL and RCPT so far.
    """
    if not replies:
        return None
    mail, answers = replies[0], replies[1:]
    if not is_positive(mail):
        return Outcome("MAIL", mail)
    if len(answers) == recipients and not any(map(is_positive, answers)):
        return Outcome("RCPT", answers[0], answers)
    return None


def outcome_at_end(end: Reply, answers: list[Reply]) -> Outcome:
    """Returns the outcome of a message with an accepted recipient, by the reply to DATA or to its end."""
    return Outcome("" if is_positive(end) else "DATA", end, answers)


def is_about_sequence(refusal: Outcome) -> bool:
    """Returns True if MAIL was refused because, for the server, another transaction is still open."""
    code, _ = refusal.reply or (0, "")
    return refusal.refused == "MAIL" and code == BAD_SEQUENCE


def is_about_size(refusal: Outcome) -> bool:
    """Returns True if MAIL may have been refused for its SIZE parameter, and not for the sender (5.1.x)."""
    code, text = refusal.reply or (0, "")
    return refusal.refused == "MAIL" and code in BAD_PARAMETER and not text.startswith("5.1.")


def is_about_session(refusal: Outcome) -> bool:
    """Returns True if a new connection may accept: the login has expired, or the session's limit is reached."""
    code, text = refusal.reply or (0, "")
    return code == NOT_LOGGED_IN or re.search(_SESSION_LIMIT, text) is not None


def disconnected(refusal: Outcome) -> smtplib.SMTPServerDisconnected:
    """Makes the exception for a refusal that a new connection may not repeat: the message is sent again there."""
    code, text = refusal.reply or (0, "")
    return smtplib.SMTPServerDisconnected(f"{code} {text}")
