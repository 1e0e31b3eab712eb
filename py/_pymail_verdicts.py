"""Decides from a message's replies whether it was sent or refused, and why: for DATA and BDAT alike.

No other file decides this.
"""

from __future__ import annotations

import re

from _pymail_smtplib_ext import Answers, Outcome, Reply

BAD_SEQUENCE = 503
NOT_LOGGED_IN = 530
# Refusals of an unknown parameter, which may be the SIZE that the server itself has announced.
BAD_PARAMETER = (501, 504, 555)
# Such as "too many messages in this session".
_SESSION_LIMIT = r"(?is)\b(?:messages|mails|e-?mails|transactions)\b.*\b(?:session|connection)\b"

# The command that was refused ("MAIL", "RCPT" or "DATA"), and its reply's code and text.
Refusal = tuple[str, int, str]


def is_positive(reply: Reply) -> bool:
    """Returns True for 2xx: the server has done what the command asked for."""
    return reply[0] < 300


def refused_before_data(replies: list[Reply], recipients: int) -> Refusal | None:
    """Returns the refusal after which data would reach no recipient: of MAIL, or of RCPT for all recipients.

    `replies` are those to MAIL and RCPT so far.
    """
    if not replies:
        return None
    mail, answers = replies[0], replies[1:]
    if not is_positive(mail):
        return ("MAIL", *mail)
    if len(answers) == recipients and not any(map(is_positive, answers)):
        return ("RCPT", *answers[0])
    return None


def refused(refusal: Refusal, answers: Answers) -> Outcome:
    """Returns the outcome of a refused message. After a refused MAIL, the recipients' replies mean nothing."""
    return "refused", refusal, [] if refusal[0] == "MAIL" else answers


def outcome_at_end(end: Reply, answers: Answers) -> Outcome:
    """Returns the outcome of a message with an accepted recipient, by the reply to its end."""
    return ("sent", end, answers) if is_positive(end) else refused(("DATA", *end), answers)


def is_about_sequence(refusal: Refusal) -> bool:
    """Returns True if MAIL was refused because, for the server, another transaction is still open."""
    stage, code, _ = refusal
    return stage == "MAIL" and code == BAD_SEQUENCE


def is_about_size(refusal: Refusal) -> bool:
    """Returns True if MAIL may have been refused for its SIZE parameter, and not for the sender (5.1.x)."""
    stage, code, text = refusal
    return stage == "MAIL" and code in BAD_PARAMETER and not text.startswith("5.1.")


def is_about_session(refusal: Refusal) -> bool:
    """Returns True if a new connection may accept: the login has expired, or the session's limit is reached."""
    _, code, text = refusal
    return code == NOT_LOGGED_IN or re.search(_SESSION_LIMIT, text) is not None
