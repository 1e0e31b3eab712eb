"""The SMTP commands that Rust calls: plain values in, plain values out.

Each command's reply is read by itself, so that after a lost connection it is known which messages were not sent. A
message is (sender, recipients, data): data with CRLF line ends and stuffed dots, without the final dot.
"""

from __future__ import annotations

import re
import smtplib
import ssl
from collections.abc import Callable
from itertools import groupby
from typing import Any

from _pymail_auth import log_in, log_in_by_certificate, log_in_with_token
from _pymail_bdat import Flight, fits
from _pymail_bearer import Response
from _pymail_dialogue import Dialogue, OutOfStep
from _pymail_messages import OneByOne
from _pymail_smtplib_ext import Message, Smtp, as_text
from _pymail_transport import (
    RESET,
    Refused,
    TlsFacts,
    Trust,
    Wire,
    adopt_socket,
    clear_frames,
    drop_tracebacks,
    is_reset,
    tls_context,
    tls_facts,
)
from _pymail_verdicts import Outcome


class Session(Dialogue):
    """An SMTP connection from its greeting on."""

    def __init__(
        self,
        descriptor: int,
        host: str,
        port: int,
        security: str,
        trust: Trust,
        seconds: float,
        local_name: str,
        wire: Wire | None = None,
    ) -> None:
        sock = adopt_socket(descriptor, host, security, trust, seconds, tls_context)
        try:
            self.smtp = Smtp(sock, host, port, seconds, local_name, wire)
            self.ehlo_refusal = self.smtp.hello()
            if security == "starttls":
                self._starttls(trust)
        except smtplib.SMTPResponseException as error:
            raise smtplib.SMTPServerDisconnected(f"{error.smtp_code} {as_text(error.smtp_error)}") from None
        super().__init__()

    def call(self, seconds: float, method: str, args: tuple[Any, ...]) -> tuple[Any, tuple[int, int, int]]:
        """Calls a method, whose deadline is in so many seconds; returns its value and the traffic so far."""
        self.smtp.meter.set_deadline(seconds)
        return getattr(self, method)(*args), self.traffic()

    def traffic(self) -> tuple[int, int, int]:
        """Returns the counts of commands, octets sent, and octets received so far."""
        return self.smtp.replies, self.smtp.meter.sent, self.smtp.meter.received

    def describe(self) -> tuple[str, TlsFacts | None, list[str]]:
        """Returns the greeting, the facts of TLS, and the extensions with their parameters."""
        features = self.smtp.esmtp_features.items()
        extensions = [f"{name.upper()} {parameters}".strip() for name, parameters in features]
        return self.smtp.greeting, tls_facts(self.smtp.sock), extensions

    def _starttls(self, trust: Trust) -> None:
        if not self.smtp.has_extn("starttls"):
            self.close()
            raise ssl.SSLError("the server offers no STARTTLS: use Server::tls, on its port for TLS")
        self.smtp.starttls(context=tls_context(trust))
        try:
            self.ehlo_refusal = self.smtp.hello()
        except smtplib.SMTPServerDisconnected as error:
            if is_reset(error):
                raise smtplib.SMTPServerDisconnected(RESET) from None
            raise

    def login(self, user: str, password: str) -> None:
        """Logs in by a mechanism that the server offers and accepts; raises Refused if it accepts none."""
        self._check_login()
        try:
            log_in(self.smtp, user, password)
        except BaseException as error:
            clear_frames(error)
            raise

    def login_by_certificate(self, user: str) -> None:
        """Logs in as this user by the client certificate; raises Refused if the server does not accept it."""
        self._check_login()
        log_in_by_certificate(self.smtp, user)

    def login_with_token(self, responses: list[Response]) -> None:
        """Logs in by an access token; raises RefusedToken if the server does not accept it."""
        self._check_login()
        try:
            log_in_with_token(self.smtp, responses)
        except BaseException as error:
            clear_frames(error)
            raise

    def _check_login(self) -> None:
        """Raises if no login is possible on this connection."""
        if self.ehlo_refusal:
            code, text = self.ehlo_refusal
            raise Refused(str(code), f"EHLO, without which no login is possible: {text}")
        self.check_unsolicited()

    def size_limit(self) -> int:
        """Returns the server's limit for a message in octets (SIZE, RFC 1870); 0 when it announces none."""
        limit = self.smtp.esmtp_features.get("size", "")
        return int(limit) if re.fullmatch(r"[0-9]{1,18}", limit) else 0

    def has_smtputf8(self) -> bool:
        """Returns True if the server takes addresses beyond ASCII (RFC 6531)."""
        return bool(self.smtp.has_extn("smtputf8"))

    def send(self, messages: list[Message], window: int, pace: Callable[[int | None], float]) -> list[Outcome]:
        """Sends messages in order, up to `window` in one flight; returns an outcome for each."""
        self.pace = pace
        outcomes: list[Outcome] = []
        in_flight = False
        can_fly = window > 1 and self.smtp.has_extn("chunking") and self.smtp.has_extn("pipelining")
        try:
            for in_flight, group in groupby(messages, lambda message: can_fly and fits(message)):
                some = list(group)
                sender = Flight(self, some, window) if in_flight else OneByOne(self, some)
                outcomes.extend(sender.outcomes())
        except BaseException as error:  # KeyboardInterrupt too: the outcomes so far stay valid
            drop_tracebacks(error)
            is_doubtful = self.smtp.has_extn("pipelining") and isinstance(error, OutOfStep)
            last = len(outcomes) - 1
            while in_flight and last >= 0 and outcomes[last].error is error:
                last -= 1  # those that were still in flight
            if is_doubtful and last >= 0 and not outcomes[last].refused and outcomes[last].error is None:
                # Its final reply may have been the reply to a command before it, or to the next message's MAIL.
                outcomes[last] = Outcome(error=error, may_have_arrived=True)
            outcomes.extend([Outcome(error=error)] * (len(messages) - len(outcomes)))
            self.smtp.close()  # if all messages have an outcome, the next call reports the lost connection
        finally:
            del self.pace  # it refers to the socket
        return outcomes

    def end_session(self) -> None:
        """Sends QUIT; its reply does not matter."""
        if self.smtp.sock is not None:
            self.smtp.quit()

    def close(self) -> None:
        """Closes the socket without QUIT."""
        self.smtp.close()
