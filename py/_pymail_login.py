"""Logging in to an IMAP server, by one of the ways that it offers."""

from __future__ import annotations

import binascii
import imaplib
from contextlib import suppress

import _pymail_answers as answers
from _pymail_connection import Connection, quoted
from _pymail_wire import Refused, forget

# A login refused so may work in another way: the server says nothing of the password.
OF_THE_WAY = (None, "BAD", "CANNOT", "CLIENTBUG", "PARSE")


class Replies:
    """Lines for a server that asks for them one by one; imaplib takes a method for this."""

    def __init__(self, *lines: bytes) -> None:
        self.lines = iter(lines)

    def next(self, _asked: object) -> bytes:
        """Returns the next line, whatever the server's words for it are; then what cancels the exchange."""
        return next(self.lines, b"*")


class LoggingIn(Connection):
    """A connection that logs in."""

    # The way in which the login has worked, on an earlier connection or on this one.
    way = ""
    # Whether the server wants to know who we are (ID, RFC 2971).
    has_id = False

    def login(self, user: str, password: str) -> list[str]:
        """Logs in and returns the capabilities of after it: servers show most of them only then.

        Each way that the server offers has its turn, until one works or the server says something of the password.
        """
        try:
            self._login(user, password)
        except BaseException as error:
            forget(error)
            raise
        before = self.imap.capabilities
        # Many servers tell them with their yes, which is as good as asking (RFC 3501, section 6.2.3).
        told = self.imap.untagged_responses.get("CAPABILITY")
        with suppress(Refused):  # which says nothing of the password
            told = told or self._tagged(self.imap.capability)
        capabilities = answers.as_text(told[-1]).upper().split() if told else list(before)
        self.has_uidplus = "UIDPLUS" in capabilities
        self.has_searchres = "SEARCHRES" in capabilities
        self.portion = min(self.portion, answers.announced_limit(capabilities) or self.portion)
        self.has_id = "ID" in capabilities or "ID" in before
        return capabilities

    def prefer(self, way: str) -> None:
        """Logs in this way first: it has worked before."""
        self.way = way

    def used_way(self) -> str:
        """Returns the way in which the login has worked."""
        return self.way

    def _login(self, user: str, password: str) -> None:
        first: tuple[str | None, str] | None = None
        for way in self._ways(user + password):
            self._absorb()
            try:
                self._log_in_by(way, user, password)
            except Refused as error:
                code, text = error.args
                if code not in OF_THE_WAY or (way == self.way and code != "BAD"):
                    raise
                first = first or (code, text)
            except (imaplib.IMAP4.abort, OSError):
                if first is None:
                    raise
                break  # What the server said before it hung up says more.
            else:
                self.way = way
                return
        raise Refused(*(first or (None, "the server offers no way to log in")))

    def _ways(self, words: str) -> list[str]:
        """The ways that are offered, the one that worked before first."""
        offers = self.imap.capabilities
        ways = [
            "LOGIN" if "LOGINDISABLED" not in offers else "",
            "PLAIN" if "AUTH=PLAIN" in offers else "",
            "AUTH=LOGIN" if "AUTH=LOGIN" in offers else "",
        ]
        # Not every server takes other octets in a LOGIN.
        if not words.isascii():
            ways[0], ways[1] = ways[1], ways[0]
        return sorted(filter(None, ways), key=lambda way: way != self.way) or ["PLAIN"]

    def _log_in_by(self, way: str, user: str, password: str) -> None:
        name, secret = user.encode(), password.encode()
        if way == "PLAIN":
            self._exchange("AUTHENTICATE", "PLAIN", _base64(b"\0" + name + b"\0" + secret))
        elif way == "AUTH=LOGIN":
            self._exchange("AUTHENTICATE", "LOGIN", _base64(name), _base64(secret))
        elif (user + password).isascii():
            self._agreed(self.imap._simple_command, "LOGIN", quoted(user), quoted(password))
        elif user.isascii():
            # RFC 3501, section 4.3: a literal may have any octets, and quoted text may not.
            self._exchange("LOGIN", f"{quoted(user)} {{{len(secret)}}}", secret)
        else:
            self._exchange("LOGIN", f"{{{len(name)}}}", name + b" {%d}" % len(secret), secret)
        self.imap.state = "AUTH"

    def _exchange(self, command: str, argument: str, *lines: bytes) -> None:
        """A command whose further lines the server asks for."""
        self.imap.literal = Replies(*lines).next  # type: ignore[assignment]
        try:
            self._agreed(self.imap._simple_command, command, argument)
        finally:
            self.imap.literal = None


def _base64(octets: bytes) -> bytes:
    return binascii.b2a_base64(octets, newline=False)
