"""IDLE (RFC 2177): the server announces new messages as they arrive.

By imaplib's own commands: Python 3.14's `idle()` reads from a file of its own, which our reading replaces.
"""

from __future__ import annotations

import imaplib
from contextlib import suppress
from typing import Any

from _pymail_imap_parse import as_text
from _pymail_receive import Receiving
from _pymail_transport import RESPONSE_LIMIT, Refused

imaplib.Commands.setdefault("IDLE", ("SELECTED",))

# True if IDLE is in progress; True if messages have arrived that no search has seen.
News = tuple[bool, bool]


class Idling(Receiving):
    """A connection that can wait for new messages."""

    # The tag of the IDLE in progress, and of the last one, whose response may come later.
    idle: Any = None
    last_idle: Any = None

    def listen(self, by_idle: bool, may_ask: bool) -> News:
        """Begins IDLE, or sends NOOP; nothing if messages have arrived already.

        A server may announce in IDLE only what arrives after it began: NOOP has it announce the rest, in the same
        flight.
        """
        if self.imap.arrived:
            return False, True
        if not by_idle:
            if may_ask:
                self.noop()
            return False, bool(self.imap.arrived)
        self._send("NOOP")
        tag = self.imap._command("IDLE")
        try:
            self._next()
        except Refused as error:
            # Whether the server idles is not known then.
            raise imaplib.IMAP4.abort(f"the server refuses NOOP: {error.args[1]}") from None
        if self.last_idle is not None and self.imap.tagged_commands.pop(self.last_idle, "") is None:
            raise imaplib.IMAP4.abort("the server has not answered DONE")
        self.last_idle = None
        while self.imap.tagged_commands[tag] is None:
            if self.imap._get_response() is None:
                self.idle = tag
                return self.hear()
            self._check_bye()
        self._completed(self.imap._command_complete, "IDLE", tag)
        raise Refused(None, "the server ends IDLE at once")

    def hear(self) -> News:
        """Processes the responses that have arrived, without waiting for more."""
        self.imap.meter.remaining = RESPONSE_LIMIT
        try:
            self.imap.process_arrived()
        finally:
            self._check_bye()  # which says more than the end of the connection behind it
        self.clear_untagged()
        self.imap.forget_texts()
        if self.idle is not None and self.imap.tagged_commands[self.idle] is not None:
            self.last_idle, self.idle = self.idle, None
        return self.idle is not None, bool(self.imap.arrived)

    def _check_bye(self) -> None:
        if bye := self.imap.untagged_responses.get("BYE"):
            raise imaplib.IMAP4.abort(f"the server closes the connection: {as_text(bye[-1])}")

    def stop_listening(self, waits: bool) -> None:
        """Sends DONE; without `waits`, its response comes before those of the next command."""
        if self.idle is None:
            return
        self.last_idle, self.idle = self.idle, None
        self.imap.meter.remaining = RESPONSE_LIMIT
        self.imap.send(b"DONE\r\n")
        if waits:
            with suppress(Refused):  # it has ended either way
                self._completed(self.imap._command_complete, "IDLE", self.last_idle)
            self.clear_untagged()
            self.last_idle = None

    def end_session(self) -> None:
        """Sends LOGOUT, after DONE if need be."""
        self.stop_listening(waits=False)
        super().end_session()
