"""One connection to an IMAP server: TLS, pipelined commands, each with the responses that belong to it.

The server's NO and BAD are raised as Refused; any other exception ends the connection.
"""

from __future__ import annotations

import imaplib
import ssl
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from _pymail_imap_parse import (
    as_text,
    highest_uid,
    parse_limit_reached,
    parse_refusal,
    parse_search,
    parse_uint32,
)
from _pymail_imaplib_ext import Bad, Metered
from _pymail_tls import TlsContext
from _pymail_transport import (
    RESET,
    RESPONSE_LIMIT,
    Refused,
    TlsFacts,
    Trust,
    Wire,
    adopt_socket,
    is_reset,
    tls_facts,
)

# Untagged responses, by their kinds.
Untagged = dict[str, list[Any]]

# RFC 2971; imaplib does not know it.
imaplib.Commands.setdefault("ID", ("NONAUTH", "AUTH", "SELECTED"))

# Responses to commands that were sent ahead are used for so many seconds.
AHEAD_SECONDS = 10.0

# After so many times in a row that they were not needed, no more commands are sent ahead.
MAX_DROPS = 2

# imaplib fails on lines of 1 MB; a response with this many UIDs of ten digits stays well below.
SEARCH_WINDOW = 50_000


def quoted(text: str) -> str:
    """Returns an IMAP quoted string (RFC 3501, section 4.3), which every version of imaplib sends unchanged."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Connection:
    """An IMAP connection from its greeting on."""

    # The most messages that one command may name (RFC 9738), as far as is known.
    portion = SEARCH_WINDOW
    # After a command that met the server's message limit: the limit, and the lowest UID processed, or 0 for none.
    limit_reached: tuple[int, int] | None = None
    # The lowest UID that a new message can have, as far as is known; 0 when it is not known.
    next_uid = 0
    # The responses to a MOVE with a search behind it, among which its result may be.
    moved: Untagged | None = None

    def __init__(
        self,
        descriptor: int,
        host: str,
        port: int,
        security: str,
        trust: Trust,
        seconds: float,
        wire: Wire | None = None,
    ) -> None:
        self.inbox = ""
        self.validity = 0
        self.has_uidplus = False
        self.has_searchres = False
        self.has_keywords = False
        # UIDNEXT when the inbox was last selected; 0 if it is not known.
        self.uidnext = 0
        # True while another mailbox is selected; the inbox's counts of messages and of new ones before that, and
        # the UIDNEXT that follows from the announcements, or 0.
        self.is_away, self.left_with = False, (0, 0, 0)
        # Pipelined commands without a tagged response so far, and their tags.
        self._in_flight: deque[tuple[str, str]] = deque()
        # Commands that were sent before they are needed, with their tags; when; the data limit of their responses.
        self._ahead: list[tuple[tuple[str, ...], str]] = []
        self._ahead_since, self._ahead_limit = 0.0, 0
        self._drops = 0
        sock = adopt_socket(descriptor, host, security, trust, seconds, TlsContext)
        self.imap = Metered(sock, host, port, seconds, wire)
        if security == "starttls":
            self._starttls(trust)
        if self.imap.state != "NONAUTH":
            self.close()
            raise ssl.SSLError("the server greets with PREAUTH, before any login")

    @property
    def exists(self) -> int:
        """The count of messages in the selected mailbox."""
        return self.imap.exists

    def call(self, seconds: float, method: str, args: tuple[Any, ...]) -> tuple[Any, tuple[int, int, int]]:
        """Calls a method, whose deadline is in so many seconds; returns its value and the traffic so far."""
        self.imap.meter.set_deadline(seconds)
        return getattr(self, method)(*args), self.traffic()

    def traffic(self) -> tuple[int, int, int]:
        """Returns the counts of commands, octets sent, and octets received so far."""
        return self.imap.tagnum, self.imap.meter.sent, self.imap.meter.received

    def describe(self) -> tuple[str, TlsFacts | None, list[str]]:
        """Returns the greeting, the facts of TLS, and the capabilities before the login."""
        greeting = self.imap.welcome if isinstance(self.imap.welcome, bytes) else b""
        tls = tls_facts(getattr(self.imap.sock, "tls", None))
        return as_text(greeting.removeprefix(b"* OK")).strip(), tls, list(self.imap.capabilities)

    def _starttls(self, trust: Trust) -> None:
        if self.imap.state != "NONAUTH" or "STARTTLS" not in self.imap.capabilities:
            self.close()
            raise ssl.SSLError("the server offers no STARTTLS: use Server::tls, on its port for TLS")
        try:
            self.imap.starttls(TlsContext(trust))
        except BaseException as error:
            is_shaken = hasattr(self.imap.sock, "tls")
            with suppress(OSError):
                self.close()
            if is_shaken and is_reset(error):
                raise ConnectionError(RESET) from None
            raise
        # imaplib keeps untagged responses from before TLS, which an attacker can forge.
        self.imap.untagged_responses.clear()

    def most_messages(self) -> int:
        """Returns the most messages that one command may name, as far as is known."""
        return self.portion

    def last_limit(self) -> tuple[int, int] | None:
        """Returns the message limit that the last command met, and the lowest UID that it processed."""
        return self.limit_reached

    def noop(self) -> None:
        """Sends NOOP, which also brings pending EXISTS and EXPUNGE responses."""
        self._tagged(self.imap.noop)
        self.clear_untagged()

    def end_session(self) -> None:
        """Sends LOGOUT, without CLOSE, which would expunge what other clients have flagged.

        Does not wait for its response behind those to commands that were sent ahead.
        """
        self.imap.meter.remaining = RESPONSE_LIMIT
        if self._ahead:
            self.imap._command("LOGOUT")
            self.close()
        else:
            self.imap.logout()

    def close(self) -> None:
        """Closes the socket without LOGOUT."""
        self.imap.shutdown()

    def visit(self, mailbox: str, readonly: bool) -> tuple[int, int, int]:
        """Selects another mailbox; selects the inbox again if the server refuses that.

        Returns its UIDVALIDITY, the count of its messages, and its UIDNEXT or 0.
        """
        self._leave()
        try:
            self._tagged(self.imap.select, quoted(mailbox), readonly)
        except Refused:
            self.come_back()
            raise
        validity, next_uid = (self._number(kind) for kind in ("UIDVALIDITY", "UIDNEXT"))
        self.clear_untagged()
        return validity, self.exists, next_uid

    def _number(self, kind: str) -> int:
        """Returns the number of a response code; 0 without one."""
        values = self.imap.untagged_responses.get(kind)
        return (parse_uint32(values[-1]) if values else None) or 0

    def come_back(self) -> None:
        """Selects the inbox again; raises if that fails or if its UIDVALIDITY has changed."""
        try:
            self._tagged(self.imap.select, quoted(self.inbox))
        except (Refused, imaplib.IMAP4.readonly) as error:
            raise self._not_selected(error) from None
        untagged = dict(self.imap.untagged_responses)
        self.clear_untagged()
        self._selected(untagged)
        self._came_back()

    def _leave(self) -> None:
        """Notes what is known of the inbox before another mailbox is selected."""
        self._drop_ahead()
        next_uid = self.uidnext + self.imap.announced if self.uidnext else 0
        self.is_away, self.left_with = True, (self.imap.exists, self.imap.arrived, next_uid)

    def _came_back(self) -> None:
        """Counts the messages that have come meanwhile; one, if as many have been expunged: UIDNEXT has grown."""
        exists, arrived, next_uid = self.left_with
        came = max(self.exists - exists, int(0 < next_uid < self.uidnext))
        self.is_away, self.imap.arrived = False, arrived + max(0, came)

    def _next_selected(self) -> Untagged:
        """Returns the responses to a pipelined SELECT of the inbox, which must be the next command in flight."""
        try:
            untagged = self._next()
        except Refused as error:
            raise self._not_selected(error) from None
        if "READ-ONLY" in untagged:
            raise self._not_selected("it is read-only")
        self._selected(untagged)
        return untagged

    def _not_selected(self, why: object) -> Exception:
        # A refused SELECT leaves no mailbox selected (RFC 3501, section 6.3.1): only a new connection helps.
        return imaplib.IMAP4.abort(f"{self.inbox} can't be selected again: {why}")

    def _selected(self, untagged: Untagged) -> None:
        """Takes UIDNEXT from the responses to a SELECT of the inbox.

        Raises, which ends the connection, if the inbox has another UIDVALIDITY than before.
        """
        validity = untagged.get("UIDVALIDITY")
        if not validity or parse_uint32(validity[-1]) != self.validity:
            raise imaplib.IMAP4.abort(f"the UIDVALIDITY of {self.inbox} has changed")
        next_uid = untagged.get("UIDNEXT")
        self.uidnext, self.imap.announced = (parse_uint32(next_uid[-1]) if next_uid else None) or 0, 0

    def _uid(self, command: str, *args: str, data_limit: int = 0) -> list[Any]:
        """Runs a UID command."""
        return self._tagged(self.imap.uid, command, *args, data_limit=data_limit)

    def _tagged(self, command: Callable[..., tuple[str, list[Any]]], *args: Any, data_limit: int = 0) -> list[Any]:
        """Runs a command; its responses may have `data_limit` octets beside RESPONSE_LIMIT."""
        self._drop_ahead()
        if self._in_flight:
            raise imaplib.IMAP4.abort("responses to pipelined commands are still to be read")
        # imaplib keeps untagged responses for ever, and would return old ones for new ones.
        self.clear_untagged()
        self.imap.meter.remaining = RESPONSE_LIMIT + data_limit
        return self._completed(command, *args)

    def _completed(self, command: Callable[..., tuple[str, list[Any]]], *args: Any) -> list[Any]:
        """Returns the data of a command that ended with OK; raises Refused for NO and BAD."""
        self.limit_reached = None
        try:
            typ, data = command(*args)
            self.limit_reached = parse_limit_reached(self.imap.untagged_responses)
        except (imaplib.IMAP4.abort, imaplib.IMAP4.readonly):
            raise
        except imaplib.IMAP4.error as error:
            self.clear_untagged()
            raise bad_as_refused(error) from None
        finally:
            self.imap.forget_texts()
        if typ != "OK":
            self.clear_untagged()  # a response code, too, may repeat the password
            raise parse_refusal(as_text(data[-1]))
        return [item for item in data if item is not None]

    def _send(self, *command: str) -> None:
        """Pipelines a command; `_next` returns its responses in order."""
        self._drop_ahead()
        if not self._in_flight:
            self.clear_untagged()
        self._in_flight.append((command[0], self.imap._command(*command)))

    def _send_all(self, commands: list[tuple[str, ...]]) -> bool:
        """Pipelines commands, unless just these were sent ahead a short time ago; then returns True."""
        is_fresh = self._ahead_seconds() < AHEAD_SECONDS
        if is_fresh and commands == [command for command, _ in self._ahead]:
            self._in_flight.extend((command[0], tag) for command, tag in self._ahead)
            self._ahead, self._drops = [], 0
            return True
        for command in commands:
            self._send(*command)
        return False

    def _ahead_seconds(self) -> float:
        return time.monotonic() - self._ahead_since

    def _send_ahead(self, commands: list[tuple[str, ...]], data_limit: int) -> None:
        """Sends commands behind those in flight, for a call that may come next; others drop their responses."""
        if self._drops < MAX_DROPS:
            self._ahead = [(command, self.imap._command(*command)) for command in commands]
            self._ahead_since, self._ahead_limit = time.monotonic(), data_limit
            self.imap.expect_early(RESPONSE_LIMIT + data_limit)

    def _drop_ahead(self) -> None:
        """Reads the responses to commands that were sent ahead and turn out not to be needed."""
        if not self._ahead:
            return
        self._in_flight.extend((command[0], tag) for command, tag in self._ahead)
        self._ahead, self._drops = [], self._drops + 1
        self.imap.early = None
        before = self.uidnext + self.imap.announced if self.uidnext else 0
        responses, self.moved = [self.moved or {}], None
        while self._in_flight:
            with suppress(Refused):
                is_select = self._in_flight[0][0] == "SELECT"
                responses.append(self._next_selected() if is_select else self._next(self._ahead_limit))
        found = b"".join(parse_search(it.get("SEARCH", []), it.get("ESEARCH", [])) for it in responses)
        if (found and highest_uid(found) >= self.next_uid) or 0 < before < self.uidnext:
            # The count of messages does not show it if others were expunged meanwhile.
            self.imap.arrived = max(1, self.imap.arrived)

    def _next(self, data_limit: int | None = 0) -> Untagged:
        """Returns the untagged responses up to the OK of the first command in flight.

        None for `data_limit` leaves the limit as it is.
        """
        name, tag = self._in_flight.popleft()
        if data_limit is not None:
            self.imap.meter.remaining = RESPONSE_LIMIT + data_limit
        try:
            self._completed(self.imap._command_complete, name, tag)
            return dict(self.imap.untagged_responses)
        finally:
            self.clear_untagged()

    def _all(self, data_limit: int = 0) -> list[Untagged]:
        """Returns the untagged responses of each command in flight; reads all, then raises the first refusal."""
        responses: list[Untagged] = []
        refusal = None
        while self._in_flight:
            try:
                responses.append(self._next(data_limit))
            except Refused as error:
                refusal = refusal or error
        try:
            if refusal is not None:
                raise refusal
            return responses
        finally:
            # The exception's traceback refers to this frame: the cycle would keep the server's text alive.
            refusal = None

    def clear_untagged(self) -> None:
        """Drops the untagged responses: imaplib would keep them for ever."""
        self.imap.untagged_responses.clear()


def bad_as_refused(error: imaplib.IMAP4.error) -> Exception:
    """Returns the refusal for a tagged BAD, with the code "BAD" if it has none; returns other errors unchanged."""
    if not isinstance(error, Bad):
        return error
    refusal = parse_refusal(str(error))
    return Refused(refusal.args[0] or "BAD", refusal.args[1])
