"""The SMTP dialogue on smtplib: plain values in, plain values out.

MAIL, RCPT and DATA go out and their replies come in one by one, so that it is always known how far a
message has come. A message is (sender, recipients, data): data with CRLF line ends and stuffed dots,
without the final dot.
"""

from __future__ import annotations

import re
import smtplib
import ssl
from itertools import groupby

from _pymail_auth import log_in
from _pymail_chunks import Flight, fits
from _pymail_dialogue import Dialogue, OutOfStep
from _pymail_messages import OneByOne
from _pymail_replies import Message, Outcome, Smtp, as_text
from _pymail_wire import Refused, Trust, adopt, forget, tls_context


class Session(Dialogue):
    """One connection."""

    def __init__(
        self,
        descriptor: int,
        host: str,
        port: int,
        security: str,
        trust: Trust,
        seconds: float,
        local_name: str,
    ) -> None:
        sock = adopt(descriptor, host, security, trust)
        try:
            self.smtp = Smtp(sock, host, port, seconds, local_name)
            self.ehlo_refusal = self.smtp.hello()
            if security == "starttls":
                self._starttls(trust)
        except smtplib.SMTPResponseException as error:
            raise smtplib.SMTPServerDisconnected(f"{error.smtp_code} {as_text(error.smtp_error)}") from None
        super().__init__()

    def hurry(self, seconds: float) -> None:
        """What is called next has this long."""
        self.smtp.meter.hurry(seconds)

    def traffic(self) -> tuple[int, int, int]:
        """Commands, octets sent, octets received so far."""
        return self.smtp.replies, self.smtp.meter.sent, self.smtp.meter.received

    def _starttls(self, trust: Trust) -> None:
        if not self.smtp.has_extn("starttls"):
            self.abandon()
            raise ssl.SSLError("the server offers no STARTTLS")
        self.smtp.starttls(context=tls_context(trust))
        self.ehlo_refusal = self.smtp.hello()

    def login(self, user: str, password: str) -> None:
        """Logs in by whichever mechanism the server offers and accepts."""
        if self.ehlo_refusal:
            raise Refused(str(self.ehlo_refusal[0]), f"to EHLO, so that it can't log in: {self.ehlo_refusal[1]}")
        self.listen()
        try:
            log_in(self.smtp, user, password)
        except BaseException as error:
            forget(error)
            raise

    def size_limit(self) -> int:
        """The largest message that the server says it takes (RFC 1870); 0 when it says nothing."""
        limit = self.smtp.esmtp_features.get("size", "")
        return int(limit) if re.fullmatch(r"[0-9]{1,18}", limit) else 0

    def send(self, messages: list[Message], window: int) -> list[Outcome]:
        """Sends in order, up to `window` messages in one flight; returns an outcome for each."""
        outcomes: list[Outcome] = []
        flies = window > 1 and self.smtp.has_extn("chunking") and self.smtp.has_extn("pipelining")
        try:
            for in_flight, group in groupby(messages, lambda message: flies and fits(message)):
                some = list(group)
                sender = Flight(self, some, window) if in_flight else OneByOne(self, some)
                outcomes.extend(sender.outcomes())
        except BaseException as error:  # whatever it is, Ctrl-C too: the outcomes so far stand
            # With its traceback, it and this frame would keep each other, and what the server said.
            error.__traceback__ = None
            under_way = self.smtp.has_extn("pipelining") and isinstance(error, OutOfStep)
            if under_way and outcomes and not outcomes[-1].refused and outcomes[-1].error is None:
                # What was taken for the answer to its end may have been one to the next message's MAIL.
                outcomes[-1] = Outcome(error=error, may_have_arrived=True)
            outcomes.extend([Outcome(error=error)] * (len(messages) - len(outcomes)))
            self.smtp.close()  # When all have an outcome, only the next verb learns of it.
        return outcomes

    def goodbye(self) -> None:
        """Says goodbye; what the server makes of it changes nothing."""
        if self.smtp.sock is not None:
            self.smtp.quit()

    def abandon(self) -> None:
        """Closes the socket, says nothing."""
        self.smtp.close()
