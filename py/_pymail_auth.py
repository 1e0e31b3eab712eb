"""Logs in to an SMTP server (RFC 4954): tries each mechanism that it offers once, until it accepts one."""

from __future__ import annotations

import base64
import hmac
import re
import smtplib
from collections.abc import Callable

from _pymail_bearer import Reason, RefusedToken, Response, parse_reason
from _pymail_smtplib_ext import NoReply, Reply, Smtp, as_text
from _pymail_transport import Refused, clear_frames

# A command line may have 512 octets with its line end (RFC 5321, section 4.5.3.1.4).
MAX_LINE = 510
CHALLENGE = 334
CLOSING = 421
BAD_SEQUENCE = 503
WRONG_PASSWORD = 535
# "Syntax error": some servers send it for AUTH with an initial response, some for AUTH without one.
SYNTAX_ERROR = (500, 501)


def log_in(smtp: Smtp, user: str, password: str) -> None:
    """Logs in; raises Refused if the server accepts no mechanism.

    After any refusal the next mechanism is tried: servers offer mechanisms that they do not accept. A connection
    that is lost after a refusal counts as refused: the same password on a new connection could lock the account.
    """
    offer = smtp.esmtp_features.get("auth", "")
    refusals: list[Reply] = []
    for mechanism in _supported(offer):
        try:
            code, text = mechanism(smtp, user, password)
        except (smtplib.SMTPServerDisconnected, NoReply) as error:
            if not refusals:
                raise
            clear_frames(error)
            break
        if code < 300:
            return
        if code == CLOSING and refusals:
            break
        refusals.append((code, text))
        if code == CLOSING:
            break
    if not refusals:
        raise Refused(None, f"the server offers no supported login mechanism, only: {offer.strip() or 'none'}")
    # 503 means that the client is logged in already, for example by its address; smtplib reads it so, too.
    if any(code != BAD_SEQUENCE for code, _ in refusals):
        code, text = _clearest(refusals)
        raise Refused(str(code), text)


def log_in_with_token(smtp: Smtp, responses: list[Response]) -> None:
    """Logs in by an access token, by each mechanism that the server offers, until a refusal has a reason."""
    offer = smtp.esmtp_features.get("auth", "")
    names = _names(offer)
    first: tuple[str, str, Reason | None] | None = None
    for mechanism, response, end in responses:
        if mechanism not in names:
            continue
        try:
            (code, text), reason = _present(smtp, mechanism, response, end)
        except (smtplib.SMTPServerDisconnected, NoReply) as error:
            if first is None:
                raise
            clear_frames(error)
            break
        if code < 300 or code == BAD_SEQUENCE:
            return
        first = first or (str(code), text, reason)
        if reason is not None or code < 500:
            break
    if first is None:
        offered = offer.strip() or "none"
        raise Refused(None, f"the server offers no login by access token (OAUTHBEARER, XOAUTH2), only: {offered}")
    raise RefusedToken(*first)


def _present(smtp: Smtp, mechanism: str, response: str, end: str) -> tuple[Reply, Reason | None]:
    """Sends the token with the command if it fits on the line, else after the challenge; returns the final reply.

    A refusal comes as a challenge with its reason, which must be answered.
    """
    command = f"{mechanism} {response}"
    fits = len("AUTH ") + len(command) <= MAX_LINE
    code, text = _command(smtp, "AUTH", command) if fits else (SYNTAX_ERROR[0], "")
    if code in SYNTAX_ERROR:
        code, text = _command(smtp, "AUTH", mechanism)
    if code == CHALLENGE and parse_reason(text) is None:
        code, text = _command(smtp, response)
    reason = parse_reason(text) if code == CHALLENGE else None
    try:
        if code == CHALLENGE:
            code, text = _command(smtp, end)
        return _end(smtp, code, text), reason
    except (smtplib.SMTPServerDisconnected, NoReply) as error:
        # A server that hangs up instead of a 535 has told the reason before.
        if reason is None:
            raise
        clear_frames(error)
        return (WRONG_PASSWORD, "the connection was lost behind the refusal"), reason


def log_in_by_certificate(smtp: Smtp, user: str) -> None:
    """Logs in by the client certificate (EXTERNAL, RFC 4422, appendix A); raises Refused if it is not accepted."""
    if "EXTERNAL" not in _names(smtp.esmtp_features.get("auth", "")):
        raise Refused(None, "the server offers no login by certificate (EXTERNAL)")
    name = _encoded(user)
    code, text = _command(smtp, "AUTH", f"EXTERNAL {name}")
    if code in SYNTAX_ERROR:
        code, text = _command(smtp, "AUTH", "EXTERNAL")
    if code == CHALLENGE:
        code, text = _command(smtp, name)
    code, text = _end(smtp, code, text)
    if code >= 400:
        raise Refused(str(code), text)


def _clearest(refusals: list[Reply]) -> Reply:
    """Returns the first refusal that is transient or about the password, else the first one about logins."""
    telling = [reply for reply in refusals if reply[0] < 500 or reply[0] == WRONG_PASSWORD]
    about_logins = [reply for reply in refusals if 530 <= reply[0] < 540]
    return (telling or about_logins or refusals)[0]


Mechanism = Callable[[Smtp, str, str], Reply]


def _supported(offer: str) -> list[Mechanism]:
    """Returns the supported ones of the offered mechanisms, in the order in which they are tried."""
    names = _names(offer)
    return [mechanism for name, mechanism in MECHANISMS.items() if name in names]


def _names(offer: str) -> list[str]:
    return re.findall(r"[A-Z0-9_-]+", offer.upper())


def _plain(smtp: Smtp, user: str, password: str) -> Reply:
    """Sends the password with AUTH PLAIN if it fits on the line and is understood, else after the challenge."""
    secret = _encoded(f"\0{user}\0{password}")
    command = f"PLAIN {secret}"
    fits = len("AUTH ") + len(command) <= MAX_LINE
    code, text = _command(smtp, "AUTH", command) if fits else (SYNTAX_ERROR[0], "")
    if code in SYNTAX_ERROR:
        code, text = _command(smtp, "AUTH", "PLAIN")
    if code == CHALLENGE:
        code, text = _command(smtp, secret)
    return _end(smtp, code, text)


def _login(smtp: Smtp, user: str, password: str) -> Reply:
    """Sends the user name after the first challenge, the password after the second; their texts do not matter."""
    code, text = _command(smtp, "AUTH", "LOGIN")
    if code in SYNTAX_ERROR:
        code, text = _command(smtp, "AUTH", f"LOGIN {_encoded(user)}")
    elif code == CHALLENGE:
        code, text = _command(smtp, _encoded(user))
    if code == CHALLENGE:
        code, text = _command(smtp, _encoded(password))
    return _end(smtp, code, text)


def _cram_md5(smtp: Smtp, user: str, password: str) -> Reply:
    """Answers the challenge with its keyed digest (RFC 2195)."""
    code, text = _command(smtp, "AUTH", "CRAM-MD5")
    if code == CHALLENGE:
        try:
            challenge = base64.b64decode(text, validate=True)
            digest = hmac.new(password.encode(), challenge, "md5").hexdigest()
        except ValueError:  # not base64, or a Python without MD5
            return _end(smtp, code, text)
        # The digest of an empty challenge would be the same at each login. Before 3.11, "=" decodes to nothing.
        if not challenge:
            return _end(smtp, code, text)
        code, text = _command(smtp, _encoded(f"{user} {digest}"))
    return _end(smtp, code, text)


# PLAIN first: it takes one round trip, LOGIN three, and CRAM-MD5 needs a server that stores passwords in clear.
MECHANISMS: dict[str, Mechanism] = {"PLAIN": _plain, "LOGIN": _login, "CRAM-MD5": _cram_md5}


def _command(smtp: Smtp, command: str, words: str = "") -> Reply:
    """Sends a line and returns the reply to it."""
    code, text = smtp.docmd(command, words)
    return code, as_text(text)


def _end(smtp: Smtp, code: int, text: str) -> Reply:
    """Returns the final reply of a mechanism; cancels the exchange if the server sends another challenge."""
    if code == CHALLENGE:
        code, text = _command(smtp, "*")
        if code < 400:
            raise NoReply(f"{code} is no reply to a login that was cancelled: {text}")
    if 300 <= code < 400:
        raise NoReply(f"{code} is no reply to AUTH: {text}")
    return code, text


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
