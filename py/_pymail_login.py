"""Logs in to an IMAP server, by the methods that it offers."""

from __future__ import annotations

import binascii
import imaplib
from contextlib import suppress

from _pymail_bearer import Reason, RefusedToken, Response, parse_reason
from _pymail_connection import Connection, quoted
from _pymail_imap_parse import as_text, parse_message_limit
from _pymail_transport import Refused, clear_frames

# Codes of a refusal that may be about the login method, and not about the password: the next method is tried.
METHOD_CODES = (None, "BAD", "CANNOT", "CLIENTBUG", "PARSE")


class ContinuationLines:
    """Lines that are sent one by one, each after a continuation request; imaplib calls `next` for them."""

    def __init__(self, *lines: bytes) -> None:
        self.lines = iter(lines)
        # The last challenge, in base64.
        self.challenge = b""

    def next(self, challenge: bytes) -> bytes:
        """Returns the next line, whatever the challenge is; after the last, "*" cancels the exchange."""
        self.challenge = challenge
        return next(self.lines, b"*")


class LoggingIn(Connection):
    """A connection that logs in."""

    # The login method that has worked, on an earlier connection or on this one: "LOGIN", "PLAIN", "AUTH=LOGIN", or
    # the mechanism of an access token.
    method = ""
    # True if the server announces ID (RFC 2971).
    has_id = False
    # True if a SEARCH can return a count (ESEARCH, RFC 4731).
    has_esearch = False

    def login(self, user: str, password: str) -> list[str]:
        """Logs in; returns the capabilities after login, most of which servers announce only then.

        Tries each method that the server offers, until one works or a refusal is about the password.
        """
        try:
            self._login(user, password)
        except BaseException as error:
            clear_frames(error)
            raise
        return self._capabilities()

    def login_by_certificate(self, user: str) -> list[str]:
        """Logs in as this user by the client certificate; returns the capabilities after login."""
        if "AUTH=EXTERNAL" not in self.imap.capabilities:
            raise Refused(None, "the server offers no login by certificate (EXTERNAL)")
        self._exchange("AUTHENTICATE", "EXTERNAL", _base64(user.encode()))
        self.imap.state = "AUTH"
        return self._capabilities()

    def login_with_token(self, responses: list[Response]) -> list[str]:
        """Logs in by an access token; returns the capabilities after login."""
        try:
            self._log_in_with_token(responses)
        except BaseException as error:
            clear_frames(error)
            raise
        return self._capabilities()

    def _capabilities(self) -> list[str]:
        """Returns the capabilities after login."""
        before = self.imap.capabilities
        # Many servers send them with the OK, so that CAPABILITY is not needed (RFC 3501, section 6.2.3).
        lines = self.imap.untagged_responses.get("CAPABILITY")
        with suppress(Refused):  # which is not about the password
            lines = lines or self._tagged(self.imap.capability)
        capabilities = as_text(lines[-1]).upper().split() if lines else list(before)
        self.has_uidplus = "UIDPLUS" in capabilities
        self.has_searchres = "SEARCHRES" in capabilities
        self.has_esearch = not {"ESEARCH", "IMAP4REV2"}.isdisjoint(capabilities)
        self.portion = min(self.portion, parse_message_limit(capabilities) or self.portion)
        self.has_id = "ID" in capabilities or "ID" in before
        return capabilities

    def prefer_method(self, method: str) -> None:
        """Makes `login` try this method first, which worked on an earlier connection; "" for none."""
        self.method = method

    def used_method(self) -> str:
        """Returns the method by which the login has worked."""
        return self.method

    def _login(self, user: str, password: str) -> None:
        first: tuple[str | None, str] | None = None
        for method in self._methods(user + password):
            self.clear_untagged()
            try:
                self._log_in_by(method, user, password)
            except Refused as error:
                code, text = error.args
                if code not in METHOD_CODES or (method == self.method and code != "BAD"):
                    raise
                first = first or (code, text)
            except (imaplib.IMAP4.abort, OSError):
                if first is None:
                    raise
                break  # the refusal before the server closed the connection says more
            else:
                self.method = method
                return
        raise Refused(*(first or (None, "the server offers no login method")))

    def _methods(self, words: str) -> list[str]:
        """Returns the offered methods in the order in which they are tried, the preferred one first."""
        offers = self.imap.capabilities
        methods = [
            "LOGIN" if "LOGINDISABLED" not in offers else "",
            "PLAIN" if "AUTH=PLAIN" in offers else "",
            "AUTH=LOGIN" if "AUTH=LOGIN" in offers else "",
        ]
        # Not every server accepts octets beyond ASCII in a LOGIN.
        if not words.isascii():
            methods[0], methods[1] = methods[1], methods[0]
        return sorted(filter(None, methods), key=lambda method: method != self.method) or ["PLAIN"]

    def _log_in_by(self, method: str, user: str, password: str) -> None:
        name, secret = user.encode(), password.encode()
        if method == "PLAIN":
            self._exchange("AUTHENTICATE", "PLAIN", _base64(b"\0" + name + b"\0" + secret))
        elif method == "AUTH=LOGIN":
            self._exchange("AUTHENTICATE", "LOGIN", _base64(name), _base64(secret))
        elif (user + password).isascii():
            self._completed(self.imap._simple_command, "LOGIN", quoted(user), quoted(password))
        elif user.isascii():
            # RFC 3501, section 4.3: a literal may have any octets, a quoted string only ASCII.
            self._exchange("LOGIN", f"{quoted(user)} {{{len(secret)}}}", secret)
        else:
            self._exchange("LOGIN", f"{{{len(name)}}}", name + b" {%d}" % len(secret), secret)
        self.imap.state = "AUTH"

    def _log_in_with_token(self, responses: list[Response]) -> None:
        """Sends the token by each mechanism that the server offers, until one works or a refusal has a reason."""
        offers = self.imap.capabilities
        first: RefusedToken | None = None
        try:
            for method, response, end in sorted(responses, key=lambda response: response[0] != self.method):
                if f"AUTH={method}" not in offers:
                    continue
                refusal, is_final = self._present(method, response, end, is_first=first is None)
                if refusal is None:
                    self.method, self.imap.state = method, "AUTH"
                    return
                first = first or refusal
                if is_final:
                    break
            raise first or Refused(None, "the server offers no login by access token (OAUTHBEARER, XOAUTH2)")
        finally:
            first = refusal = None  # their tracebacks refer to this frame

    def _present(
        self, method: str, response: str, end: str, *, is_first: bool
    ) -> tuple[RefusedToken | None, bool]:
        """Sends the token; returns its refusal, and True if no other mechanism may help."""
        self.clear_untagged()
        lines = ContinuationLines(response.encode(), end.encode())
        reason: Reason | None = None
        try:
            self._continue("AUTHENTICATE", method, lines)
            return None, True
        except Refused as error:
            reason = parse_reason(lines.challenge)
            code, text = error.args
            is_final = reason is not None or code not in METHOD_CODES
            return RefusedToken(code, text, reason), is_final
        except (imaplib.IMAP4.abort, OSError) as error:
            # A server that hangs up instead of a NO has told the reason before.
            reason = parse_reason(lines.challenge)
            if reason is None and is_first:
                raise
            return RefusedToken(None, f"the connection was lost: {error}", reason), True

    def _exchange(self, command: str, argument: str, *lines: bytes) -> None:
        """Runs a command whose further lines are sent after continuation requests."""
        self._continue(command, argument, ContinuationLines(*lines))

    def _continue(self, command: str, argument: str, lines: ContinuationLines) -> None:
        self.imap.literal = lines.next  # type: ignore[assignment]
        try:
            self._completed(self.imap._simple_command, command, argument)
        finally:
            self.imap.literal = None


def _base64(octets: bytes) -> bytes:
    return binascii.b2a_base64(octets, newline=False)
