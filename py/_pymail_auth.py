"""Logging in to an SMTP server (RFC 4954): by each mechanism that it offers, once, until one is accepted."""

from __future__ import annotations

import base64
import hmac
import re
import smtplib
from collections.abc import Callable

from _pymail_replies import NoReply, Reply, Smtp, as_text
from _pymail_wire import Refused, forget

# A command line has 512 octets with its line end (RFC 5321, section 4.5.3.1.4).
LINE = 510
CHALLENGE = 334
CLOSING = 421
BAD_SEQUENCE = 503
WRONG_PASSWORD = 535
# "I don't understand", as some servers say to a command with more or fewer words than they know.
MISUNDERSTOOD = (500, 501)


def log_in(smtp: Smtp, user: str, password: str) -> None:
    """Logs in, or raises why the server does not take these credentials.

    After any refusal the next mechanism has its turn: servers offer what they do not accept. A connection that
    ends after a refusal is that refusal: trying the same password on a new one could lock the account.
    """
    offer = smtp.esmtp_features.get("auth", "")
    refusals: list[Reply] = []
    for mechanism in _offered(offer):
        try:
            code, text = mechanism(smtp, user, password)
        except (smtplib.SMTPServerDisconnected, NoReply) as error:
            if not refusals:
                raise
            forget(error)
            break
        if code < 300:
            return
        if code == CLOSING and refusals:
            break
        refusals.append((code, text))
        if code == CLOSING:
            break
    if not refusals:
        raise Refused(None, f"the server supports no login that is known here, but: {offer.strip() or 'none'}")
    # So it says to a client that is logged in already, such as by its address; smtplib takes it so, too.
    if any(code != BAD_SEQUENCE for code, _ in refusals):
        code, text = _clearest(refusals)
        raise Refused(str(code), text)


def _clearest(refusals: list[Reply]) -> Reply:
    """The first refusal that will pass or that is about the password, else one that is about logins at all."""
    telling = [reply for reply in refusals if reply[0] < 500 or reply[0] == WRONG_PASSWORD]
    about_logins = [reply for reply in refusals if 530 <= reply[0] < 540]
    return (telling or about_logins or refusals)[0]


Mechanism = Callable[[Smtp, str, str], Reply]


def _offered(offer: str) -> list[Mechanism]:
    """The known ones among them, in the order in which they are tried."""
    names = re.findall(r"[A-Z0-9_-]+", offer.upper())
    return [mechanism for name, mechanism in MECHANISMS.items() if name in names]


def _plain(smtp: Smtp, user: str, password: str) -> Reply:
    secret = _encoded(f"\0{user}\0{password}")
    command = f"PLAIN {secret}"
    fits = len("AUTH ") + len(command) <= LINE
    code, text = _ask(smtp, "AUTH", command) if fits else (MISUNDERSTOOD[0], "")
    if code in MISUNDERSTOOD:
        code, text = _ask(smtp, "AUTH", "PLAIN")
    if code == CHALLENGE:
        code, text = _ask(smtp, secret)
    return _end(smtp, code, text)


def _login(smtp: Smtp, user: str, password: str) -> Reply:
    """Answers the first prompt by the user's name and the second by the password, whatever they say."""
    code, text = _ask(smtp, "AUTH", "LOGIN")
    if code in MISUNDERSTOOD:
        code, text = _ask(smtp, "AUTH", f"LOGIN {_encoded(user)}")
    elif code == CHALLENGE:
        code, text = _ask(smtp, _encoded(user))
    if code == CHALLENGE:
        code, text = _ask(smtp, _encoded(password))
    return _end(smtp, code, text)


def _cram_md5(smtp: Smtp, user: str, password: str) -> Reply:
    code, text = _ask(smtp, "AUTH", "CRAM-MD5")
    if code == CHALLENGE:
        try:
            challenge = base64.b64decode(text, validate=True)
            digest = hmac.new(password.encode(), challenge, "md5").hexdigest()
        except ValueError:  # no base64, or a Python without MD5
            return _end(smtp, code, text)
        # A digest of nothing is the same at each login. Before 3.11, padding alone decodes to it.
        if not challenge:
            return _end(smtp, code, text)
        code, text = _ask(smtp, _encoded(f"{user} {digest}"))
    return _end(smtp, code, text)


# A round trip for the first, two more for the second; the third needs a server that keeps passwords in clear.
MECHANISMS: dict[str, Mechanism] = {"PLAIN": _plain, "LOGIN": _login, "CRAM-MD5": _cram_md5}


def _ask(smtp: Smtp, command: str, words: str = "") -> Reply:
    code, text = smtp.docmd(command, words)
    return code, as_text(text)


def _end(smtp: Smtp, code: int, text: str) -> Reply:
    """The reply that a mechanism ends with; cancels one that asks for more than it has."""
    if code == CHALLENGE:
        code, text = _ask(smtp, "*")
        if code < 400:
            raise NoReply(f"{code} is no answer to a login that was cancelled: {text}")
    if 300 <= code < 400:
        raise NoReply(f"{code} is no answer to AUTH: {text}")
    return code, text


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
