"""The IMAP dialogue on imaplib: plain values in, plain values out.

Arguments come checked and quoted (no CR, LF or NUL); UID sets come as text. What the server refuses is
raised as Refused; whatever else is raised ends the connection.
"""

from __future__ import annotations

import imaplib
from collections.abc import Iterator
from contextlib import suppress

import _pymail_answers as answers
from _pymail_connection import Told, Visit, quoted
from _pymail_receive import Receiving
from _pymail_wire import Refused

# How many mails are asked at a time who they are, and how much each may say.
RECALL_WINDOW = 1_000
IDENTITY_OCTETS = 16 << 10
IDENTITY = f"BODY.PEEK[HEADER.FIELDS (MESSAGE-ID SUBJECT FROM)]<0.{IDENTITY_OCTETS}>"

# The largest entry of a log that is read whole; how many are read at a time, and how much all of them may be.
ENTRY_OCTETS = 64 << 10
LOG_WINDOW = 200
LOG_OCTETS = 128 << 20


class Session(Receiving):
    """One connection, with its inbox selected."""

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
        self.searched = not self.exists
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

    def deliveries(self, uids: str) -> list[tuple[int, int]]:
        """UID and count of deliveries of each mail, as it is marked."""
        data = self._uid("FETCH", uids, "(UID FLAGS)")
        return answers.deliveries(data)

    def mark_delivery(self, uids: str, nth: int) -> None:
        """Marks these mails as delivered for the nth time, where there are keywords."""
        if self.has_keywords:
            self._uid("STORE", uids, "+FLAGS.SILENT", f"($PymailDelivery{nth})")

    def identities(self, uids: str, count: int) -> tuple[list[tuple[int, bytes]], bool]:
        """UID and the headers that tell who it is, of each mail that is given out; whether some are refused."""
        told, is_refused = self.what_comes(uids, f"(UID {IDENTITY})", count * IDENTITY_OCTETS)
        return answers.literals(told), is_refused

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
                told, _ = self.identities(f"{window[0]}:{window[-1]}", len(window))
                headers.extend(header for _, header in told)
        return (validity, newer[-1] if newer else last), headers

    def append(self, mailbox: str, mail: bytes) -> None:
        """Adds a mail to a mailbox, marked as seen."""
        self._tagged(self.imap.append, quoted(mailbox), r"(\Seen)", None, mail)

    def log(self, mailbox: str, drop: list[str]) -> tuple[int, list[tuple[int, bytes]]]:
        """UIDNEXT of a mailbox that is a log, and UID and octets of every mail in it; before that, removes some mails."""
        mails: list[tuple[int, bytes]] = []
        octets = 0
        with Visit(self, mailbox, readonly=False):
            next_uid = self.visited_next
            for uids in drop:
                self.flag_deleted(uids)
                if self.has_uidplus:
                    self.expunge(uids)
            if drop and not self.has_uidplus:
                # All that is in there is ours: everything that is flagged may go.
                self._tagged(self.imap.expunge)
            for window in self._log_windows():
                items = f"(UID BODY.PEEK[]<0.{ENTRY_OCTETS}>)"
                told = answers.literals(self._uid("FETCH", window, items, room=LOG_WINDOW * ENTRY_OCTETS))
                mails.extend(told)
                octets += sum(len(mail) for _, mail in told)
                if octets > LOG_OCTETS:
                    raise Refused(None, f"the log in {mailbox} has more than {LOG_OCTETS} octets")
        return next_uid, mails

    def _log_windows(self) -> Iterator[str]:
        """UIDs of the selected mailbox, in portions whose answers are not too long."""
        if 0 < self.exists <= LOG_WINDOW:
            yield "1:*"
        elif self.exists:
            found = sorted(answers.uids(self.search("ALL")))
            for at in range(0, len(found), LOG_WINDOW):
                yield f"{found[at]}:{found[at : at + LOG_WINDOW][-1]}"

    def next_uid_of(self, mailbox: str) -> int | None:
        """UIDNEXT of a mailbox that is not selected; None when the server does not say it."""
        with suppress(Refused):
            return answers.next_uid(self._tagged(self.imap.status, quoted(mailbox), "(UIDNEXT)"))
        return None

    def mailboxes(self, pattern: str) -> list[str]:
        """The names of the mailboxes that match; none when the server refuses to list them."""
        with suppress(Refused):
            return answers.listed(self._tagged(self.imap.list, '""', quoted(pattern)))
        return []

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
