"""The IMAP dialogue on imaplib: plain values in, plain values out.

Arguments come checked and quoted (no CR, LF or NUL); UID sets come as text. What the server refuses is
raised as Refused; whatever else is raised ends the connection.
"""

from __future__ import annotations

import imaplib
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import _pymail_answers as answers
from _pymail_connection import Connection, Told, Visit, quoted
from _pymail_wire import ANSWER, Refused

# imaplib gives up on lines of 1 MB; this many UIDs of ten digits stay well below.
SEARCH_WINDOW = 50_000
# A larger result does not fit into what a client has to spare, and is no use either.
MOST_FOUND = 4_000_000

# An inbox with more is not selected again just to see what is new: that takes some servers their time.
FEW = 200

# So many mails are handed over at a time, which are read while others come.
PORTION = 200

# How many mails are asked at a time who they are, and how much each may say.
RECALL_WINDOW = 1_000
IDENTITY_OCTETS = 16 << 10
IDENTITY = f"BODY.PEEK[HEADER.FIELDS (MESSAGE-ID SUBJECT FROM)]<0.{IDENTITY_OCTETS}>"

# The largest entry of a log that is read whole.
ENTRY_OCTETS = 64 << 10


class Session(Connection):
    """One connection, with its inbox selected."""

    inbox = ""
    validity = 0
    # Where the UIDs of new mail begin, as far as is known.
    next_uid = 0
    # How many mails there were when older mail than that was last looked for, if it was.
    searched: int | None = None
    # What was found besides new mails so far, when it was looked ahead.
    others: bytes | None = None
    # The command whose mails are being taken.
    metered: Any = None

    def prepare(self, inbox: str, archive: str, has_namespace: bool) -> tuple[int, str, str, bool]:
        """Selects the inbox, and makes the archive if it is missing.

        Returns the inbox's UIDVALIDITY, the archive's name as this server wants it, what it puts between a
        mailbox's name and those of the mailboxes within it ("" for nothing), and whether the archive is empty.
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
        is_empty = self.create(archive)
        self.inbox, self.validity = inbox, validity
        self.next_uid = answers.number32((told.get("UIDNEXT") or [None])[-1]) or 0
        self.searched = None if self.exists else 0
        return validity, archive, answers.delimiter(told, namespaces), is_empty

    def _select(self, inbox: str, question: tuple[str, ...]) -> Told:
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

    def create(self, name: str) -> bool:
        """Makes a mailbox, unless it is there; whether it is known to be empty."""
        self._ask("CREATE", quoted(name))
        self._ask("STATUS", quoted(name), "(MESSAGES)")
        refusal: Refused | None = None
        try:
            self._next()
        except Refused as error:
            refusal = error
        try:
            # Not every server says why it makes no mailbox. One that has it can tell about it.
            return answers.is_empty(self._next().get("STATUS", []))
        except Refused:
            if refusal is not None and refusal.args[0] != "ALREADYEXISTS":
                raise refusal from None
            return False
        finally:
            # With its traceback, it and this frame would keep each other, and what the server said.
            refusal = None

    def search(self, criteria: str) -> bytes:
        """The UIDs that match, four octets each, the least significant first.

        A large mailbox is asked in windows, so that no answer is too long.
        """
        if self.exists > SEARCH_WINDOW:
            return self._search_windows(criteria)
        # A server searches what it has announced, and announces by NOOP: both in one flight.
        self._ask("NOOP")
        self._ask_for(criteria)
        told = self._all()
        if told[0].keys() & {"SEARCH", "ESEARCH"} and "EXISTS" in told[0]:
            # Dovecot announces when it has answered everything that it has read.
            self._ask_for(criteria)
            told = self._all()
        return self._found(told)

    def _ask_for(self, criteria: str) -> None:
        # Ranges are shorter than a list (ESEARCH, RFC 4731), which whoever has SEARCHRES has, too.
        self._ask("UID", "SEARCH", f"RETURN (ALL) {criteria}" if self.has_searchres else criteria)

    def _search_windows(self, criteria: str) -> bytes:
        self._tagged(self.imap.noop)
        self._absorb()
        found = b""
        for window in self._windows():
            self._ask_for(window + criteria)
            found += self._found(self._all())
            if len(found) > 4 * MOST_FOUND:
                raise Refused(None, f"more than {MOST_FOUND} mails match: search for less")
        return found

    def _found(self, told: list[Told]) -> bytes:
        found = b"".join(answers.found(it.get("SEARCH", []), it.get("ESEARCH", [])) for it in told)
        self.next_uid = max(self.next_uid, answers.last(found) + 1)
        self.searched = self.exists
        return found

    def look_ahead(self, criteria: str, count: int, most: int) -> bytes | None:
        """As `search` for what is new, and asks for it too, in one flight (SEARCHRES, RFC 5182); None if it can't.

        What is new has a UID of the next `count` ones: no more can come than was asked for, nor is it worth it.
        Take the mails then, and then what else there is.
        """
        if not (self.has_searchres and self.next_uid) or self.searched is None or self.exists > SEARCH_WINDOW:
            return None
        if self.exists - self.searched > count:
            return None
        first, last = self.next_uid, min(self.next_uid + count - 1, answers.MOST)
        new = f"UID {first}:{last}"
        # What follows on a SELECT is done when new mail is announced, which with NOOP is not certain.
        is_sure = self.exists <= FEW
        self._ask(*(("SELECT", quoted(self.inbox)) if is_sure else ("NOOP",)))
        self._ask("UID", "SEARCH", f"RETURN (SAVE ALL) {new} {criteria}")
        self._ask("UID", "FETCH", "$", _items(most))
        self._ask("UID", "SEARCH", f"RETURN (ALL) NOT {new} {criteria}")
        try:
            announced = self._next_selected() if is_sure else self._next()
            # Dovecot answers a search before it has done with what was asked before it.
            found = self._found([announced, self._next()])
        except Refused:
            self.what_else(count * most, worked=False)
            return None
        if not is_sure and "EXISTS" in announced:
            self.what_else(count * most, worked=True)
            return None
        found, self.others = answers.divided(found, first, last)
        return found

    def what_else(self, room: int, worked: bool) -> bytes | None:
        """What was found besides the new mails of a look ahead, if that has worked so far."""
        try:
            others = (self.others or b"") + self._found(self._all(room))
        except Refused:
            worked = False
        finally:
            self.others = None
        if not worked:
            self.has_searchres = False  # It says so, but it can't.
            return None
        return others

    def _windows(self) -> Iterator[str]:
        # One at a time: a server may say that there are billions.
        last = 0
        for end in range(SEARCH_WINDOW, self.exists, SEARCH_WINDOW):
            yield f"{last + 1}:{end} "
            last = end
        yield f"{last + 1}:* "

    def ask_for_mails(self, uids: str, most: int) -> None:
        """Asks for the first `most` octets of each mail, without marking it seen."""
        self._ask("UID", "FETCH", uids, _items(most))

    def next_mails(self, room: int) -> tuple[list[answers.Mail], bool]:
        """Some of the mails that were asked for first, and whether these are all.

        An answer of more than `room` octets, beside what any answer may have, ends the connection.
        """
        tag = self._asked[0][1]
        if tag != self.metered:
            self.metered = tag
            self.imap.meter.room = ANSWER + room
        is_done = self.imap.take_mails(tag, PORTION)
        told = self._next(None) if is_done else self.imap.untagged_responses
        if is_done and self.others is not None:
            # The answer to the search behind it may have come already.
            self.others += answers.found(told.get("SEARCH", []), told.get("ESEARCH", []))
        return answers.mails(told.pop("FETCH", [])), is_done

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
        with Visit(self, mailbox, readonly=True) as validity:
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
        with Visit(self, mailbox, readonly=False):
            if drop:
                self.flag_deleted(drop)
                # All that is in there is ours: without UIDPLUS, everything that is flagged may go.
                self.expunge(drop) if self.has_uidplus else self._tagged(self.imap.expunge)
            data = self._uid("FETCH", "1:*", f"(UID BODY.PEEK[TEXT]<0.{ENTRY_OCTETS}>)") if self.exists else []
            return answers.literals(data)

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


def _items(most: int) -> str:
    return f"(UID FLAGS RFC822.SIZE BODY.PEEK[]<0.{most}>)"
