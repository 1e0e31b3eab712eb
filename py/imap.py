"""The IMAP dialogue on imaplib: plain values in, plain values out.

Arguments come checked and quoted (no CR, LF or NUL); UID sets come as text. What the server refuses is
raised as Refused; whatever else is raised ends the connection.
"""

from __future__ import annotations

import imaplib
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import _pymail_answers as answers
from _pymail_imap4 import Bad, Metered
from _pymail_wire import ANSWER, Refused, adopt, forget, tls_context

# imaplib gives up on lines of 1 MB; this many UIDs of ten digits stay well below.
SEARCH_WINDOW = 50_000
# A larger result does not fit into what a client has to spare, and is no use either.
MOST_FOUND = 4_000_000

# How many mails are asked at a time who they are, and how much each may say.
RECALL_WINDOW = 1_000
IDENTITY_OCTETS = 16 << 10
IDENTITY = f"BODY.PEEK[HEADER.FIELDS (MESSAGE-ID SUBJECT FROM)]<0.{IDENTITY_OCTETS}>"

# The largest entry of a log that is read whole.
ENTRY_OCTETS = 64 << 10


def quoted(text: str) -> str:
    """An IMAP quoted string (RFC 3501, section 4.3), which every version of imaplib passes on unchanged."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


class Session:
    """One connection."""

    def __init__(
        self, descriptor: int, host: str, port: int, security: str, roots: list[str], seconds: float
    ) -> None:
        self.exists = 0
        self.inbox = ""
        self.validity = 0
        self.has_uidplus = False
        self.has_keywords = False
        self.imap = Metered(adopt(descriptor, host, security, roots), host, port, seconds)
        if security == "starttls":
            self._starttls(roots)
        if self.imap.state != "NONAUTH":
            self.abandon()
            raise ssl.SSLError("the server greets as if logged in already")

    def hurry(self, seconds: float) -> None:
        """What is called next has this long."""
        self.imap.meter.hurry(seconds)

    def traffic(self) -> tuple[int, int, int]:
        """Commands, octets sent, octets received so far."""
        return self.imap.tagnum, self.imap.meter.sent, self.imap.meter.received

    def _starttls(self, roots: list[str]) -> None:
        if self.imap.state != "NONAUTH" or "STARTTLS" not in self.imap.capabilities:
            self.abandon()
            raise ssl.SSLError("the server offers no STARTTLS")
        self.imap.starttls(tls_context(roots))
        # What came before the encryption may come from anybody.
        self.imap.untagged_responses.clear()

    def login(self, user: str, password: str) -> list[str]:
        """Logs in and returns the capabilities of after it: servers show most of them only then."""
        try:
            return self._login(user, password)
        except BaseException as error:
            forget(error)
            raise

    def _login(self, user: str, password: str) -> list[str]:
        self._absorb()
        try:
            if (user + password).isascii() and "LOGINDISABLED" not in self.imap.capabilities:
                self.imap.login(quoted(user), password)
            else:
                secret = f"\0{user}\0{password}".encode()
                self.imap.authenticate("PLAIN", lambda _: secret)
        except imaplib.IMAP4.abort:
            raise
        except imaplib.IMAP4.error as error:
            raise self._login_refusal(error) from None
        finally:
            # It may repeat the password.
            self.imap.answer = None
        # Many servers tell them with their yes, which is as good as asking (RFC 3501, section 6.2.3).
        told = self.imap.untagged_responses.get("CAPABILITY")
        with suppress(Refused):  # which says nothing of the password
            told = told or self._tagged(self.imap.capability)
        capabilities = answers.as_text(told[-1]).upper().split() if told else list(self.imap.capabilities)
        self.has_uidplus = "UIDPLUS" in capabilities
        return capabilities

    def _login_refusal(self, error: imaplib.IMAP4.error) -> Exception:
        """imaplib raises a tagged NO to a login as well, and everything that is no answer."""
        if isinstance(error, Bad) or self.imap.answer is None:
            return _bad(error)
        return answers.refusal(answers.as_text(self.imap.answer[1][-1]))

    def prepare(self, inbox: str, archive: str, has_namespace: bool) -> tuple[int, str, str]:
        """Selects the inbox, and makes the archive if it is missing.

        Returns the inbox's UIDVALIDITY, the archive's name as this server wants it, and what it puts between a
        mailbox's name and those of the mailboxes within it: "" for nothing.
        """
        told = self._select(inbox, ("NAMESPACE",) if has_namespace else ("LIST", '""', '""'))
        validity = answers.number32(told["UIDVALIDITY"][-1]) if told.get("UIDVALIDITY") else None
        if not validity:
            raise Refused("UIDVALIDITY", f"the server says no UIDVALIDITY of {inbox}: UIDs mean nothing")
        # RFC 3501, section 7.1: whether new keywords can be made.
        self.has_keywords = rb"\*" in (told.get("PERMANENTFLAGS") or [b""])[-1]
        namespaces = answers.namespaces(told)
        archive = answers.in_namespace(archive, namespaces)
        if archive.upper() == inbox.upper():
            raise Refused(None, f"messages can't be archived in {inbox}, which is watched")
        self.create(archive)
        self.inbox, self.validity = inbox, validity
        return validity, archive, answers.delimiter(told, namespaces)

    def _select(self, inbox: str, question: tuple[str, ...]) -> dict[str, list[Any]]:
        """Asks and selects in one flight, so that asking costs no time; what the server told of both."""
        self._absorb()
        tag = self.imap._command(*question)
        try:
            self._tagged(self.imap.select, quoted(inbox))
        except imaplib.IMAP4.readonly:
            raise Refused("READ-ONLY", f"{inbox} is read-only") from None
        told = dict(self.imap.untagged_responses)
        # Whoever refuses the question has told nothing, and can be used all the same.
        with suppress(Refused):
            self._tagged(self.imap._command_complete, question[0], tag)
        return told

    def create(self, name: str) -> None:
        """Makes a mailbox, unless it is there."""
        mailbox = quoted(name)
        try:
            self._tagged(self.imap.create, mailbox)
        except Refused as refusal:
            if refusal.args[0] == "ALREADYEXISTS":
                return
            # Not every server says why. One that has the mailbox can tell about it.
            try:
                self._tagged(self.imap.status, mailbox, "(UIDVALIDITY)")
            except Refused:
                raise refusal from None

    def search(self, criteria: str) -> bytes:
        """The UIDs that match, four octets each, the least significant first.

        A large mailbox is asked in windows, so that no answer is too long.
        """
        if self.exists <= SEARCH_WINDOW:
            return answers.found(self._tagged(self._fresh_search, criteria))
        self._tagged(self.imap.noop)
        self._absorb()
        found = b""
        for window in self._windows():
            found += answers.found(self._uid("SEARCH", window + criteria))
            if len(found) > 4 * MOST_FOUND:
                raise Refused(None, f"more than {MOST_FOUND} mails match: search for less")
        return found

    def _fresh_search(self, criteria: str) -> tuple[str, list[Any]]:
        """NOOP and SEARCH in one flight: a server searches what it has announced, and announces by NOOP."""
        noop, search = self.imap._command("NOOP"), self.imap._command("UID", "SEARCH", criteria)
        try:
            self.imap._command_complete("NOOP", noop)
        except imaplib.IMAP4.abort:
            raise
        except imaplib.IMAP4.error:
            # The second answer is on its way, and must not be taken for a later one's.
            self.imap._command_complete("UID", search)
            raise
        typ, data = self.imap._command_complete("UID", search)
        found: tuple[str, list[Any]] = self.imap._untagged_response(typ, data, "SEARCH")
        return found

    def _windows(self) -> Iterator[str]:
        # One at a time: a server may say that there are billions.
        last = 0
        for end in range(SEARCH_WINDOW, self.exists, SEARCH_WINDOW):
            yield f"{last + 1}:{end} "
            last = end
        yield f"{last + 1}:* "

    def fetch(self, uids: str, most: int, room: int) -> list[tuple[int, int, bytes]]:
        """UID, size on the server and the first `most` octets of each mail, without marking it seen.

        An answer of more than `room` octets, beside what any answer may have, ends the connection.
        """
        data = self._uid("FETCH", uids, f"(UID RFC822.SIZE BODY.PEEK[]<0.{most}>)", room=room)
        return answers.mails(data)

    def deliveries(self, uids: str) -> list[tuple[int, int]]:
        """UID and count of deliveries of each mail, as it is marked."""
        data = self._uid("FETCH", uids, "(UID FLAGS)")
        return answers.deliveries(data)

    def mark_delivery(self, uids: str, nth: int) -> None:
        """Marks these mails as delivered for the nth time, where there are keywords."""
        if self.has_keywords:
            self._uid("STORE", uids, "+FLAGS.SILENT", f"($PymailDelivery{nth})")

    def identities(self, uids: str, count: int) -> list[tuple[int, bytes]]:
        """UID and the headers that tell who it is, of each mail."""
        return answers.literals(self._uid("FETCH", uids, f"(UID {IDENTITY})", room=count * IDENTITY_OCTETS))

    def recall(self, mailbox: str, most: int, since: tuple[int, int]) -> tuple[tuple[int, int], list[bytes]]:
        """The same headers of the newest mails in another mailbox; the inbox is selected again after that.

        Those after `since`, a UIDVALIDITY and a UID, if it is still the same mailbox, and else the last ones, at
        most `most`. Returns with them since when to ask the next time.
        """
        headers: list[bytes] = []
        with self._visiting(mailbox, readonly=True) as validity:
            last = since[1] if since[0] == validity else 0
            criteria = f"UID {last + 1}:*" if last else f"{max(1, self.exists - most + 1)}:*"
            found = answers.uids(self.search(criteria)) if self.exists else []
            newer = sorted(uid for uid in found if uid > last)[-most:]
            for at in range(0, len(newer), RECALL_WINDOW):
                window = newer[at : at + RECALL_WINDOW]
                # Others archive too: what comes between two of these is new to us, and wanted.
                headers.extend(header for _, header in self.identities(f"{window[0]}:{window[-1]}", len(window)))
        return (validity, newer[-1] if newer else last), headers

    def append(self, mailbox: str, mail: bytes) -> None:
        """Adds a mail to a mailbox, marked as seen."""
        self._tagged(self.imap.append, quoted(mailbox), r"(\Seen)", None, mail)

    def log(self, mailbox: str, drop: str) -> list[tuple[int, bytes]]:
        """UID and text of every entry in a mailbox that is a log; before that, removes these entries."""
        with self._visiting(mailbox, readonly=False):
            if drop:
                self.flag_deleted(drop)
                # All that is in there is ours: without UIDPLUS, everything that is flagged may go.
                self.expunge(drop) if self.has_uidplus else self._tagged(self.imap.expunge)
            data = self._uid("FETCH", "1:*", f"(UID BODY.PEEK[TEXT]<0.{ENTRY_OCTETS}>)") if self.exists else []
            return answers.literals(data)

    @contextmanager
    def _visiting(self, mailbox: str, *, readonly: bool) -> Iterator[int]:
        """Selects another mailbox, whose UIDVALIDITY it is, and then the inbox again."""
        try:
            self._tagged(self.imap.select, quoted(mailbox), readonly)
            validity = self.imap.untagged_responses.get("UIDVALIDITY")
            self._absorb()
            yield (answers.number32(validity[-1]) if validity else None) or 0
        except Refused:
            self._return()
            raise
        self._return()

    def _return(self) -> None:
        """Selects the inbox again, as it was; a refused SELECT leaves nothing selected."""
        try:
            self._tagged(self.imap.select, quoted(self.inbox))
        except (Refused, imaplib.IMAP4.readonly) as error:
            raise imaplib.IMAP4.abort(f"{self.inbox} can't be selected again: {error}") from None
        validity = self.imap.untagged_responses.get("UIDVALIDITY")
        self._absorb()
        if not validity or answers.number32(validity[-1]) != self.validity:
            raise imaplib.IMAP4.abort(f"{self.inbox} was made anew meanwhile")

    def sizes(self, uids: str) -> list[tuple[int, int]]:
        """UID and size on the server of each mail."""
        data = self._uid("FETCH", uids, "(UID RFC822.SIZE)")
        return answers.sizes(data)

    def copy(self, uids: str, mailbox: str) -> str | None:
        """Copies; returns COPYUID's three words (RFC 4315) where the server says them."""
        return self._copying("COPY", uids, mailbox)

    def move(self, uids: str, mailbox: str) -> str | None:
        """Moves (RFC 6851); returns COPYUID's three words where the server says them."""
        return self._copying("MOVE", uids, mailbox)

    def _copying(self, command: str, uids: str, mailbox: str) -> str | None:
        self._uid(command, uids, quoted(mailbox))
        told = self.imap.untagged_responses.get("COPYUID")
        return answers.as_text(told[-1]) if told else None

    def flag_deleted(self, uids: str) -> None:
        """Flags exactly these mails."""
        self._uid("STORE", uids, "+FLAGS.SILENT", r"(\Deleted)")

    def expunge(self, uids: str) -> None:
        """Removes those of exactly these mails that are flagged (UIDPLUS, RFC 4315)."""
        self._uid("EXPUNGE", uids)

    def noop(self) -> None:
        """A sign of life; takes in what the server said unasked."""
        self._tagged(self.imap.noop)
        self._absorb()

    def logout(self) -> None:
        """A bare LOGOUT: CLOSE would expunge what other clients have flagged."""
        self.imap.meter.room = ANSWER
        self.imap.logout()

    def abandon(self) -> None:
        """Closes the socket, says nothing."""
        self.imap.shutdown()

    def _uid(self, command: str, *args: str, room: int = 0) -> list[Any]:
        return self._tagged(self.imap.uid, command, *args, room=room)

    def _tagged(
        self, command: Callable[..., tuple[str, list[Any]]], *args: Any, room: int = 0
    ) -> list[Any]:
        # imaplib keeps untagged answers for ever, and would give old ones for new.
        self._absorb()
        self.imap.meter.room = ANSWER + room
        try:
            typ, data = command(*args)
        except (imaplib.IMAP4.abort, imaplib.IMAP4.readonly):
            raise
        except imaplib.IMAP4.error as error:
            raise _bad(error) from None
        if typ != "OK":
            raise answers.refusal(answers.as_text(data[-1]))
        return [item for item in data if item is not None]

    def _absorb(self) -> None:
        untagged = self.imap.untagged_responses
        exists = answers.number32(untagged["EXISTS"][-1]) if "EXISTS" in untagged else self.exists
        untagged.clear()
        if exists is None:
            raise imaplib.IMAP4.abort("the server says no number of mails that there can be")
        self.exists = exists


def _bad(error: imaplib.IMAP4.error) -> Exception:
    """The refusal that a tagged BAD is; anything else stays what it was."""
    if not isinstance(error, Bad):
        return error
    refusal = answers.refusal(str(error))
    return Refused(refusal.args[0] or "BAD", refusal.args[1])
