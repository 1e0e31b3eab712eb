"""One connection to an IMAP server: encryption, and commands whose answers are told apart.

What the server refuses is raised as Refused; whatever else is raised ends the connection.
"""

from __future__ import annotations

import imaplib
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any

import _pymail_answers as answers
from _pymail_imap4 import Bad, Metered
from _pymail_wire import ANSWER, Refused, Trust, adopt, tls_context

# What a server told, by kinds.
Told = dict[str, list[Any]]

# RFC 2971; imaplib does not know it.
imaplib.Commands.setdefault("ID", ("NONAUTH", "AUTH", "SELECTED"))

# imaplib gives up on lines of 1 MB; this many UIDs of ten digits stay well below.
SEARCH_WINDOW = 50_000


def quoted(text: str) -> str:
    """An IMAP quoted string (RFC 3501, section 4.3), which every version of imaplib passes on unchanged."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Connection:
    """One connection."""

    # So many messages a command may be about (RFC 9738), as far as is known.
    portion = SEARCH_WINDOW
    # Of the last command: the server's limit, and the lowest UID that it came to, or 0 where it did nothing.
    limited: tuple[int, int] | None = None

    def __init__(self, descriptor: int, host: str, port: int, security: str, trust: Trust, seconds: float) -> None:
        self.inbox = ""
        self.validity = 0
        self.has_uidplus = False
        self.has_searchres = False
        self.has_keywords = False
        # Whether another mailbox is selected for a while, and how many mails, and new ones, the inbox had before.
        self.is_away, self.left_with = False, (0, 0)
        # UIDNEXT of that mailbox; 0 when the server does not say it.
        self.visited_next = 0
        # Commands whose answers are still to be taken, and their tags.
        self._asked: deque[tuple[str, str]] = deque()
        self.imap = Metered(adopt(descriptor, host, security, trust), host, port, seconds)
        if security == "starttls":
            self._starttls(trust)
        if self.imap.state != "NONAUTH":
            self.abandon()
            raise ssl.SSLError("the server greets as if logged in already")

    @property
    def exists(self) -> int:
        """How many mails the selected mailbox has."""
        return self.imap.exists

    def hurry(self, seconds: float) -> None:
        """What is called next has this long."""
        self.imap.meter.hurry(seconds)

    def traffic(self) -> tuple[int, int, int]:
        """Commands, octets sent, octets received so far."""
        return self.imap.tagnum, self.imap.meter.sent, self.imap.meter.received

    def _starttls(self, trust: Trust) -> None:
        if self.imap.state != "NONAUTH" or "STARTTLS" not in self.imap.capabilities:
            self.abandon()
            raise ssl.SSLError("the server offers no STARTTLS")
        self.imap.starttls(tls_context(trust))
        # What came before the encryption may come from anybody.
        self.imap.untagged_responses.clear()

    def limit(self) -> tuple[int, int] | None:
        """Returns the server's limit that the last command met, and the lowest UID that it came to."""
        return self.limited

    def noop(self) -> None:
        """A sign of life; takes in what the server said unasked."""
        self._tagged(self.imap.noop)
        self._absorb()

    def goodbye(self) -> None:
        """A bare LOGOUT: CLOSE would expunge what other clients have flagged."""
        self.imap.meter.room = ANSWER
        self.imap.logout()

    def abandon(self) -> None:
        """Closes the socket, says nothing."""
        self.imap.shutdown()

    def visit(self, mailbox: str, readonly: bool) -> int:
        """Selects another mailbox; its UIDVALIDITY."""
        self.is_away, self.left_with = True, (self.imap.exists, self.imap.arrived)
        self._tagged(self.imap.select, quoted(mailbox), readonly)
        validity = self.imap.untagged_responses.get("UIDVALIDITY")
        next_uid = self.imap.untagged_responses.get("UIDNEXT")
        self.visited_next = (answers.number32(next_uid[-1]) if next_uid else None) or 0
        self._absorb()
        return (answers.number32(validity[-1]) if validity else None) or 0

    def come_back(self) -> None:
        """Selects the inbox again, as it was."""
        try:
            self._tagged(self.imap.select, quoted(self.inbox))
        except (Refused, imaplib.IMAP4.readonly) as error:
            raise self._deselected(error) from None
        validity = self.imap.untagged_responses.get("UIDVALIDITY")
        self._absorb()
        self._is_still(validity)
        exists, arrived = self.left_with
        self.is_away, self.imap.arrived = False, arrived + max(0, self.exists - exists)

    def _next_selected(self) -> Told:
        """What the server told with its yes to a SELECT of the inbox, which was asked first."""
        try:
            told = self._next()
        except Refused as error:
            raise self._deselected(error) from None
        if "READ-ONLY" in told:
            raise self._deselected("it is read-only")
        self._is_still(told.get("UIDVALIDITY"))
        return told

    def _deselected(self, why: object) -> Exception:
        # A refused SELECT leaves nothing selected (RFC 3501, section 6.3.1): there is no way back.
        return imaplib.IMAP4.abort(f"{self.inbox} can't be selected again: {why}")

    def _is_still(self, validity: list[Any] | None) -> None:
        """Ends the connection when the inbox, whose UIDVALIDITY is told, is another one by now."""
        if not validity or answers.number32(validity[-1]) != self.validity:
            raise imaplib.IMAP4.abort(f"{self.inbox} was made anew meanwhile")

    def _uid(self, command: str, *args: str, room: int = 0) -> list[Any]:
        return self._tagged(self.imap.uid, command, *args, room=room)

    def _tagged(self, command: Callable[..., tuple[str, list[Any]]], *args: Any, room: int = 0) -> list[Any]:
        if self._asked:
            raise imaplib.IMAP4.abort("answers to other commands are under way")
        # imaplib keeps untagged answers for ever, and would give old ones for new.
        self._absorb()
        self.imap.meter.room = ANSWER + room
        return self._agreed(command, *args)

    def _agreed(self, command: Callable[..., tuple[str, list[Any]]], *args: Any) -> list[Any]:
        self.limited = None
        try:
            typ, data = command(*args)
            self.limited = answers.limited(self.imap.untagged_responses)
        except (imaplib.IMAP4.abort, imaplib.IMAP4.readonly):
            raise
        except imaplib.IMAP4.error as error:
            self._absorb()
            raise _bad(error) from None
        finally:
            self.imap.forget_words()
        if typ != "OK":
            self._absorb()  # its code too may be anything
            raise answers.refusal(answers.as_text(data[-1]))
        return [item for item in data if item is not None]

    def _ask(self, *command: str) -> None:
        """Sends a command, whose answer is taken in its turn."""
        if not self._asked:
            self._absorb()
        self._asked.append((command[0], self.imap._command(*command)))

    def _next(self, room: int | None = 0) -> Told:
        """What the server told up to its yes to the first of the commands that were asked."""
        name, tag = self._asked.popleft()
        if room is not None:
            self.imap.meter.room = ANSWER + room
        try:
            self._agreed(self.imap._command_complete, name, tag)
            return dict(self.imap.untagged_responses)
        finally:
            self._absorb()

    def _all(self, room: int = 0) -> list[Told]:
        """The same for each of them; a refusal is raised when all answers are in."""
        told: list[Told] = []
        refusal = None
        while self._asked:
            try:
                told.append(self._next(room))
            except Refused as error:
                refusal = refusal or error
        try:
            if refusal is not None:
                raise refusal
            return told
        finally:
            # With its traceback, it and this frame would keep each other, and what the server said.
            refusal = None

    def _absorb(self) -> None:
        self.imap.untagged_responses.clear()


class Visit:
    """Another mailbox is selected for a while, and then the inbox again, unless the connection is lost.

    No generator: up to Python 3.10, contextlib keeps what was raised, in which a server may repeat the password.
    """

    def __init__(self, connection: Connection, mailbox: str, *, readonly: bool) -> None:
        self.connection, self.mailbox, self.readonly = connection, mailbox, readonly

    def __enter__(self) -> int:
        try:
            return self.connection.visit(self.mailbox, self.readonly)
        except Refused:
            self.connection.come_back()
            raise

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or issubclass(kind, Refused):
            self.connection.come_back()


def _bad(error: imaplib.IMAP4.error) -> Exception:
    """The refusal that a tagged BAD is; anything else stays what it was."""
    if not isinstance(error, Bad):
        return error
    refusal = answers.refusal(str(error))
    return Refused(refusal.args[0] or "BAD", refusal.args[1])
